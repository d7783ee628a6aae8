//! What came of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Evidence, Plan, parts::End, samples::Sample};

/// Which limit ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// No source port is left for this source and destination.
    EphemeralPorts,
    /// `RLIMIT_NOFILE`.
    FileDescriptors,
    /// `fs.file-max`.
    FileMax,
    /// The host's memory.
    Memory,
    /// `net.ipv4.tcp_mem`.
    TcpMemory,
    /// `nf_conntrack_max`.
    Conntrack,
    /// A listener's queue.
    AcceptQueue,
    /// `net.ipv4.tcp_max_tw_buckets`.
    TimeWaitBuckets,
    /// `pids.max` of a control group.
    CgroupPids,
    /// `memory.max` of a control group.
    CgroupMemory,
    /// Threads of a host or user.
    Threads,
    /// A filter of system calls.
    Seccomp,
    /// The other end.
    Server,
    /// A table of the program itself.
    Runtime,
    /// None: all that was asked for is there.
    Requested,
    /// None: the time was over.
    Duration,
    /// Something failed, and no limit that is known shows that it is met.
    Unknown,
}

impl Limit {
    /// Whether it is seen at any moment at which it is met, and not from counters of what was.
    pub fn shows_at_every_moment(self) -> bool {
        matches!(
            self,
            Self::EphemeralPorts
                | Self::FileDescriptors
                | Self::FileMax
                | Self::Conntrack
                | Self::TcpMemory
                | Self::Runtime
        )
    }

    /// Its name in JSON.
    pub fn name(self) -> String {
        let name = serde_json::to_value(self).ok();
        name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// Which limit it was, and why that is said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The limit.
    pub limit: Limit,
    /// Others that were met too, or all but met.
    pub also: Vec<Limit>,
    /// Sentences, the most telling first.
    pub reasons: Vec<String>,
}

/// Attempts that failed, by error.
pub type Refusals = BTreeMap<i32, u64>;

/// When a number of connections was there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Milestone {
    /// How many.
    pub connections: u64,
    /// Whether it was reached.
    pub reached: bool,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Connections a second until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_second: Option<f64>,
    /// How long half of them took at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_p50_seconds: Option<f64>,
    /// And 99 of 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_p99_seconds: Option<f64>,
    /// How long the kernel searched for half of their ports at most, where that is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search_p50_seconds: Option<f64>,
}

impl Milestone {
    /// One that was not reached.
    pub fn not_reached(connections: u64) -> Self {
        Self {
            connections,
            reached: false,
            seconds: None,
            rate_per_second: None,
            connect_p50_seconds: None,
            connect_p99_seconds: None,
            search_p50_seconds: None,
        }
    }
}

/// How the server is at the limit, and after it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Its process runs.
    pub alive: bool,
    /// A new connection, from an address that has all its ports, is accepted, and not closed at once.
    pub accepting: bool,
    /// How long its first byte took; `None`: none came within 2 s.
    pub first_byte_seconds: Option<f64>,
    /// How long after all connections were closed it took a new one, with an empty queue; `None`: it did not
    /// within the time it was given.
    pub recovered_seconds: Option<f64>,
}

/// What was seen from outside.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// How it was observed.
    pub backend: String,
    /// What that can't see.
    pub not_seen: Vec<String>,
    /// Ports taken by connect().
    pub acquired: u64,
    /// Calls that were told that there is no port.
    pub exhausted: u64,
    /// The same, by error.
    pub refused: Refusals,
    /// Events that were lost.
    pub lost: u64,
    /// How full the space was of which the first call was refused: used, of how many.
    pub full: Option<(u32, u32)>,
    /// How long the kernel searched for ports over time, where that is measured: `connections` are ports
    /// that were taken.
    pub searches: Vec<Sample>,
}

impl Observed {
    /// Whether calls that fail are seen: not by lists of sockets alone, nor where something was lost.
    pub fn sees_calls(&self) -> bool {
        self.backend != "poll" && self.lost == 0
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// What was tried.
    pub plan: Plan,
    /// `ip_local_port_range` there.
    pub range: (u16, u16),
    /// When clients began, nanoseconds since boot.
    pub began_ns: u64,
    /// How long connections were made until the limit was met.
    pub seconds: f64,
    /// Connections that were made until then.
    pub connections: u64,
    /// Attempts that failed.
    pub refused: Refusals,
    /// Attempts that took a second or more.
    pub retried: u64,
    /// Processes that connected.
    pub clients: u32,
    /// Why they ended.
    pub end: End,
    /// On the way.
    pub milestones: Vec<Milestone>,
    /// How it went over time.
    pub samples: Vec<Sample>,
    /// Which limit it was.
    pub verdict: Verdict,
    /// What it was concluded from.
    pub evidence: Evidence,
    /// The server, where clients of this program try it.
    pub health: Option<Health>,
}

impl Outcome {
    /// Connections a second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.connections as f64 / self.seconds } else { 0.0 }
    }
}
