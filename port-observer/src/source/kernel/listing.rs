//! What the tracepoint backend can't see, listed by socket diagnostics once a second: TIME_WAIT
//! entries and UDP sockets.

use foldhash::{HashMap, HashMapExt as _};

use crate::{
    event::{Flow, ListedSocket, ListedState, Listing, OnPort, Protocol, SocketId, TcpState},
    kernel::{
        diag::{DiagSocket, Request, States, dump, for_each},
        netns::Namespace,
    },
};

/// How often TIME_WAIT entries are listed before the list is taken as it is.
const ATTEMPTS: usize = 3;
/// So many sockets on one port are looked at; who has a port is told by those.
const MOST_ON_A_PORT: usize = 1_000;

/// Which lists.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lists {
    /// TCP's TIME_WAIT entries, of which there are about so many; 0: not at all.
    pub(super) time_waits: usize,
    /// UDP sockets.
    pub(super) udp: bool,
}

/// Lists what the namespaces hold. `time_ns`: now. One that can't be looked into is left out.
pub(super) fn look<'a>(
    time_ns: u64,
    namespaces: impl Iterator<Item = &'a Namespace>,
    lists: Lists,
) -> Listing {
    let mut listing = Listing {
        time_ns,
        time_waits: (lists.time_waits > 0).then(|| HashMap::with_capacity(lists.time_waits)),
        udp: lists.udp.then(Vec::new),
        ..Listing::default()
    };
    for namespace in namespaces {
        if let Err(error) = add(&mut listing, namespace) {
            log::debug!("namespace {} is left out of this round: {error:#}", namespace.inode);
        }
    }
    listing
}

/// The sockets of a namespace with their states, as of `time_ns`.
///
/// # Errors
/// When the namespace can't be looked into, or the kernel's list can't be had.
pub(super) fn states(
    time_ns: u64,
    namespace: &Namespace,
    protocol: Protocol,
) -> anyhow::Result<Listing> {
    let states = match protocol {
        Protocol::Tcp => States::ALL.without(&[TcpState::LISTEN, TcpState::TIME_WAIT]),
        Protocol::Udp => States::ALL,
    };
    let request = Request { protocols: vec![protocol], states, ports: None };
    let mut found = HashMap::new();
    let add = |socket: DiagSocket| {
        // Closed a moment ago, after what is to be answered: only a FIN is on its way, or the peer's.
        let is_closing = match socket.state {
            TcpState::FIN_WAIT1 | TcpState::CLOSING | TcpState::LAST_ACK => true,
            TcpState::FIN_WAIT2 => socket.inode == 0,
            _ => false,
        };
        if !socket.time_wait && (!is_closing || socket.is_unread) {
            found.insert(socket.flow, ListedState { state: socket.state, inode: socket.inode });
        }
    };
    namespace.run(|| for_each(&request, add).map(drop))?;
    let namespaces = [namespace.inode].into();
    Ok(Listing { time_ns, namespaces, sockets: Some((protocol, found)), ..Listing::default() })
}

/// What is on a port of a namespace, as of `time_ns`.
///
/// # Errors
/// When the namespace can't be looked into, or the kernel's list can't be had.
pub(super) fn on_port(
    time_ns: u64,
    namespace: &Namespace,
    protocol: Protocol,
    port: u16,
) -> anyhow::Result<Listing> {
    let ports = Some(port..=port);
    let request = Request { protocols: vec![protocol], states: States::ALL, ports };
    let mut found = Vec::new();
    let add = |socket: DiagSocket| {
        if socket.holds_a_port() && found.len() < MOST_ON_A_PORT {
            // An orphan that waits for its peer in a TIME_WAIT entry is listed in FIN_WAIT2, and is shown
            // so (`inet_twsk_diag_fill`, net/ipv4/inet_diag.c).
            let DiagSocket { flow, state, inode, .. } = socket;
            found.push(OnPort { flow, state, inode });
        }
    };
    namespace.run(|| for_each(&request, add).map(drop))?;
    let namespaces = [namespace.inode].into();
    Ok(Listing { time_ns, namespaces, on_port: Some(found), ..Listing::default() })
}

fn add(listing: &mut Listing, namespace: &Namespace) -> anyhow::Result<()> {
    if let Some(time_waits) = &mut listing.time_waits {
        namespace.run(|| add_time_waits(time_waits))?;
    }
    if let Some(udp) = &mut listing.udp {
        let request = Request { protocols: vec![Protocol::Udp], states: States::ALL, ports: None };
        let sockets = namespace.run(|| dump(&request))?.sockets;
        udp.extend(sockets.into_iter().map(|one| ListedSocket {
            socket: SocketId(one.cookie),
            flow: one.flow,
            ipv6_only: one.v6only == Some(true),
            inode: one.inode,
        }));
    }
    listing.namespaces.insert(namespace.inode);
    Ok(())
}

/// There may be very many, so no other list is made of them.
fn add_time_waits(time_waits: &mut HashMap<Flow, bool>) -> anyhow::Result<()> {
    let states = States::of(&[TcpState::TIME_WAIT, TcpState::FIN_WAIT2]);
    let request = Request { protocols: vec![Protocol::Tcp], states, ports: None };
    let mut add = |socket: DiagSocket| {
        if socket.time_wait {
            time_waits.insert(socket.flow, socket.state == TcpState::FIN_WAIT2);
        }
    };
    for _ in 0..ATTEMPTS {
        match for_each(&request, &mut add) {
            // It changed under the kernel's hands: what any of the walks shows is there.
            Ok(summary) if summary.interrupted => {}
            Ok(_) => return Ok(()),
            Err(_) => {
                // Without netlink, /proc/net.
                dump(&request)?.sockets.into_iter().for_each(add);
                return Ok(());
            }
        }
    }
    Ok(())
}
