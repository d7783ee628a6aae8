//! What socket diagnostics show of a place: who listens, and how many ports are used.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use super::Plan;
use crate::{
    event::{Endpoint, Protocol, TcpState},
    kernel::{
        diag::{self, Request, States},
        sysctl,
    },
};

/// What they show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Ports that a source can use.
    pub ports: u32,
    /// Those that are used, by the pair that uses the most.
    pub used: u32,
    /// Pairs that use all.
    pub pairs_full: u32,
    /// TIME_WAIT entries.
    pub time_wait: u64,
    /// The server's port is listened on.
    pub is_listening: bool,
    /// Its accept queue: how many, and how many may be, less one.
    pub queue: (u32, u32),
    /// Connections of the server that have been accepted.
    pub accepted: u64,
}

/// Somebody who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// Of an IPv6 socket, whether it takes no IPv4.
    pub v6only: bool,
    /// Connections that wait, and how many may, less one.
    pub queue: (u32, u32),
}

/// Who listens in the calling thread's network namespace.
pub fn listeners() -> Vec<Listener> {
    let request = Request {
        protocols: vec![Protocol::Tcp],
        states: States::of(&[TcpState::LISTEN]),
        ports: None,
    };
    let mut found = Vec::new();
    let _ = diag::for_each(&request, |socket| {
        found.push(Listener {
            address: socket.flow.local.address,
            port: socket.flow.local.port,
            v6only: socket.v6only == Some(true),
            queue: socket.accept_queue,
        });
    });
    found
}

/// Whether the server has taken this peer's connection out of its queue: it has a number then.
pub fn is_accepted(server_port: u16, peer: SocketAddr) -> bool {
    let request = Request {
        protocols: vec![Protocol::Tcp],
        ports: Some(server_port..=server_port),
        ..Request::default()
    };
    let mut is_accepted = false;
    let _ = diag::for_each(&request, |socket| {
        let is_peer = |remote: Endpoint| {
            (remote.address.to_canonical(), remote.port) == (peer.ip().to_canonical(), peer.port())
        };
        is_accepted |= socket.flow.remote.is_some_and(is_peer) && socket.inode != 0;
    });
    is_accepted
}

/// Looks at all sockets of the calling thread's network namespace.
pub fn look(plan: &Plan, server_port: u16) -> Sockets {
    let mut sockets = Sockets::default();
    let ports = sysctl::ports_here().ok();
    let is_usable = |port: u16| ports.as_ref().is_some_and(|ports| ports.offers(port));
    // Of a port that is listened on, no other socket is given its number.
    let mut listened = HashSet::new();
    let mut used: HashMap<(IpAddr, Option<IpAddr>), HashSet<u16>> = HashMap::new();
    let (mut queue, mut standing) = ((0u32, 0u32), 0u64);
    let request = Request { protocols: vec![Protocol::Tcp], ..Request::default() };
    let _ = diag::for_each(&request, |socket| {
        let (local, remote) = (socket.flow.local, socket.flow.remote);
        if socket.state == TcpState::LISTEN {
            listened.insert(local.port);
            if local.port == server_port {
                sockets.is_listening = true;
                queue = (queue.0 + socket.accept_queue.0, queue.1.max(socket.accept_queue.1));
            }
            return;
        }
        if local.port == server_port {
            let is_standing = matches!(socket.state, TcpState::ESTABLISHED | TcpState::CLOSE_WAIT);
            standing += u64::from(is_standing && !socket.time_wait);
        }
        sockets.time_wait += u64::from(socket.time_wait);
        if local.port != server_port && is_usable(local.port) {
            let to = remote.map(|remote| remote.address.to_canonical());
            let key =
                (local.address.to_canonical(), if plan.bind.chooses_port() { None } else { to });
            used.entry(key).or_default().insert(local.port);
        }
    });
    let listened = listened.iter().filter(|&&port| is_usable(port)).count();
    let all = ports.as_ref().map_or(0, |ports| ports.capacity() as usize);
    sockets.ports = u32::try_from(all.saturating_sub(listened)).unwrap_or(u32::MAX);
    let count = |ports: &HashSet<u16>| u32::try_from(ports.len()).unwrap_or(u32::MAX);
    sockets.used = used.values().map(count).max().unwrap_or(0);
    sockets.pairs_full = used.values().filter(|ports| count(ports) >= sockets.ports).count() as u32;
    sockets.queue = queue;
    sockets.accepted = standing.saturating_sub(u64::from(queue.0));
    sockets
}
