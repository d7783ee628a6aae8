//! From the reports of a stream to incidents, in bounded memory.

use std::{collections::VecDeque, io, time::Duration};

use foldhash::HashMap;

use super::{
    Forensics, Incident, Loss, Run,
    open::{Namespace, Open},
    taken::Gathered,
    timeline::Timelines,
};
use crate::{
    event::{LossKind, LossPlace, Via},
    ledger::{Census, SpaceKey},
    ports::PortRange,
    report::{Body, Port, Report, Sink, Story, Summary},
};

/// How often a summary is to come: it says how full spaces are.
pub const SAMPLE: Duration = Duration::from_secs(10);
/// How many spaces it is to have.
pub const SPACES: usize = 64;
/// How many holders stories are to have: all, of which many may be of one name.
pub const HOLDERS: usize = usize::MAX;
/// How many samples are kept of each: ten minutes.
pub(super) const SAMPLES: usize = 60;
/// How many spaces' samples are kept.
const SAMPLED: usize = 10_000;
/// Failures that are farther apart are not of one incident.
const APART_NS: i64 = 60_000_000_000;
/// How many incidents are told.
const INCIDENTS: usize = 1_000;
/// How many timelines are told.
const TIMELINES: usize = 12;

/// Takes reports.
#[derive(Default)]
pub struct Collector {
    offset_ns: i64,
    told: Forensics,
    losses: HashMap<(LossPlace, LossKind), u64>,
    open: Vec<Open>,
    samples: HashMap<SpaceKey, VecDeque<(i64, u32)>>,
    namespaces: HashMap<u32, Namespace>,
    timelines: Timelines,
    taken: Gathered,
    refused: Gathered,
}

impl Collector {
    /// How often [`Collector::add`] is to be called.
    pub fn step(&self) -> Duration {
        self.timelines.step().min(SAMPLE)
    }

    /// Of which spaces a census is to be taken, beside the fullest.
    pub fn followed(&self) -> Vec<SpaceKey> {
        self.timelines.followed()
    }

    /// How full spaces are at a moment, nanoseconds since 1970.
    pub fn add(&mut self, now_ns: i64, census: &[Census]) {
        self.timelines.add(now_ns, census);
    }

    /// What was found, when all has been taken in.
    pub fn finish(mut self) -> Forensics {
        for open in std::mem::take(&mut self.open) {
            self.close(open);
        }
        let mut told = std::mem::take(&mut self.told);
        told.incidents.sort_by_key(|incident| incident.began_ns);
        told.losses = self
            .losses
            .iter()
            .map(|((place, kind), count)| Loss { place: *place, kind: *kind, count: *count })
            .collect();
        told.taken = self.taken.finish();
        told.refused = self.refused.finish();
        told.timelines = self.timelines.finish(TIMELINES);
        for timeline in &mut told.timelines {
            let known = self.namespaces.get(&timeline.space.netns);
            timeline.names = known.map(|one| one.names.clone()).unwrap_or_default();
        }
        told.losses.sort_by_key(|loss| (std::cmp::Reverse(loss.count), loss.kind.name()));
        told
    }
}

impl Sink for Collector {
    fn set_offset(&mut self, offset_ns: i64) {
        self.offset_ns = offset_ns;
    }

    fn name(&mut self, netns: u32, names: &[String]) {
        self.namespaces.entry(netns).or_default().names = names.to_vec();
    }

    fn report(&mut self, report: &Report) -> io::Result<()> {
        self.take(report);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Collector {
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
            Body::Lost { count, place, kind, .. } => {
                let known = self.losses.entry((*place, *kind)).or_default();
                *known = known.saturating_add(*count);
            }
            Body::Summary(summary) => self.sample(now_ns, summary),
            Body::Exhausted { port, via, errno, story, repeated, .. } => {
                let count = repeated.saturating_add(1);
                self.failed(now_ns, port, *via, (*errno, count), story.as_deref());
            }
            Body::Conflict { port, via, errno, holders, repeated } => {
                let count = repeated.saturating_add(1);
                let names = self.namespaces.get(&port.netns).map(|one| &one.names[..]);
                let names = names.unwrap_or_default();
                self.taken.add(now_ns, (port, names), (*via, *errno, None), holders, count);
            }
            Body::Refused { port, via, errno, refusal, repeated } => {
                let count = repeated.saturating_add(1);
                let names = self.namespaces.get(&port.netns).map(|one| &one.names[..]);
                let of = (port, names.unwrap_or_default());
                self.refused.add(now_ns, of, (*via, *errno, Some(*refusal)), &[], count);
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

    fn failed(
        &mut self,
        now_ns: i64,
        port: &Port,
        via: Via,
        (errno, count): (i32, u64),
        story: Option<&Story>,
    ) {
        let is_connect = via == Via::Connect;
        let is_it = |open: &Open| {
            let Incident { netns, protocol, via, ended_ns, .. } = &open.incident;
            (*netns, *protocol, *via == Via::Connect) == (port.netns, port.protocol, is_connect)
                && now_ns.saturating_sub(*ended_ns) <= APART_NS
                && open.is_of_range(story)
        };
        let at = self.open.iter().position(is_it).unwrap_or_else(|| {
            self.open.push(Open::new(now_ns, port, via, story));
            self.open.len() - 1
        });
        // How full a socket's own range was is not followed.
        let followed = story.filter(|story| story.space.own_range.is_none());
        if let Some(story) = followed {
            self.timelines.refused(now_ns, story, count);
        }
        let before = followed.and_then(|story| self.samples.get(&SpaceKey::from(&story.space)));
        self.open[at].add(now_ns, port, (errno, count), story, before);
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

fn span_ns() -> i64 {
    i64::try_from((SAMPLE * 60).as_nanos()).unwrap_or(i64::MAX)
}
