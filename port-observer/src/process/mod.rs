//! Who: a process with everything that was known of it while it lived.

mod cgroup;
pub mod container;
mod proc_fs;
mod table;
#[cfg(test)]
mod tests;

pub use proc_fs::{Owners, ProcFs};
pub use table::ProcessTable;

/// A process, as the `process` object of the JSON shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// As the host numbers it.
    pub pid: u32,
    /// Its name (`comm`).
    pub name: String,
    /// The path of its executable, if known.
    pub executable: Option<String>,
    /// argv, empty when unknown.
    pub command_line: Vec<String>,
    /// The real user id, if known.
    pub uid: Option<u32>,
    /// When it started, nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub start_time_ns: u64,
    /// The path of its cgroup from the hierarchy's root; without a leading slash, its last component
    /// alone, which is all that is known of a process that was gone at once.
    pub cgroup: Option<String>,
    /// The container that the cgroup shows, if any.
    pub container: Option<Container>,
}

/// A container, read off a cgroup's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// The runtime's identifier, or the systemd unit's name.
    pub id: String,
    /// A name for people, where the path or the host shows one.
    pub name: Option<String>,
    /// `docker`, `containerd`, `cri-o`, `podman`, `lxc`, `systemd-nspawn`, `libvirt`; `systemd` for a
    /// service or scope; `kubernetes` or `oci` where the path does not tell which runtime.
    pub runtime: &'static str,
}
