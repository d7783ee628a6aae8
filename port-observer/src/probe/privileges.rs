//! What this process may do, as far as kernel programs need it.

use std::{fs, os::unix::fs::MetadataExt as _};

use caps::CapSet;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use super::table::Backend;
use crate::kernel::release;

/// A capability that helps (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// `CAP_BPF`
    Bpf,
    /// `CAP_PERFMON`
    Perfmon,
    /// `CAP_NET_ADMIN`
    NetAdmin,
    /// `CAP_SYS_PTRACE`
    SysPtrace,
    /// `CAP_DAC_READ_SEARCH`
    DacReadSearch,
    /// `CAP_SYS_ADMIN`
    SysAdmin,
    /// `CAP_SYS_RESOURCE`
    SysResource,
}

impl Capability {
    /// All, the most needed first.
    pub const ALL: [Self; 7] = [
        Self::Bpf,
        Self::Perfmon,
        Self::NetAdmin,
        Self::SysPtrace,
        Self::DacReadSearch,
        Self::SysAdmin,
        Self::SysResource,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bpf => "CAP_BPF",
            Self::Perfmon => "CAP_PERFMON",
            Self::NetAdmin => "CAP_NET_ADMIN",
            Self::SysPtrace => "CAP_SYS_PTRACE",
            Self::DacReadSearch => "CAP_DAC_READ_SEARCH",
            Self::SysAdmin => "CAP_SYS_ADMIN",
            Self::SysResource => "CAP_SYS_RESOURCE",
        }
    }

    /// What it is needed for.
    pub fn purpose(self) -> &'static str {
        match self {
            Self::Bpf => "load kernel programs and their maps",
            Self::Perfmon => "let kernel programs read kernel memory",
            Self::NetAdmin => "cgroup programs of the tracepoint backend",
            Self::SysPtrace => "executables and sockets of other users' processes",
            Self::DacReadSearch => "tracefs, and sockets of other users' processes",
            Self::SysAdmin => "mount tracefs, look into other network namespaces",
            Self::SysResource => "raise RLIMIT_MEMLOCK, needed before Linux 5.11",
        }
    }

    fn is_effective(self) -> bool {
        let capability = match self {
            Self::Bpf => caps::Capability::CAP_BPF,
            Self::Perfmon => caps::Capability::CAP_PERFMON,
            Self::NetAdmin => caps::Capability::CAP_NET_ADMIN,
            Self::SysPtrace => caps::Capability::CAP_SYS_PTRACE,
            Self::DacReadSearch => caps::Capability::CAP_DAC_READ_SEARCH,
            Self::SysAdmin => caps::Capability::CAP_SYS_ADMIN,
            Self::SysResource => caps::Capability::CAP_SYS_RESOURCE,
        };
        caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
    }
}

/// What decides whether the kernel takes a program from this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    /// The effective ones of [`Capability::ALL`].
    pub effective: Vec<Capability>,
    /// The process is in a user namespace of its own: its capabilities don't count for programs.
    /// Absent when /proc does not tell.
    pub user_namespace: Option<bool>,
    /// `none`, `integrity` or `confidentiality`; absent where the kernel shows none.
    pub lockdown: Option<String>,
    /// `RLIMIT_MEMLOCK` in bytes where it limits kernel programs: before Linux 5.11, when it
    /// could not be lifted.
    pub memlock: Option<u64>,
    /// `kernel.perf_event_paranoid`. Above 2, where distributions add that, kprobes and tracepoints
    /// take `CAP_SYS_ADMIN`. Absent when it can't be read.
    pub perf_event_paranoid: Option<i32>,
    /// The program's own file, for `setcap`.
    pub executable: String,
}

impl Privileges {
    /// Reads them. `RLIMIT_MEMLOCK` is raised before, as far as this process may.
    pub fn read() -> Self {
        raise_memlock();
        let effective = Capability::ALL.into_iter().filter(|c| c.is_effective()).collect();
        let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").ok();
        Self {
            effective,
            user_namespace: fs::metadata("/proc/self/ns/user")
                .ok()
                .map(|namespace| namespace.ino() != INITIAL_USER_NAMESPACE),
            lockdown: lockdown.and_then(|text| chosen(&text)),
            memlock: charges_memlock().then(memlock).flatten(),
            perf_event_paranoid: fs::read_to_string("/proc/sys/kernel/perf_event_paranoid")
                .ok()
                .and_then(|text| text.trim().parse().ok()),
            executable: std::env::current_exe()
                .ok()
                .and_then(|path| path.to_str().map(str::to_owned))
                .unwrap_or_else(|| "PROGRAM".to_owned()),
        }
    }

    /// Whether a capability is effective.
    pub fn has(&self, capability: Capability) -> bool {
        self.effective.contains(&capability)
    }

    /// Whether perf, through which kprobes and tracepoints are attached, is kept for
    /// `CAP_SYS_ADMIN`, which this process lacks.
    pub fn is_perf_closed(&self) -> bool {
        self.perf_event_paranoid.is_some_and(|level| level > 2) && !self.has(Capability::SysAdmin)
    }

    /// The capabilities without which the kernel refuses a backend's programs. `CAP_SYS_ADMIN`
    /// stands in for all of them (`bpf_capable`, `perfmon_capable` in `linux/capability.h`).
    pub fn lacking(&self, backend: Backend) -> Vec<Capability> {
        if self.has(Capability::SysAdmin) {
            return Vec::new();
        }
        let needed: &[Capability] = match backend {
            Backend::Fexit | Backend::Kprobe => &[Capability::Bpf, Capability::Perfmon],
            Backend::Tracepoint => &[Capability::Bpf, Capability::Perfmon, Capability::NetAdmin],
            Backend::Poll => &[],
        };
        needed.iter().copied().filter(|&capability| !self.has(capability)).collect()
    }
}

/// `PROC_USER_INIT_INO` (`linux/proc_ns.h`).
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// The word in brackets: `none [integrity] confidentiality`.
fn chosen(text: &str) -> Option<String> {
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// The limit in bytes, unless there is none.
fn memlock() -> Option<u64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    (soft != RLIM_INFINITY).then_some(soft)
}

/// Programs and maps counted as locked memory until 5.11 (`bpf_map_charge_init`, since then the
/// memory cgroup's). No try tells the two apart.
pub fn charges_memlock() -> bool {
    release::is_before(5, 11) == Some(true)
}

/// Whether it is worth to try an iterator (bpf_capable, perfmon_capable, include/linux/capability.h).
pub(super) fn may_load_iterators() -> bool {
    Capability::SysAdmin.is_effective()
        || (Capability::Bpf.is_effective() && Capability::Perfmon.is_effective())
}

/// Lifts `RLIMIT_MEMLOCK` as far as this process may. Whether it was enough shows when maps are
/// made.
pub(super) fn raise_memlock() {
    if !charges_memlock()
        || setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY).is_ok()
    {
        return;
    }
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_MEMLOCK) {
        // Failing is told by the map that can't be made.
        let _ = setrlimit(Resource::RLIMIT_MEMLOCK, hard, hard);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lockdown_is_the_word_in_brackets() {
        let text = "none integrity [confidentiality]\n";
        assert_eq!(chosen(text), Some("confidentiality".to_owned()));
        assert_eq!(chosen("[none] integrity confidentiality"), Some("none".to_owned()));
        assert_eq!(chosen(""), None);
    }

    #[test]
    fn sys_admin_stands_in_for_what_programs_need() {
        let mut privileges = Privileges::default();
        assert_eq!(
            privileges.lacking(Backend::Tracepoint),
            [Capability::Bpf, Capability::Perfmon, Capability::NetAdmin]
        );
        assert_eq!(privileges.lacking(Backend::Poll), []);
        privileges.effective = vec![Capability::Bpf];
        assert_eq!(privileges.lacking(Backend::Fexit), [Capability::Perfmon]);
        privileges.effective = vec![Capability::SysAdmin];
        assert_eq!(privileges.lacking(Backend::Tracepoint), []);
    }
}
