//! How many ports each namespace and space has left, kept up to date with every holding.
//!
//! connect() can't have a port that is *blocked* (somebody bound it, see `namespaces::Bucket`) nor,
//! unless TIME_WAIT keeps it and may be taken over, one with a connection from the same source to the
//! same destination. The first are counted for the namespace, the second for the space, and only
//! where the port is not blocked anyway: so each event costs the same however many spaces there are,
//! and only a port that becomes blocked, or ceases to be, costs a step for each of its holders.

use super::{
    Holding, Holdings, Holds,
    lists::{Index, NONE, iter, push, unlink},
};
use crate::event::{NamespaceSettings, Protocol};

/// From how many connections to one destination on their number over time is kept.
const HISTORY_FROM: u32 = 8;
/// When nothing else is known: `tcp_tw_reuse_delay`'s default, and the second of older kernels.
const REUSE_DELAY_NS: u64 = 1_000_000_000;

impl Holdings {
    /// Puts a holding onto its port.
    pub(super) fn enter(&mut self, index: Index, binds: bool) {
        let holding = self.get(index);
        let ((netns, protocol, port), sharing) = (holding.place.port(), holding.sharing);
        let namespace = self.namespaces.entry(netns).or_default();
        let is_offered = namespace.offers(port);
        let table = namespace.table_mut(protocol);
        let bucket = table.buckets.entry(port).or_default();
        let (was_held, was_blocked) = (bucket.holders > 0, bucket.is_blocked(self.sticky));
        push(&mut self.slab, &mut bucket.first, index, |holding| &mut holding.in_bucket);
        bucket.holders += 1;
        bucket.unshared += u32::from(!sharing.connect_bind);
        bucket.is_bound |= binds;
        let (is_blocked, first) = (bucket.is_blocked(self.sticky), bucket.first);
        if is_offered {
            table.used += u32::from(!was_held);
            table.blocked += u32::from(is_blocked && !was_blocked);
            if is_blocked && !was_blocked {
                self.count_members(first, false);
            }
        }
        self.join(index, is_offered && !is_blocked);
    }

    /// Takes a holding off its port.
    pub(super) fn leave(&mut self, index: Index) {
        let holding = self.get(index);
        let ((netns, protocol, port), sharing) = (holding.place.port(), holding.sharing);
        let Some(namespace) = self.namespaces.get_mut(&netns) else { return };
        let is_offered = namespace.offers(port);
        let table = namespace.table_mut(protocol);
        let Some(bucket) = table.buckets.get_mut(&port) else { return };
        let was_blocked = bucket.is_blocked(self.sticky);
        unlink(&mut self.slab, &mut bucket.first, index, |holding| &mut holding.in_bucket);
        bucket.holders -= 1;
        bucket.unshared -= u32::from(!sharing.connect_bind);
        let is_held = bucket.holders > 0;
        let is_blocked = is_held && bucket.is_blocked(self.sticky);
        let first = bucket.first;
        if !is_held {
            table.buckets.remove(&port);
        }
        if is_offered {
            table.used -= u32::from(!is_held);
            table.blocked -= u32::from(was_blocked && !is_blocked);
        }
        self.part(index, is_offered && !was_blocked);
        if is_offered && was_blocked && !is_blocked {
            self.count_members(first, true);
        }
    }

    /// A member of a space joins it. `counts`: its port would be there for the choice without it.
    fn join(&mut self, index: Index, counts: bool) {
        let holding = self.get(index);
        let Some(key) = holding.space_key() else { return };
        let ripe = holding.ripe;
        let space = self.spaces.find_or_insert(key);
        self.remember(space);
        let state = self.spaces.get_mut(space);
        state.members += 1;
        state.own += u32::from(counts);
        state.ripe += u32::from(counts && ripe);
        self.get_mut(index).space = space;
    }

    fn part(&mut self, index: Index, counted: bool) {
        let space = std::mem::replace(&mut self.get_mut(index).space, NONE);
        if space == NONE {
            return;
        }
        self.remember(space);
        let (ripe, holds) = (self.get(index).ripe, self.get(index).holds);
        let state = self.spaces.get_mut(space);
        state.members -= 1;
        state.own -= u32::from(counted);
        state.ripe -= u32::from(counted && ripe);
        if holds != Holds::TimeWait
            && let Some(history) = &mut state.history
        {
            history.closed();
        }
        self.spaces.forget_if_empty(space);
    }

    /// A port has become, or is no longer, one that its members alone keep from the choice.
    fn count_members(&mut self, first: Index, count: bool) {
        for (_, holding) in iter(&self.slab, first, |holding| &holding.in_bucket) {
            if holding.space == NONE {
                continue;
            }
            let state = self.spaces.get_mut(holding.space);
            let ripe = u32::from(holding.ripe);
            if count {
                state.own += 1;
                state.ripe += ripe;
            } else {
                state.own -= 1;
                state.ripe -= ripe;
            }
        }
    }

    /// Keeps what was used until now, if it is time to.
    fn remember(&mut self, space: Index) {
        let now_ns = self.now_ns;
        let state = self.spaces.get_mut(space);
        if state.members < HISTORY_FROM && state.history.is_none() {
            return;
        }
        if !state.history.get_or_insert_default().is_due(now_ns) {
            return;
        }
        let key = state.key;
        let used = self.fill(&key, Some(self.spaces.get(space))).map_or(0, |fill| fill.used);
        if let Some(history) = &mut self.spaces.get_mut(space).history {
            history.sample(used);
        }
    }

    /// A connection of a space was closed, and TIME_WAIT keeps its port.
    pub(super) fn closes(&mut self, index: Index) {
        let space = self.get(index).space;
        if space != NONE
            && let Some(history) = &mut self.spaces.get_mut(space).history
        {
            history.closed();
        }
    }

    /// From when on may this TIME_WAIT entry be taken over?
    pub(super) fn ripens(&mut self, index: Index) {
        let holding = self.get(index);
        if holding.space == NONE || !holding.reuse.timestamps || holding.reuse.fin_wait2 {
            return;
        }
        let (began_ns, netns) = (holding.began_ns, holding.place.netns());
        let settings = self.namespaces.get(&netns).and_then(|n| n.settings.as_ref());
        let delay_ns = settings
            .map_or(REUSE_DELAY_NS, |settings| u64::from(settings.tw_reuse_delay_ms) * 1_000_000);
        self.ripening.push_back((began_ns.saturating_add(delay_ns), index, began_ns));
    }

    /// Time has gone by.
    pub fn advance(&mut self, now_ns: u64) {
        self.now_ns = self.now_ns.max(now_ns);
        while let Some(&(at_ns, index, began_ns)) = self.ripening.front()
            && at_ns < self.now_ns
        {
            self.ripening.pop_front();
            let is_it = |holding: &Holding| {
                holding.holds == Holds::TimeWait && holding.began_ns == began_ns && !holding.ripe
            };
            if !self.slab.get(index as usize).is_some_and(is_it) {
                continue;
            }
            self.get_mut(index).ripe = true;
            let holding = self.get(index);
            let space = holding.space;
            if space != NONE && self.is_free_for_connect(holding) {
                self.spaces.get_mut(space).ripe += 1;
            }
        }
    }

    fn is_free_for_connect(&self, holding: &Holding) -> bool {
        let (netns, _, port) = holding.place.port();
        self.namespaces.get(&netns).is_some_and(|namespace| namespace.offers(port))
            && !self.bucket(&holding.place).is_some_and(|bucket| bucket.is_blocked(self.sticky))
    }

    /// Whether a bind() has succeeded on the port of this holding since it last had no holder.
    pub(super) fn bucket_is_bound(&self, index: Index) -> bool {
        self.bucket(&self.get(index).place).is_some_and(|bucket| bucket.is_bound)
    }

    /// A scan shows whether a bind() has made the port of this holding one that connect() passes over.
    pub(super) fn set_bound(&mut self, index: Index, is_bound: bool) {
        let (netns, protocol, port) = self.get(index).place.port();
        let sticky = self.sticky;
        let Some(namespace) = self.namespaces.get_mut(&netns) else { return };
        let is_offered = namespace.offers(port);
        let table = namespace.table_mut(protocol);
        let Some(bucket) = table.buckets.get_mut(&port) else { return };
        let was_blocked = bucket.is_blocked(sticky);
        // A holder that is known to have bound it is newer than the list.
        bucket.is_bound = is_bound || bucket.unshared > 0;
        let (is_blocked, first) = (bucket.is_blocked(sticky), bucket.first);
        if !is_offered || was_blocked == is_blocked {
            return;
        }
        if is_blocked {
            table.blocked += 1;
        } else {
            table.blocked -= 1;
        }
        self.count_members(first, !is_blocked);
    }

    /// The settings of a namespace are these from now on: counts all of its ports anew.
    pub fn set_namespace(&mut self, settings: NamespaceSettings) {
        let netns = settings.netns;
        let sticky = self.sticky;
        let namespace = self.namespaces.entry(netns).or_default();
        let is_same = namespace.ports() == Some(&settings.ports);
        namespace.set(settings);
        if is_same {
            return;
        }
        let mut free = Vec::new();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let (mut used, mut blocked) = (0, 0);
            for (port, bucket) in &namespace.table(protocol).buckets {
                if !namespace.offers(*port) {
                    continue;
                }
                used += 1;
                if bucket.is_blocked(sticky) {
                    blocked += 1;
                } else if protocol == Protocol::Tcp {
                    free.push(bucket.first);
                }
            }
            let table = namespace.table_mut(protocol);
            (table.used, table.blocked) = (used, blocked);
        }
        self.spaces.reset(netns);
        free.into_iter().for_each(|first| self.count_members(first, true));
    }
}
