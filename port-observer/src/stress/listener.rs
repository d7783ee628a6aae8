//! What socket diagnostics show of a place: who listens, and how many ports are used.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use super::{
    Plan,
    program::{Program, Use},
};
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
    /// Pairs that use any.
    pub pairs: u32,
    /// TIME_WAIT entries.
    pub time_wait: u64,
    /// The server's port is listened on.
    pub is_listening: bool,
    /// Its accept queue: how many, and how many may be, less one.
    pub queue: (u32, u32),
    /// Connections of the server that have been accepted.
    pub accepted: u64,
    /// Connections of the program that was asked about.
    pub own: Use,
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

/// Looks at all sockets of the calling thread's network namespace. `server_port`: of the server; `None`: all
/// ports that somebody listens on are servers'. `own`: sockets of the program that connects, where it is none
/// of this program's.
pub fn look(plan: &Plan, server_port: Option<u16>, own: Option<&HashSet<u32>>) -> Sockets {
    let mut sockets = Sockets::default();
    let ports = sysctl::ports_here().ok();
    let is_usable = |port: u16| ports.as_ref().is_some_and(|ports| ports.offers(port));
    // Of a port that is listened on, no other socket is given its number.
    let mut listened = HashSet::new();
    let mut used: HashMap<Space, HashSet<u16>> = HashMap::new();
    let (mut queue, mut fullest, mut standing) = ((0u32, 0u32), (0u32, 0u32), 0u64);
    let (mut flows, mut of_own) = (Flows::default(), HashSet::new());
    // Where others are too, only what it has itself is its limit.
    let is_shared = matches!(plan.program, Some(Program::Running(_)));
    let protocol = if plan.udp { Protocol::Udp } else { Protocol::Tcp };
    let request = Request { protocols: vec![protocol], ..Request::default() };
    // Those that listen come first, of either family (`inet_diag_dump_icsk`).
    let _ = diag::for_each(&request, |socket| {
        let (local, remote) = (socket.flow.local, socket.flow.remote);
        let is_servers = server_port.map_or_else(
            || socket.state == TcpState::LISTEN || listened.contains(&local.port),
            |port| port == local.port,
        );
        if plan.udp && is_servers {
            sockets.is_listening = true;
            return;
        }
        if socket.state == TcpState::LISTEN {
            listened.insert(local.port);
            let is_own = own.is_some_and(|own| own.contains(&socket.inode));
            if is_servers && (!is_shared || is_own) {
                sockets.is_listening = true;
                queue = (queue.0 + socket.accept_queue.0, queue.1.max(socket.accept_queue.1));
                if socket.accept_queue.0 >= fullest.0 {
                    fullest = socket.accept_queue;
                }
            }
            return;
        }
        let is_standing = !socket.time_wait
            && matches!(socket.state, TcpState::ESTABLISHED | TcpState::CLOSE_WAIT);
        if is_standing && own.is_some_and(|own| own.contains(&socket.inode)) {
            flows.add(local, remote);
        }
        sockets.time_wait += u64::from(socket.time_wait);
        if is_servers {
            standing += u64::from(is_standing);
        } else if is_usable(local.port) {
            let to = remote.filter(|_| !plan.has_ports_once());
            let to = to.map(|to| (to.address.to_canonical(), to.port));
            let space = (local.address.to_canonical(), to);
            if own.is_some_and(|own| own.contains(&socket.inode)) {
                of_own.insert(space);
            }
            used.entry(space).or_default().insert(local.port);
        }
    });
    // Others of a host's own namespace connect elsewhere, and are none of this.
    if let Some(target) = plan.target.filter(|_| !plan.has_ports_once()) {
        let target = (target.ip().to_canonical(), target.port());
        used.retain(|(_, to), _| *to == Some(target));
    }
    if is_shared {
        used.retain(|space, _| of_own.contains(space));
    }
    let listened = listened.iter().filter(|&&port| is_usable(port)).count();
    let all = ports.as_ref().map_or(0, |ports| ports.capacity() as usize);
    sockets.ports = u32::try_from(all.saturating_sub(listened)).unwrap_or(u32::MAX);
    let count = |ports: &HashSet<u16>| u32::try_from(ports.len()).unwrap_or(u32::MAX);
    sockets.used = used.values().map(count).max().unwrap_or(0);
    sockets.pairs_full = used.values().filter(|ports| count(ports) >= sockets.ports).count() as u32;
    sockets.pairs = u32::try_from(used.len()).unwrap_or(u32::MAX);
    // Of several that listen, the one that most wait for.
    sockets.queue = if server_port.is_some() { queue } else { fullest };
    sockets.accepted = standing.saturating_sub(u64::from(queue.0));
    sockets.own = flows.counted();
    sockets
}

/// A source address, and an address and port that is connected to.
type Space = (IpAddr, Option<(IpAddr, u16)>);

/// Ends of connections that a program has.
#[derive(Default)]
struct Flows(HashSet<(Endpoint, Endpoint)>);

impl Flows {
    fn add(&mut self, local: Endpoint, remote: Option<Endpoint>) {
        let canonical = |one: Endpoint| Endpoint::new(one.address.to_canonical(), one.port);
        self.0.extend(remote.map(|remote| (canonical(local), canonical(remote))));
    }

    fn counted(&self) -> Use {
        let has_other =
            |&&(local, remote): &&(Endpoint, Endpoint)| self.0.contains(&(remote, local));
        let both_ends = self.0.iter().filter(has_other).count() as u64 / 2;
        let connections = self.0.len() as u64 - both_ends;
        Use { sockets: 0, connections, both_ends }
    }
}
