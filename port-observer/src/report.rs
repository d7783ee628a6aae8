//! What the ledger concludes from an event, as users see it: one value a line. Pure data, the input
//! of every sink.

use std::net::IpAddr;
use std::sync::Arc;

use crate::event::{Endpoint, LossPlace, Protocol, Reason, TcpState, Via};
use crate::process::Process;

/// One line of the stream.
#[derive(Clone, Debug)]
pub struct Report {
    /// Nanoseconds since boot (`CLOCK_BOOTTIME`) of the event itself.
    pub time_ns: u64,
    /// What happened.
    pub body: Body,
}

/// The `type` of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    /// First line.
    Start,
    /// A port that was held when observing began.
    Existing,
    /// A local port was taken.
    Acquire,
    /// TIME_WAIT keeps the port.
    TimeWait,
    /// The port is free again.
    Release,
    /// The kernel had no port to give.
    Exhausted,
    /// A fixed port was not to be had.
    Conflict,
    /// A space crossed a threshold.
    Threshold,
    /// A TCP state change.
    State,
    /// Namespaces, spaces and processes at one moment.
    Summary,
    /// Events were lost.
    Lost,
    /// Last line.
    Stop,
}

impl EventType {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Start,
        Self::Existing,
        Self::Acquire,
        Self::TimeWait,
        Self::Release,
        Self::Exhausted,
        Self::Conflict,
        Self::Threshold,
        Self::State,
        Self::Summary,
        Self::Lost,
        Self::Stop,
    ];

    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Existing => "existing",
            Self::Acquire => "acquire",
            Self::TimeWait => "time_wait",
            Self::Release => "release",
            Self::Exhausted => "exhausted",
            Self::Conflict => "conflict",
            Self::Threshold => "threshold",
            Self::State => "state",
            Self::Summary => "summary",
            Self::Lost => "lost",
            Self::Stop => "stop",
        }
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
    },
    /// A space crossed a threshold, up or down.
    Threshold {
        /// The space.
        space: Box<Space>,
        /// Where it is now.
        level: Level,
    },
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
        kind: &'static str,
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
            Self::Threshold { .. } => EventType::Threshold,
            Self::State { .. } => EventType::State,
            Self::Summary(_) => EventType::Summary,
            Self::Lost { .. } => EventType::Lost,
            Self::Stop(_) => EventType::Stop,
        }
    }

    /// The port that the line is about; `start`, `threshold`, `summary`, `lost` and `stop` have none.
    pub fn port(&self) -> Option<&Port> {
        match self {
            Self::Existing { port, .. }
            | Self::Acquire { port, .. }
            | Self::TimeWait { port }
            | Self::Release { port, .. }
            | Self::Exhausted { port, .. }
            | Self::Conflict { port, .. }
            | Self::State { port, .. } => Some(port),
            Self::Start(_)
            | Self::Threshold { .. }
            | Self::Summary(_)
            | Self::Lost { .. }
            | Self::Stop(_) => None,
        }
    }
}

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
    /// Ports in the ephemeral range, reserved ones left out.
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
        if self.capacity == 0 {
            return 100.0;
        }
        f64::from(self.used) * 100.0 / f64::from(self.capacity)
    }
}

/// A process and how many ports of a space, or on a host, it holds, by what holds them.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Who took them; `None`: those of whom nothing is known.
    pub process: Option<Arc<Process>>,
    /// By connections.
    pub established: u32,
    /// By TIME_WAIT.
    pub time_wait: u32,
    /// By bind(), neither connected nor listening, and by listeners.
    pub bound: u32,
    /// By sockets in any other state.
    pub other: u32,
}

impl Holder {
    /// All of them.
    pub fn total(&self) -> u32 {
        self.established + self.time_wait + self.bound + self.other
    }
}

/// Why a space ran out of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CauseKind {
    /// Mostly TIME_WAIT: connections come and go fast.
    Churn,
    /// Connections are held for long and grow in number.
    Leak,
    /// Ports are held by bind(), which connect() can't share.
    BindHeld,
    /// Many connections in real use.
    Concurrency,
    /// The range is small.
    SmallRange,
}

impl CauseKind {
    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Churn => "churn",
            Self::Leak => "leak",
            Self::BindHeld => "bind_held",
            Self::Concurrency => "concurrency",
            Self::SmallRange => "small_range",
        }
    }
}

/// Why, and the numbers that say so.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// Why.
    pub kind: CauseKind,
    /// Ports that the call could have had, reserved ones left out.
    pub capacity: u32,
    /// Of these, kept by TIME_WAIT.
    pub time_wait: u32,
    /// Of these, what connect() could have taken over if `tcp_tw_reuse` allowed it.
    pub reusable: u32,
    /// Kept by connections in use.
    pub established: u32,
    /// Kept by bind(), listeners and what a bind() made unsharable.
    pub bound: u32,
    /// Connections that were opened and closed per second, over the last minute.
    pub closed_per_second: Option<f64>,
    /// The median age of the connections in use.
    pub median_age_seconds: Option<f64>,
    /// How `used` grew per second.
    pub growth_per_second: Option<f64>,
}

/// The whole story of a call that found no port.
#[derive(Clone, Debug)]
pub struct Story {
    /// What was full.
    pub space: Space,
    /// Who filled it: the ten largest.
    pub holders: Vec<Holder>,
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

/// The state of everything at one moment.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// All network namespaces that are known.
    pub namespaces: Vec<NamespaceUse>,
    /// The fullest spaces, fullest first.
    pub spaces: Vec<Space>,
    /// The largest processes, largest first.
    pub processes: Vec<ProcessUse>,
}

/// How the ports of a network namespace are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceUse {
    /// Its inode number.
    pub netns: u32,
    /// Its names under /run/netns.
    pub names: Vec<String>,
    /// What automatic choice has, if known.
    pub ports: Option<crate::ports::Ports>,
    /// Of TCP.
    pub tcp: TcpUse,
    /// UDP ports in the ephemeral range with a holder.
    pub udp_used_ports: u32,
}

/// How many TCP holdings there are, by what holds the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpUse {
    /// Different ports, of a namespace those in the ephemeral range.
    pub ports: u32,
    /// Connections.
    pub established: u32,
    /// TIME_WAIT entries.
    pub time_wait: u32,
    /// Listeners.
    pub listening: u32,
    /// Bound, neither connected nor listening.
    pub bound: u32,
    /// In any other state.
    pub other: u32,
}

/// How many ports a process holds.
#[derive(Clone, Debug)]
pub struct ProcessUse {
    /// Which; `None`: those of whom nothing is known.
    pub process: Option<Arc<Process>>,
    /// Of TCP.
    pub tcp: TcpUse,
    /// UDP ports.
    pub udp_ports: u32,
}

/// Who holds which ports, looked at once.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When, nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub time_ns: u64,
    /// The host's name.
    pub host: String,
    /// `uname -r`.
    pub kernel: String,
    /// What could not be seen, a sentence each.
    pub missing: Vec<String>,
    /// By namespace, space and process.
    pub summary: Summary,
    /// One by one, by namespace, protocol and port; if asked for.
    pub holdings: Option<Vec<Holding>>,
    /// The ports that `holdings` are narrowed to, as text; `None`: all.
    pub asked: Option<String>,
}

/// One socket, or the TIME_WAIT entry that succeeds it, that keeps a port.
#[derive(Clone, Debug)]
pub struct Holding {
    /// The port, and who has it.
    pub port: Port,
    /// Its state as the kernel's list has it: a TIME_WAIT entry whose peer has not closed yet is in
    /// `FIN_WAIT2`. `BOUND_INACTIVE` when only bound; of UDP, `ESTABLISHED` when connected, else
    /// `CLOSE`.
    pub state: TcpState,
    /// The number in `/proc/PID/fd` (`socket:[…]`), if any process has it open.
    pub inode: Option<u32>,
}

/// What a terminal is shown at the end.
#[derive(Clone, Debug, Default)]
pub struct Closing {
    /// The largest processes, and the fullest spaces.
    pub summary: Summary,
    /// Calls that failed, by process and destination, most first.
    pub failures: Vec<Failure>,
}

/// Calls of one process that failed in the same way.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Whose.
    pub process: Option<Arc<Process>>,
    /// By which call.
    pub via: Via,
    /// Positive.
    pub errno: i32,
    /// The port that was asked for, 0: any.
    pub requested_port: u16,
    /// The address asked for, or connected from.
    pub local: Option<IpAddr>,
    /// Where to.
    pub remote: Option<Endpoint>,
    /// How often.
    pub count: u64,
    /// Why, if no port was left.
    pub cause: Option<CauseKind>,
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
    /// Lines about ports, written or filtered out.
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
