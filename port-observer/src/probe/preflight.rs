//! Facts about this host and this process, each found by trying.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use super::Privileges;
use crate::kernel::{
    btf::KernelTypes,
    cgroup,
    diag::{self, Origin, Request},
    netns, tracefs,
};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The kernel's release, as `uname -r`.
    pub kernel: String,
    /// The processor's architecture, as `uname -m`.
    pub architecture: String,
    /// Whether the kernel's types can be read and have all that the programs need; else why not.
    pub btf: Result<(), String>,
    /// What this process may do.
    pub privileges: Privileges,
    /// The unified control group hierarchy.
    pub cgroup2: Cgroup2,
    /// The tracepoints' directory.
    pub tracefs: Tracefs,
    /// The kernel lets programs be attached to kprobes by perf.
    pub kprobes: bool,
    /// `net.core.bpf_jit_enable`; absent when it may not be read.
    pub jit: Option<bool>,
    /// `kernel.unprivileged_bpf_disabled`; absent when the kernel does not tell.
    pub unprivileged_bpf_disabled: Option<u8>,
    /// Socket diagnostics, else why even /proc/net can't be read.
    pub diagnostics: Result<Diagnostics, String>,
}

/// The state of cgroup2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cgroup2 {
    /// Mounted; where.
    Mounted(PathBuf),
    /// Not mounted, but this process can mount it for itself.
    Mountable,
    /// Neither.
    Unavailable,
}

/// The state of tracefs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracefs {
    /// Mounted where tracing programs look.
    Mounted,
    /// Not mounted, but this process can mount it for itself.
    Mountable,
    /// Neither; why.
    Unavailable(String),
}

/// How sockets are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostics {
    /// Why /proc/net must stand in for netlink, if so.
    pub fallback: Option<String>,
    /// Whether sockets that are only bound are listed; absent when it could not be tried.
    pub lists_bound: Option<bool>,
    /// How many processes hide their network namespace from this one.
    pub hidden_processes: Option<usize>,
}

impl Facts {
    /// Looks. Nothing on the host changes.
    ///
    /// # Errors
    /// When the kernel does not tell its release.
    pub fn read() -> Result<Self> {
        let name = nix::sys::utsname::uname().context("can't read the kernel's release")?;
        let number = |path| fs::read_to_string(path).ok()?.trim().parse::<u8>().ok();
        Ok(Self {
            kernel: name.release().to_string_lossy().into_owned(),
            architecture: name.machine().to_string_lossy().into_owned(),
            btf: KernelTypes::read()
                .and_then(|types| types.offsets())
                .map(drop)
                .map_err(|error| format!("{error:#}")),
            privileges: Privileges::read(),
            cgroup2: cgroup2_state(),
            tracefs: tracefs_state(),
            kprobes: fs::metadata("/sys/bus/event_source/devices/kprobe/type").is_ok(),
            jit: number("/proc/sys/net/core/bpf_jit_enable").map(|value| value != 0),
            unprivileged_bpf_disabled: number("/proc/sys/kernel/unprivileged_bpf_disabled"),
            diagnostics: diagnostics().map_err(|error| format!("{error:#}")),
        })
    }
}

fn cgroup2_state() -> Cgroup2 {
    if let Some(path) = cgroup::mount() {
        return Cgroup2::Mounted(path);
    }
    // On a thread of its own, as for tracefs.
    match std::thread::spawn(cgroup::ensure).join() {
        Ok(Ok(_)) => Cgroup2::Mountable,
        Ok(Err(_)) | Err(_) => Cgroup2::Unavailable,
    }
}

fn tracefs_state() -> Tracefs {
    if tracefs::is_mounted() {
        return Tracefs::Mounted;
    }
    // On a thread of its own: the mount is for the calling thread alone, and ends with it.
    let tried = std::thread::spawn(tracefs::ensure).join();
    match tried {
        Ok(Ok(())) => Tracefs::Mountable,
        Ok(Err(error)) => Tracefs::Unavailable(format!("{error:#}")),
        Err(_) => Tracefs::Unavailable("the thread that tried to mount it died".to_owned()),
    }
}

fn diagnostics() -> Result<Diagnostics> {
    // One port is enough: what counts is whether there is an answer.
    let dump = diag::dump(&Request { ports: Some(1..=1), ..Request::default() })?;
    Ok(Diagnostics {
        fallback: match dump.origin {
            Origin::Netlink => None,
            Origin::ProcNet { reason } => Some(reason),
        },
        lists_bound: diag::lists_bound_sockets(),
        hidden_processes: netns::list().ok().map(|listing| listing.hidden_processes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_whatever_the_privileges() {
        let facts = Facts::read().unwrap();
        assert_eq!(facts.kernel, fs::read_to_string("/proc/sys/kernel/osrelease").unwrap().trim());
        assert!(facts.diagnostics.is_ok(), "{:?}", facts.diagnostics);
    }
}
