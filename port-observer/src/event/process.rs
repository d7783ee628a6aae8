//! Who calls, and what becomes of processes.

/// A process and one of its threads, at the moment of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The process, as the host numbers it.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// The thread's name.
    pub name: String,
    /// The real user id.
    pub uid: u32,
    /// When the process started, in nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub start_time_ns: u64,
    /// The inode number of its cgroup in the unified hierarchy, 0 when unknown.
    pub cgroup_id: u64,
}

/// What a process was started with, as much of it as the kernel's side kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The process, after the exec.
    pub task: Task,
    /// The path given to execve().
    pub executable: String,
    /// argv.
    pub command_line: Vec<String>,
    /// The last component of its cgroup's path, empty when unknown.
    pub cgroup_name: String,
    /// The path was longer than its place.
    pub is_executable_cut: bool,
    /// argv was longer than its place.
    pub is_command_line_cut: bool,
    /// The cgroup's name was longer than its place.
    pub is_cgroup_name_cut: bool,
}

/// A process was born.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The child.
    pub child_pid: u32,
    /// When it started, nanoseconds since boot.
    pub child_start_time_ns: u64,
    /// Its parent.
    pub parent_pid: u32,
    /// When that started.
    pub parent_start_time_ns: u64,
}
