//! Who keeps the ports of a space, and why there is none left.

use std::sync::Arc;

use foldhash::HashMap;

use super::{
    Holding, Holdings, Holds, Ledger, Role, SpaceKey,
    fill::Fill,
    lists::NONE,
    rules::{may_reuse, overlaps},
};
use crate::{
    event::{Flow, Protocol, Via},
    ports::{OwnRange, PortRange},
    process::Process,
    report::{Cause, Counts, Evidence, Holder, Space, SpaceKind, Standing, Story},
};

/// How many holders a line has.
pub(super) const HOLDERS: usize = 10;
/// In a storm of failing calls, holders and cause are looked up anew this often per space; how full
/// it is, is always exact.
const STEP_NS: u64 = 100_000_000;
/// So many stories of sockets' own ranges are kept.
const TOLD_WITHIN: usize = 1_000;

/// What was last told of parts of spaces: of sockets with a range of their own.
pub(super) type ToldWithin = HashMap<(SpaceKey, PortRange), Told>;

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
        let holder = &mut self.holders[at];
        if let (Some(known), Some(process)) = (&mut holder.process, process) {
            known.join(process);
        }
        holder
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
    pub(super) fn for_each_used(
        &self,
        key: &SpaceKey,
        within: Option<PortRange>,
        mut each: impl FnMut(&Holding, bool),
    ) {
        let Some(namespace) = self.namespaces.get(&key.netns) else { return };
        let Some(ports) = namespace.ports() else { return };
        let space = self.spaces.find(key).unwrap_or(NONE);
        for (port, bucket) in &namespace.table(key.protocol).buckets {
            if !ports.offers(*port) || within.is_some_and(|range| !range.contains(*port)) {
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

    /// What a socket's own range leaves of the ports of its namespace, if that is less than all.
    fn narrowed(&self, netns: u32, own: OwnRange) -> Option<PortRange> {
        let ephemeral = self.namespaces.get(&netns)?.ports()?.ephemeral;
        Some(own.within(ephemeral)).filter(|range| *range != ephemeral)
    }

    /// A space as it is for a socket that chooses from a part of the range alone.
    fn space_within(&self, key: &SpaceKey, range: PortRange) -> Option<Space> {
        let settings = self.settings_of(key.netns)?;
        let may_reuse = match key.kind {
            SpaceKind::Connect { source, destination } => {
                may_reuse(settings.tw_reuse, source, destination.address)
            }
            SpaceKind::Bind { .. } => false,
        };
        let mut used = 0;
        self.for_each_used(key, Some(range), |holding, is_own| {
            let is_had = is_own && holding.holds == Holds::TimeWait && holding.ripe && may_reuse;
            used += u32::from(!is_had);
        });
        let capacity = range.count() - settings.ports.reserved.count_in(range);
        let fill = Fill { used, capacity };
        Some(Space { own_range: Some(range), ..self.as_filled(key, None, fill) })
    }
}

impl Ledger {
    /// The story of a call that found no port.
    pub(super) fn story(
        &mut self,
        via: Via,
        flow: &Flow,
        own: Option<OwnRange>,
    ) -> Option<Box<Story>> {
        let (key, range) = self.asked_of(via, flow, own)?;
        self.story_within(key, range)
    }

    /// The space that a call asked, and the part of it that its socket's own range leaves.
    fn asked_of(
        &self,
        via: Via,
        flow: &Flow,
        own: Option<OwnRange>,
    ) -> Option<(SpaceKey, Option<PortRange>)> {
        let key = SpaceKey::asked(via, flow)?;
        Some((key, own.and_then(|own| self.holdings.narrowed(key.netns, own))))
    }

    /// The story of calls of the past that found no port: the last one that was told of their space. What
    /// the space is now says nothing of them, unless it is full still.
    pub(super) fn story_then(
        &mut self,
        via: Via,
        flow: &Flow,
        own: Option<OwnRange>,
    ) -> Option<Box<Story>> {
        let (key, range) = self.asked_of(via, flow, own)?;
        if let Some(Told { space, holders, cause, .. }) = self.told(&key, range).cloned() {
            return Some(Box::new(Story { space, holders, cause }));
        }
        self.story_within(key, range).filter(|story| story.space.headroom == 0)
    }

    /// The story of a space as it is now: its holders, and if it is full, why.
    pub fn story_of(&mut self, key: SpaceKey) -> Option<Box<Story>> {
        self.story_within(key, None)
    }

    /// What was last told of a space, or of a part of it.
    fn told(&mut self, key: &SpaceKey, range: Option<PortRange>) -> Option<&mut Told> {
        match range {
            Some(range) => self.told_within.get_mut(&(*key, range)),
            None => {
                let index = self.holdings.spaces.find(key)?;
                self.holdings.spaces.get_mut(index).told.as_deref_mut()
            }
        }
    }

    /// `range`: that of the socket alone.
    fn story_within(&mut self, key: SpaceKey, range: Option<PortRange>) -> Option<Box<Story>> {
        let space = match range {
            Some(range) => self.holdings.space_within(&key, range)?,
            None => self.holdings.space(&key)?,
        };
        let now_ns = self.holdings.now_ns;
        if let Some(told) = self.told(&key, range)
            && now_ns < told.time_ns.saturating_add(STEP_NS)
        {
            told.space = space.clone();
            let Told { holders, cause, .. } = told.clone();
            return Some(Box::new(Story { space, holders, cause }));
        }
        let index = self.holdings.spaces.find(&key);
        let mut tally = Tally::default();
        let mut ages = Vec::new();
        let is_udp = key.protocol == Protocol::Udp;
        let mut evidence = Evidence { capacity: space.capacity, is_udp, ..Evidence::default() };
        let is_bind = !is_udp && matches!(key.kind, SpaceKind::Bind { .. });
        let began_ns = self.began_ns.unwrap_or(now_ns);
        self.holdings.for_each_used(&key, range, |holding, is_own| {
            tally.add(holding, self.holdings.open_in(holding));
            match holding.holds {
                _ if !is_own => evidence.bound += 1,
                Holds::TimeWait => {
                    evidence.time_wait += 1;
                    evidence.reusable += u32::from(holding.ripe);
                }
                Holds::Bound | Holds::Listening => {
                    evidence.bound += 1;
                    if is_udp {
                        ages.push(now_ns.saturating_sub(holding.since_ns().unwrap_or(began_ns)));
                    }
                }
                // What the connection is towards does not matter: bind() had given it the port.
                Holds::Connected
                    if is_bind
                        && holding.role == Role::Owner
                        && !holding.sharing.connect_bind
                        && holding.standing() == Standing::Established =>
                {
                    evidence.bound += 1;
                    evidence.bound_connected += 1;
                }
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
        let history = history.filter(|_| range.is_none());
        evidence.growth = history.and_then(|history| history.growth(now_ns, space.used));
        let holders: Arc<[Holder]> = tally.largest(self.options.holders).into();
        // With one port left it was that which a range of odd size leaves out.
        let cause = (space.headroom <= 1).then(|| evidence.cause());
        let told = Told {
            time_ns: now_ns,
            space: space.clone(),
            holders: Arc::clone(&holders),
            cause: cause.clone(),
        };
        if let Some(range) = range {
            if self.told_within.len() >= TOLD_WITHIN {
                self.told_within.clear();
            }
            self.told_within.insert((key, range), told);
        } else if let Some(index) = index {
            self.holdings.spaces.get_mut(index).told = Some(Box::new(told));
        }
        Some(Box::new(Story { space, holders, cause }))
    }
}
