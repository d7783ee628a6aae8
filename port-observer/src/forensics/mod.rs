//! What happened, for those who read of it afterwards: failures that belong together, who held the
//! ports, why, and what would have helped. Fed with the reports of a stream.

mod collect;
mod facts;
mod group;
mod history;
pub mod html;
pub mod json;
mod open;
mod remedy;
mod taken;
#[cfg(test)]
mod tests;
pub mod text;
mod timeline;

use std::sync::Arc;

use crate::{
    event::{LossKind, LossPlace, Protocol, Via},
    ports::PortRange,
    process::Process,
    report::{Cause, Holder, Space, Start, Stop},
};

pub use collect::{Collector, HOLDERS, SAMPLE, SPACES};
pub use history::{History, LONGEST};
pub use open::of_call;
pub use taken::{AllTaken, Taken};
pub use timeline::{Held, Point, Series, Timeline};

/// All that is told of a recording. Times are nanoseconds since 1970.
#[derive(Clone, Debug, Default)]
pub struct Forensics {
    /// The runs of the recorder.
    pub runs: Vec<Run>,
    /// What was lost, most first.
    pub losses: Vec<Loss>,
    /// What happened, in order.
    pub incidents: Vec<Incident>,
    /// More incidents, which had fewer failures.
    pub left_out: usize,
    /// Calls that wanted a certain port or 4-tuple, which somebody had.
    pub taken: AllTaken,
    /// Calls that failed for their address.
    pub refused: AllTaken,
    /// How the spaces filled up in which most calls failed, and those that were fullest.
    pub timelines: Vec<Timeline>,
}

/// One run of the recorder, as far as it was looked at.
#[derive(Clone, Debug)]
pub struct Run {
    /// How it began.
    pub start: Start,
    /// When.
    pub began_ns: i64,
    /// When it ended.
    pub ended_ns: i64,
    /// What happened in it.
    pub stop: Stop,
}

/// Events that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Where they were lost.
    pub place: LossPlace,
    /// Of which kind.
    pub kind: LossKind,
    /// How many.
    pub count: u64,
}

/// Calls that found no port, close in time.
#[derive(Clone, Debug)]
pub struct Incident {
    /// When the first failed.
    pub began_ns: i64,
    /// When the last did.
    pub ended_ns: i64,
    /// The inode number of the network namespace.
    pub netns: u32,
    /// Its names, the most telling first.
    pub names: Vec<String>,
    /// The protocol.
    pub protocol: Protocol,
    /// By which call, mostly.
    pub via: Via,
    /// How many failed.
    pub failures: u64,
    /// How many in the worst second.
    pub worst_per_second: u64,
    /// When that was.
    pub worst_ns: i64,
    /// The spaces that were full, by how many calls failed in each, most first.
    pub spaces: Vec<FullSpace>,
    /// Whose calls failed, most first.
    pub failed: Vec<Failed>,
    /// Who held the ports when it began, the largest first.
    pub onset: Option<Vec<Group>>,
    /// The same in the worst second.
    pub worst: Option<Vec<Group>>,
    /// Why, for most of the failures.
    pub cause: Option<Cause>,
    /// How much of the space that failed the most was used, every [`SAMPLE`] of the ten minutes before;
    /// `None`: not known.
    pub before: Vec<Option<u32>>,
    /// The ephemeral range, if known.
    pub range: Option<PortRange>,
    /// What would have helped, the best first.
    pub remedies: Vec<Remedy>,
}

/// A space in which calls failed.
#[derive(Clone, Debug)]
pub struct FullSpace {
    /// As it was when a call last failed in it.
    pub space: Space,
    /// How many calls failed.
    pub failures: u64,
    /// Threads whose calls failed within a second, in the worst: so many more ports were wanted at the
    /// same time. A thread that tries again wants the same port still. Calls that an event stands for
    /// count as its thread's, so there may have been more.
    pub threads: u64,
}

/// A process that holds ports, or several of one name.
#[derive(Clone, Debug)]
pub struct Group {
    /// The largest of them, with the ports of all.
    pub holder: Holder,
    /// How many there are.
    pub processes: u32,
}

/// Calls of one process, or of several of one name, that failed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Whose, or one of them; `None`: not known.
    pub process: Option<Arc<Process>>,
    /// How many there are.
    pub processes: u32,
    /// What they got.
    pub errno: i32,
    /// How many.
    pub count: u64,
}

/// What would have helped.
#[derive(Clone, Debug)]
pub struct Remedy {
    /// Of which kind.
    pub kind: RemedyKind,
    /// Whose program it is about.
    pub process: Option<Arc<Process>>,
    /// The ephemeral range that would have been enough.
    pub range: Option<PortRange>,
    /// How many addresses would have been enough.
    pub addresses: Option<u32>,
    /// In words, with the numbers.
    pub text: String,
}

/// The kinds of remedies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemedyKind {
    /// Keep connections open and use them again.
    ReuseConnections,
    /// Close what is not used any more.
    CloseConnections,
    /// `IP_BIND_ADDRESS_NO_PORT`: bind an address without taking a port.
    BindAddressNoPort,
    /// Bind ports outside of the ephemeral range, or not at all.
    PortsOutsideRange,
    /// A larger `ip_local_port_range`.
    LargerRange,
    /// `tcp_tw_reuse`
    TwReuse,
    /// More source or destination addresses.
    MoreAddresses,
    /// A destination that answers, or giving up on it sooner.
    GiveUpSooner,
    /// A peer that reads.
    ReadingPeer,
}

impl RemedyKind {
    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReuseConnections => "reuse_connections",
            Self::CloseConnections => "close_connections",
            Self::BindAddressNoPort => "bind_address_no_port",
            Self::PortsOutsideRange => "ports_outside_range",
            Self::LargerRange => "larger_range",
            Self::TwReuse => "tw_reuse",
            Self::MoreAddresses => "more_addresses",
            Self::GiveUpSooner => "give_up_sooner",
            Self::ReadingPeer => "reading_peer",
        }
    }
}
