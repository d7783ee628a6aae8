//! Every socket and TIME_WAIT entry that keeps a port, by its identity.

use std::{collections::VecDeque, hash::BuildHasher as _, sync::Arc};

// Every event is looked up here: a hash cheaper than the standard library's, and seeded too.
use foldhash::{HashMap, HashMapExt as _, fast::RandomState};
use hashbrown::HashTable;
use slab::Slab;

use super::{
    holding::{Holding, Holds},
    lists::Index,
    namespaces::Namespace,
    place::{self, Place},
    spaces::Spaces,
};
use crate::{
    event::{Flow, Reuse, SocketId},
    process::Process,
};

/// For how long a space for bind() is kept after its last allocation: two minutes.
const BIND_SPACE_NS: u64 = 120_000_000_000;

/// All holdings.
#[derive(Debug)]
pub struct Holdings {
    pub(super) slab: Slab<Holding>,
    by_socket: HashTable<Index>,
    /// TIME_WAIT entries without an identity. Cleared by a release or by comparison with the kernel.
    by_flow: HashTable<Index>,
    hasher: RandomState,
    /// Sockets whose TIME_WAIT entry keeps their port: their own release frees nothing.
    succeeded: HashMap<SocketId, u16>,
    /// Who has a socket open, where that is not who took its port.
    open_in: HashMap<SocketId, Arc<Process>>,
    pub(super) namespaces: HashMap<u32, Namespace>,
    pub(super) spaces: Spaces,
    /// TIME_WAIT entries that will be old enough to be taken over: when, which, and when they began.
    pub(super) ripening: VecDeque<(u64, Index, u64)>,
    /// Whether a bind() keeps connect() from a port for as long as anybody holds it.
    pub(super) sticky: bool,
    max: usize,
    /// What is taken for now: the latest time that an event had.
    pub(super) now_ns: u64,
}

impl Holdings {
    /// None, at most `max` of them. `sticky`: see [`super::Options`].
    pub fn new(max: usize, sticky: bool) -> Self {
        Self {
            slab: Slab::new(),
            by_socket: HashTable::new(),
            by_flow: HashTable::new(),
            hasher: RandomState::default(),
            succeeded: HashMap::new(),
            open_in: HashMap::new(),
            namespaces: HashMap::new(),
            spaces: Spaces::default(),
            ripening: VecDeque::new(),
            sticky,
            max,
            now_ns: 0,
        }
    }

    /// The holding of a socket.
    pub fn find(&self, socket: SocketId) -> Option<Index> {
        let hash = self.hasher.hash_one(socket);
        self.by_socket.find(hash, |&index| self.slab[index as usize].socket == socket).copied()
    }

    /// The TIME_WAIT entry of this 4-tuple, if one without an identity is there.
    pub fn find_flow(&self, flow: &Flow) -> Option<Index> {
        if self.by_flow.is_empty() {
            return None;
        }
        let hash = place::hash(&self.hasher, flow);
        self.by_flow.find(hash, |&index| self.slab[index as usize].flow() == *flow).copied()
    }

    /// A holding.
    pub fn get(&self, index: Index) -> &Holding {
        &self.slab[index as usize]
    }

    /// A holding; what decides who else may have its port is not to be changed.
    pub fn get_mut(&mut self, index: Index) -> &mut Holding {
        &mut self.slab[index as usize]
    }

    /// A port is kept from now on. `binds`: by a bind(). Returns `None` when the ledger is full.
    pub fn insert(&mut self, holding: Holding, binds: bool) -> Option<Index> {
        if self.slab.len() >= self.max {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "the limit is below 2³²")]
        let index = self.slab.insert(holding) as Index;
        self.register(index);
        self.enter(index, binds);
        Some(index)
    }

    /// A port is kept no longer by this holding.
    pub fn remove(&mut self, index: Index) -> Holding {
        self.unregister(index);
        self.leave(index);
        self.slab.remove(index as usize)
    }

    /// TIME_WAIT succeeds a socket in keeping its port.
    pub fn to_time_wait(
        &mut self,
        index: Index,
        successor: Option<SocketId>,
        flow: Flow,
        reuse: Reuse,
    ) {
        let is_same_place = self.get(index).flow() == flow;
        let binds = !is_same_place && self.bucket_is_bound(index);
        self.unregister(index);
        if !is_same_place {
            self.leave(index);
        }
        let now_ns = self.now_ns;
        let holding = self.get_mut(index);
        holding.socket = successor.unwrap_or(SocketId(0));
        holding.place = Place::from(&flow);
        holding.holds = Holds::TimeWait;
        holding.reuse = reuse;
        holding.began_ns = now_ns;
        if !is_same_place {
            self.enter(index, binds);
        }
        self.register(index);
        self.closes(index);
        self.ripens(index);
    }

    /// What was found out about a holding that decides who else may have its port.
    pub fn correct(&mut self, index: Index, change: impl FnOnce(&mut Holding)) {
        let binds = self.bucket_is_bound(index);
        self.leave(index);
        change(self.get_mut(index));
        self.enter(index, binds);
    }

    fn register(&mut self, index: Index) {
        let Self { slab, by_socket, by_flow, hasher, .. } = self;
        let socket = slab[index as usize].socket;
        if socket.0 == 0 {
            let hash = |index: Index| place::hash(hasher, &slab[index as usize].flow());
            by_flow.insert_unique(hash(index), index, |&other| hash(other));
        } else {
            let hash = hasher.hash_one(socket);
            by_socket.insert_unique(hash, index, |&i| hasher.hash_one(slab[i as usize].socket));
        }
    }

    fn unregister(&mut self, index: Index) {
        let holding = &self.slab[index as usize];
        let (table, hash) = if holding.socket.0 == 0 {
            (&mut self.by_flow, place::hash(&self.hasher, &holding.flow()))
        } else {
            (&mut self.by_socket, self.hasher.hash_one(holding.socket))
        };
        if let Ok(entry) = table.find_entry(hash, |&other| other == index) {
            entry.remove();
        }
        if !self.open_in.is_empty() {
            self.open_in.remove(&self.slab[index as usize].socket);
        }
    }

    /// A process has this one open, if one was found.
    pub(super) fn opened_by(&mut self, index: Index, process: Option<Arc<Process>>) {
        let Some(process) = process else { return };
        let holding = &self.slab[index as usize];
        if holding.process().is_some_and(|took| took.is(&process)) {
            self.open_in.remove(&holding.socket);
        } else {
            self.open_in.insert(holding.socket, process);
        }
    }

    /// Who had this one open when that was last looked at, if it was another than who took its port.
    pub fn open_in(&self, holding: &Holding) -> Option<&Arc<Process>> {
        if self.open_in.is_empty() { None } else { self.open_in.get(&holding.socket) }
    }

    /// The release of this socket, of this port, will free nothing.
    pub fn succeed(&mut self, socket: SocketId, port: u16) {
        self.succeeded.insert(socket, port);
    }

    /// The port that the release of this socket was not to free; asked once.
    pub fn take_succeeded(&mut self, socket: SocketId) -> Option<u16> {
        if self.succeeded.is_empty() { None } else { self.succeeded.remove(&socket) }
    }

    /// The same, and it may be asked again.
    pub(super) fn succeeded_on(&self, socket: SocketId) -> Option<u16> {
        self.succeeded.get(&socket).copied()
    }

    /// All of these.
    pub(super) fn succeeded(&self) -> Vec<(SocketId, u16)> {
        self.succeeded.iter().map(|(socket, port)| (*socket, *port)).collect()
    }

    /// The TIME_WAIT entries without an identity, and when TIME_WAIT began (`CLOCK_BOOTTIME`).
    pub fn time_waits(&self) -> impl ExactSizeIterator<Item = (Flow, u64)> {
        self.by_flow.iter().map(|&index| {
            let holding = self.get(index);
            (holding.flow(), holding.began_ns)
        })
    }

    /// How many TIME_WAIT entries should have ended by this time (`CLOCK_BOOTTIME`).
    pub fn overdue(&self, now_ns: u64) -> usize {
        self.iter().filter(|holding| holding.is_overdue(now_ns)).count()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Holding> {
        self.slab.iter().map(|(_, holding)| holding)
    }

    /// Those of which this is true.
    pub fn select(&self, is_wanted: impl Fn(&Holding) -> bool) -> Vec<Index> {
        let wanted = self.slab.iter().filter(|(_, holding)| is_wanted(holding));
        #[expect(clippy::cast_possible_truncation, reason = "was made from an Index")]
        wanted.map(|(index, _)| index as Index).collect()
    }

    /// A namespace is gone. What is left of it will be released or found gone.
    pub fn forget_namespace(&mut self, netns: u32) {
        let is_empty = |namespace: &Namespace| {
            namespace.tcp.buckets.is_empty() && namespace.udp.buckets.is_empty()
        };
        if self.namespaces.get(&netns).is_some_and(is_empty) {
            self.namespaces.remove(&netns);
        }
    }

    /// Forgets the spaces for bind() from which nothing was allocated for long.
    pub fn forget_old_spaces(&mut self) {
        self.spaces.forget_bind_before(self.now_ns.saturating_sub(BIND_SPACE_NS));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }
}
