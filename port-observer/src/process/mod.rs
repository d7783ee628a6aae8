//! Who: a process with everything that was known of it while it lived.

mod bounds;
mod cgroup;
pub mod container;
mod owner;
mod proc_fs;
mod program;
mod runtimes;
mod table;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::Arc;

pub use bounds::{Cut, Weight};
pub use owner::OwnerSearch;
pub use proc_fs::{Owners, ProcFs};
pub use table::ProcessTable;
pub use tree::Tree;

/// A process, as the `process` object of the JSON shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// As the host numbers it.
    pub pid: u32,
    /// The name (`comm`) of the thread that made the call, at the call: programs name their workers and
    /// threads with prctl(2). Of what is found in /proc, that of the process.
    pub name: String,
    /// The name that its program had when it began, where that is another.
    pub exec_name: Option<Arc<str>>,
    /// The path of its executable, if known.
    pub executable: Option<Arc<str>>,
    /// argv, empty when unknown; at most its first 64 arguments, and 4 KiB of them.
    pub command_line: Arc<[String]>,
    /// The real user id, if known.
    pub uid: Option<u32>,
    /// When it started, nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub start_time_ns: u64,
    /// The path of its cgroup from the hierarchy's root; without a leading slash, its last component
    /// alone, which is all that is known of a process that was gone at once.
    pub cgroup: Option<Arc<str>>,
    /// The container that the cgroup shows, if any.
    pub container: Option<Arc<Container>>,
    /// Which of the above are only the beginning of longer values.
    pub cut: Cut,
    /// Counts the above while anybody keeps them.
    pub weight: Weight,
}

impl Process {
    /// Shows this and the same process in another call as one. If they have different names (threads may
    /// have their own), that of the program stands for them.
    pub fn join(self: &mut Arc<Self>, other: &Arc<Self>) {
        if Arc::ptr_eq(self, other) || self.name == other.name {
            return;
        }
        if let Some(exec_name) = &self.exec_name {
            let name = exec_name.as_ref().to_owned();
            *self = Arc::new(Self { name, exec_name: None, ..(**self).clone() });
        }
    }

    /// Whether it is the same process, whatever it runs.
    pub fn is(&self, other: &Self) -> bool {
        self.pid == other.pid && proc_fs::same_start(self.start_time_ns, other.start_time_ns)
    }
}

/// The thread and process that made a call.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The process, shared by all its events.
    pub process: Arc<Process>,
    /// The thread.
    pub tid: u32,
}

impl Process {
    /// About how much memory it takes, in bytes.
    pub fn bytes(&self) -> usize {
        let length = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
        let words = self.command_line.iter().map(|word| word.len() + size_of::<String>());
        size_of::<Self>()
            + self.name.len()
            + length(&self.exec_name)
            + length(&self.executable)
            + length(&self.cgroup)
            + words.sum::<usize>()
            + self.container.as_ref().map_or(0, |container| container.bytes())
    }
}

impl Container {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.id.len() + self.name.as_ref().map_or(0, String::len)
    }

    /// What tells it from all others, and says most: its name, or of a systemd unit that with its type, or
    /// its id.
    pub fn full_name(&self) -> &str {
        match &self.name {
            Some(name) if self.runtime != "systemd" => name,
            _ => &self.id,
        }
    }
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
