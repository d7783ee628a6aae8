//! The test kernels: Debian's, fetched once with a private apt root, never installed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::command::{command, find_program, make_directory, output, run, workspace, write};

/// A kernel that the tests run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its version, as `--kernel` takes it.
    pub name: &'static str,
    /// The Debian suite that has it.
    suite: &'static str,
    /// It preempts tasks inside of the kernel.
    pub is_preemptible: bool,
}

/// Every kernel, oldest first.
pub const KERNELS: [Kernel; 4] = [
    Kernel { name: "5.10", is_preemptible: false, suite: "bullseye-security" },
    Kernel { name: "6.1", is_preemptible: false, suite: "bookworm" },
    Kernel { name: "6.12", is_preemptible: false, suite: "trixie" },
    Kernel { name: "7.2", is_preemptible: true, suite: "sid" },
];

/// What the tests need that these kernels have as modules.
const MODULES: [&str; 5] = ["inet_diag", "tcp_diag", "udp_diag", "veth", "dummy"];

/// What single tests insert themselves, and leave again, in the order to insert them: as soon as connections are
/// tracked, those of all tests are. Some kernels have some of them built in.
const ON_DEMAND: [&str; 4] = ["libcrc32c", "nf_defrag_ipv4", "nf_defrag_ipv6", "nf_conntrack"];

const META_PACKAGE: &str = "linux-image-cloud-amd64";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A kernel that is ready to boot.
#[derive(Clone, Debug)]
pub struct Image {
    /// Which one.
    pub kernel: Kernel,
    /// The compressed kernel.
    pub vmlinuz: PathBuf,
    /// Its modules, uncompressed, in the order to insert them.
    pub modules: Vec<PathBuf>,
    /// Those that tests insert, in the order to do so.
    pub on_demand: Vec<PathBuf>,
}

impl Kernel {
    /// The kernel of this version, for clap.
    ///
    /// # Errors
    /// When there is none.
    pub fn parse(name: &str) -> Result<Self, String> {
        let names = KERNELS.map(|kernel| kernel.name);
        let found = KERNELS.into_iter().find(|kernel| kernel.name == name);
        found.ok_or_else(|| format!("there is {}", names.join(", ")))
    }

    /// The kernel from the cache in `target/vm`, fetched before if it is not there.
    ///
    /// # Errors
    /// When it can't be fetched, or a package has not the expected files.
    pub fn image(self) -> Result<Image> {
        let cache = workspace().join("target/vm/kernels");
        let directory = cache.join(self.name);
        make_directory(&directory)?;
        let lock = cache.join(format!("{}.lock", self.name));
        let lock =
            File::create(&lock).with_context(|| format!("can't write {}", lock.display()))?;
        lock.lock().context("can't lock the cache of kernels")?;
        // A cache of before is without modules that have come to these.
        let modules = MODULES.iter().chain(&ON_DEMAND).copied().collect::<Vec<_>>().join("\n");
        let collected = fs::read_to_string(directory.join("complete")).unwrap_or_default();
        if collected != modules {
            self.fetch(&directory).with_context(|| {
                format!("can't fetch Linux {} from Debian's suite {}", self.name, self.suite)
            })?;
            write(&directory.join("complete"), modules)?;
        }
        let paths = |names: &[&str]| {
            let paths = names.iter().map(|name| directory.join(format!("{name}.ko")));
            paths.filter(|file| file.exists()).collect()
        };
        Ok(Image {
            kernel: self,
            vmlinuz: directory.join("vmlinuz"),
            modules: paths(&MODULES),
            on_demand: paths(&ON_DEMAND),
        })
    }

    fn fetch(self, directory: &Path) -> Result<()> {
        eprintln!("fetching Linux {} ({})", self.name, self.suite);
        let _ = fs::remove_dir_all(directory);
        let root = directory.join("unpacked");
        make_directory(&root)?;
        let apt = Apt::new(self.suite, &directory.join("apt"))?;
        let packages = apt.kernel_packages()?;
        retry(|| run(apt.get(["-qq", "download"]).args(&packages).current_dir(directory)))?;
        for file in files(directory)?.iter().filter(|file| has_suffix(file, ".deb")) {
            run(&mut command("dpkg", [Path::new("-x"), file, &root]))?;
        }
        self.collect(&root, directory)?;
        // The cache keeps the dozen files that a boot needs, not 200 MB of drivers.
        let _ = fs::remove_dir_all(&root);
        let _ = fs::remove_dir_all(directory.join("apt"));
        for file in files(directory)?.iter().filter(|file| has_suffix(file, ".deb")) {
            let _ = fs::remove_file(file);
        }
        write(&directory.join("packages"), packages.join("\n"))
    }

    /// Copies the kernel and its modules out of the unpacked packages.
    fn collect(self, root: &Path, directory: &Path) -> Result<()> {
        let unpacked = files(root)?;
        let image = unpacked.iter().find(|file| name_of(file).starts_with("vmlinuz"));
        let image = image.context("the packages hold no vmlinuz")?;
        fs::copy(image, directory.join("vmlinuz")).context("can't copy vmlinuz")?;
        let busybox = find_program("busybox").context("busybox is missing: cargo xtask setup")?;
        for module in MODULES.iter().chain(&ON_DEMAND) {
            let stem = format!("{module}.ko");
            let found = unpacked.iter().find(|file| name_of(file).starts_with(&stem));
            let Some(found) = found else {
                if ON_DEMAND.contains(module) {
                    continue;
                }
                bail!("the packages hold no {stem}");
            };
            let bytes = match found.extension().and_then(|end| end.to_str()) {
                Some("ko") => fs::read(found).context("can't read a module")?,
                Some("xz") => {
                    let unpacked = Command::new(&busybox).args(["xz", "-dc"]).arg(found).output();
                    unpacked.context("can't run busybox xz")?.stdout
                }
                other => bail!("{stem} is compressed in an unknown way: {other:?}"),
            };
            if !bytes.starts_with(b"\x7fELF") {
                bail!("{} holds no ELF module", found.display());
            }
            write(&directory.join(stem), bytes)?;
        }
        Ok(())
    }
}

/// A private apt root that lists one suite on the mirror that the machine already uses.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(suite: &str, root: &Path) -> Result<Self> {
        for directory in ["state/lists/partial", "cache/archives/partial"] {
            make_directory(&root.join(directory))?;
        }
        let sources = root.join("sources.list");
        let signed = if Path::new(KEYRING).exists() {
            format!(" signed-by={KEYRING}")
        } else {
            String::new()
        };
        let mirror = mirror(suite.ends_with("-security"))?;
        write(&sources, format!("deb [arch=amd64{signed}] {mirror} {suite} main\n"))?;
        let show = |path: &Path| path.display().to_string();
        let options = [
            format!("Dir::Etc::sourcelist={}", show(&sources)),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State={}", show(&root.join("state"))),
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::Cache={}", show(&root.join("cache"))),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::Retries=3".to_owned(),
            // A suite that is no longer updated keeps its signature, not its date.
            "Acquire::Check-Valid-Until=false".to_owned(),
            // Its own user can't write below a home directory.
            "APT::Sandbox::User=root".to_owned(),
        ];
        let apt =
            Self { options: options.into_iter().flat_map(|o| ["-o".to_owned(), o]).collect() };
        retry(|| run(&mut apt.get(["-qq", "--error-on=any", "update"])))?;
        Ok(apt)
    }

    fn get<const N: usize>(&self, args: [&str; N]) -> Command {
        let mut command = command("apt-get", &self.options);
        command.args(args);
        command
    }

    /// The packages that the meta package leads to: the image, and where it is split its parts.
    fn kernel_packages(&self) -> Result<Vec<String>> {
        let mut todo = vec![META_PACKAGE.to_owned()];
        let mut packages = Vec::new();
        while let Some(package) = todo.pop() {
            let shown = output(command("apt-cache", &self.options).args([
                "show",
                "--no-all-versions",
                &package,
            ]))?;
            for name in dependencies(&shown) {
                let wanted = ["linux-image-", "linux-binary-", "linux-modules-"];
                let wanted = wanted.iter().any(|prefix| name.starts_with(prefix));
                if wanted && !packages.contains(&name) {
                    packages.push(name.clone());
                    todo.push(name);
                }
            }
        }
        if packages.is_empty() {
            bail!("{META_PACKAGE} depends on no kernel image");
        }
        Ok(packages)
    }
}

/// The names in a package's `Depends` field.
fn dependencies(shown: &str) -> Vec<String> {
    let depends = shown.lines().filter_map(|line| line.strip_prefix("Depends: "));
    let names = depends.flat_map(|list| list.split([',', '|']));
    names.filter_map(|name| name.split_whitespace().next()).map(str::to_owned).collect()
}

/// The Debian mirror that the machine's apt uses, for the archive or for security updates.
fn mirror(security: bool) -> Result<String> {
    let format = "$(REPO_URI) $(RELEASE)";
    let targets = output(&mut command("apt-get", ["indextargets", "--format", format]))?;
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let codename = codename.unwrap_or("stable").trim_matches('"');
    let wanted = if security { format!("{codename}-security") } else { codename.to_owned() };
    let mut targets = targets.lines().filter_map(|line| line.split_once(' '));
    let found = targets.find(|(_, release)| *release == wanted);
    found.map(|(uri, _)| uri.to_owned()).with_context(|| {
        format!("apt's sources list no {wanted}, whose mirror is used; the matrix needs Debian")
    })
}

/// Mirrors fail for a moment: three tries.
fn retry(mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    for seconds in [2, 10] {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) => eprintln!("{error:#}; once more in {seconds} s"),
        }
        sleep(Duration::from_secs(seconds));
    }
    attempt()
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn has_suffix(file: &Path, suffix: &str) -> bool {
    name_of(file).ends_with(suffix)
}

/// Every regular file below a directory.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut todo = vec![directory.to_path_buf()];
    while let Some(directory) = todo.pop() {
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("can't read the directory {}", directory.display()))?;
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                todo.push(entry.path());
            } else if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_without_versions_and_alternatives_apart() {
        let shown = "Package: a\nDepends: b | c (>= 1), linux-image-6.1.0-50-cloud-amd64 (= 6.1)\n";
        assert_eq!(dependencies(shown), ["b", "c", "linux-image-6.1.0-50-cloud-amd64"]);
    }

    #[test]
    fn an_unknown_kernel_is_refused_with_the_known_ones() {
        assert_eq!(Kernel::parse("4.19").unwrap_err(), "there is 5.10, 6.1, 6.12, 7.2");
    }
}
