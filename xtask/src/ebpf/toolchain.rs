//! The two toolchains that can build for `bpfel-unknown-none`: Debian's, and rustup's nightly.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cargo::cargo;
use crate::command::{command, find_program, output, run, workspace};

const TARGET: &str = "bpfel-unknown-none";
const PACKAGE: &str = "port-observer-ebpf";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CLIPPY: &str = "/usr/bin/cargo-clippy";

/// Where the compiler comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Debian's rustc with its precompiled `core` for BPF
    Debian,
    /// rustup's nightly with rust-src, which compiles `core`
    Nightly,
}

/// A complete toolchain.
pub struct Toolchain {
    kind: Kind,
    sysroot: PathBuf,
    compiler: String,
    cargo: String,
    linker: PathBuf,
    linker_version: String,
    strip: PathBuf,
    strip_version: String,
}

impl Toolchain {
    /// Finds one.
    ///
    /// # Errors
    /// When something is missing, with what to install.
    pub fn find(kind: Option<Kind>) -> Result<Self> {
        let (kind, sysroot) = match kind {
            Some(Kind::Debian) => (Kind::Debian, debian()?),
            Some(Kind::Nightly) => (Kind::Nightly, nightly()?),
            None => match debian() {
                Ok(sysroot) => (Kind::Debian, sysroot),
                Err(debian) => match nightly() {
                    Ok(sysroot) => (Kind::Nightly, sysroot),
                    Err(nightly) => bail!(
                        "no compiler for {TARGET}:\n  Debian: {debian:#}\n  rustup: {nightly:#}\n\
                         one of them is enough; on Debian `cargo xtask setup` installs the first"
                    ),
                },
            },
        };
        let linker = crate::setup::bpf_linker().context(
            "bpf-linker is missing: `cargo xtask setup` on Debian, else `cargo install bpf-linker`",
        )?;
        let strip = llvm_strip(&sysroot)?;
        let compiler = output(compiler(kind).arg("-vV"))?;
        let llvm = compiler.lines().find_map(|line| line.strip_prefix("LLVM version: "));
        let release = compiler.lines().next().unwrap_or_default();
        let llvm = llvm.context("rustc names no LLVM version")?;
        Ok(Self {
            kind,
            compiler: format!("{release}, LLVM {llvm}"),
            cargo: output(cargo_of(kind).arg("--version"))?.trim().to_owned(),
            linker_version: output(&mut command(&linker, ["--version"]))?.trim().to_owned(),
            strip_version: version(&output(&mut command(&strip, ["--version"]))?),
            sysroot,
            linker,
            strip,
        })
    }

    /// For a message.
    pub fn description(&self) -> String {
        let kind = match self.kind {
            Kind::Debian => "Debian's",
            Kind::Nightly => "rustup's nightly with rust-src",
        };
        format!("{kind}: {}; {}; {}", self.compiler, self.linker_version, self.strip_version)
    }

    /// The versions of compiler, cargo, linker and strip.
    pub fn versions(&self) -> [String; 4] {
        [&self.compiler, &self.cargo, &self.linker_version, &self.strip_version].map(String::clone)
    }

    /// Builds the object: with BTF, without the rest of its debug information.
    ///
    /// # Errors
    /// When it does not build.
    pub fn build(&self, object: &Path) -> Result<()> {
        run(self.cargo_command("build")?.args(["--bin", PACKAGE]))?;
        let built = workspace().join("target/ebpf").join(TARGET).join("release").join(PACKAGE);
        let strip = [Path::new("--strip-debug"), Path::new("-o"), object, &built];
        run(&mut command(&self.strip, strip))
    }

    /// Runs clippy on the kernel programs.
    ///
    /// # Errors
    /// When clippy is missing or finds something.
    pub fn clippy(&self) -> Result<()> {
        if self.kind == Kind::Debian && !Path::new(DEBIAN_CLIPPY).exists() {
            bail!("{DEBIAN_CLIPPY} is missing: `cargo xtask setup` installs rust-web-clippy");
        }
        let mut clippy = self.cargo_command("clippy")?;
        run(clippy.args(["--lib", "--bins", "--", "-D", "warnings"]))
    }

    fn cargo_command(&self, task: &str) -> Result<Command> {
        let mut command = match (self.kind, task) {
            // cargo finds rustup's clippy; this compiler needs its own.
            (Kind::Debian, "clippy") => Command::new(DEBIAN_CLIPPY),
            (kind, _) => cargo_of(kind),
        };
        command.arg(task).current_dir(workspace());
        command.args(["--release", "--locked", "--package", PACKAGE, "--features=programs"]);
        command.args(["--target", TARGET, "--target-dir", "target/ebpf"]);
        match self.kind {
            Kind::Debian => {
                // aya-ebpf uses features that are not stable.
                command.env("RUSTC_BOOTSTRAP", "1").env("RUSTC", DEBIAN_RUSTC);
            }
            Kind::Nightly => {
                command.arg("-Zbuild-std=core").env_remove("RUSTC");
            }
        }
        // What a user sets for the host must not get into the object.
        for name in ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
            command.env_remove(name);
        }
        // aya-ebpf would take the builder's processor; one object serves all.
        command.env("AYA_BPF_TARGET_ARCH", "x86_64");
        let flags = self.rustflags()?.join("\x1f");
        command.env("CARGO_ENCODED_RUSTFLAGS", flags);
        Ok(command)
    }

    fn rustflags(&self) -> Result<Vec<String>> {
        let linker = format!("-Clinker={}", self.linker.display());
        let mut flags = vec![linker, "-Cdebuginfo=2".to_owned(), "-Clink-arg=--btf".to_owned()];
        // The object holds the paths of its sources: they must not say where this checkout is.
        let mut remap = |from: &Path, to: &str| {
            flags.push(format!("--remap-path-prefix={}={to}", from.display()));
        };
        remap(&workspace(), ".");
        for directory in registries()? {
            remap(&directory, "/registry");
        }
        remap(&self.sysroot.join("lib/rustlib/src/rust"), "/rust");
        Ok(flags)
    }
}

/// The directories that hold the sources of the packages from outside of the workspace.
fn registries() -> Result<BTreeSet<PathBuf>> {
    let mut command = cargo();
    let metadata = output(command.args(["metadata", "--locked", "--format-version=1"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("can't read cargo metadata")?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let outside = packages.filter(|package| !package["source"].is_null());
    let manifests = outside.filter_map(|package| package["manifest_path"].as_str());
    Ok(manifests.filter_map(|path| Path::new(path).ancestors().nth(2)).map(PathBuf::from).collect())
}

/// The sysroot of Debian's compiler, if it has `core` for BPF.
fn debian() -> Result<PathBuf> {
    let install = "apt-get install rustc-web libstd-rust-web-dev-bpf";
    if !Path::new(DEBIAN_RUSTC).exists() {
        bail!("there is no {DEBIAN_RUSTC} ({install})");
    }
    let sysroot = PathBuf::from(output(&mut command(DEBIAN_RUSTC, ["--print=sysroot"]))?.trim());
    let libraries = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    let mut entries = fs::read_dir(&libraries).into_iter().flatten().flatten();
    if !entries.any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-")) {
        bail!("{DEBIAN_RUSTC} has no `core` for {TARGET} ({install})");
    }
    Ok(sysroot)
}

/// The sysroot of rustup's nightly, if it has the sources of `core`.
fn nightly() -> Result<PathBuf> {
    let install = "rustup toolchain install nightly --component rust-src";
    let sysroot = output(compiler(Kind::Nightly).arg("--print=sysroot"))
        .map_err(|_| anyhow::anyhow!("there is no nightly toolchain ({install})"))?;
    let sysroot = PathBuf::from(sysroot.trim());
    if !sysroot.join("lib/rustlib/src/rust/library/core").exists() {
        bail!("nightly lacks rust-src ({install})");
    }
    Ok(sysroot)
}

fn compiler(kind: Kind) -> Command {
    match kind {
        Kind::Debian => Command::new(DEBIAN_RUSTC),
        Kind::Nightly => command("rustup", ["run", "nightly", "rustc"]),
    }
}

fn cargo_of(kind: Kind) -> Command {
    match kind {
        Kind::Debian => cargo(),
        Kind::Nightly => command("rustup", ["run", "nightly", "cargo"]),
    }
}

/// LLVM's strip: the one of the linker's LLVM, else the newest, else the one in the sysroot.
fn llvm_strip(sysroot: &Path) -> Result<PathBuf> {
    let versions = (19..=30).rev().map(|version| format!("llvm-strip-{version}"));
    let names = [format!("llvm-strip-{}", crate::setup::LLVM)].into_iter().chain(versions);
    let component = component_strip(&sysroot.join("lib/rustlib"));
    names
        .chain(["llvm-strip".to_owned()])
        .find_map(|name| find_program(&name))
        .or(component)
        .context(
            "llvm-strip is missing: `apt-get install llvm-22`, or \
         `rustup component add llvm-tools --toolchain nightly`",
        )
}

/// `llvm-strip` of rustup's component llvm-tools, in `HOST/bin`.
fn component_strip(rustlib: &Path) -> Option<PathBuf> {
    let hosts = fs::read_dir(rustlib).into_iter().flatten().flatten();
    hosts.map(|host| host.path().join("bin/llvm-strip")).find(|file| file.is_file())
}

/// The line of `llvm-strip --version` that has the version.
fn version(text: &str) -> String {
    let line = text.lines().find(|line| line.contains("version")).unwrap_or(text);
    format!("llvm-strip, {}", line.trim())
}
