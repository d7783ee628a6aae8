//! Socket diagnostics: the kernel's own list of the sockets of a network namespace, over netlink
//! (`NETLINK_SOCK_DIAG`, `net/ipv4/inet_diag.c`). It takes no privilege. Where diagnostics can't be
//! had, `/proc/net/{tcp,tcp6,udp,udp6}` stand in, and the [`Dump`] says so.
//!
//! A netlink socket belongs to the network namespace that its thread was in when it was opened: to
//! look into another, call [`dump`] inside [`super::netns::Namespace::run`].

mod netlink;
mod proc_net;
mod wire;

use std::fs;
use std::ops::RangeInclusive;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;

use anyhow::Context;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, socket};

use crate::event::{Flow, Protocol, TcpState};
use crate::kernel::{netns::own_inode, release};

/// One socket, or one TIME_WAIT entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiagSocket {
    /// Where it is; `remote` is absent when it has no peer.
    pub flow: Flow,
    /// The state. A TCP socket that is only bound has `BOUND_INACTIVE`; the kernel uses the same
    /// numbers for UDP: `ESTABLISHED` when connected, else `CLOSE`.
    pub state: TcpState,
    /// It is a TIME_WAIT entry, whose state may be `FIN_WAIT2` too: then the peer's FIN is awaited
    /// without a socket (`tw_substate`).
    pub time_wait: bool,
    /// Milliseconds until its timer ends, for a TIME_WAIT entry until the port is free; 0: no timer.
    pub expires_ms: u32,
    /// The peer has not acknowledged what was sent: more than a FIN (`idiag_wqueue`), or that more than
    /// once (`idiag_retrans`). Not known from `/proc/net`.
    pub is_unread: bool,
    /// Of a socket that listens: connections in its accept queue, and the most of them less one
    /// (`idiag_rqueue`, `idiag_wqueue`; tcp_diag_get_info). Of others 0, and not known from `/proc/net`.
    pub accept_queue: (u32, u32),
    /// The number in `/proc/PID/fd` (`socket:[…]`), 0 when no process has it open.
    pub inode: u32,
    /// Unique since boot, and a TIME_WAIT entry has that of its socket if that had been asked for
    /// (`inet_twsk_alloc`). 0: unknown, from `/proc/net`.
    pub cookie: u64,
    /// `IPV6_V6ONLY`, known of IPv6 sockets that listen or are not connected.
    pub v6only: Option<bool>,
    /// The index of the device that it is bound to, 0: none.
    pub interface: u32,
}

impl DiagSocket {
    /// Whether it keeps a port: not without one, nor a connection request that has no socket yet, only
    /// its listener's port (`inet_req_diag_fill`).
    pub fn holds_a_port(&self) -> bool {
        let is_request = self.state == TcpState::SYN_RECV && self.inode == 0 && !self.time_wait;
        self.flow.local.port != 0 && !is_request
    }
}

/// A set of TCP states, bit n for state n, as the kernel takes it. UDP follows the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct States(u32);

impl States {
    /// All, with those that are only bound (reported from 6.8).
    pub const ALL: Self = Self(0x3ffe);

    /// Those that the kernel keeps apart from connections: listening and only bound.
    pub const NOT_CONNECTED: Self = Self(1 << 10 | 1 << 13);
    /// All others.
    pub const CONNECTED: Self = Self(Self::ALL.0 & !Self::NOT_CONNECTED.0);

    /// These states.
    pub fn of(states: &[TcpState]) -> Self {
        Self(states.iter().fold(0, |mask, state| mask | 1 << state.number()))
    }

    /// All of these but some.
    pub fn without(self, states: &[TcpState]) -> Self {
        Self(self.0 & !Self::of(states).0)
    }

    /// Whether a state is in the set.
    pub fn contains(self, state: TcpState) -> bool {
        self.0 & (1 << state.number()) != 0
    }
}

/// What to ask for. State and port are filtered in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// TCP, UDP or both.
    pub protocols: Vec<Protocol>,
    /// Only these states.
    pub states: States,
    /// Only these local ports.
    pub ports: Option<RangeInclusive<u16>>,
}

impl Default for Request {
    fn default() -> Self {
        Self { protocols: vec![Protocol::Tcp, Protocol::Udp], states: States::ALL, ports: None }
    }
}

/// Where a [`Dump`] comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Socket diagnostics.
    Netlink,
    /// `/proc/net`: slower, without cookies, without sockets that are only bound.
    ProcNet {
        /// Why diagnostics were not to be had, one sentence.
        reason: String,
    },
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    /// The inode number of the namespace.
    pub netns: u32,
    /// The sockets, in the kernel's order.
    pub sockets: Vec<DiagSocket>,
    /// Where they come from; the worse if it differs by protocol.
    pub origin: Origin,
    /// The kernel said that the list changed under its hands (`NLM_F_DUMP_INTR`), also when asked
    /// again: sockets may be missing or double.
    pub interrupted: bool,
    /// Records or lines that made no sense and are left out.
    pub malformed: u64,
}

/// How often a dump is asked for before it is taken as it is.
const ATTEMPTS: usize = 3;

/// Lists the sockets of the calling thread's network namespace.
///
/// # Errors
/// When neither netlink nor `/proc/net` can be read.
pub fn dump(request: &Request) -> anyhow::Result<Dump> {
    let netns = own_inode()?;
    let mut dump = Dump {
        netns,
        sockets: Vec::new(),
        origin: Origin::Netlink,
        interrupted: false,
        malformed: 0,
    };
    for &protocol in &request.protocols {
        if let Err(error) = dump_netlink(request, protocol, &mut dump) {
            let reason = format!("{error:#}");
            proc_net::append(request, protocol, &mut dump)
                .with_context(|| format!("socket diagnostics failed ({reason}), then /proc/net"))?;
            dump.origin = Origin::ProcNet { reason };
        }
    }
    Ok(dump)
}

/// Whether this kernel lists TCP sockets that are only bound. From Linux 6.8 on it does
/// (`inet_diag_dump_icsk`); of older kernels, to which distributions may have brought it, one is
/// tried: a socket is bound to a free port of 127.0.0.1 for a moment and looked for, which goes over
/// all sockets. Tried once, by whoever asks first: the sandbox allows no such socket later. `None` when
/// there was no port to try with or no answer.
pub fn lists_bound_sockets() -> Option<bool> {
    static ANSWER: OnceLock<Option<bool>> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        if release::is_before(6, 8) == Some(false) {
            return Some(true);
        }
        lists_one_that_is_bound()
    })
}

fn lists_one_that_is_bound() -> Option<bool> {
    let address = SockaddrIn::new(127, 0, 0, 1, 0);
    let flags = SockFlag::SOCK_CLOEXEC;
    let probe = socket(AddressFamily::Inet, SockType::Stream, flags, None).ok()?;
    bind(probe.as_raw_fd(), &address).ok()?;
    let port = getsockname::<SockaddrIn>(probe.as_raw_fd()).ok()?.port();
    let request = Request {
        protocols: vec![Protocol::Tcp],
        states: States::of(&[TcpState::BOUND_INACTIVE]),
        ports: Some(port..=port),
    };
    let mut found = false;
    for_each(&request, |socket| found |= socket.flow.local.port == port).ok()?;
    Some(found)
}

/// About how many TCP sockets and TIME_WAIT entries there are in the calling thread's namespace; the
/// kernel keeps count of them (`sockstat_seq_show`, net/ipv4/proc.c).
pub fn estimate_tcp() -> usize {
    let read = |name: &str| {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
        text.lines().find(|line| line.starts_with("TCP")).map_or(0, |line| {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let after = |label| words.iter().skip_while(|word| **word != label).nth(1);
            let numbers = ["inuse", "tw"].map(|label| after(label)?.parse::<usize>().ok());
            numbers.into_iter().flatten().sum()
        })
    };
    read("sockstat") + read("sockstat6")
}

/// Calls `each` for every socket, without keeping a list: for counting hundreds of thousands. A
/// dump that the kernel calls interrupted is not repeated.
///
/// # Errors
/// When netlink can't be used; there is no fallback here.
pub fn for_each(request: &Request, mut each: impl FnMut(DiagSocket)) -> anyhow::Result<Summary> {
    let netns = own_inode()?;
    let mut summary = Summary::default();
    for &protocol in &request.protocols {
        summary.add(netlink::walk(request, protocol, netns, &mut each)?);
    }
    Ok(summary)
}

/// What a walk tells beside the sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// See [`Dump::interrupted`].
    pub interrupted: bool,
    /// See [`Dump::malformed`].
    pub malformed: u64,
}

impl Summary {
    /// Of both together.
    pub fn add(&mut self, other: Self) {
        self.interrupted |= other.interrupted;
        self.malformed += other.malformed;
    }
}

fn dump_netlink(request: &Request, protocol: Protocol, dump: &mut Dump) -> anyhow::Result<()> {
    let start = dump.sockets.len();
    for attempt in 1..=ATTEMPTS {
        let walked =
            netlink::walk(request, protocol, dump.netns, &mut |socket| dump.sockets.push(socket));
        match walked {
            Ok(summary) if summary.interrupted && attempt < ATTEMPTS => {
                dump.sockets.truncate(start);
            }
            Ok(summary) => {
                dump.interrupted |= summary.interrupted;
                dump.malformed += summary.malformed;
                break;
            }
            Err(error) => {
                dump.sockets.truncate(start);
                return Err(error);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
