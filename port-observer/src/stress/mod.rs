//! Finds out how many connections are possible, and which limit ends them.
//!
//! A run has a place of its own ([`place`]): a network, mount and process namespace, whose first process
//! ([`run`]) starts a server and clients, each a process of its own, watches both ends, and concludes from
//! what the kernel shows of them ([`conclude`], which is pure) which limit was met. When that process ends, for
//! whatever reason, the kernel ends all others in the place and takes it down.
//!
//! Processes talk in lines of JSON ([`parts`]): a job and orders on standard input, what happens on
//! standard output. One whose standard input ends, ends.

pub mod client;
pub mod compare;
pub mod conclude;
mod evidence;
pub mod html;
pub mod json;
mod listener;
mod outcome;
pub mod parts;
pub mod place;
pub mod program;
mod programs;
pub mod run;
pub mod samples;
pub mod server;
pub mod target;
pub mod text;
pub mod tracer;
pub mod variations;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde::{Deserialize, Serialize};

pub use self::{
    evidence::{End as EndUse, Evidence, Listening, tcp_memory_max},
    outcome::{Health, Limit, Milestone, Observed, Outcome, Refusals, Verdict},
};

/// Numbers of connections that a report says how long it took to.
pub const MILESTONES: [u64; 4] = [1_000, 10_000, 50_000, 64_000];
/// More connections than this are not made.
pub const MOST_CONNECTIONS: u64 = 4_000_000;
/// How long connections are made that are kept, unless said otherwise.
pub const KEEPING: Duration = Duration::from_secs(300);
/// How long connections are opened and closed, unless said otherwise.
pub const CHURNING: Duration = Duration::from_secs(8);
/// Descriptors that a process has for itself, beside connections.
const RESERVE: u64 = 32;

/// What is done with a connection that stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Close {
    /// It is kept.
    Keep,
    /// The client closes it at once.
    Client,
    /// The server closes it at once.
    Server,
    /// The client resets it at once.
    Rst,
}

/// How a client's socket gets its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bind {
    /// By connect().
    None,
    /// Address and port by bind() to port 0, before connect().
    Before,
    /// The address by bind(), the port by connect() (`IP_BIND_ADDRESS_NO_PORT`).
    NoPort,
    /// As `Before`, with `SO_REUSEADDR`.
    Reuseaddr,
}

impl Bind {
    /// Whether bind() chooses the port, for an address and all destinations, and not connect().
    fn chooses_port(self) -> bool {
        matches!(self, Self::Before | Self::Reuseaddr)
    }
}

/// What is tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// How many connections; `None`: as many as go.
    pub connections: Option<u64>,
    /// `ip_local_port_range` there; `None`: the host's.
    pub range: Option<(u16, u16)>,
    /// How many addresses clients connect from, 1 or more.
    pub sources: u16,
    /// How many addresses they connect to, 1 or more.
    pub destinations: u16,
    /// `RLIMIT_NOFILE` of a single client and a single server; `None`: as many processes as it takes.
    pub nofile: Option<u64>,
    /// What is done with connections.
    pub close: Close,
    /// `tcp_tw_reuse` there; `None`: the host's.
    pub tw_reuse: Option<u8>,
    /// How sockets are bound.
    pub bind: Bind,
    /// At most so many attempts a second; `None`: as many as go.
    pub rate: Option<u32>,
    /// For how long connections are made.
    pub duration: Duration,
    /// Over IPv6.
    pub ipv6: bool,
    /// Connected UDP sockets in place of TCP connections.
    pub udp: bool,
    /// The server, a line for the shell; `None`: the own one.
    pub server: Option<String>,
    /// The port that it listens on; `None`: the first that is seen.
    pub server_port: Option<u16>,
    /// What is loaded where it is, in place of a server in the place.
    pub target: Option<SocketAddr>,
    /// Who connects; `None`: clients of this program.
    pub program: Option<program::Program>,
    /// The most pages of memory that TCP of the host may have (`tcp_mem`, which only the first network
    /// namespace shows); 0: not known.
    pub tcp_memory_max: u64,
    /// Settings of the kernel there, by name under /proc/sys, written first.
    pub settings: Vec<(String, String)>,
}

impl Plan {
    /// The address that a client connects from, by number from 0.
    fn source(&self, number: u16) -> IpAddr {
        let number = number.saturating_add(1);
        if self.ipv6 {
            IpAddr::from([0xfd00, 0, 0, 1, 0, 0, 0, number])
        } else {
            let [high, low] = number.to_be_bytes();
            IpAddr::from([127, 0, high, low])
        }
    }

    /// The address that it connects to.
    fn destination(&self, number: u16) -> IpAddr {
        let number = number.saturating_add(1);
        if self.ipv6 {
            IpAddr::from([0xfd00, 0, 0, 2, 0, 0, 0, number])
        } else {
            let [high, low] = number.to_be_bytes();
            IpAddr::from([127, 1, high, low])
        }
    }

    /// The address that only the server's health is tried from.
    fn probe_source(&self) -> IpAddr {
        if self.ipv6 {
            IpAddr::from([0xfd00, 0, 0, 3, 0, 0, 0, 1])
        } else {
            IpAddr::from([127, 255, 0, 1])
        }
    }

    /// Whether it has a place of its own, and not that of what is there already.
    pub fn has_place(&self) -> bool {
        self.target.is_none() && !matches!(self.program, Some(program::Program::Running(_)))
    }

    /// Whether a source has its ports once for all destinations: bind() chooses them, or there is no other
    /// way (UDP).
    pub fn has_ports_once(&self) -> bool {
        self.udp || self.bind.chooses_port()
    }

    /// Whether connections are closed as soon as they stand.
    pub fn is_churn(&self) -> bool {
        self.close != Close::Keep
    }
}
