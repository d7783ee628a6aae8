//! The spaces that allocations chose from.

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use slab::Slab;

use super::{history::History, lists::Index, place::space_hash, story::Told};
use crate::{
    event::{Endpoint, Flow, Protocol, Via},
    report::{Level, Space, SpaceKind},
};

/// Which space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpaceKey {
    /// The inode number of the network namespace.
    pub netns: u32,
    /// The protocol.
    pub protocol: Protocol,
    /// Of which call.
    pub kind: SpaceKind,
}

impl From<&Space> for SpaceKey {
    fn from(space: &Space) -> Self {
        let Space { netns, protocol, kind, .. } = *space;
        Self { netns, protocol, kind }
    }
}

impl SpaceKey {
    /// The space that a call without a port of its own chooses from.
    pub fn asked(via: Via, flow: &Flow) -> Option<Self> {
        let Flow { netns, protocol, local: Endpoint { address, .. }, remote } = *flow;
        let kind = match via {
            Via::Connect => SpaceKind::Connect { source: address, destination: remote? },
            Via::Bind | Via::Autobind | Via::Listen => SpaceKind::Bind { address },
        };
        Some(Self { netns, protocol, kind })
    }
}

/// What is kept of a space while something is in it, or is to be said of it. The ports that
/// connect() passes over anyway are the namespace's, not counted here.
#[derive(Debug)]
pub struct State {
    /// Which.
    pub key: SpaceKey,
    /// How many holdings there are whose port connect() chose for this destination.
    pub members: u32,
    /// How many of them keep a port that would be there for the choice without them.
    pub own: u32,
    /// How many of these are TIME_WAIT entries that connect() may take over, if the settings and
    /// the addresses allow it.
    pub ripe: u32,
    /// What was last said of it.
    pub level: Level,
    /// When something was last allocated from it, for bind().
    pub last_ns: u64,
    /// When its level was last looked at.
    pub checked_ns: u64,
    /// How it changed, once it has some members.
    pub history: Option<Box<History>>,
    /// The last story that was told of it.
    pub told: Option<Box<Told>>,
}

/// All spaces, by key and by number.
#[derive(Debug, Default)]
pub struct Spaces {
    states: Slab<State>,
    by_key: HashTable<Index>,
    hasher: RandomState,
    /// Those whose level is not `Ok`.
    pub alarmed: Vec<SpaceKey>,
}

impl Spaces {
    /// The number of a space, if it is kept.
    pub fn find(&self, key: &SpaceKey) -> Option<Index> {
        let hash = space_hash(&self.hasher, key);
        self.by_key.find(hash, |&index| self.states[index as usize].key == *key).copied()
    }

    /// What is kept of a space, if anything.
    pub fn look_up(&self, key: &SpaceKey) -> Option<&State> {
        self.find(key).map(|index| self.get(index))
    }

    /// The number of a space, which is kept from now on.
    pub fn find_or_insert(&mut self, key: SpaceKey) -> Index {
        if let Some(found) = self.find(&key) {
            return found;
        }
        let state = State {
            key,
            members: 0,
            own: 0,
            ripe: 0,
            level: Level::Ok,
            last_ns: 0,
            checked_ns: 0,
            history: None,
            told: None,
        };
        #[expect(clippy::cast_possible_truncation, reason = "bounded by the holdings")]
        let index = self.states.insert(state) as Index;
        let (states, hasher) = (&self.states, &self.hasher);
        let hash = space_hash(hasher, &key);
        self.by_key
            .insert_unique(hash, index, |&other| space_hash(hasher, &states[other as usize].key));
        index
    }

    /// Forgets a space, unless something is in it or was said of it.
    pub fn forget_if_empty(&mut self, index: Index) {
        let state = &self.states[index as usize];
        if state.members > 0 || state.level != Level::Ok {
            return;
        }
        self.remove(index);
    }

    fn remove(&mut self, index: Index) {
        let state = self.states.remove(index as usize);
        let hash = space_hash(&self.hasher, &state.key);
        if let Ok(entry) = self.by_key.find_entry(hash, |&other| other == index) {
            entry.remove();
        }
    }

    /// The ports of a namespace are counted anew.
    pub fn reset(&mut self, netns: u32) {
        for (_, state) in &mut self.states {
            if state.key.netns == netns {
                (state.own, state.ripe) = (0, 0);
            }
        }
    }

    /// Forgets the spaces for bind() from which nothing was allocated since then.
    pub fn forget_bind_before(&mut self, time_ns: u64) {
        let old = |state: &State| {
            state.members == 0 && state.level == Level::Ok && state.last_ns < time_ns
        };
        let old: Vec<usize> =
            self.states.iter().filter(|(_, state)| old(state)).map(|(index, _)| index).collect();
        #[expect(clippy::cast_possible_truncation, reason = "was made from an Index")]
        old.into_iter().for_each(|index| self.remove(index as Index));
    }

    /// What is kept of a space.
    pub fn get(&self, index: Index) -> &State {
        &self.states[index as usize]
    }

    /// What is kept of a space.
    pub fn get_mut(&mut self, index: Index) -> &mut State {
        &mut self.states[index as usize]
    }

    /// All that are kept.
    pub fn iter(&self) -> impl Iterator<Item = &State> {
        self.states.iter().map(|(_, state)| state)
    }
}
