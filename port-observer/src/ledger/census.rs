//! Who keeps the ports of many spaces at one moment, found in one pass.

use foldhash::{HashMap, HashMapExt as _};

use super::{
    Holdings, Ledger, SpaceKey, Who,
    lists::{Index, NONE},
    rules::may_reuse,
    story::Tally,
};
use crate::{
    event::Protocol,
    report::{Holder, Space, SpaceKind},
};

/// A space, and all who keep its ports, largest first.
#[derive(Clone, Debug)]
pub struct Census {
    /// How full it is.
    pub space: Space,
    /// By whom: together, they hold what is used of it.
    pub holders: Vec<Holder>,
}

impl<W: Who> Ledger<W> {
    /// Of the `top` fullest spaces, and of those in `also`. Spaces of namespaces whose settings are not
    /// known are left out.
    pub fn census(&mut self, now_ns: u64, top: usize, also: &[SpaceKey]) -> Vec<Census> {
        self.holdings.advance(now_ns);
        let mut spaces = self.holdings.fullest(top, &|_| true);
        for key in also {
            if !spaces.iter().any(|space| SpaceKey::from(space) == *key) {
                spaces.extend(self.holdings.space(key));
            }
        }
        let mut counted = self.holdings.count_members_of(&spaces);
        spaces
            .into_iter()
            .map(|space| {
                let mut tally = match space.kind {
                    SpaceKind::Connect { .. } => counted.of(&self.holdings, &space),
                    SpaceKind::Bind { .. } => Tally::default(),
                };
                if matches!(space.kind, SpaceKind::Bind { .. }) {
                    let key = SpaceKey::from(&space);
                    self.holdings.for_each_used(&key, |holding, _| tally.add(holding));
                }
                Census { holders: tally.largest(usize::MAX), space }
            })
            .collect()
    }
}

/// Who holds what, of all spaces of connect() that were asked for.
struct Counted {
    /// By the number of the space.
    members: HashMap<Index, Tally>,
    /// By namespace: ports that connect() passes over, whatever the destination.
    blocked: HashMap<u32, Tally>,
}

impl Counted {
    fn of(&mut self, holdings: &Holdings, space: &Space) -> Tally {
        let index = holdings.spaces.find(&SpaceKey::from(space)).unwrap_or(NONE);
        let mut tally = self.members.remove(&index).unwrap_or_default();
        if let Some(blocked) = self.blocked.get(&space.netns) {
            tally.add_all(blocked);
        }
        tally
    }
}

impl Holdings {
    fn count_members_of(&self, spaces: &[Space]) -> Counted {
        let mut counted = Counted { members: HashMap::new(), blocked: HashMap::new() };
        // Entries that connect() may take over are not counted as used.
        let mut leaves_out_ripe: HashMap<Index, bool> = HashMap::new();
        for space in spaces {
            let SpaceKind::Connect { source, destination } = space.kind else { continue };
            counted.blocked.entry(space.netns).or_default();
            let Some(index) = self.spaces.find(&SpaceKey::from(space)) else { continue };
            let settings = self.namespaces.get(&space.netns).and_then(|n| n.settings.as_deref());
            let reuse =
                settings.is_some_and(|s| may_reuse(s.tw_reuse, source, destination.address));
            leaves_out_ripe.insert(index, reuse);
        }
        for (netns, blocked) in &mut counted.blocked {
            let Some(namespace) = self.namespaces.get(netns) else { continue };
            for (port, bucket) in &namespace.table(Protocol::Tcp).buckets {
                if !namespace.offers(*port) {
                    continue;
                }
                if bucket.is_blocked(self.sticky) {
                    if let Some(holding) = self.blocks(bucket) {
                        blocked.add(holding);
                    }
                    continue;
                }
                for (_, holding) in self.on(bucket) {
                    let Some(no_ripe) = leaves_out_ripe.get(&holding.space) else { continue };
                    if !(*no_ripe && holding.ripe) {
                        counted.members.entry(holding.space).or_default().add(holding);
                    }
                }
            }
        }
        counted
    }
}
