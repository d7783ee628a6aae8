//! What is counted of the sockets while the kernel lists them; the sockets are not kept.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use foldhash::{HashMap, HashMapExt as _};

use crate::event::{Endpoint, Protocol, TcpState};
use crate::kernel::diag::DiagSocket;
use crate::ports::Ports;

/// Counts of one protocol in one network namespace.
#[derive(Debug)]
pub struct Tally {
    protocol: Protocol,
    /// Only ports of this range count, and of those not what is reserved.
    ports: Ports,
    /// By what holds each port, a set of [`HELD`] and [`BLOCKED`].
    held: Vec<u8>,
    /// How many sockets are in each state, by its number.
    states: [u32; 14],
    time_waits: u32,
    addresses: HashMap<IpAddr, u32>,
    spaces: HashMap<(IpAddr, Endpoint), u32>,
    /// Connections: the number of the space, and the port.
    members: Vec<(u32, u16)>,
    /// Of sockets that processes have open, with as many as are of one.
    inodes: Vec<u32>,
}

/// Something keeps the port.
const HELD: u8 = 1;
/// Something keeps it that connect() can't share the port with: it is bound and not connected.
const BLOCKED: u8 = 2;

/// The destination with the fewest ports left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busiest {
    /// From this address.
    pub source: IpAddr,
    /// To there.
    pub destination: Endpoint,
    /// How many ports connect() can't have.
    pub used: u32,
}

impl Tally {
    /// Nothing is counted yet. `ports`: those that count.
    pub fn new(protocol: Protocol, ports: Ports) -> Self {
        Self {
            protocol,
            ports,
            held: vec![0; 1 << 16],
            states: [0; 14],
            time_waits: 0,
            addresses: HashMap::new(),
            spaces: HashMap::new(),
            members: Vec::new(),
            inodes: Vec::new(),
        }
    }

    /// One more.
    pub fn add(&mut self, socket: &DiagSocket) {
        let local = socket.flow.local;
        if !socket.holds_a_port() || !self.ports.offers(local.port) {
            return;
        }
        self.states[usize::from(socket.state.number())] += 1;
        self.time_waits += u32::from(socket.time_wait);
        *self.addresses.entry(local.address).or_insert(0) += 1;
        if socket.inode != 0 {
            self.inodes.push(socket.inode);
        }
        let held = &mut self.held[usize::from(local.port)];
        *held |= HELD;
        if self.protocol == Protocol::Udp {
            return;
        }
        match socket.flow.remote {
            None => *held |= BLOCKED,
            Some(remote) => {
                let space = self.space((local.address, remote));
                self.members.push((space, local.port));
            }
        }
    }

    /// Takes over what was counted elsewhere, of other sockets in the same namespace.
    pub fn merge(&mut self, other: Self) {
        for (held, more) in self.held.iter_mut().zip(other.held) {
            *held |= more;
        }
        for (count, more) in self.states.iter_mut().zip(other.states) {
            *count += more;
        }
        self.time_waits += other.time_waits;
        for (address, more) in other.addresses {
            *self.addresses.entry(address).or_insert(0) += more;
        }
        let mut numbers = vec![0; other.spaces.len()];
        for (ends, number) in other.spaces {
            numbers[number as usize] = self.space(ends);
        }
        let members = other.members.into_iter();
        self.members.extend(members.map(|(space, port)| (numbers[space as usize], port)));
        self.inodes.extend(other.inodes);
    }

    /// The number of a space.
    fn space(&mut self, ends: (IpAddr, Endpoint)) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "no host has 2³² sockets")]
        let next = self.spaces.len() as u32;
        *self.spaces.entry(ends).or_insert(next)
    }

    /// The range, without what is reserved.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// Different ports that something keeps.
    pub fn used(&self) -> u32 {
        self.count(HELD)
    }

    /// Of them, those that bind() keeps from connect().
    pub fn blocked(&self) -> u32 {
        self.count(BLOCKED)
    }

    fn count(&self, flag: u8) -> u32 {
        self.held.iter().map(|held| u32::from(held & flag != 0)).sum()
    }

    /// Sockets and TIME_WAIT entries.
    pub fn sockets(&self) -> u32 {
        self.states.iter().sum()
    }

    /// TIME_WAIT entries, those included whose peer has not closed yet.
    pub fn time_waits(&self) -> u32 {
        self.time_waits
    }

    /// How many are in a state.
    pub fn in_state(&self, state: TcpState) -> u32 {
        self.states[usize::from(state.number())]
    }

    /// The fullest space for connect(): as the ledger counts it, the ports that are bound and those
    /// with a connection between the same ends. `None`: there is no connection.
    pub fn busiest(&self) -> Option<Busiest> {
        let mut own = vec![0u32; self.spaces.len()];
        for &(space, port) in &self.members {
            own[space as usize] += u32::from(self.held[usize::from(port)] & BLOCKED == 0);
        }
        let blocked = self.blocked();
        // A listener's accepted connections are no space: nobody connects from its port.
        let spaces = self.spaces.iter().map(|(ends, &number)| (ends, own[number as usize]));
        let fullest = spaces.filter(|(_, own)| *own > 0);
        // Of several, always the same.
        let ((source, destination), own) =
            fullest.max_by_key(|&((source, to), own)| (own, std::cmp::Reverse((*source, *to))))?;
        Some(Busiest { source: *source, destination: *destination, used: blocked + own })
    }

    /// The local addresses with the most sockets, most first.
    pub fn top_addresses(&self, top: usize) -> Vec<(IpAddr, u32)> {
        let mut all: Vec<(IpAddr, u32)> = self.addresses.iter().map(|(a, n)| (*a, *n)).collect();
        all.sort_unstable_by_key(|(address, count)| (std::cmp::Reverse(*count), *address));
        all.truncate(top);
        all
    }

    /// The sockets whose processes can be looked up.
    pub fn wanted(&self) -> HashSet<u32> {
        self.inodes.iter().copied().collect()
    }

    /// How many sockets each process has, by who has each inode number.
    pub fn by_process(&self, owners: &std::collections::HashMap<u32, u32>) -> BTreeMap<u32, u32> {
        let mut counts = BTreeMap::new();
        for pid in self.inodes.iter().filter_map(|inode| owners.get(inode)) {
            *counts.entry(*pid).or_insert(0) += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Flow;
    use crate::ports::{PortRange, ReservedPorts};

    fn tally() -> Tally {
        let reserved = ReservedPorts::new(vec![PortRange { min: 40_090, max: 40_200 }]);
        let ephemeral = PortRange { min: 40_000, max: 40_099 };
        Tally::new(Protocol::Tcp, Ports { ephemeral, reserved })
    }

    fn endpoint(text: &str) -> Endpoint {
        text.parse::<std::net::SocketAddr>().unwrap().into()
    }

    fn socket(local: &str, remote: Option<&str>, state: TcpState, inode: u32) -> DiagSocket {
        let flow = Flow {
            netns: 1,
            protocol: Protocol::Tcp,
            local: endpoint(local),
            remote: remote.map(endpoint),
        };
        DiagSocket {
            flow,
            state,
            time_wait: state == TcpState::TIME_WAIT,
            expires_ms: 0,
            is_unread: false,
            inode,
            cookie: 0,
            v6only: None,
            interface: 0,
        }
    }

    const TO: Option<&str> = Some("10.0.0.1:443");

    #[test]
    fn a_port_that_destinations_share_is_one_port_and_two_connections() {
        let mut tally = tally();
        tally.add(&socket("10.0.0.2:40000", TO, TcpState::ESTABLISHED, 7));
        tally.add(&socket("10.0.0.2:40000", Some("10.0.0.3:80"), TcpState::TIME_WAIT, 0));
        assert_eq!((tally.used(), tally.sockets(), tally.time_waits()), (1, 2, 1));
        assert_eq!(tally.top_addresses(5), [("10.0.0.2".parse().unwrap(), 2)]);
        assert_eq!(tally.wanted(), HashSet::from([7]));
    }

    #[test]
    fn what_is_counted_in_parts_is_what_is_counted_at_once() {
        let sockets = [
            socket("10.0.0.2:40000", TO, TcpState::ESTABLISHED, 7),
            socket("10.0.0.2:40001", Some("10.0.0.3:80"), TcpState::TIME_WAIT, 0),
            socket("10.0.0.2:40002", TO, TcpState::ESTABLISHED, 8),
            socket("10.0.0.2:40002", Some("10.0.0.3:80"), TcpState::ESTABLISHED, 8),
            socket("0.0.0.0:40001", None, TcpState::LISTEN, 9),
        ];
        for cut in 0..=sockets.len() {
            let (mut whole, mut first, mut second) = (tally(), tally(), tally());
            sockets.iter().for_each(|one| whole.add(one));
            sockets[..cut].iter().for_each(|one| first.add(one));
            sockets[cut..].iter().for_each(|one| second.add(one));
            first.merge(second);
            let seen = |of: &Tally| {
                let connected = of.in_state(TcpState::ESTABLISHED);
                let counts = (of.used(), of.blocked(), of.sockets(), of.time_waits(), connected);
                (counts, of.busiest(), of.top_addresses(9), of.wanted())
            };
            assert_eq!(seen(&first), seen(&whole));
            assert_eq!((first.used(), first.busiest().unwrap().used), (3, 3));
        }
    }

    #[test]
    fn reserved_ports_ports_outside_and_requests_do_not_count() {
        let mut tally = tally();
        for local in ["10.0.0.2:40090", "10.0.0.2:39999", "10.0.0.2:40100", "10.0.0.2:0"] {
            tally.add(&socket(local, TO, TcpState::ESTABLISHED, 7));
        }
        tally.add(&socket("10.0.0.2:40000", TO, TcpState::SYN_RECV, 0));
        assert_eq!((tally.used(), tally.sockets(), tally.busiest()), (0, 0, None));
    }

    #[test]
    fn the_busiest_destination_lacks_bound_ports_too_and_counts_none_twice() {
        let mut tally = tally();
        for port in 40_000..40_010 {
            tally.add(&socket(&format!("10.0.0.2:{port}"), TO, TcpState::ESTABLISHED, 7));
        }
        tally.add(&socket("10.0.0.2:40020", Some("10.0.0.3:80"), TcpState::ESTABLISHED, 8));
        // One that is bound by itself, and one that a connection has as well.
        tally.add(&socket("0.0.0.0:40030", None, TcpState::LISTEN, 9));
        tally.add(&socket("127.0.0.1:40000", None, TcpState::BOUND_INACTIVE, 9));
        let busiest = tally.busiest().unwrap();
        assert_eq!(busiest.destination, endpoint("10.0.0.1:443"));
        assert_eq!((busiest.used, tally.used(), tally.blocked()), (11, 12, 2));
        let owners = [(7, 100), (9, 200)].into();
        assert_eq!(tally.by_process(&owners), BTreeMap::from([(100, 10), (200, 2)]));
    }

    #[test]
    fn accepted_connections_are_no_space() {
        let mut tally = tally();
        tally.add(&socket("0.0.0.0:40030", None, TcpState::LISTEN, 9));
        tally.add(&socket("10.0.0.2:40030", Some("10.0.0.3:5000"), TcpState::ESTABLISHED, 9));
        assert_eq!(tally.busiest(), None);
    }
}
