//! What is seen of the processes of an end.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    super::programs,
    group::{self, Group},
    read,
};

/// `CAP_SYS_ADMIN`, for which `fs.file-max` is no limit, and `CAP_SYS_RESOURCE`, by number.
const ADMIN: u32 = 21;
const RESOURCE: u32 = 24;
/// /proc/PID/uid_map of the host's own user namespace.
const ALL_USERS: [&str; 3] = ["0", "0", "4294967295"];

/// One end: its processes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// How many run.
    pub processes: u32,
    /// The name of the first.
    pub name: String,
    /// Descriptors and their limit of the process that is nearest to its limit.
    pub descriptors: (u64, u64),
    /// Of all together.
    pub all_descriptors: u64,
    /// One is stopped (state `T`).
    pub is_stopped: bool,
    /// One has a filter of system calls (`Seccomp: 2`).
    pub has_seccomp: bool,
    /// `fs.file-max` is a limit for one: it has no `CAP_SYS_ADMIN` of the host.
    pub meets_file_max: bool,
    /// Threads.
    pub threads: u64,
    /// Threads of its user that are seen here, and `RLIMIT_NPROC`, of the process that is nearest to it;
    /// `None`: it is no limit for them.
    pub user_threads: Option<(u64, u64)>,
    /// Their control group, the one that refused most; counters from the start of the run on.
    pub group: Group,
    /// The table of the program itself that connections take a place in, where it is known: what sets
    /// it, and to how many.
    pub table: Option<(String, u64)>,
}

/// A process's status.
struct Status(String);

impl Status {
    fn of(pid: u32) -> Self {
        Self(read(&format!("/proc/{pid}/status")))
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
    }

    fn user(&self) -> Option<u32> {
        self.field("Uid")?.split_ascii_whitespace().next()?.parse().ok()
    }

    fn threads(&self) -> u64 {
        self.field("Threads").and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    fn may(&self, capability: u32) -> bool {
        let set = self.field("CapEff").and_then(|set| u64::from_str_radix(set, 16).ok());
        set.is_some_and(|set| set >> capability & 1 == 1)
    }
}

/// Looks at the processes of an end. `typed`: the command that it was started by; `first`: its group at first.
pub fn look(pids: &[u32], typed: &str, first: &Group) -> End {
    let mut end = End::default();
    let mut groups: BTreeMap<PathBuf, Group> = BTreeMap::new();
    let mut users = None;
    for &pid in pids {
        let status = Status::of(pid);
        let Some(state) = status.field("State").filter(|state| !state.starts_with(['Z', 'X']))
        else {
            continue;
        };
        end.processes += 1;
        end.is_stopped |= state.starts_with(['T', 't']);
        end.has_seccomp |= status.field("Seccomp").is_some_and(|mode| mode == "2");
        if end.name.is_empty() {
            end.name = status.field("Name").unwrap_or_default().to_owned();
        }
        let open = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count) as u64;
        let limit = limit_of(pid, "Max open files");
        end.all_descriptors += open;
        let (nearest, of) = end.descriptors;
        // Of one that ends at this moment, neither is read.
        if limit > 0 && (of == 0 || limit.saturating_sub(open) < of.saturating_sub(nearest)) {
            end.descriptors = (open, limit);
        }
        end.threads += status.threads();
        let is_of_host = is_of_host(pid);
        end.meets_file_max |= !(is_of_host && status.may(ADMIN));
        // Root of the host and these capabilities are free of it (`copy_process`, kernel/fork.c).
        let is_free =
            is_of_host && (status.user() == Some(0) || status.may(ADMIN) || status.may(RESOURCE));
        if let Some(user) = status.user().filter(|_| !is_free) {
            let users = users.get_or_insert_with(threads_of_users);
            let now = users.get(&user).copied().unwrap_or(0);
            let most = limit_of(pid, "Max processes");
            let left = |(now, most): (u64, u64)| most.saturating_sub(now);
            if end.user_threads.is_none_or(|nearest| left((now, most)) < left(nearest)) {
                end.user_threads = Some((now, most));
            }
        }
        if let Some(path) = group::path_of(pid) {
            groups.entry(path).or_insert_with_key(|path| Group::at(path));
        }
        end.table = end.table.take().or_else(|| programs::table(pid, typed));
    }
    // Of processes that are gone, their group says why.
    if let Some(path) = first.path.as_ref().filter(|_| groups.is_empty()) {
        groups.insert(path.clone(), Group::at(path));
    }
    let groups = groups.into_values().map(|group| group.since(first));
    let most = groups.max_by_key(|group| (group.pids_refused, group.memory_refused));
    end.group = most.unwrap_or_default();
    end
}

/// Whether a process is in the host's own user namespace.
fn is_of_host(pid: u32) -> bool {
    read(&format!("/proc/{pid}/uid_map")).split_ascii_whitespace().eq(ALL_USERS)
}

/// The threads of each user that are seen here; a process that has ended and was not waited for counts.
fn threads_of_users() -> BTreeMap<u32, u64> {
    let mut users = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let status = Status::of(pid);
        if let Some(user) = status.user() {
            *users.entry(user).or_default() += status.threads().max(1);
        }
    }
    users
}

/// A soft limit of a process.
fn limit_of(pid: u32, name: &str) -> u64 {
    let text = read(&format!("/proc/{pid}/limits"));
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let soft = line.and_then(|line| line.split_ascii_whitespace().next());
    soft.map_or(0, |soft| soft.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_descriptors_and_a_limit() {
        let end = look(&[std::process::id()], "", &Group::default());
        assert_eq!(end.processes, 1);
        assert!(end.descriptors.0 > 2 && end.descriptors.0 <= end.descriptors.1, "{end:?}");
        assert!(end.user_threads.is_none_or(|(now, _)| now > 0), "{end:?}");
    }
}
