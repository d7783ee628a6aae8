//! What the kernel shows of both ends.

mod ends;
mod group;

use std::fs;

use nix::sys::resource::{Resource, getrlimit};
use serde::{Deserialize, Serialize};

pub use self::{ends::End, group::Group};
use super::{
    Close, Plan,
    listener::{self, Sockets},
    program::{self, Use},
    target,
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
    /// Threads of the host, and the most (`kernel.threads-max`, `kernel.pid_max`).
    pub threads: (u64, u64),
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
    /// Processes that the kernel killed for want of memory, of the whole host (`oom_kill` of /proc/vmstat).
    pub oom_kills: u64,
    /// Memory of the host that is left, in bytes, of how much.
    pub memory: (u64, u64),
}

impl Evidence {
    /// What only grows is as much as was seen at another moment, or more; ports are those of the moment at
    /// which more were used, and what has a limit is as near to it as it was seen.
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
        raise(&mut self.tcp_memory_pages, other.tcp_memory_pages);
        let left = |(open, most): (u64, u64)| most.saturating_sub(open);
        let is_nearer = |own: (u64, u64), other: (u64, u64)| {
            other.1 > 0 && (own.1 == 0 || left(other) < left(own))
        };
        if is_nearer(self.client.descriptors, other.client.descriptors) {
            self.client.descriptors = other.client.descriptors;
        }
        if is_nearer(self.files, other.files) {
            self.files = other.files;
        }
        if other.conntrack > self.conntrack {
            self.conntrack = other.conntrack;
        }
        raise(&mut self.oom_kills, other.oom_kills);
        raise(&mut self.listening.overflows, other.listening.overflows);
        raise(&mut self.listening.drops, other.listening.drops);
        for (own, other) in [(&mut self.client, &other.client), (&mut self.server, &other.server)] {
            raise(&mut own.group.pids_refused, other.group.pids_refused);
            raise(&mut own.group.memory_refused, other.group.memory_refused);
            raise(&mut own.group.memory_full, other.group.memory_full);
        }
    }
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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    overflows: u64,
    drops: u64,
    time_wait_overflows: u64,
    tcp_memory: u64,
    conntrack_drops: u64,
    oom_kills: u64,
    /// The control groups of who connects and of the server.
    groups: [Group; 2],
}

impl Counters {
    /// Those of the calling process's network namespace; of the server, in whose group it is.
    pub fn read(server: Group) -> Self {
        let text = read("/proc/self/net/netstat");
        let value = |name: &str| counter(&text, name).unwrap_or(0);
        Self {
            overflows: value("ListenOverflows"),
            drops: value("ListenDrops"),
            time_wait_overflows: value("TCPTimeWaitOverflow"),
            tcp_memory: value("TCPMemoryPressures") + value("TCPAbortOnMemory"),
            conntrack_drops: conntrack_drops(),
            oom_kills: oom_kills(&read("/proc/vmstat")),
            // Clients are started in this process's.
            groups: [Group::of(std::process::id()), server],
        }
    }

    /// The same where who connects began in another control group than this process is in.
    pub fn of_clients(mut self, group: Group) -> Self {
        self.groups[0] = group;
        self
    }
}

/// Looks at everything. `since`: the counters at the start.
pub fn gather(plan: &Plan, server_port: u16, ends: [&[u32]; 2], since: &Counters) -> Evidence {
    let mut sockets = listener::look(plan, Some(server_port), None);
    // Who listens on the same port here is another.
    if plan.target.is_some_and(|target| !target::is_here(target)) {
        (sockets.is_listening, sockets.queue, sockets.accepted) = (false, (0, 0), 0);
    }
    let pairs = match plan.has_ports_once() {
        true => u32::from(plan.sources),
        false => u32::from(plan.sources) * u32::from(plan.destinations),
    };
    let seen = seen(plan, sockets, ends, since);
    Evidence { pairs, ..seen }
}

/// The same where a program of the user's connects, the first of the ends, wherever to.
pub fn of_program(plan: &Plan, ends: [&[u32]; 2], since: &Counters) -> Evidence {
    let own = program::Sockets::of(ends[0]);
    let sockets = listener::look(plan, None, Some(&own.inodes));
    let connections = sockets.own;
    // Named by the one with the most.
    let others = ends[0].iter().copied().filter(|&pid| Some(pid) != own.who);
    let first: Vec<u32> = own.who.into_iter().chain(others).collect();
    let seen = seen(plan, sockets, [&first, ends[1]], since);
    Evidence { program: Some(Use { sockets: own.most, ..connections }), ..seen }
}

fn seen(plan: &Plan, sockets: Sockets, ends: [&[u32]; 2], since: &Counters) -> Evidence {
    let now = Counters::read(Group::default());
    let number = |path: &str| read(path).trim().parse().unwrap_or(0);
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
        client: ends::look(ends[0], "", &since.groups[0]),
        server: ends::look(ends[1], plan.server.as_deref().unwrap_or_default(), &since.groups[1]),
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
        threads: (
            threads(&read("/proc/loadavg")),
            number("/proc/sys/kernel/threads-max").min(number("/proc/sys/kernel/pid_max")),
        ),
        files: files(),
        conntrack: conntrack("count").filter(|&count| count > 0).zip(conntrack("max")),
        conntrack_drops: now.conntrack_drops.saturating_sub(since.conntrack_drops),
        oom_kills: now.oom_kills.saturating_sub(since.oom_kills),
        server_wrote: String::new(),
        program: None,
        memory: memory(),
    }
}

/// Open files of the host, and the most.
pub fn files() -> (u64, u64) {
    match numbers("/proc/sys/fs/file-nr")[..] {
        [open, _, most] => (open, most),
        _ => (0, 0),
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

/// Pages of memory that TCP has (`sockstat_seq_show`, net/ipv4/proc.c).
fn tcp_memory_pages() -> u64 {
    let text = read("/proc/self/net/sockstat");
    let line = text.lines().find(|line| line.starts_with("TCP:"));
    let mut words = line.into_iter().flat_map(str::split_ascii_whitespace);
    words.find(|word| *word == "mem");
    words.next().and_then(|pages| pages.parse().ok()).unwrap_or(0)
}

/// All threads of the host (`loadavg_proc_show`, fs/proc/loadavg.c: `running/all`).
fn threads(loadavg: &str) -> u64 {
    let counts = loadavg.split_ascii_whitespace().nth(3).and_then(|word| word.split_once('/'));
    counts.and_then(|(_, all)| all.parse().ok()).unwrap_or(0)
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
    // `insert_failed` are clashes of connections that were begun at once.
    lines.map(|line| of(line, "drop").unwrap_or(0)).sum()
}

/// Processes that were killed for want of memory, ever.
fn oom_kills(vmstat: &str) -> u64 {
    let line = vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.and_then(|count| count.parse().ok()).unwrap_or(0)
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
        assert_eq!(threads("0.20 0.18 0.12 1/80 11206\n"), 80);
        assert_eq!(oom_kills("nr_free_pages 7\noom_kill 3\n"), 3);
    }
}
