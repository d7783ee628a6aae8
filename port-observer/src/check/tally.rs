//! What is counted of the sockets while the kernel lists them; the sockets are not kept.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};

use crate::event::{Endpoint, Protocol, TcpState};
use crate::kernel::diag::DiagSocket;
use crate::ports::Ports;

/// Counts of one protocol in one network namespace.
#[derive(Clone, Debug)]
pub struct Tally {
    protocol: Protocol,
    /// Only ports of this range count, and of those not what is reserved.
    ports: Ports,
    /// By what holds each port, a set of [`HELD`] and [`BLOCKED`].
    held: Vec<u8>,
    /// How many sockets are in each state, by its number.
    states: [u32; 14],
    /// The same without those on ports that bind() keeps from connect().
    shared_states: [u32; 14],
    time_waits: u32,
    shared_time_waits: u32,
    addresses: HashMap<IpAddr, u32>,
    spaces: HashMap<(IpAddr, Endpoint), u32>,
    /// Connections: the number of the space, and the port.
    members: Vec<(u32, u16)>,
    /// Of sockets that processes have open, with as many as are of one.
    inodes: Vec<u32>,
    /// Those of them that are connected, or only bound, on ports that bind() keeps from connect(), with
    /// the port.
    bind_held_inodes: Vec<(u32, u16)>,
    /// By port, [`BIND_HELD`] where that was found out before, else 0; empty: it was not.
    bind_held: Arc<[u8]>,
}

/// A socket that keeps a port, or a TIME_WAIT entry.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Which port.
    pub local: Endpoint,
    /// Where it is connected to.
    pub remote: Option<Endpoint>,
    /// Its state, as [`DiagSocket`] has it.
    pub state: TcpState,
    /// It is a TIME_WAIT entry, whose state may be `FIN_WAIT2` too.
    pub time_wait: bool,
    /// The number in `/proc/PID/fd`; 0: none, or not known.
    pub inode: u32,
}

/// Something keeps the port.
const HELD: u8 = 1;
/// Something keeps it that connect() can't share the port with: it is bound and not connected.
const BLOCKED: u8 = 2;
/// The same, if it is connected.
const BIND_HELD: u8 = 4;
/// A listener keeps it.
const LISTENED: u8 = 8;

/// The ports of which it was found out that connect() passes them over.
#[derive(Clone, Debug, Default)]
pub struct BindHeldPorts(Arc<[u8]>);

impl FromIterator<u16> for BindHeldPorts {
    fn from_iter<T: IntoIterator<Item = u16>>(ports: T) -> Self {
        let mut by_port = vec![0; 1 << 16];
        ports.into_iter().for_each(|port| by_port[usize::from(port)] = BIND_HELD);
        Self(by_port.into())
    }
}

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
            shared_states: [0; 14],
            time_waits: 0,
            shared_time_waits: 0,
            addresses: HashMap::new(),
            spaces: HashMap::new(),
            members: Vec::new(),
            inodes: Vec::new(),
            bind_held_inodes: Vec::new(),
            bind_held: Arc::new([]),
        }
    }

    /// The same where it is known which ports connect() passes over.
    pub fn knowing(self, BindHeldPorts(bind_held): BindHeldPorts) -> Self {
        Self { bind_held, ..self }
    }

    /// One more, as the kernel lists it.
    pub fn list(&mut self, socket: &DiagSocket) {
        if socket.holds_a_port() {
            let DiagSocket { flow, state, time_wait, inode, .. } = *socket;
            self.add(&Held { local: flow.local, remote: flow.remote, state, time_wait, inode });
        }
    }

    /// One more.
    pub fn add(&mut self, socket: &Held) {
        let local = socket.local;
        if !self.ports.offers(local.port) {
            return;
        }
        let state = usize::from(socket.state.number());
        let bind_held = self.bind_held.get(usize::from(local.port)).copied().unwrap_or(0);
        self.states[state] += 1;
        self.time_waits += u32::from(socket.time_wait);
        if bind_held == 0 {
            self.shared_states[state] += 1;
            self.shared_time_waits += u32::from(socket.time_wait);
        }
        *self.addresses.entry(local.address).or_insert(0) += 1;
        if socket.inode != 0 {
            self.inodes.push(socket.inode);
        }
        let held = &mut self.held[usize::from(local.port)];
        *held |= HELD | bind_held;
        if self.protocol == Protocol::Udp {
            return;
        }
        let is_listener = socket.state == TcpState::LISTEN;
        let is_blocked = bind_held != 0 || socket.remote.is_none();
        if socket.inode != 0 && is_blocked && !is_listener {
            self.bind_held_inodes.push((socket.inode, local.port));
        }
        match socket.remote {
            None if is_listener => *held |= BLOCKED | LISTENED,
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
        for (count, more) in self.shared_states.iter_mut().zip(other.shared_states) {
            *count += more;
        }
        self.time_waits += other.time_waits;
        self.shared_time_waits += other.shared_time_waits;
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
        self.bind_held_inodes.extend(other.bind_held_inodes);
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

    /// Of them, those that bind() keeps from connect(), listeners' too.
    pub fn blocked(&self) -> u32 {
        self.count(BLOCKED | BIND_HELD)
    }

    /// Of these, those that nobody listens on.
    pub fn bind_held(&self) -> u32 {
        self.blocked() - self.count(LISTENED)
    }

    fn count(&self, flags: u8) -> u32 {
        self.held.iter().map(|held| u32::from(held & flags != 0)).sum()
    }

    /// Whether there are connections, or their TIME_WAIT entries.
    pub fn has_connections(&self) -> bool {
        !self.members.is_empty()
    }

    /// Sockets and TIME_WAIT entries.
    pub fn sockets(&self) -> u32 {
        self.states.iter().sum()
    }

    /// TIME_WAIT entries, those included whose peer has not closed yet.
    pub fn time_waits(&self) -> u32 {
        self.time_waits
    }

    /// TIME_WAIT entries on ports that bind() does not keep from connect(), as far as that is known.
    pub fn shared_time_waits(&self) -> u32 {
        self.shared_time_waits
    }

    /// How many of those are in a state.
    pub fn shared_in_state(&self, state: TcpState) -> u32 {
        self.shared_states[usize::from(state.number())]
    }

    /// How many are in a state.
    pub fn in_state(&self, state: TcpState) -> u32 {
        self.states[usize::from(state.number())]
    }

    /// The fullest space for connect(): as the ledger counts it, the ports that are bound and those
    /// with a connection between the same ends. `None`: there is no connection.
    pub fn busiest(&self) -> Option<Busiest> {
        // Ports that the space adds to those that are blocked, and connections.
        let mut own = vec![(0u32, 0u32); self.spaces.len()];
        for &(space, port) in &self.members {
            let held = self.held[usize::from(port)];
            let (own, connections) = &mut own[space as usize];
            *own += u32::from(held & (BLOCKED | BIND_HELD) == 0);
            // A listener's accepted connections are no space: nobody connects from its port.
            *connections += u32::from(held & BLOCKED == 0);
        }
        let blocked = self.blocked();
        let spaces = self.spaces.iter().map(|(ends, &number)| (ends, own[number as usize]));
        let fullest = spaces.filter(|(_, (_, connections))| *connections > 0);
        // Of several, always the same.
        let ((source, destination), (own, _)) =
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
    pub fn by_process(&self, owners: &Owners) -> BTreeMap<u32, u32> {
        count(self.inodes.iter().copied(), owners)
    }

    /// The same of sockets that keep ports from connect() by bind(), listeners left out.
    pub fn bind_held_by_process(&self, owners: &Owners) -> BTreeMap<u32, u32> {
        // What a listener accepted has its port too.
        let is_held = |(_, port): &&(u32, u16)| self.held[usize::from(*port)] & LISTENED == 0;
        count(self.bind_held_inodes.iter().filter(is_held).map(|(inode, _)| *inode), owners)
    }
}

/// The process that has the socket of an inode number open.
type Owners = std::collections::HashMap<u32, u32>;

fn count(inodes: impl Iterator<Item = u32>, owners: &Owners) -> BTreeMap<u32, u32> {
    let mut counts = BTreeMap::new();
    for pid in inodes.filter_map(|inode| owners.get(&inode)) {
        *counts.entry(*pid).or_insert(0) += 1;
    }
    counts
}

#[cfg(test)]
mod tests;
