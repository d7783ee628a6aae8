//! Who keeps the ports of a space, and why there is none left.

use std::sync::Arc;

use foldhash::HashMap;

use super::{Holding, Holdings, Holds, Ledger, SpaceKey, lists::NONE, rules::overlaps};
use crate::{
    event::{Flow, Via},
    process::Process,
    report::{Cause, Counts, Evidence, Holder, Space, SpaceKind, Story},
};

/// How many holders a line has.
pub(super) const HOLDERS: usize = 10;
/// In a storm of failing calls, holders and cause are looked up anew this often per space; how full
/// it is, is always exact.
const STEP_NS: u64 = 100_000_000;

/// The last story of a space.
#[derive(Clone, Debug)]
pub struct Told {
    time_ns: u64,
    space: Space,
    holders: Arc<[Holder]>,
    cause: Option<Cause>,
}

/// A process by number and start.
type ProcessKey = (u32, u64);

/// Ports by process that took them and process that has them open now.
#[derive(Debug, Default)]
pub(super) struct Tally {
    by_process: HashMap<(Option<ProcessKey>, Option<ProcessKey>), usize>,
    holders: Vec<Holder>,
}

impl Tally {
    /// One more port. `open_in`: who has it open now, if that is another process.
    pub(super) fn add(&mut self, holding: &Holding, open_in: Option<&Arc<Process>>) {
        *self.holder(holding.process(), open_in).counts.of(holding.standing()) += 1;
    }

    /// All of another, less some of these.
    pub(super) fn add_all(&mut self, of: &Self, less: &Self) {
        for from in &of.holders {
            self.holder(from.process.as_ref(), from.open_in.as_ref()).counts += from.counts;
        }
        for from in &less.holders {
            self.holder(from.process.as_ref(), from.open_in.as_ref()).counts -= from.counts;
        }
    }

    fn holder(
        &mut self,
        process: Option<&Arc<Process>>,
        open_in: Option<&Arc<Process>>,
    ) -> &mut Holder {
        let id = |process: &Arc<Process>| (process.pid, process.start_time_ns);
        let key = (process.map(id), open_in.map(id));
        let at = *self.by_process.entry(key).or_insert_with(|| {
            self.holders.push(Holder {
                open_in: open_in.cloned(),
                ..Holder::new(process.cloned(), Counts::default())
            });
            self.holders.len() - 1
        });
        &mut self.holders[at]
    }

    /// The largest.
    pub(super) fn largest(mut self, count: usize) -> Vec<Holder> {
        let pid = |holder: &Holder| holder.process.as_ref().map_or(0, |process| process.pid);
        self.holders.sort_by_key(|holder| (std::cmp::Reverse(holder.total()), pid(holder)));
        self.holders.truncate(count);
        self.holders
    }
}

impl Holdings {
    /// Hands over one holding for each port of a space that can't be had, and whether the port is
    /// kept by a connection of the space itself.
    pub(super) fn for_each_used(&self, key: &SpaceKey, mut each: impl FnMut(&Holding, bool)) {
        let Some(namespace) = self.namespaces.get(&key.netns) else { return };
        let Some(ports) = namespace.ports() else { return };
        let space = self.spaces.find(key).unwrap_or(NONE);
        for (port, bucket) in &namespace.table(key.protocol).buckets {
            if !ports.offers(*port) {
                continue;
            }
            let on_it = || self.on(bucket);
            let (found, is_own) = match key.kind {
                SpaceKind::Connect { .. } => {
                    let own = if space == NONE {
                        None
                    } else {
                        on_it().find(|(_, holding)| holding.space == space)
                    };
                    match own {
                        Some((_, own)) => (Some(own), true),
                        None => (self.blocker(bucket), false),
                    }
                }
                SpaceKind::Bind { address } => {
                    let found = on_it().find(|(_, holding)| overlaps(address, holding));
                    (found.map(|(_, holding)| holding), true)
                }
            };
            if let Some(holding) = found {
                each(holding, is_own);
            }
        }
    }
}

impl Ledger {
    /// The story of a call that found no port.
    pub(super) fn story(&mut self, via: Via, flow: &Flow) -> Option<Box<Story>> {
        self.story_of(SpaceKey::asked(via, flow)?)
    }

    /// The story of calls of the past that found no port: the last one that was told of their space. What
    /// the space is now says nothing of them, unless it is full still.
    pub(super) fn story_then(&mut self, via: Via, flow: &Flow) -> Option<Box<Story>> {
        let key = SpaceKey::asked(via, flow)?;
        let index = self.holdings.spaces.find(&key);
        let told = index.and_then(|index| self.holdings.spaces.get(index).told.as_deref());
        if let Some(Told { space, holders, cause, .. }) = told.cloned() {
            return Some(Box::new(Story { space, holders, cause }));
        }
        self.story_of(key).filter(|story| story.space.headroom == 0)
    }

    /// The story of a space as it is now: its holders, and if it is full, why.
    pub fn story_of(&mut self, key: SpaceKey) -> Option<Box<Story>> {
        let space = self.holdings.space(&key)?;
        let now_ns = self.holdings.now_ns;
        let index = self.holdings.spaces.find(&key);
        let told = index.and_then(|index| self.holdings.spaces.get_mut(index).told.as_deref_mut());
        if let Some(told) = told
            && now_ns < told.time_ns.saturating_add(STEP_NS)
        {
            told.space = space.clone();
            let Told { holders, cause, .. } = told.clone();
            return Some(Box::new(Story { space, holders, cause }));
        }
        let mut tally = Tally::default();
        let mut ages = Vec::new();
        let mut evidence = Evidence { capacity: space.capacity, ..Evidence::default() };
        let began_ns = self.began_ns.unwrap_or(now_ns);
        self.holdings.for_each_used(&key, |holding, is_own| {
            tally.add(holding, self.holdings.open_in(holding));
            match holding.holds {
                _ if !is_own => evidence.bound += 1,
                Holds::TimeWait => {
                    evidence.time_wait += 1;
                    evidence.reusable += u32::from(holding.ripe);
                }
                Holds::Bound | Holds::Listening => evidence.bound += 1,
                Holds::Connected => {
                    *evidence.connections(holding.connection) += 1;
                    // Of what was there before, it is known that it is no younger than that.
                    ages.push(now_ns.saturating_sub(holding.since_ns().unwrap_or(began_ns)));
                }
            }
        });
        let middle = ages.len() / 2;
        if !ages.is_empty() {
            #[expect(clippy::cast_precision_loss, reason = "an age, in seconds")]
            let age = *ages.select_nth_unstable(middle).1 as f64 / 1e9;
            evidence.median_age_seconds = Some(age);
        }
        let history = index.and_then(|i| self.holdings.spaces.get(i).history.as_deref());
        evidence.growth = history.and_then(|history| history.growth(now_ns, space.used));
        let holders: Arc<[Holder]> = tally.largest(self.options.holders).into();
        // With room left it was the socket's own range (IP_LOCAL_PORT_RANGE) that was full, or the
        // one port that a range of odd size leaves out.
        let cause = (space.headroom <= 1).then(|| evidence.cause());
        if let Some(index) = index {
            let told = Told {
                time_ns: now_ns,
                space: space.clone(),
                holders: Arc::clone(&holders),
                cause: cause.clone(),
            };
            self.holdings.spaces.get_mut(index).told = Some(Box::new(told));
        }
        Some(Box::new(Story { space, holders, cause }))
    }
}
