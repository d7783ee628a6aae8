//! What the kernel shows of both ends.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

use super::{
    Close, Plan,
    listener::{self, Sockets},
    program::{self, Use},
};

/// A file of the kernel is not read further.
const LONGEST: usize = 1 << 20;

/// What was seen at one moment. Counters of events count from the start of the run on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Ports that a source can use towards a destination: those of the range that are not reserved.
    pub ports: u32,
    /// Those of the source and destination that use the most, TIME_WAIT included.
    pub ports_used: u32,
    /// How many of the pairs of a source and a destination have none left.
    pub pairs_full: u32,
    /// How many pairs there are.
    pub pairs: u32,
    /// TIME_WAIT entries.
    pub time_wait: u64,
    /// TIME_WAIT entries that were not made, because there were `tcp_max_tw_buckets` (`TCPTimeWaitOverflow`).
    pub time_wait_overflows: u64,
    /// `tcp_max_tw_buckets`
    pub time_wait_max: u64,
    /// Who connects.
    pub client: End,
    /// Who listens.
    pub server: End,
    /// The listening socket.
    pub listening: Listening,
    /// Pages of memory that TCP has, of the whole host.
    pub tcp_memory_pages: u64,
    /// The most that it may have (`tcp_mem`).
    pub tcp_memory_max: u64,
    /// How often that was felt here: `TCPMemoryPressures` and `TCPAbortOnMemory`.
    pub tcp_memory_failures: u64,
    /// Open files of the host, and the most.
    pub files: (u64, u64),
    /// Tracked connections of the place, and the most; `None`: connections are not tracked.
    pub conntrack: Option<(u64, u64)>,
    /// Packets that were dropped because there was no room for their connection.
    pub conntrack_drops: u64,
    /// What a server of the user's wrote last.
    pub server_wrote: String,
    /// What a program of the user's has, where it is that which connects.
    pub program: Option<Use>,
    /// Memory of the host that is left, in bytes, of how much.
    pub memory: (u64, u64),
}

impl Evidence {
    /// What only grows is as much as was seen at another moment, or more; ports are those of the moment at
    /// which more were used.
    pub fn count_at_least(&mut self, other: &Self) {
        let raise = |own: &mut u64, other: u64| *own = (*own).max(other);
        if other.ports_used > self.ports_used {
            (self.ports, self.ports_used) = (other.ports, other.ports_used);
            (self.pairs, self.pairs_full) = (other.pairs, other.pairs_full);
            self.time_wait = other.time_wait;
        }
        raise(&mut self.time_wait_overflows, other.time_wait_overflows);
        raise(&mut self.tcp_memory_failures, other.tcp_memory_failures);
        raise(&mut self.conntrack_drops, other.conntrack_drops);
        raise(&mut self.listening.overflows, other.listening.overflows);
        raise(&mut self.listening.drops, other.listening.drops);
        for (own, other) in [(&mut self.client, &other.client), (&mut self.server, &other.server)] {
            raise(&mut own.threads_refused, other.threads_refused);
            raise(&mut own.memory_refused, other.memory_refused);
        }
    }
}

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
    /// Threads, and the most by the control group (`pids.max`), nearest to it.
    pub threads: (u64, Option<u64>),
    /// How often a control group refused a process or thread (`pids.events`).
    pub threads_refused: u64,
    /// How often a control group was at `memory.max` (`memory.events`).
    pub memory_refused: u64,
    /// The table of the program itself that connections take a place in, where it is known: what sets
    /// it, and to how many.
    pub table: Option<(String, u64)>,
}

/// A listening socket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Listening {
    /// It is there.
    pub is_there: bool,
    /// Connections that wait for accept().
    pub queue: u32,
    /// How many may, less one: the backlog.
    pub queue_max: u32,
    /// Connections that were dropped because it was full (`ListenOverflows`).
    pub overflows: u64,
    /// Those, and others for want of memory (`ListenDrops`).
    pub drops: u64,
    /// Connections of it that the server has accepted.
    pub accepted: u64,
    /// How many it accepted of late, where it takes too few: an estimate, of half a second.
    pub accepted_per_second: u64,
}

/// Counters of the place, which only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    overflows: u64,
    drops: u64,
    time_wait_overflows: u64,
    tcp_memory: u64,
    conntrack_drops: u64,
    /// Of the control group that both ends begin in.
    threads_refused: u64,
    memory_refused: u64,
}

impl Counters {
    /// Those of the calling process's network namespace.
    pub fn read() -> Self {
        let text = read("/proc/self/net/netstat");
        let value = |name: &str| counter(&text, name).unwrap_or(0);
        let group = group_of(std::process::id());
        Self {
            overflows: value("ListenOverflows"),
            drops: value("ListenDrops"),
            time_wait_overflows: value("TCPTimeWaitOverflow"),
            tcp_memory: value("TCPMemoryPressures") + value("TCPAbortOnMemory"),
            conntrack_drops: conntrack_drops(),
            threads_refused: group.pids_refused,
            memory_refused: group.memory_refused,
        }
    }
}

/// Looks at everything. `since`: the counters at the start.
pub fn gather(plan: &Plan, server_port: u16, ends: [&[u32]; 2], since: Counters) -> Evidence {
    let sockets = listener::look(plan, Some(server_port), None);
    let pairs = match plan.bind.chooses_port() {
        true => u32::from(plan.sources),
        false => u32::from(plan.sources) * u32::from(plan.destinations),
    };
    let seen = seen(plan, sockets, ends, since);
    Evidence { pairs, ..seen }
}

/// The same where a program of the user's connects, the first of the ends, wherever to.
pub fn of_program(plan: &Plan, ends: [&[u32]; 2], since: Counters) -> Evidence {
    let own = program::Sockets::of(ends[0]);
    let sockets = listener::look(plan, None, Some(&own.inodes));
    let connections = sockets.own;
    // Named by the one with the most.
    let others = ends[0].iter().copied().filter(|&pid| Some(pid) != own.who);
    let first: Vec<u32> = own.who.into_iter().chain(others).collect();
    let seen = seen(plan, sockets, [&first, ends[1]], since);
    Evidence { program: Some(Use { sockets: own.most, ..connections }), ..seen }
}

fn seen(plan: &Plan, sockets: Sockets, ends: [&[u32]; 2], since: Counters) -> Evidence {
    let now = Counters::read();
    let number = |path: &str| read(path).trim().parse().unwrap_or(0);
    let files = numbers("/proc/sys/fs/file-nr");
    let conntrack = |name: &str| {
        read(&format!("/proc/sys/net/netfilter/nf_conntrack_{name}")).trim().parse::<u64>().ok()
    };
    Evidence {
        ports: sockets.ports,
        ports_used: sockets.used,
        pairs_full: sockets.pairs_full,
        pairs: sockets.pairs,
        time_wait: sockets.time_wait,
        time_wait_overflows: now.time_wait_overflows.saturating_sub(since.time_wait_overflows),
        time_wait_max: number("/proc/sys/net/ipv4/tcp_max_tw_buckets"),
        client: end(ends[0], "", since),
        server: end(ends[1], plan.server.as_deref().unwrap_or_default(), since),
        listening: Listening {
            is_there: sockets.is_listening,
            queue: sockets.queue.0,
            queue_max: sockets.queue.1,
            overflows: now.overflows.saturating_sub(since.overflows),
            drops: now.drops.saturating_sub(since.drops),
            accepted: if plan.close == Close::Keep { sockets.accepted } else { 0 },
            accepted_per_second: 0,
        },
        tcp_memory_pages: tcp_memory_pages(),
        tcp_memory_max: plan.tcp_memory_max,
        tcp_memory_failures: now.tcp_memory.saturating_sub(since.tcp_memory),
        files: (files.first().copied().unwrap_or(0), files.get(2).copied().unwrap_or(0)),
        conntrack: conntrack("count").filter(|&count| count > 0).zip(conntrack("max")),
        conntrack_drops: now.conntrack_drops.saturating_sub(since.conntrack_drops),
        server_wrote: String::new(),
        program: None,
        memory: memory(),
    }
}

/// Whether so little memory is left that the host would suffer.
pub fn is_memory_short() -> bool {
    let (left, all) = memory();
    all > 0 && left < (256 << 20).max(all / 20)
}

/// Memory that is left, and all, in bytes.
fn memory() -> (u64, u64) {
    let text = read("/proc/meminfo");
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    (value("MemAvailable:").unwrap_or(0) * 1024, value("MemTotal:").unwrap_or(0) * 1024)
}

/// What is seen of the processes of an end.
fn end(pids: &[u32], typed: &str, since: Counters) -> End {
    let mut end = End::default();
    for &pid in pids {
        let status = read(&format!("/proc/{pid}/status"));
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
        };
        let Some(state) = field("State").filter(|state| !state.starts_with(['Z', 'X'])) else {
            continue;
        };
        end.processes += 1;
        end.is_stopped |= state.starts_with(['T', 't']);
        end.has_seccomp |= field("Seccomp").is_some_and(|mode| mode == "2");
        if end.name.is_empty() {
            end.name = field("Name").unwrap_or_default().to_owned();
        }
        let open = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count) as u64;
        let limit = limit_of(pid);
        end.all_descriptors += open;
        let (nearest, of) = end.descriptors;
        if of == 0 || limit.saturating_sub(open) < of.saturating_sub(nearest) {
            end.descriptors = (open, limit);
        }
        let threads = field("Threads").and_then(|count| count.parse().ok()).unwrap_or(0);
        let group = group_of(pid);
        end.threads.0 += threads;
        end.threads.1 = end.threads.1.or(group.pids_max);
        let threads = group.pids_refused.saturating_sub(since.threads_refused);
        let memory = group.memory_refused.saturating_sub(since.memory_refused);
        end.threads_refused = end.threads_refused.max(threads);
        end.memory_refused = end.memory_refused.max(memory);
        end.table = end.table.take().or_else(|| super::programs::table(pid, typed));
    }
    end
}

/// The soft limit of open files of a process.
fn limit_of(pid: u32) -> u64 {
    let text = read(&format!("/proc/{pid}/limits"));
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_ascii_whitespace().next());
    soft.map_or(0, |soft| soft.parse().unwrap_or(u64::MAX))
}

/// What is seen of the control group of a process (cgroup v2).
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    pids_max: Option<u64>,
    pids_refused: u64,
    memory_refused: u64,
}

fn group_of(pid: u32) -> Group {
    let text = read(&format!("/proc/{pid}/cgroup"));
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
    let Some((path, mount)) = path.zip(crate::kernel::cgroup::mount()) else {
        return Group::default();
    };
    let file = |name: &str| read(&mount.join(path).join(name).to_string_lossy());
    let event = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    };
    Group {
        pids_max: file("pids.max").trim().parse().ok(),
        pids_refused: event(&file("pids.events"), "max"),
        memory_refused: event(&file("memory.events"), "max"),
    }
}

/// Pages of memory that TCP has (`sockstat_seq_show`, net/ipv4/proc.c).
fn tcp_memory_pages() -> u64 {
    let text = read("/proc/self/net/sockstat");
    let line = text.lines().find(|line| line.starts_with("TCP:"));
    let mut words = line.into_iter().flat_map(str::split_ascii_whitespace);
    words.find(|word| *word == "mem");
    words.next().and_then(|pages| pages.parse().ok()).unwrap_or(0)
}

/// Packets that connection tracking dropped (`/proc/net/stat/nf_conntrack`: a line for each processor,
/// hexadecimal).
fn conntrack_drops() -> u64 {
    let text = read("/proc/self/net/stat/nf_conntrack");
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split_ascii_whitespace().collect();
    let of = |line: &str, name: &str| {
        let at = names.iter().position(|one| *one == name)?;
        u64::from_str_radix(line.split_ascii_whitespace().nth(at)?, 16).ok()
    };
    lines.map(|line| of(line, "drop").unwrap_or(0) + of(line, "insert_failed").unwrap_or(0)).sum()
}

/// A counter of `/proc/net/netstat`: a line of names before each line of values.
fn counter(text: &str, name: &str) -> Option<u64> {
    let lines: Vec<&str> = text.lines().collect();
    lines.chunks_exact(2).find_map(|pair| {
        let at = pair[0].split_ascii_whitespace().position(|one| one == name)?;
        pair[1].split_ascii_whitespace().nth(at)?.parse().ok()
    })
}

/// The most pages of memory that TCP may have (`tcp_mem`); 0: it does not show in this network namespace.
pub fn tcp_memory_max() -> u64 {
    numbers("/proc/sys/net/ipv4/tcp_mem").get(2).copied().unwrap_or(0)
}

fn numbers(path: &str) -> Vec<u64> {
    read(path).split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// A file of the kernel; empty where it can't be read.
pub fn read(path: &str) -> String {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(path) {
        let _ = file.take(LONGEST as u64).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The most descriptors that a process may have here: the hard limit.
pub fn hard_limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(_, hard)| hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_found_by_its_name() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 15 16\n\
                    IpExt: InOctets\nIpExt: 7\n";
        assert_eq!(counter(text, "ListenOverflows"), Some(15));
        assert_eq!(counter(text, "InOctets"), Some(7));
        assert_eq!(counter(text, "TCPTimeWaitOverflow"), None);
        assert_eq!(counter("", "ListenDrops"), None);
    }

    #[test]
    fn this_process_has_descriptors_and_a_limit() {
        let end = end(&[std::process::id()], "", Counters::default());
        assert_eq!(end.processes, 1);
        assert!(end.descriptors.0 > 2 && end.descriptors.0 <= end.descriptors.1, "{end:?}");
    }
}
