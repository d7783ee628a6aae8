//! What a source tells: one call, state change or process at a time, as the kernel saw it. Pure data.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::ports::Ports;

/// The identity of a socket or TIME_WAIT entry while it lives: its kernel address, or for a source
/// without addresses a number that is as good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u64);

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

impl Protocol {
    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// The call by which a port was taken or asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// connect() chose the port.
    Connect,
    /// bind()
    Bind,
    /// The kernel bound an unbound socket: UDP connect() or sendto(), listen().
    Autobind,
}

impl Via {
    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Bind => "bind",
            Self::Autobind => "autobind",
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
            Self::Reconciled => "reconciled",
        }
    }
}

/// A TCP state, numbered as in the kernel (`include/net/tcp_states.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpState(u8);

impl TcpState {
    const NAMES: [&str; 13] = [
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
        "CLOSE",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
        "NEW_SYN_RECV",
        "BOUND_INACTIVE",
    ];
    /// Connected.
    pub const ESTABLISHED: Self = Self(1);
    /// connect() is under way.
    pub const SYN_SENT: Self = Self(2);
    /// A peer's connect() is under way.
    pub const SYN_RECV: Self = Self(3);
    /// Closed here and acknowledged, the peer's FIN is awaited.
    pub const FIN_WAIT2: Self = Self(5);
    /// The socket is gone, the port is kept.
    pub const TIME_WAIT: Self = Self(6);
    /// Not connected.
    pub const CLOSE: Self = Self(7);
    /// The peer has closed, this side has not.
    pub const CLOSE_WAIT: Self = Self(8);
    /// A listener.
    pub const LISTEN: Self = Self(10);
    /// Both sides closed at once.
    pub const CLOSING: Self = Self(11);
    /// Bound and not connected, as socket diagnostics call it.
    pub const BOUND_INACTIVE: Self = Self(13);

    /// The kernel's name.
    pub fn name(self) -> &'static str {
        Self::NAMES[usize::from(self.0) - 1]
    }

    /// The kernel's number, 1 to 13.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for TcpState {
    type Error = u8;

    fn try_from(number: u8) -> Result<Self, u8> {
        if (1..=13).contains(&number) { Ok(Self(number)) } else { Err(number) }
    }
}

/// An address and port. A v4-mapped IPv6 address is the IPv4 address that it is on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The port, 0 when there is none yet.
    pub port: u16,
}

impl Endpoint {
    /// Joins the two, v4-mapped addresses made IPv4.
    pub fn new(address: IpAddr, port: u16) -> Self {
        Self { address: address.to_canonical(), port }
    }

    /// Neither an address nor a port.
    pub fn is_unset(&self) -> bool {
        self.port == 0 && self.address.is_unspecified()
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::new(address.ip(), address.port())
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// No address: what a socket has before it is given one.
pub const UNSPECIFIED_V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
/// The same for IPv6.
pub const UNSPECIFIED_V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// A process and one of its threads, at the moment of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The process, as the host numbers it.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// The thread's name.
    pub name: String,
    /// The real user id.
    pub uid: u32,
    /// When the process started, in nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub start_time_ns: u64,
    /// The inode number of its cgroup in the unified hierarchy, 0 when unknown.
    pub cgroup_id: u64,
}

/// A socket's place: namespace, protocol and addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The inode number of the network namespace.
    pub netns: u32,
    /// The protocol.
    pub protocol: Protocol,
    /// Its own address and port.
    pub local: Endpoint,
    /// The peer's, if it has one.
    pub remote: Option<Endpoint>,
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
        /// Who called, if known.
        task: Option<Task>,
    },
    /// The port that was asked for is not to be had.
    Conflict {
        /// The call.
        via: Via,
        /// What the caller gets, positive.
        errno: i32,
        /// Who called, if known.
        task: Option<Task>,
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
    /// connect() or listen() began and its port is not chosen yet.
    CallStart {
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
    /// The port is let go.
    Release {
        /// Why.
        reason: Reason,
    },
    /// What somebody says who may be the second to say so. An acquire is news only if the socket
    /// is not known to hold its port, a release only if it is.
    Again(Box<Kind>),
    /// A TCP state change.
    State {
        /// Before.
        old: TcpState,
        /// After.
        new: TcpState,
    },
}

impl Kind {
    /// Who called, if it was a call and the caller is known.
    pub fn task(&self) -> Option<&Task> {
        match self {
            Self::Acquire { task, .. }
            | Self::Exhausted { task, .. }
            | Self::Conflict { task, .. } => task.as_ref(),
            Self::Accept { task } | Self::CallStart { task } => Some(task),
            Self::Again(kind) => kind.task(),
            Self::Inherit { .. }
            | Self::Listen
            | Self::TimeWait { .. }
            | Self::FinReceived
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

/// What a process was started with, as much of it as the kernel's side kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The process, after the exec.
    pub task: Task,
    /// The path given to execve().
    pub executable: String,
    /// argv.
    pub command_line: Vec<String>,
    /// The last component of its cgroup's path, empty when unknown.
    pub cgroup_name: String,
    /// Some of the above was longer than its place.
    pub truncated: bool,
}

/// A process was born.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The child.
    pub child_pid: u32,
    /// When it started, nanoseconds since boot.
    pub child_start_time_ns: u64,
    /// Its parent.
    pub parent_pid: u32,
    /// When that started.
    pub parent_start_time_ns: u64,
}

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
    /// Its names under /run/netns, if any.
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
        /// Of which wire kind, where known.
        kind: &'static str,
    },
}

/// Where events were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LossPlace {
    /// The ring buffer was full, or a kernel-side table was.
    KernelBuffer,
    /// A record made no sense.
    Decode,
    /// The kernel skipped a program, because it was running on that processor already.
    KernelProgram,
    /// A queue inside the program was full.
    Queue,
    /// The ledger is full (`--max-holdings`): the port is told of, but not accounted.
    Ledger,
}

impl LossPlace {
    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::KernelBuffer => "kernel_buffer",
            Self::KernelProgram => "kernel_program",
            Self::Decode => "decode",
            Self::Queue => "queue",
            Self::Ledger => "ledger",
        }
    }
}
