//! Two lists of sockets, one after the other, and what must have happened in between. Pure.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

use crate::event::{Flow, Kind, Protocol, Reason, Reuse, Sharing, SocketId, TcpState, Via};
use crate::kernel::diag::DiagSocket;

/// A TIME_WAIT entry has its socket's cookie: this bit tells them apart.
const TIME_WAIT_BIT: u64 = 1 << 63;
/// How much earlier than its timer said a TIME_WAIT entry may go and still count as expired.
const TIMER_SLACK_MS: u64 = 1_000;

/// One round: the sockets that hold a port, by their identity.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// When the list was read, nanoseconds since boot.
    pub(super) time_ns: u64,
    pub(super) sockets: HashMap<SocketId, Held>,
    /// The namespaces that were looked into.
    pub(super) looked: HashSet<u32>,
    listeners: HashMap<(u32, u16), Vec<Listener>>,
}

/// What a round has read.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    pub(super) list: Vec<DiagSocket>,
    /// The namespaces that it is from.
    pub(super) looked: HashSet<u32>,
    /// Namespaces that exist and whose list could not be had: their sockets stay as they were.
    pub(super) kept: HashSet<u32>,
}

/// A socket that holds a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) socket: DiagSocket,
    /// The listener that accepted it.
    pub(super) child_of: Option<SocketId>,
}

#[derive(Clone, Copy, Debug)]
struct Listener {
    id: SocketId,
    address: IpAddr,
    v6only: bool,
}

/// Something that happened, its process not looked up yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) socket: SocketId,
    pub(super) flow: Flow,
    pub(super) kind: Kind,
    /// The inode number of the socket whose process is to be looked up, 0: none.
    pub(super) inode: u32,
}

impl Snapshot {
    /// Takes in a list, after the round before it: what has no cookie keeps the identity that it had.
    pub(super) fn new(round: Round, time_ns: u64, previous: &Self) -> Self {
        let Round { list, looked, kept } = round;
        let mut snapshot = Self { time_ns, looked, ..Self::default() };
        let listed = list.into_iter().filter(DiagSocket::holds_a_port);
        let mut sockets: Vec<(SocketId, DiagSocket)> = Vec::new();
        let mut without_cookie = Vec::new();
        for socket in listed {
            match socket.cookie {
                0 => without_cookie.push(socket),
                cookie if socket.time_wait => {
                    sockets.push((SocketId(cookie ^ TIME_WAIT_BIT), socket));
                }
                cookie => sockets.push((SocketId(cookie), socket)),
            }
        }
        if !without_cookie.is_empty() {
            sockets.extend(identify(without_cookie, previous));
        }
        let carried =
            previous.sockets.iter().filter(|(_, held)| kept.contains(&held.socket.flow.netns));
        sockets.extend(carried.map(|(id, held)| (*id, held.socket.clone())));
        for (id, socket) in sockets.iter().filter(|(_, one)| one.state == TcpState::LISTEN) {
            let listener = Listener {
                id: *id,
                address: socket.flow.local.address,
                v6only: socket.v6only == Some(true),
            };
            let port = (socket.flow.netns, socket.flow.local.port);
            snapshot.listeners.entry(port).or_default().push(listener);
        }
        for (id, socket) in sockets {
            let child_of = match previous.sockets.get(&id).or_else(|| {
                // The TIME_WAIT entry of a child is a child.
                previous.sockets.get(&SocketId(id.0 ^ TIME_WAIT_BIT)).filter(|_| socket.time_wait)
            }) {
                Some(known) => known.child_of,
                None => snapshot.listener_of(&socket).or_else(|| previous.listener_of(&socket)),
            };
            snapshot.sockets.insert(id, Held { socket, child_of });
        }
        snapshot
    }

    /// The listener on whose port a connection is: then it was accepted and took no port.
    fn listener_of(&self, socket: &DiagSocket) -> Option<SocketId> {
        let Flow { netns, protocol, local, remote } = socket.flow;
        if protocol != Protocol::Tcp || remote.is_none() || socket.state == TcpState::SYN_SENT {
            return None;
        }
        let here = |listener: &&Listener| match listener.address {
            address if address == local.address => true,
            IpAddr::V4(any) => any.is_unspecified() && local.address.is_ipv4(),
            // [::] takes IPv4 too unless told otherwise.
            IpAddr::V6(any) => {
                any.is_unspecified() && (local.address.is_ipv6() || !listener.v6only)
            }
        };
        self.listeners.get(&(netns, local.port))?.iter().find(here).map(|listener| listener.id)
    }
}

/// Identities for sockets without cookies: the inode number while a process has them open, else
/// what the socket with the same addresses had, else one made of the addresses.
fn identify(list: Vec<DiagSocket>, previous: &Snapshot) -> Vec<(SocketId, DiagSocket)> {
    let by_flow: HashMap<Flow, SocketId> = previous
        .sockets
        .iter()
        .filter(|(_, held)| held.socket.flow.remote.is_some())
        .map(|(id, held)| (held.socket.flow, *id))
        .collect();
    list.into_iter()
        .map(|socket| {
            let flow = socket.flow;
            let id = match (by_flow.get(&flow), socket.inode) {
                (Some(id), 0) => id.0 & !TIME_WAIT_BIT,
                (None, 0) => hash(flow),
                (_, inode) => hash((flow.netns, flow.protocol, inode)),
            };
            let id = if socket.time_wait { id | TIME_WAIT_BIT } else { id };
            (SocketId(id), socket)
        })
        .collect()
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish() & !TIME_WAIT_BIT
}

/// What happened between two rounds: first what ended, then state changes, then what began.
///
/// Accepted children yield [`Kind::Inherit`], not an acquire. A socket that came and went between
/// the rounds is not seen, unless it left a TIME_WAIT entry.
pub(super) fn compare(previous: &Snapshot, current: &Snapshot) -> Vec<Change> {
    let mut changes = Changes::default();
    let arrived: HashSet<Flow> = current
        .sockets
        .iter()
        .filter(|(id, held)| !held.socket.time_wait && !previous.sockets.contains_key(id))
        .map(|(_, held)| held.socket.flow)
        .collect();
    for (&id, held) in &previous.sockets {
        if current.sockets.contains_key(&id) {
            continue;
        }
        let successor = SocketId(id.0 ^ TIME_WAIT_BIT);
        let (flow, kind) = match current.sockets.get(&successor) {
            Some(entry) if !held.socket.time_wait => (entry.socket.flow, time_wait(successor)),
            _ => {
                let reason = reason(&held.socket, previous, current, &arrived);
                (held.socket.flow, Kind::Release { reason })
            }
        };
        changes.ended.push(Change { socket: id, flow, kind, inode: 0 });
    }
    for (&id, held) in &current.sockets {
        match previous.sockets.get(&id) {
            Some(before) => changes.went_on(id, before, held),
            None if held.socket.time_wait => {
                let socket = SocketId(id.0 ^ TIME_WAIT_BIT);
                // Else it is told above, as the end of its socket.
                if !previous.sockets.contains_key(&socket) {
                    changes.began(socket, held);
                    let kind = time_wait(id);
                    changes.follow(held).push(Change {
                        socket,
                        flow: held.socket.flow,
                        kind,
                        inode: 0,
                    });
                }
            }
            None => changes.began(id, held),
        }
    }
    changes.in_order()
}

/// Changes by the order in which they are told.
#[derive(Default)]
struct Changes {
    ended: Vec<Change>,
    states: Vec<Change>,
    began: Vec<Change>,
    /// Children, after their listeners.
    inherited: Vec<Change>,
}

impl Changes {
    fn began(&mut self, socket: SocketId, held: &Held) {
        let kind = beginning(held);
        let inode = if held.child_of.is_some() { 0 } else { held.socket.inode };
        self.follow(held).push(Change { socket, flow: held.socket.flow, kind, inode });
    }

    fn follow(&mut self, held: &Held) -> &mut Vec<Change> {
        if held.child_of.is_some() { &mut self.inherited } else { &mut self.began }
    }

    /// A socket that was there in both rounds.
    fn went_on(&mut self, id: SocketId, before: &Held, held: &Held) {
        let (from, to) = (before.socket.flow, held.socket.flow);
        let change = |flow, kind, inode| Change { socket: id, flow, kind, inode };
        if from.local.port != to.local.port {
            // Disconnected, by connect() to AF_UNSPEC, and given another port.
            let kind = Kind::Release { reason: Reason::Closed };
            self.ended.push(change(from, kind, 0));
            self.began(id, held);
            return;
        }
        if to.protocol == Protocol::Udp || held.socket.time_wait {
            return;
        }
        if from.remote.is_none() && to.remote.is_some() {
            self.began.push(change(to, acquire(Via::Connect), held.socket.inode));
        }
        let (old, new) = (before.socket.state, held.socket.state);
        if old != new {
            self.states.push(change(to, Kind::State { old, new }, 0));
        }
    }

    fn in_order(self) -> Vec<Change> {
        let mut all = Vec::new();
        for mut part in [self.ended, self.states, self.began, self.inherited] {
            // A map has no order. The sort is stable: what one socket did stays in its order.
            part.sort_by_key(|change| change.socket);
            all.append(&mut part);
        }
        all
    }
}

/// How a socket that is new came by its port. Which call it was shows in what it is now: a
/// connection connected, all else was bound. A UDP socket with a peer was bound by connect().
fn beginning(held: &Held) -> Kind {
    let flow = held.socket.flow;
    match (held.child_of, flow.remote, flow.protocol) {
        (Some(listener), ..) => Kind::Inherit { listener, sharing: Sharing::default() },
        (None, Some(_), Protocol::Tcp) => acquire(Via::Connect),
        (None, Some(_), Protocol::Udp) => acquire(Via::Autobind),
        (None, None, _) => acquire(Via::Bind),
    }
}

/// The socket is gone already: no release of its own follows.
fn time_wait(successor: SocketId) -> Kind {
    Kind::TimeWait { successor: Some(successor), done: true, reuse: Reuse::default() }
}

fn acquire(via: Via) -> Kind {
    Kind::Acquire {
        via,
        requested_port: None,
        search_ns: None,
        task: None,
        sharing: Sharing::default(),
    }
}

/// Why a port came free, as far as it shows.
fn reason(
    socket: &DiagSocket,
    previous: &Snapshot,
    current: &Snapshot,
    arrived: &HashSet<Flow>,
) -> Reason {
    let elapsed_ms = current.time_ns.saturating_sub(previous.time_ns) / 1_000_000;
    if !current.looked.contains(&socket.flow.netns) {
        // With its namespace, or the namespace is out of reach.
        Reason::Reconciled
    } else if !socket.time_wait {
        Reason::Closed
    } else if arrived.contains(&socket.flow) {
        Reason::TimeWaitReused
    } else if elapsed_ms + TIMER_SLACK_MS >= u64::from(socket.expires_ms) {
        Reason::TimeWaitExpired
    } else {
        Reason::Reconciled
    }
}
