//! A set of ports to choose from, how full it is, and who fills it.

use std::{net::IpAddr, sync::Arc};

use super::{Cause, Counts};
use crate::{
    event::{Endpoint, Protocol, TcpState},
    ports::PortRange,
    process::Process,
};

/// What a space is the choice of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpaceKind {
    /// connect() without a port of its own.
    Connect {
        /// The local address.
        source: IpAddr,
        /// Where to.
        destination: Endpoint,
    },
    /// bind() to port 0, and UDP's automatic bind.
    Bind {
        /// The local address.
        address: IpAddr,
    },
}

/// The set of ports that one allocation chooses from, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Space {
    /// Of which call.
    pub kind: SpaceKind,
    /// The inode number of the network namespace.
    pub netns: u32,
    /// The protocol.
    pub protocol: Protocol,
    /// The socket's own range, where the call chooses from that (`IP_LOCAL_PORT_RANGE`).
    pub own_range: Option<PortRange>,
    /// Ports in the ephemeral range, or in the socket's own, reserved ones left out.
    pub capacity: u32,
    /// How many of them the call can't get.
    pub used: u32,
    /// How many such calls would succeed now.
    pub headroom: u32,
    /// How `used` grew per second, over the last minute or what is known of it.
    pub growth_per_second: Option<f64>,
    /// When it will be full at that rate; absent when it does not grow.
    pub seconds_to_exhaustion: Option<f64>,
}

impl Space {
    /// How much of the capacity is used, in percent; of an empty range, 100.
    pub fn used_percent(&self) -> f64 {
        used_percent(self.used, self.capacity)
    }
}

/// How much of a capacity is used, in percent, at most 100; of an empty one, 100.
pub fn used_percent(used: u32, capacity: u32) -> f64 {
    if capacity == 0 {
        return 100.0;
    }
    f64::from(used.min(capacity)) * 100.0 / f64::from(capacity)
}

/// A process and how many ports of a space, or on a host, it holds, by what holds them.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Who took them; `None`: those of whom nothing is known.
    pub process: Option<Arc<Process>>,
    /// Who has them open now, where that is known and another process.
    pub open_in: Option<Arc<Process>>,
    /// By what holds them.
    pub counts: Counts,
    /// How they are in the way of a call, where one was refused a certain port.
    pub way: Option<Way>,
}

/// How something is in the way of a call that wants a certain port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// What it is.
    pub how: How,
    /// Its state, where it is a TCP connection.
    pub state: Option<TcpState>,
    /// Where the first of them is.
    pub local: Endpoint,
    /// Where to, if it is connected.
    pub remote: Option<Endpoint>,
    /// bind() gave it the port, not connect() and not a listener.
    pub is_bound: bool,
    /// No process has it open any more: it ends with its peer's answer, or by a timer of the kernel.
    pub is_orphan: bool,
}

/// What is in the way of a call that wants a certain port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum How {
    /// A listener.
    Listener,
    /// A connection that a listener accepted.
    Accepted,
    /// A connection whose port connect() chose.
    Outgoing,
    /// A socket that bind() gave the port.
    Bound,
    /// TIME_WAIT of a connection that connect() made, whether it chose the port or bind() gave it.
    TimeWaitClient,
    /// TIME_WAIT of a connection that a listener accepted.
    TimeWaitServer,
    /// A socket of the kernel itself, which no process has open.
    Kernel,
}

impl How {
    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Accepted => "accepted",
            Self::Outgoing => "outgoing",
            Self::Bound => "bound",
            Self::TimeWaitClient => "time_wait_client",
            Self::TimeWaitServer => "time_wait_server",
            Self::Kernel => "kernel",
        }
    }
}

impl Holder {
    /// What a process holds.
    pub fn new(process: Option<Arc<Process>>, counts: Counts) -> Self {
        Self { process, open_in: None, counts, way: None }
    }

    /// All of them.
    pub fn total(&self) -> u32 {
        self.counts.total()
    }
}

/// The whole story of a call that found no port.
#[derive(Clone, Debug)]
pub struct Story {
    /// What was full.
    pub space: Space,
    /// Who filled it, the largest first; shared by all calls that fail at about the same time.
    pub holders: Arc<[Holder]>,
    /// Why.
    pub cause: Option<Cause>,
}

/// How full a space is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Below the thresholds.
    #[default]
    Ok,
    /// Above `--warning`.
    Warning,
    /// Above `--critical`.
    Critical,
}

/// How far below a threshold the use must fall before that is told, in percent of the capacity.
const HYSTERESIS: f64 = 5.0;

/// From which use on it is told how full something is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// In percent of the capacity.
    pub warning: f64,
    /// And once more, above that.
    pub critical: f64,
}

impl Thresholds {
    /// The level at this use, in percent of the capacity, of what was at `old`.
    pub fn level(&self, percent: f64, old: Level) -> Level {
        let is_at = |level: Level, threshold: f64| {
            percent >= threshold || (old >= level && percent >= threshold - HYSTERESIS)
        };
        if is_at(Level::Critical, self.critical) {
            Level::Critical
        } else if is_at(Level::Warning, self.warning) {
            Level::Warning
        } else {
            Level::Ok
        }
    }
}

impl Level {
    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_left_only_well_below_its_threshold() {
        let thresholds = Thresholds { warning: 70.0, critical: 85.0 };
        for (percent, old, new) in [
            (69.9, Level::Ok, Level::Ok),
            (70.0, Level::Ok, Level::Warning),
            (65.0, Level::Warning, Level::Warning),
            (64.9, Level::Warning, Level::Ok),
            (85.0, Level::Ok, Level::Critical),
            (80.0, Level::Critical, Level::Critical),
            (79.9, Level::Critical, Level::Warning),
            (64.9, Level::Critical, Level::Ok),
        ] {
            assert_eq!(thresholds.level(percent, old), new, "{percent} after {old:?}");
        }
    }
}
