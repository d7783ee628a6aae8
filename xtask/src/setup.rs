//! Everything that the tests need from outside of cargo, on Debian.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::cargo::cargo;
use crate::command::{command, find_program, output, quoted, run};

/// The LLVM of Debian's rustc-web, which the linker is built with too.
pub const LLVM: u32 = 22;
const BPF_LINKER_VERSION: &str = "0.13.0";

/// Debian's packages and what each is for.
const PACKAGES: [&str; 23] = [
    // The eBPF object: the compiler, its `core` for BPF, the linker's LLVM and `llvm-strip`.
    "rustc-web",
    "libstd-rust-web-dev-bpf",
    "rust-web-clippy",
    "llvm-22",
    "llvm-22-dev",
    // The program and the tests, statically linked.
    "gcc",
    "libc6-dev",
    // The screen of `top`.
    "tmux",
    // The virtual machines.
    "qemu-system-x86",
    "busybox-static",
    "cpio",
    // The page of `report --html` in a browser.
    "chromium",
    "chromium-driver",
    // Rules that `pools check` reads.
    "nftables",
    // What scrapes `serve`, sends its alerts, and passes it sockets.
    "prometheus",
    "prometheus-alertmanager",
    "systemd",
    // Whose ranges of ports are watched.
    "rtpengine-daemon",
    "nginx-light",
    // Whose limits are met, with nginx.
    "erlang-base",
    "haproxy",
    "redis-server",
    "sip-tester",
];

/// Installs what is missing.
///
/// # Errors
/// When the system is not Debian, or a package can't be installed.
pub fn run_setup() -> Result<ExitCode> {
    let missing: Vec<&str> = PACKAGES.into_iter().filter(|name| !installed(name)).collect();
    if missing.is_empty() {
        eprintln!("setup: all Debian packages are installed");
    } else {
        install(&missing)?;
    }
    if bpf_linker().is_some() {
        eprintln!("setup: bpf-linker is installed");
    } else {
        install_bpf_linker()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The bpf-linker in `PATH` or where cargo installs programs.
pub fn bpf_linker() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let installed = cargo_home.map(|home| home.join("bin/bpf-linker")).filter(|f| f.is_file());
    find_program("bpf-linker").or(installed)
}

/// Whether this is root.
///
/// # Errors
/// When `id` can't be run.
pub fn is_root() -> Result<bool> {
    Ok(output(&mut command("id", ["-u"]))?.trim() == "0")
}

fn installed(package: &str) -> bool {
    let status = output(&mut command("dpkg-query", ["-W", "-f=${Status}", package]));
    status.is_ok_and(|status| status == "install ok installed")
}

fn install(packages: &[&str]) -> Result<()> {
    let line = format!("apt-get install {}", packages.join(" "));
    if find_program("apt-get").is_none() {
        bail!("this is not Debian; install what these packages hold: {}", packages.join(" "));
    }
    eprintln!("setup: {line}");
    let root = is_root()?;
    let apt = |args: &[&str]| {
        let mut apt =
            if root { Command::new("apt-get") } else { command("sudo", ["-n", "apt-get"]) };
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        apt.args(["-qq", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=300"]).args(args);
        run(&mut apt)
    };
    let install: Vec<&str> =
        ["install", "--yes", "--no-install-recommends"].iter().chain(packages).copied().collect();
    // A new machine has no package lists, and old lists name packages that are gone.
    let result = apt(&install).or_else(|_| apt(&["update"]).and_then(|()| apt(&install)));
    result.with_context(|| format!("can't install packages; as root, run: {line}"))
}

fn install_bpf_linker() -> Result<()> {
    let prefix = format!("/usr/lib/llvm-{LLVM}");
    let feature = format!("llvm-{LLVM}");
    let version = BPF_LINKER_VERSION;
    eprintln!("setup: cargo install bpf-linker {version} (about a minute)");
    let mut cargo = cargo();
    cargo.args(["install", "--quiet", "--locked", "bpf-linker", "--version", version]);
    cargo.args(["--no-default-features", "--features", &feature]);
    // Without LLVM_PREFIX its linking looks for a static LLVM, which Debian has not.
    cargo.env("LLVM_PREFIX", &prefix).env(format!("LLVM_SYS_{LLVM}1_PREFIX"), &prefix);
    run(&mut cargo).with_context(|| format!("LLVM_PREFIX={} was set", quoted(&prefix)))
}
