//! What the ledger concludes from an event, as users see it: one value a line. Pure data, the input
//! of every sink.

mod cause;
mod counts;
mod event_type;
mod failed;
mod pool;
mod sink;
mod space;
mod summary;

use crate::{
    event::{Endpoint, LossKind, LossPlace, Protocol, Reason, Refusal, TcpState, Via},
    process::Caller,
};
pub use cause::{Cause, CauseKind, Evidence, Growth};
pub use counts::{Counts, Standing};
pub use event_type::EventType;
pub use failed::{FailedCalls, FailedKind};
pub use pool::{PoolEvent, PoolHolder, PoolLook, PoolReport, PoolUse};
pub use sink::{Nowhere, Sink};
pub use space::{Holder, How, Level, Space, SpaceKind, Story, Thresholds, Way, used_percent};
pub use summary::{
    Closing, Failure, Holding, NamedUse, NamespaceUse, ProcessUse, Snapshot, Sources, Summary,
    TcpUse,
};

/// One line of the stream.
#[derive(Clone, Debug)]
pub struct Report {
    /// Nanoseconds since boot (`CLOCK_BOOTTIME`) of the event itself.
    pub time_ns: u64,
    /// What happened.
    pub body: Body,
}

/// What every line about a port has.
#[derive(Clone, Debug)]
pub struct Port {
    /// The inode number of the network namespace.
    pub netns: u32,
    /// The protocol.
    pub protocol: Protocol,
    /// The local address and port.
    pub local: Option<Endpoint>,
    /// The destination, if there is one.
    pub remote: Option<Endpoint>,
    /// Who took the port, if known.
    pub caller: Option<Caller>,
}

impl Port {
    /// The number of the process that took it, if that is known.
    pub fn pid(&self) -> Option<u32> {
        self.caller.as_ref().map(|caller| caller.process.pid)
    }
}

/// What happened, by the `type` of the JSON line.
#[derive(Clone, Debug)]
pub enum Body {
    /// First line.
    Start(Start),
    /// A port that was held when observing began, or that a scan after a loss found.
    Existing {
        /// The port.
        port: Port,
        /// Its state; `BOUND_INACTIVE` when only bound; of UDP, `ESTABLISHED` when connected, else
        /// `CLOSE`.
        state: TcpState,
    },
    /// A local port was taken.
    Acquire {
        /// The port.
        port: Port,
        /// By which call.
        via: Via,
        /// The port that was asked for, 0: any.
        requested_port: Option<u16>,
        /// How long the kernel searched, if measured.
        search_ns: Option<u64>,
        /// What it was chosen from, after the choice; when asked for, and the kernel chose.
        space: Option<Box<Space>>,
    },
    /// The socket is gone, TIME_WAIT keeps the port.
    TimeWait {
        /// The port.
        port: Port,
    },
    /// The port is free again.
    Release {
        /// The port.
        port: Port,
        /// Why.
        reason: Reason,
        /// From acquire to release, if the acquire was seen.
        held_ns: Option<u64>,
    },
    /// The kernel had no port to give.
    Exhausted {
        /// What was asked for.
        port: Port,
        /// By which call.
        via: Via,
        /// Positive.
        errno: i32,
        /// How long the kernel searched, if measured.
        search_ns: Option<u64>,
        /// The space that was full, its holders and why, where that is known.
        story: Option<Box<Story>>,
        /// How many more equal calls of the process in that second this stands for.
        repeated: u64,
    },
    /// A fixed port was not to be had.
    Conflict {
        /// What was asked for.
        port: Port,
        /// By which call.
        via: Via,
        /// Positive.
        errno: i32,
        /// Who has it, largest first.
        holders: Vec<Holder>,
        /// How many more equal calls of the process in that second this stands for.
        repeated: u64,
    },
    /// A call failed with the words of exhaustion, and it is none.
    Refused {
        /// What was asked for.
        port: Port,
        /// By which call.
        via: Via,
        /// Positive.
        errno: i32,
        /// Why.
        refusal: Refusal,
        /// How many more equal calls of the process in that second this stands for.
        repeated: u64,
    },
    /// A space crossed a threshold, up or down.
    Threshold {
        /// The space.
        space: Box<Space>,
        /// Where it is now.
        level: Level,
    },
    /// Something happened to a declared pool of ports.
    Pool(Box<PoolReport>),
    /// The state of everything at one moment.
    Summary(Box<Summary>),
    /// A TCP state change.
    State {
        /// The socket.
        port: Port,
        /// Before.
        old: TcpState,
        /// After.
        new: TcpState,
    },
    /// Events were lost.
    Lost {
        /// How many.
        count: u64,
        /// Where.
        place: LossPlace,
        /// Which kind, as the wire names it.
        kind: LossKind,
        /// Whose they were, where that is known.
        caller: Option<Caller>,
    },
    /// Last line.
    Stop(Stop),
}

impl Body {
    /// The `type` of its line.
    pub fn event_type(&self) -> EventType {
        match self {
            Self::Start(_) => EventType::Start,
            Self::Existing { .. } => EventType::Existing,
            Self::Acquire { .. } => EventType::Acquire,
            Self::TimeWait { .. } => EventType::TimeWait,
            Self::Release { .. } => EventType::Release,
            Self::Exhausted { .. } => EventType::Exhausted,
            Self::Conflict { .. } => EventType::Conflict,
            Self::Refused { .. } => EventType::Refused,
            Self::Threshold { .. } => EventType::Threshold,
            Self::Pool(of) => match of.event {
                PoolEvent::Threshold { .. } => EventType::PoolThreshold,
                PoolEvent::Exhausted { .. } => EventType::PoolExhausted,
                PoolEvent::WrongRange { .. } => EventType::PoolWrongRange,
                PoolEvent::Taken { .. } => EventType::PoolTaken,
            },
            Self::State { .. } => EventType::State,
            Self::Summary(_) => EventType::Summary,
            Self::Lost { .. } => EventType::Lost,
            Self::Stop(_) => EventType::Stop,
        }
    }

    /// The port that the line is about; `start`, `threshold`, `summary`, `lost` and `stop` have none, nor
    /// have those of pools: what happened to the port has its own line.
    pub fn port(&self) -> Option<&Port> {
        match self {
            Self::Existing { port, .. }
            | Self::Acquire { port, .. }
            | Self::TimeWait { port }
            | Self::Release { port, .. }
            | Self::Exhausted { port, .. }
            | Self::Conflict { port, .. }
            | Self::Refused { port, .. }
            | Self::State { port, .. } => Some(port),
            Self::Start(_)
            | Self::Threshold { .. }
            | Self::Pool(_)
            | Self::Summary(_)
            | Self::Lost { .. }
            | Self::Stop(_) => None,
        }
    }

    /// Whose call or port the line is about, where that is known.
    pub fn caller(&self) -> Option<&Caller> {
        match self {
            Self::Lost { caller, .. } => caller.as_ref(),
            Self::Pool(of) => of.port().and_then(|port| port.caller.as_ref()),
            _ => self.port().and_then(|port| port.caller.as_ref()),
        }
    }
}

/// The first line.
#[derive(Clone, Debug)]
pub struct Start {
    /// The host's name.
    pub host: String,
    /// `uname -r`.
    pub kernel: String,
    /// The program's own version.
    pub version: std::borrow::Cow<'static, str>,
    /// `fexit`, `kprobe`, `tracepoint` or `poll`.
    pub backend: &'static str,
    /// Every acquire and release is seen.
    pub exact: bool,
    /// What this backend can't see, a sentence each.
    pub missing: Vec<String>,
    /// Per namespace.
    pub ephemeral_range: Vec<EphemeralRange>,
    /// The inode number of the network namespace that the observer is in, if that is known.
    pub netns: Option<u32>,
}

/// The ephemeral range of one network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EphemeralRange {
    /// The inode number of the namespace.
    pub netns: u32,
    /// The lowest port.
    pub min: u16,
    /// The highest port.
    pub max: u16,
}

/// The last line.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stop {
    /// Lines about ports: written, filtered out, or not taken by the reader.
    pub events: u64,
    /// Events lost anywhere.
    pub lost: u64,
    /// How long it ran.
    pub duration_seconds: f64,
    /// Ports taken.
    pub acquired: u64,
    /// Ports given back.
    pub released: u64,
    /// Calls that found no free port.
    pub exhausted: u64,
}
