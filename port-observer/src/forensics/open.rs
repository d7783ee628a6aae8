//! An incident to which failures may still come.

use std::{collections::VecDeque, sync::Arc};

use foldhash::{HashMap, HashSet};

use super::{Failed, FullSpace, Group, Incident, SAMPLE, collect::SAMPLES, group, remedy};
use crate::{
    event::Via,
    ledger::SpaceKey,
    ports::PortRange,
    process::Process,
    report::{Cause, CauseKind, Port, Story},
};

/// How many spaces and callers of an incident are kept apart.
const KEPT: usize = 1_000;
/// How many of these, and of the holders of a space, are told.
const TOLD: usize = 10;

/// How many threads of a second are told apart.
const WANTING: usize = 16_384;

/// A thread that was refused a port of a space: its process, by its number and when it started.
type Wanting = (SpaceKey, Option<(u32, u64)>, u32);

#[derive(Clone, Debug, Default)]
pub(super) struct Namespace {
    pub(super) names: Vec<String>,
    pub(super) range: Option<PortRange>,
}

/// An incident to which failures may still come.
pub(super) struct Open {
    pub(super) incident: Incident,
    spaces: HashMap<SpaceKey, FullSpace>,
    failed: HashMap<(Option<(u32, u64)>, i32), Failed>,
    causes: HashMap<CauseKind, (u64, Cause)>,
    before: HashMap<SpaceKey, Vec<(i64, u32)>>,
    /// The second under way, and how many failed in it.
    second: i64,
    in_second: u64,
    /// Whose calls failed in it, and by space how many that are.
    wanting: HashSet<Wanting>,
    threads: HashMap<SpaceKey, u64>,
    holders: Option<Vec<Group>>,
    /// The range of their own that the sockets had, if the first had one.
    own_range: Option<PortRange>,
}

impl Open {
    /// One failure has come.
    pub(super) fn new(now_ns: i64, port: &Port, via: Via, story: Option<&Story>) -> Self {
        Self {
            incident: Incident {
                began_ns: now_ns,
                ended_ns: now_ns,
                netns: port.netns,
                names: Vec::new(),
                protocol: port.protocol,
                via,
                failures: 0,
                worst_per_second: 0,
                worst_ns: now_ns,
                spaces: Vec::new(),
                failed: Vec::new(),
                onset: story.map(holders),
                worst: None,
                cause: None,
                before: Vec::new(),
                range: None,
                remedies: Vec::new(),
            },
            spaces: HashMap::default(),
            failed: HashMap::default(),
            causes: HashMap::default(),
            before: HashMap::default(),
            second: i64::MIN,
            in_second: 0,
            wanting: HashSet::default(),
            threads: HashMap::default(),
            holders: None,
            own_range: story.and_then(|story| story.space.own_range),
        }
    }

    /// Whether a call was refused by what the others were: the range of their namespace, or the same range
    /// of their sockets' own. Of one without a story it is not known.
    pub(super) fn is_of_range(&self, story: Option<&Story>) -> bool {
        story.is_none_or(|story| story.space.own_range == self.own_range)
    }

    /// And now so many more, alike.
    pub(super) fn add(
        &mut self,
        now_ns: i64,
        port: &Port,
        (errno, count): (i32, u64),
        story: Option<&Story>,
        before: Option<&VecDeque<(i64, u32)>>,
    ) {
        let second = now_ns.div_euclid(1_000_000_000);
        if second != self.second {
            self.end_second();
            (self.second, self.in_second, self.holders) = (second, 0, story.map(holders));
            self.wanting.clear();
            self.threads.clear();
        }
        self.in_second = self.in_second.saturating_add(count);
        self.incident.failures = self.incident.failures.saturating_add(count);
        self.incident.ended_ns = self.incident.ended_ns.max(now_ns);
        let process: Option<&Arc<Process>> = port.caller.as_ref().map(|caller| &caller.process);
        let who = (process.map(|process| (process.pid, process.start_time_ns)), errno);
        if self.failed.len() < KEPT || self.failed.contains_key(&who) {
            let new = || Failed { process: process.cloned(), processes: 1, errno, count: 0 };
            let failed = self.failed.entry(who).or_insert_with(new);
            failed.count = failed.count.saturating_add(count);
        }
        let Some(story) = story else { return };
        let key = SpaceKey::from(&story.space);
        if self.spaces.len() < KEPT || self.spaces.contains_key(&key) {
            if let Some(before) = before
                && !self.spaces.contains_key(&key)
            {
                self.before.insert(key, before.iter().copied().collect());
            }
            let tid = port.caller.as_ref().map_or(0, |caller| caller.tid);
            let threads = self.threads.entry(key).or_default();
            if self.wanting.len() < WANTING && self.wanting.insert((key, who.0, tid)) {
                *threads += 1;
            }
            let new = || FullSpace { space: story.space.clone(), failures: 0, threads: 0 };
            let full = self.spaces.entry(key).or_insert_with(new);
            full.threads = full.threads.max(*threads);
            full.failures = full.failures.saturating_add(count);
            full.space = story.space.clone();
        }
        if let Some(cause) = &story.cause {
            let (calls, told) = self.causes.entry(cause.kind).or_insert((0, cause.clone()));
            *calls = calls.saturating_add(count);
            // What is known of more of the past says more.
            if told.evidence.closed_per_second().unwrap_or(0.0)
                <= cause.evidence.closed_per_second().unwrap_or(0.0)
            {
                told.clone_from(cause);
            }
        }
    }

    fn end_second(&mut self) {
        if self.in_second > self.incident.worst_per_second {
            self.incident.worst_per_second = self.in_second;
            self.incident.worst_ns = self.second.saturating_mul(1_000_000_000);
            self.incident.worst = self.holders.take();
        }
    }

    /// No more will come.
    pub(super) fn close(mut self, namespace: Namespace) -> Incident {
        self.end_second();
        let Self { mut incident, spaces, failed, causes, before, .. } = self;
        incident.names = namespace.names;
        incident.range = namespace.range;
        let most =
            causes.into_values().max_by_key(|(count, cause)| (*count, cause.evidence.time_wait));
        incident.cause = most.map(|(_, cause)| cause);
        incident.spaces = spaces.into_values().collect();
        incident.spaces.sort_by_key(|full| (std::cmp::Reverse(full.failures), full.space.headroom));
        incident.failed = group::failed(failed.into_values().collect());
        let first = incident.spaces.first().map(|full| SpaceKey::from(&full.space));
        let samples = first.and_then(|key| before.get(&key)).map_or(&[][..], Vec::as_slice);
        incident.before = spread(samples, incident.began_ns);
        incident.remedies = remedy::remedies(&incident);
        incident.spaces.truncate(TOLD);
        incident.failed.truncate(TOLD);
        incident
    }
}

/// The incident that one call which failed is, so many times within a second by so many threads, as if
/// nothing else had happened: with its remedies.
pub fn of_call(
    port: &Port,
    via: Via,
    (errno, count, threads): (i32, u64, u64),
    story: &Story,
    range: Option<PortRange>,
) -> Incident {
    let mut open = Open::new(0, port, via, Some(story));
    open.add(0, port, (errno, count), Some(story), None);
    open.spaces.values_mut().for_each(|full| full.threads = full.threads.max(threads));
    open.close(Namespace { names: Vec::new(), range })
}

/// As many as are told.
fn holders(story: &Story) -> Vec<Group> {
    let mut holders = group::holders(&story.holders);
    holders.truncate(TOLD);
    holders
}

/// Samples at their places in the ten minutes before.
fn spread(samples: &[(i64, u32)], end_ns: i64) -> Vec<Option<u32>> {
    let step_ns = i64::try_from(SAMPLE.as_nanos()).unwrap_or(i64::MAX);
    let mut spread = vec![None; SAMPLES];
    for (time_ns, used) in samples {
        let back = usize::try_from(end_ns.saturating_sub(*time_ns) / step_ns).unwrap_or(0);
        if back < SAMPLES {
            spread[SAMPLES - 1 - back] = Some(*used);
        }
    }
    spread
}
