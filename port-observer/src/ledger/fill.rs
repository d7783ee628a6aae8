//! How full a space is: read off the counters, or for bind() counted.

use super::{
    Holdings,
    history::History,
    namespaces::Bucket,
    rules::{may_reuse, overlaps},
    spaces::{SpaceKey, State},
};
use crate::report::{Space, SpaceKind};

/// How many ports of a space are used, out of how many.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    /// Those that the call can't have.
    pub used: u32,
    /// All that there are.
    pub capacity: u32,
}

impl Holdings {
    /// How many ports of a space are used; `None` while the namespace's settings are not known.
    pub fn used(&self, key: &SpaceKey) -> Option<u32> {
        self.fill(key, self.spaces.look_up(key)).map(|fill| fill.used)
    }

    /// How full a space is, of which `state` is kept, if anything; `None` while the namespace's
    /// settings are not known.
    pub(super) fn fill(&self, key: &SpaceKey, state: Option<&State>) -> Option<Fill> {
        let namespace = self.namespaces.get(&key.netns)?;
        let settings = namespace.settings.as_deref()?;
        let capacity = namespace.capacity()?;
        let used = match key.kind {
            SpaceKind::Connect { source, destination } => {
                let (own, ripe) = state.map_or((0, 0), |state| (state.own, state.ripe));
                let may_reuse = may_reuse(settings.tw_reuse, source, destination.address);
                namespace.tcp.blocked + own - if may_reuse { ripe } else { 0 }
            }
            SpaceKind::Bind { address } => {
                let is_in_the_way = |bucket: &Bucket| {
                    self.on(bucket).any(|(_, holding)| overlaps(address, holding))
                };
                let buckets = namespace.table(key.protocol).buckets.iter();
                let ports = &settings.ports;
                let used = buckets.filter(|(port, b)| ports.offers(**port) && is_in_the_way(b));
                #[expect(clippy::cast_possible_truncation, reason = "at most 65,536 ports")]
                let used = used.count() as u32;
                used
            }
        };
        Some(Fill { used, capacity })
    }

    /// A space as it is now; `None` while the namespace's settings are not known.
    pub fn space(&self, key: &SpaceKey) -> Option<Space> {
        let state = self.spaces.look_up(key);
        let fill = self.fill(key, state)?;
        Some(self.as_filled(key, state, fill))
    }

    /// The same of a space that is this full.
    pub(super) fn as_filled(&self, key: &SpaceKey, state: Option<&State>, fill: Fill) -> Space {
        let Fill { used, capacity } = fill;
        let headroom = capacity.saturating_sub(used);
        let history = state.and_then(|state| state.history.as_deref());
        let (growth_per_second, seconds_to_exhaustion) = history
            .map_or((None, None), |history: &History| history.outlook(self.now_ns, used, headroom));
        Space {
            kind: key.kind,
            netns: key.netns,
            protocol: key.protocol,
            capacity,
            used: capacity - headroom,
            headroom,
            growth_per_second,
            own_range: None,
            seconds_to_exhaustion,
        }
    }

    /// Something was allocated from a space for bind(), or was to be.
    pub fn touch_bind(&mut self, key: SpaceKey) {
        let space = self.spaces.find_or_insert(key);
        let now_ns = self.now_ns;
        let state = self.spaces.get_mut(space);
        state.last_ns = now_ns;
        if !state.history.get_or_insert_default().is_due(now_ns) {
            return;
        }
        let used = self.fill(&key, Some(self.spaces.get(space))).map_or(0, |fill| fill.used);
        if let Some(history) = &mut self.spaces.get_mut(space).history {
            history.sample(used);
        }
    }
}
