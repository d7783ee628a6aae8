//! The initramfs: busybox, the program, the tests, the modules, and the job to do.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::kernels::Image;
use crate::cargo::{Executable, build, cargo, test_targets};
use crate::command::{command, find_program, make_directory, shown, workspace, write};

const TARGET: &str = "x86_64-unknown-linux-gnu";
const INIT: &str = include_str!("init");

/// Where the test binary is in the machine.
pub const TESTS: &str = "/tests/kernel";

/// The statically linked executables that go into the machine.
pub struct Programs {
    executables: Vec<Executable>,
}

impl Programs {
    /// Builds the program, the helpers of the package `tests`, and its test `kernel`. An `object`
    /// is embedded in place of the committed one.
    ///
    /// # Errors
    /// When something does not build; without the test `kernel` only if `tests` asks for it.
    pub fn build(tests: bool, object: Option<&Path>) -> Result<Self> {
        let target = workspace().join("target/vm/build");
        let compile = |task: &[&str]| {
            let mut command = cargo();
            command
                .args(task)
                .args(["--release", "--target", TARGET, "--target-dir"])
                .arg(&target)
                .env_remove("CARGO_ENCODED_RUSTFLAGS")
                .env("RUSTFLAGS", "-C target-feature=+crt-static")
                .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
                // Between the parts of a crate it takes longer than the tests gain.
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                // Not what is tested, and as large.
                .args(["--config", "profile.release.package.tests.opt-level=1"]);
            if let Some(object) = object {
                command.env("PORT_OBSERVER_OBJECT", object);
            }
            build(&mut command)
        };
        let has_tests =
            test_targets()?.iter().any(|(package, name)| package == "tests" && name == "kernel");
        // At once: apart, packages that both need are built twice, with other features.
        let mut task = vec!["build", "--package=port-observer", "--package=tests", "--bins"];
        if has_tests {
            task.push("--test=kernel");
        } else if tests {
            bail!("the package tests has no test `kernel`");
        } else {
            eprintln!("without the tests: the package tests has no test `kernel` yet");
        }
        let executables = compile(&task)?;
        Ok(Self { executables })
    }

    /// The test binary, which runs here as well.
    ///
    /// # Errors
    /// When it was not built.
    pub fn tests(&self) -> Result<&Path> {
        let found = self.executables.iter().find(|e| e.kind == "test" && e.name == "kernel");
        found.map(|e| e.path.as_path()).context("cargo built no test binary `kernel`")
    }

    /// The program.
    ///
    /// # Errors
    /// When it was not built.
    pub fn program(&self) -> Result<&Path> {
        let found = self.executables.iter().find(|e| e.name == "port-observer");
        found.map(|e| e.path.as_path()).context("cargo built no port-observer")
    }

    /// A helper of the package `tests`.
    ///
    /// # Errors
    /// When it was not built.
    pub fn helper(&self, name: &str) -> Result<&Path> {
        let found = self.executables.iter().find(|e| e.name == name);
        found.map(|e| e.path.as_path()).with_context(|| format!("cargo built no {name}"))
    }

    /// Lays the executables into the machine's root.
    fn install(&self, root: &Path) -> Result<()> {
        for executable in &self.executables {
            let place = match executable.name.as_str() {
                "port-observer" => format!("bin/{}", executable.name),
                name => format!("tests/{name}"),
            };
            let inside = root.join(&place);
            link(&executable.path, &inside)?;
            // A test knows a helper by the path that it was built at (CARGO_BIN_EXE_…).
            let built = root.join(executable.path.strip_prefix("/").unwrap_or(&executable.path));
            make_directory(built.parent().unwrap_or(root))?;
            if fs::symlink_metadata(&built).is_err() {
                symlink(format!("/{place}"), &built).context("can't link an executable")?;
            }
        }
        Ok(())
    }
}

/// Packs an archive for this kernel that runs `job` (shell commands) after the boot.
///
/// # Errors
/// When busybox or cpio is missing or a file can't be written.
pub fn pack(image: &Image, programs: &Programs, job: &str, archive: &Path) -> Result<()> {
    let root = archive.with_extension("root");
    let _ = fs::remove_dir_all(&root);
    for directory in ["bin", "dev", "lib/modules/on-demand", "tests"] {
        make_directory(&root.join(directory))?;
    }
    let busybox = find_program("busybox").context("busybox is missing: cargo xtask setup")?;
    // The name of a dynamic loader stands near the start of a program that needs one.
    let program = fs::read(&busybox).context("can't read busybox")?;
    if program[..program.len().min(1024)].windows(8).any(|bytes| bytes == b"ld-linux") {
        bail!("{} is not statically linked: cargo xtask setup", busybox.display());
    }
    link(&busybox, &root.join("bin/busybox"))?;
    symlink("busybox", root.join("bin/sh")).context("can't link sh")?;
    programs.install(&root)?;
    for (modules, directory) in
        [(&image.modules, "lib/modules"), (&image.on_demand, "lib/modules/on-demand")]
    {
        for (order, module) in modules.iter().enumerate() {
            let name = module.file_name().unwrap_or_default().to_string_lossy();
            link(module, &root.join(format!("{directory}/{order}-{name}")))?;
        }
    }
    write(&root.join("job"), job)?;
    let init = root.join("init");
    write(&init, INIT)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).context("can't change init")?;
    archive_of(&root, archive)?;
    fs::remove_dir_all(&root).with_context(|| format!("can't remove {}", root.display()))
}

fn archive_of(root: &Path, archive: &Path) -> Result<()> {
    let out =
        File::create(archive).with_context(|| format!("can't write {}", archive.display()))?;
    let mut cpio =
        command("cpio", ["--create", "--null", "--format=newc", "--owner=+0:+0", "--quiet"]);
    cpio.current_dir(root).stdin(Stdio::piped()).stdout(out);
    let mut child = cpio.spawn().context("can't start cpio: cargo xtask setup")?;
    let mut input = child.stdin.take().context("cpio has no standard input")?;
    for path in paths(root, Path::new(""))? {
        input.write_all(path.as_os_str().as_encoded_bytes()).context("can't write to cpio")?;
        input.write_all(&[0]).context("can't write to cpio")?;
    }
    drop(input);
    if !child.wait().context("can't wait for cpio")?.success() {
        bail!("`{}` failed", shown(&cpio));
    }
    Ok(())
}

/// Every path below `root`, relative, a directory before what is in it.
fn paths(root: &Path, below: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(root.join(below)).context("can't read the machine's root")? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        paths.push(path.clone());
        if entry.file_type()?.is_dir() {
            paths.extend(self::paths(root, &path)?);
        }
    }
    Ok(paths)
}

/// A hard link, or a copy where the file system allows none.
fn link(from: &Path, to: &Path) -> Result<()> {
    let from = from.canonicalize().with_context(|| format!("there is no {}", from.display()))?;
    // One that is already there may be the same file, which a copy onto itself would empty.
    let _ = fs::remove_file(to);
    if fs::hard_link(&from, to).is_err() {
        fs::copy(&from, to)
            .with_context(|| format!("can't copy {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}
