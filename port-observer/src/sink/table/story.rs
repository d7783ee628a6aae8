//! Why a call found no port, in words: what was full, why, what to change, who holds the ports.

use std::{hash::Hash, time::Duration};

use foldhash::HashMap;

use crate::event::{Endpoint, Protocol};
use crate::ports::PortRange;
use crate::report::{Body, Space, SpaceKind, Story};
use crate::words::causes::{advice_on, counts, evidence};
use crate::words::conflicts::{self, Refused};
use crate::words::figures::{ends, holder_names, outlook};
use crate::words::refusals;

/// Holders that are shown.
const HOLDERS_SHOWN: usize = 5;
/// A story is not told again within this time: a storm of refused calls would tell nothing else.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Spaces that are remembered, to bound memory.
const REMEMBERED: usize = 1024;

/// When the story of a space was told last.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// In nanoseconds since boot. Cleared when too many spaces are in it.
    last: HashMap<SpaceOf, u64>,
    /// The same of ports and destinations that calls were refused.
    ports: HashMap<PortKey, u64>,
    /// The same of what to change.
    changes: HashMap<String, u64>,
}

/// Which space, and the socket's own range of it.
type SpaceOf = (u32, Protocol, SpaceKind, Option<PortRange>);

/// A port that a call was refused, and where it was to connect to.
type PortKey = (u32, Protocol, Option<Endpoint>, Option<Endpoint>);

impl Told {
    /// Whether the story is to be told now, which is remembered.
    pub(super) fn is_due(&mut self, space: &Space, time_ns: u64) -> bool {
        is_due(&mut self.last, (space.netns, space.protocol, space.kind, space.own_range), time_ns)
    }

    /// The same of what to change where a port is taken.
    pub(super) fn is_port_due(&mut self, key: PortKey, time_ns: u64) -> bool {
        is_due(&mut self.ports, key, time_ns)
    }

    /// The same of what to change, in these words, whichever port is taken.
    pub(super) fn is_change_due(&mut self, change: String, time_ns: u64) -> bool {
        is_due(&mut self.changes, change, time_ns)
    }
}

fn is_due<K: Eq + Hash>(last: &mut HashMap<K, u64>, key: K, time_ns: u64) -> bool {
    let again = |last: &u64| u128::from(time_ns.abs_diff(*last)) >= AGAIN_AFTER.as_nanos();
    let is_due = last.get(&key).is_none_or(again);
    if is_due {
        if last.len() >= REMEMBERED {
            last.clear();
        }
        last.insert(key, time_ns);
    }
    is_due
}

/// What to change where a certain port is taken or an address is not there, a line each.
pub(super) fn change(body: &Body) -> Vec<String> {
    let remedies = match body {
        Body::Conflict { port, via, holders, .. } => {
            let caller = port.caller.as_ref().map(|caller| &*caller.process);
            let call = Refused { via: *via, protocol: port.protocol, caller };
            if port.local.is_some() { conflicts::remedies(holders, call) } else { Vec::new() }
        }
        Body::Refused { port, refusal, .. } => {
            refusals::remedies(*refusal, port.local, port.remote)
        }
        _ => return Vec::new(),
    };
    remedies.into_iter().map(|remedy| format!("change: {remedy}")).collect()
}

/// The story, a line each.
pub(super) fn lines(story: &Story) -> Vec<String> {
    let Story { space, holders, cause } = story;
    let Space { headroom, capacity, .. } = space;
    let mut lines =
        vec![format!("{headroom} of {capacity} ports left for {}{}", ends(space), outlook(space))];
    if let Some(cause) = cause {
        lines.push(format!("cause: {}", evidence(cause)));
        lines.push(format!("change: {}", advice_on(cause, space)));
    }
    lines.extend(
        holders
            .iter()
            .take(HOLDERS_SHOWN)
            .map(|holder| format!("held by {}: {}", holder_names(holder), counts(holder))),
    );
    if let Some(more @ 1..) = holders.len().checked_sub(HOLDERS_SHOWN) {
        lines.push(format!("and {more} more"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(netns: u32) -> Space {
        Space {
            kind: SpaceKind::Bind { address: [10, 0, 0, 1].into() },
            netns,
            protocol: Protocol::Tcp,
            capacity: 1,
            used: 1,
            headroom: 0,
            growth_per_second: None,
            own_range: None,
            seconds_to_exhaustion: None,
        }
    }

    #[test]
    fn a_story_is_told_once_a_second_for_each_space() {
        let mut told = Told::default();
        assert!(told.is_due(&space(1), 0) && told.is_due(&space(2), 0));
        assert!(!told.is_due(&space(1), 999_999_999));
        assert!(told.is_due(&space(1), 1_000_000_000) && told.is_due(&space(2), 1_000_000_000));
        assert!(!told.is_due(&space(1), 1_000_000_001));
    }

    #[test]
    fn the_spaces_of_a_storm_are_not_all_remembered() {
        let mut told = Told::default();
        for netns in 0..10_000 {
            assert!(told.is_due(&space(netns), 0));
            assert!(told.last.len() <= REMEMBERED);
        }
    }
}
