//! What a source tells: one call, state change or process at a time, as the kernel saw it. Pure data.

mod address;
mod listing;
mod loss;
mod process;
mod socket;
mod tcp_state;

use crate::ports::Ports;
pub use address::{Endpoint, Flow, Protocol, UNSPECIFIED_V4, UNSPECIFIED_V6};
pub use listing::{Ask, ListedSocket, ListedState, Listing, OnPort};
pub use loss::{LossKind, LossPlace};
pub use process::{Exec, Fork, Task};
pub use socket::{Kind, Reason, Refusal, Repeated, Reuse, Sharing, SocketEvent, SocketId, Via};
pub use tcp_state::{TIME_WAIT_NS, TcpState};

pub use crate::ports::OwnRange;

/// A port that is held, as a scan of the kernel's own lists found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// When it was looked at, nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub time_ns: u64,
    /// The socket or TIME_WAIT entry; `None` where later events will not know it by its identity.
    pub socket: Option<SocketId>,
    /// Where it is.
    pub flow: Flow,
    /// Its state; `BOUND_INACTIVE` when only bound; of UDP, `ESTABLISHED` when connected, else
    /// `CLOSE`.
    pub state: TcpState,
    /// Set for a TIME_WAIT entry.
    pub reuse: Option<Reuse>,
    /// Who else may have the port.
    pub sharing: Sharing,
    /// The port's bind bucket can't be shared by connect() (`fastreuse` or `fastreuseport` is not
    /// negative); `None`: not known.
    pub blocked: Option<bool>,
    /// A process that has it open, if one was found.
    pub task: Option<Task>,
}

/// The settings of a network namespace that decide who gets which port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceSettings {
    /// Its inode number.
    pub netns: u32,
    /// Its names, the most telling first: those under /run/netns, whose it is (a container or a systemd
    /// unit), paths where it is mounted.
    pub names: Vec<String>,
    /// What automatic choice has.
    pub ports: Ports,
    /// `net.ipv4.tcp_tw_reuse`: 0 never, 1 always, 2 on loopback only.
    pub tw_reuse: u8,
    /// `net.ipv4.tcp_tw_reuse_delay` in milliseconds, 1000 where the kernel has no such setting.
    pub tw_reuse_delay_ms: u32,
}

/// Anything that a source yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// About a socket.
    Socket(SocketEvent),
    /// A process began a program.
    Exec(Box<Exec>),
    /// A process was born.
    Fork(Fork),
    /// A scan of the kernel's own lists begins. What the kernel does from now on is told by events.
    ScanBegins,
    /// A port that the scan found held.
    Existing(Box<Existing>),
    /// The scan is over: what was held before it began and was not found is gone.
    ScanEnded {
        /// Inode numbers of the namespaces that could not be looked into.
        skipped: Vec<u32>,
    },
    /// A look at some of the kernel's lists. The ledger concludes from it what happened.
    Listing(Box<Listing>),
    /// The settings of a namespace: when it is first seen, and when they change.
    Namespace(Box<NamespaceSettings>),
    /// A namespace is gone.
    NamespaceGone(u32),
    /// This many events did not arrive.
    Lost {
        /// How many.
        count: u64,
        /// Where they were lost.
        place: LossPlace,
        /// Of which kind.
        kind: LossKind,
        /// A thread of the process that caused them, where that is known.
        task: Option<Task>,
    },
}

impl Event {
    /// The thread that called, or that the event is about, where it is known.
    pub fn task(&self) -> Option<&Task> {
        match self {
            Self::Socket(event) => event.kind.task(),
            Self::Existing(existing) => existing.task.as_ref(),
            Self::Lost { task, .. } => task.as_ref(),
            Self::Exec(_)
            | Self::Fork(_)
            | Self::ScanBegins
            | Self::ScanEnded { .. }
            | Self::Listing(_)
            | Self::Namespace(_)
            | Self::NamespaceGone(_) => None,
        }
    }
}
