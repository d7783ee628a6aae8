//! From the reports of a stream to incidents, in bounded memory.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use foldhash::HashMap;

use super::{Failed, Forensics, FullSpace, Incident, Loss, Run, remedy, timeline::Timelines};
use crate::{
    event::{LossPlace, Via},
    ledger::{Census, SpaceKey},
    ports::PortRange,
    process::Process,
    report::{Body, Cause, CauseKind, Port, Report, Story, Summary},
    sink::Sink,
};

/// How often a summary is to come: it says how full spaces are.
pub const SAMPLE: Duration = Duration::from_secs(10);
/// How many spaces it is to have.
pub const SPACES: usize = 64;
/// How many holders stories are to have: pictures name others than the text.
pub const HOLDERS: usize = 1_000;
/// How many samples are shown: ten minutes.
const SAMPLES: usize = 60;
/// How many spaces' samples are kept.
const SAMPLED: usize = 10_000;
/// Failures that are farther apart are not of one incident.
const APART_NS: i64 = 60_000_000_000;
/// How many incidents are told.
const INCIDENTS: usize = 1_000;
/// How many spaces and callers of an incident are kept apart.
const KEPT: usize = 1_000;
/// How many of these, and of the holders of a space, are told.
const TOLD: usize = 10;
/// How many timelines are told.
const TIMELINES: usize = 12;

/// Takes reports; a clone sees the same.
#[derive(Clone, Default)]
pub struct Collector(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    offset_ns: i64,
    told: Forensics,
    losses: HashMap<(LossPlace, &'static str), u64>,
    open: Vec<Open>,
    samples: HashMap<SpaceKey, VecDeque<(i64, u32)>>,
    namespaces: HashMap<u32, Namespace>,
    timelines: Timelines,
}

#[derive(Clone, Debug, Default)]
struct Namespace {
    names: Vec<String>,
    range: Option<PortRange>,
}

/// An incident to which failures may still come.
struct Open {
    incident: Incident,
    spaces: HashMap<SpaceKey, FullSpace>,
    failed: HashMap<(Option<(u32, u64)>, i32), Failed>,
    causes: HashMap<CauseKind, (u64, Cause)>,
    before: HashMap<SpaceKey, Vec<(i64, u32)>>,
    /// The second under way, and how many failed in it.
    second: i64,
    in_second: u64,
    story: Option<Story>,
}

impl Collector {
    /// How often [`Collector::add`] is to be called.
    pub fn step(&self) -> Duration {
        self.lock().timelines.step().min(SAMPLE)
    }

    /// Of which spaces a census is to be taken, beside the fullest.
    pub fn followed(&self) -> Vec<SpaceKey> {
        self.lock().timelines.followed()
    }

    /// How full spaces are at a moment, nanoseconds since 1970.
    pub fn add(&self, now_ns: i64, census: &[Census]) {
        self.lock().timelines.add(now_ns, census);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was found, when all has been taken in.
    pub fn finish(&self) -> Forensics {
        let mut state = self.lock();
        for open in std::mem::take(&mut state.open) {
            state.close(open);
        }
        let mut told = std::mem::take(&mut state.told);
        told.incidents.sort_by_key(|incident| incident.began_ns);
        told.losses = state
            .losses
            .iter()
            .map(|((place, kind), count)| Loss { place: *place, kind, count: *count })
            .collect();
        told.timelines = std::mem::take(&mut state.timelines).finish(TIMELINES);
        told.losses.sort_by_key(|loss| (std::cmp::Reverse(loss.count), loss.kind));
        told
    }
}

impl Sink for Collector {
    fn set_offset(&mut self, offset_ns: i64) {
        self.lock().offset_ns = offset_ns;
    }

    fn report(&mut self, report: &Report) -> io::Result<()> {
        self.lock().take(report);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    fn take(&mut self, report: &Report) {
        let now_ns = self.offset_ns.wrapping_add_unsigned(report.time_ns);
        match &report.body {
            Body::Start(start) => {
                for range in &start.ephemeral_range {
                    let ports = PortRange { min: range.min, max: range.max };
                    self.namespaces.entry(range.netns).or_default().range = Some(ports);
                }
                let stop = crate::report::Stop::default();
                let (start, began_ns) = (start.clone(), now_ns);
                self.told.runs.push(Run { start, began_ns, ended_ns: now_ns, stop });
            }
            Body::Stop(stop) => {
                if let Some(run) = self.told.runs.last_mut() {
                    (run.ended_ns, run.stop) = (now_ns, *stop);
                }
            }
            Body::Lost { count, place, kind } => {
                *self.losses.entry((*place, kind)).or_default() += count;
            }
            Body::Summary(summary) => self.sample(now_ns, summary),
            Body::Exhausted { port, via, errno, story, .. } => {
                self.failed(now_ns, port, *via, *errno, story.as_deref());
            }
            _ => {}
        }
    }

    fn sample(&mut self, now_ns: i64, summary: &Summary) {
        for namespace in &summary.namespaces {
            let known = self.namespaces.entry(namespace.netns).or_default();
            known.names.clone_from(&namespace.names);
            known.range = namespace.ports.as_ref().map(|ports| ports.ephemeral).or(known.range);
        }
        for space in &summary.spaces {
            let samples = self.samples.entry(SpaceKey::from(space)).or_default();
            samples.push_back((now_ns, space.used));
            if samples.len() > SAMPLES {
                samples.pop_front();
            }
        }
        if self.samples.len() > SAMPLED {
            let oldest_ns = now_ns.saturating_sub(span_ns());
            self.samples.retain(|_, samples| samples.back().is_some_and(|at| at.0 > oldest_ns));
        }
        let is_over = |open: &Open| open.incident.ended_ns.saturating_add(APART_NS) < now_ns;
        while let Some(at) = self.open.iter().position(is_over) {
            let open = self.open.swap_remove(at);
            self.close(open);
        }
    }

    fn failed(&mut self, now_ns: i64, port: &Port, via: Via, errno: i32, story: Option<&Story>) {
        let is_connect = via == Via::Connect;
        let is_it = |open: &Open| {
            let Incident { netns, protocol, via, ended_ns, .. } = &open.incident;
            (*netns, *protocol, *via == Via::Connect) == (port.netns, port.protocol, is_connect)
                && now_ns.saturating_sub(*ended_ns) <= APART_NS
        };
        let at = self.open.iter().position(is_it).unwrap_or_else(|| {
            self.open.push(Open::new(now_ns, port, via, story));
            self.open.len() - 1
        });
        if let Some(story) = story {
            self.timelines.refused(now_ns, story);
        }
        let before = story.and_then(|story| self.samples.get(&SpaceKey::from(&story.space)));
        self.open[at].add(now_ns, port, errno, story, before);
    }

    fn close(&mut self, open: Open) {
        let namespace = self.namespaces.get(&open.incident.netns).cloned().unwrap_or_default();
        let incident = open.close(namespace);
        self.told.incidents.push(incident);
        if self.told.incidents.len() > INCIDENTS {
            let fewest = self.told.incidents.iter().enumerate().min_by_key(|(_, one)| one.failures);
            if let Some((at, _)) = fewest {
                self.told.incidents.swap_remove(at);
                self.told.left_out += 1;
            }
        }
    }
}

impl Open {
    fn new(now_ns: i64, port: &Port, via: Via, story: Option<&Story>) -> Self {
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
                onset: story.map(shortened),
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
            story: None,
        }
    }

    fn add(
        &mut self,
        now_ns: i64,
        port: &Port,
        errno: i32,
        story: Option<&Story>,
        before: Option<&VecDeque<(i64, u32)>>,
    ) {
        let second = now_ns.div_euclid(1_000_000_000);
        if second != self.second {
            self.end_second();
            (self.second, self.in_second, self.story) = (second, 0, story.map(shortened));
        }
        self.in_second += 1;
        self.incident.failures += 1;
        self.incident.ended_ns = self.incident.ended_ns.max(now_ns);
        let process: Option<&Arc<Process>> = port.caller.as_ref().map(|caller| &caller.process);
        let who = (process.map(|process| (process.pid, process.start_time_ns)), errno);
        if self.failed.len() < KEPT || self.failed.contains_key(&who) {
            let new = || Failed { process: process.cloned(), errno, count: 0 };
            self.failed.entry(who).or_insert_with(new).count += 1;
        }
        let Some(story) = story else { return };
        let key = SpaceKey::from(&story.space);
        if self.spaces.len() < KEPT || self.spaces.contains_key(&key) {
            if let Some(before) = before
                && !self.spaces.contains_key(&key)
            {
                self.before.insert(key, before.iter().copied().collect());
            }
            let new = || FullSpace { space: story.space.clone(), failures: 0 };
            let full = self.spaces.entry(key).or_insert_with(new);
            full.failures += 1;
            full.space = story.space.clone();
        }
        if let Some(cause) = &story.cause {
            let (count, told) = self.causes.entry(cause.kind).or_insert((0, cause.clone()));
            *count += 1;
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
            self.incident.worst = self.story.take();
        }
    }

    fn close(mut self, namespace: Namespace) -> Incident {
        self.end_second();
        let Self { mut incident, spaces, failed, causes, before, .. } = self;
        incident.names = namespace.names;
        incident.range = namespace.range;
        let most =
            causes.into_values().max_by_key(|(count, cause)| (*count, cause.evidence.time_wait));
        incident.cause = most.map(|(_, cause)| cause);
        incident.spaces = spaces.into_values().collect();
        incident.spaces.sort_by_key(|full| (std::cmp::Reverse(full.failures), full.space.headroom));
        incident.failed = failed.into_values().collect();
        incident.failed.sort_by_key(|one| {
            let pid = one.process.as_ref().map_or(0, |process| process.pid);
            (std::cmp::Reverse(one.count), pid)
        });
        let first = incident.spaces.first().map(|full| SpaceKey::from(&full.space));
        let samples = first.and_then(|key| before.get(&key)).map_or(&[][..], Vec::as_slice);
        incident.before = spread(samples, incident.began_ns);
        incident.remedies = remedy::remedies(&incident);
        incident.spaces.truncate(TOLD);
        incident.failed.truncate(TOLD);
        incident
    }
}

/// With as many holders as are told.
fn shortened(story: &Story) -> Story {
    let Story { space, holders, cause } = story;
    let holders = holders.iter().take(TOLD).cloned().collect();
    Story { space: space.clone(), holders, cause: cause.clone() }
}

fn span_ns() -> i64 {
    i64::try_from((SAMPLE * 60).as_nanos()).unwrap_or(i64::MAX)
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
