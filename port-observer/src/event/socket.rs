//! What happens to a socket.

use super::{Flow, Task, TcpState};
use crate::ports::OwnRange;

/// The identity of a socket or TIME_WAIT entry while it lives: its kernel address, or for a source
/// without addresses a number that is as good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u64);

/// The call by which a port was taken or asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// connect() chose the port.
    Connect,
    /// bind()
    Bind,
    /// The kernel bound an unbound socket: UDP connect() or sendto(), listen().
    Autobind,
    /// listen() that was refused a port.
    Listen,
}

impl Via {
    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Bind => "bind",
            Self::Autobind => "autobind",
            Self::Listen => "listen",
        }
    }
}

/// Why a port came free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The socket was closed, reset or refused.
    Closed,
    /// TIME_WAIT ran its time.
    TimeWaitExpired,
    /// TIME_WAIT was ended early: a connect() or a SYN took its place.
    TimeWaitReused,
    /// TIME_WAIT was ended early, and nobody took its place: by an RST, or by who destroys sockets.
    TimeWaitReset,
    /// Found gone when compared with the kernel's own list; when exactly is not known.
    Reconciled,
}

impl Reason {
    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::TimeWaitExpired => "time_wait_expired",
            Self::TimeWaitReused => "time_wait_reused",
            Self::TimeWaitReset => "time_wait_reset",
            Self::Reconciled => "reconciled",
        }
    }
}

/// Why a call failed with the words of exhaustion before the kernel looked for a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// bind(): no interface of the network namespace has the address (`__inet_bind`,
    /// net/ipv4/af_inet.c; `__inet6_bind`, net/ipv6/af_inet6.c). Of IPv6, also one that duplicate
    /// address detection holds back (`IFA_F_TENTATIVE`).
    AddressNotLocal,
    /// connect(): no address of IPv6 can be the source towards that destination
    /// (`ipv6_dev_get_saddr`, net/ipv6/addrconf.c).
    NoSourceAddress,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::AddressNotLocal, Self::NoSourceAddress];

    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::AddressNotLocal => "address_not_local",
            Self::NoSourceAddress => "no_source_address",
        }
    }
}

/// What decides which other sockets may have the same port (net/ipv4/inet_connection_sock.c,
/// `inet_csk_get_port`; net/ipv4/inet_hashtables.c, `__inet_hash_connect`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sharing {
    /// connect() chose the port (`SOCK_CONNECT_BIND`, `tw_connect_bind`; kernels that have it).
    pub connect_bind: bool,
    /// `IPV6_V6ONLY`: an IPv6 wildcard that leaves IPv4 alone.
    pub ipv6_only: bool,
    /// The interface that it is bound to, 0: any.
    pub device: u32,
}

/// What decides when connect() may take over a TIME_WAIT entry (net/ipv4/tcp_ipv4.c,
/// `tcp_twsk_unique`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reuse {
    /// The peer's FIN has not come yet (`tw_substate` is FIN_WAIT2): never.
    pub fin_wait2: bool,
    /// The connection had timestamps; without, never.
    pub timestamps: bool,
}

/// Failed calls of one process in one second that one event stands for, beside the call that it
/// describes. A process that fails often has an event each for the first of a second alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repeated {
    /// How many more.
    pub calls: u64,
    /// They differ in their addresses and ports: those of the event say nothing.
    pub differing: bool,
    /// They were counted, and the event comes when what was held then may be free again.
    pub late: bool,
}

/// What happened to a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A call gave the socket its port, or connected a socket that had one.
    Acquire {
        /// The call.
        via: Via,
        /// The port that was asked for, 0: any; `None`: not known.
        requested_port: Option<u16>,
        /// How long the kernel searched.
        search_ns: Option<u64>,
        /// Who called, if known.
        task: Option<Task>,
        /// Who else may have the port.
        sharing: Sharing,
    },
    /// The kernel had no port to give.
    Exhausted {
        /// The call.
        via: Via,
        /// What the caller gets, positive.
        errno: i32,
        /// How long the kernel searched.
        search_ns: Option<u64>,
        /// The range that it searched, if the socket has one of its own.
        own_range: Option<OwnRange>,
        /// Who called, if known.
        task: Option<Task>,
        /// How many more calls it stands for.
        repeated: Repeated,
    },
    /// The port that was asked for is not to be had.
    Conflict {
        /// The call.
        via: Via,
        /// What the caller gets, positive.
        errno: i32,
        /// Who called, if known.
        task: Option<Task>,
        /// How many more calls it stands for.
        repeated: Repeated,
    },
    /// No port was looked for: there is no local address to have it on.
    Refused {
        /// The call.
        via: Via,
        /// What the caller gets, positive.
        errno: i32,
        /// Why.
        refusal: Refusal,
        /// Who called, if known.
        task: Option<Task>,
        /// How many more calls it stands for.
        repeated: Repeated,
    },
    /// An accepted child joined the port of its listener.
    Inherit {
        /// The listener.
        listener: SocketId,
        /// Who else may have the port.
        sharing: Sharing,
    },
    /// The socket listens from now on.
    Listen,
    /// accept() handed out an accepted child.
    Accept {
        /// Who called.
        task: Task,
    },
    /// A TIME_WAIT entry succeeds the socket and keeps its port.
    TimeWait {
        /// The entry, where the source knows it.
        successor: Option<SocketId>,
        /// The socket has let go of the port already: no release of its own follows.
        done: bool,
        /// When it may be taken over.
        reuse: Reuse,
    },
    /// The peer's FIN came: a TIME_WAIT entry that was in FIN_WAIT2 begins its real TIME_WAIT.
    FinReceived,
    /// connect() has given a UDP socket a local address, or its end has taken it away; the port stays.
    Rehash,
    /// The port is let go.
    Release {
        /// Why.
        reason: Reason,
    },
    /// What somebody says who may be the second to say so. An acquire is news only if the socket
    /// is not known to hold its port, a TIME_WAIT or a release only if it is.
    Again(Box<Kind>),
    /// A TCP state change.
    State {
        /// Before.
        old: TcpState,
        /// After.
        new: TcpState,
    },
    /// A look at the kernel's lists has shown a socket in this state, which no event tells, or open in
    /// another process than was known.
    Listed {
        /// Which state, of a TCP connection.
        state: TcpState,
        /// A process that has it open, if one was found.
        task: Option<Task>,
    },
    /// A look at the kernel's lists has shown this socket on a port that a call is refused.
    InTheWay {
        /// Its state; `TIME_WAIT` for any TIME_WAIT entry, and of UDP `CLOSE` when it is only bound.
        state: TcpState,
        /// It can be open in processes, as an orphan and a TIME_WAIT entry can't, and is in none.
        is_nobodys: bool,
        /// A process that has it open, if one was found.
        task: Option<Task>,
    },
}

impl Kind {
    /// Who called, if it was a call and the caller is known.
    pub fn task(&self) -> Option<&Task> {
        match self {
            Self::Acquire { task, .. }
            | Self::Exhausted { task, .. }
            | Self::Conflict { task, .. }
            | Self::Refused { task, .. }
            | Self::InTheWay { task, .. }
            | Self::Listed { task, .. } => task.as_ref(),
            Self::Accept { task } => Some(task),
            Self::Again(kind) => kind.task(),
            Self::Inherit { .. }
            | Self::Listen
            | Self::TimeWait { .. }
            | Self::FinReceived
            | Self::Rehash
            | Self::Release { .. }
            | Self::State { .. } => None,
        }
    }
}

/// Something that happened to a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketEvent {
    /// Nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub time_ns: u64,
    /// The socket.
    pub socket: SocketId,
    /// Where it is.
    pub flow: Flow,
    /// What happened.
    pub kind: Kind,
}
