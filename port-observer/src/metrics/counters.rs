//! What happened since the program began, counted as it is told.

use std::{hash::Hash, io, sync::Arc};

use foldhash::{HashMap, HashMapExt as _};

use super::{
    family::{Family, Kind, Sample, as_f64},
    pools,
};
use crate::{
    event::{LossPlace, Protocol, Reason, Refusal, Via},
    report::{Body, CauseKind, PoolEvent, PoolReport, Port, Report, Sink},
    words::{errno::ErrorName, namespaces::Names},
};

/// How many different label sets of one metric are kept apart. Whoever may make network namespaces may
/// make very many.
const KEPT: usize = 2048;
/// The namespace of what is not kept apart.
const OTHER: u32 = 0;

/// Upper bounds of the time that the kernel searched for a port, in seconds.
const BOUNDS: [(f64, &str); 10] = [
    (1e-6, "1e-06"),
    (3e-6, "3e-06"),
    (1e-5, "1e-05"),
    (3e-5, "3e-05"),
    (1e-4, "0.0001"),
    (3e-4, "0.0003"),
    (1e-3, "0.001"),
    (1e-2, "0.01"),
    (1e-1, "0.1"),
    (1.0, "1.0"),
];

/// Counts reports. The first sight of a series is its beginning: what happened before is not in it.
#[derive(Debug)]
pub struct Counters {
    names: Names,
    acquired: Tally<(u32, Protocol, Via)>,
    released: Tally<(u32, Protocol, Reason)>,
    exhausted: Tally<(u32, Protocol, Via, i32, Option<CauseKind>)>,
    conflicts: Tally<(u32, Protocol, Via)>,
    refused: Tally<&'static str>,
    /// By the pool's name: ports that others took of it, and that its owner took elsewhere.
    pool_taken: Tally<Arc<str>>,
    pool_wrong_range: Tally<Arc<str>>,
    lost: Tally<LossPlace>,
    searches: Searches,
}

/// Counts by labels.
#[derive(Debug)]
struct Tally<K>(HashMap<K, u64>);

impl<K> Default for Tally<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Tally<K> {
    /// So many more of `key`, or of `instead` where there are too many already.
    fn add(&mut self, key: K, count: u64, instead: impl FnOnce(K) -> K) {
        let is_kept = self.0.len() < KEPT || self.0.contains_key(&key);
        let key = if is_kept { key } else { instead(key) };
        let counted = self.0.entry(key).or_default();
        *counted = counted.saturating_add(count);
    }

    /// These are there from the beginning: what counts how much more there is sees the first.
    fn with(keys: impl IntoIterator<Item = K>) -> Self {
        Self(keys.into_iter().map(|key| (key, 0)).collect())
    }

    /// The series, the largest first; of equal ones always in the same order.
    fn samples(&self, labels: impl Fn(&K) -> Vec<(&'static str, String)>) -> Vec<Sample> {
        let each = self.0.iter().map(|(key, count)| Sample::new(labels(key), as_f64(*count)));
        let mut samples: Vec<Sample> = each.collect();
        samples.sort_by(|a, b| b.value.total_cmp(&a.value).then_with(|| a.labels.cmp(&b.labels)));
        samples
    }
}

/// How long the kernel searched.
#[derive(Debug, Default)]
struct Searches {
    /// Of each bound those that were not within a smaller one; the last: beyond all.
    within: [u64; BOUNDS.len() + 1],
    sum_ns: u64,
}

impl Searches {
    fn add(&mut self, search_ns: Option<u64>) {
        let Some(ns) = search_ns else { return };
        let seconds = as_f64(ns) / 1e9;
        let at = BOUNDS.iter().position(|(bound, _)| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.within[at] += 1;
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    fn samples(&self) -> Vec<Sample> {
        let mut so_far = 0;
        let names = BOUNDS.iter().map(|(_, name)| *name).chain(["+Inf"]);
        let mut samples: Vec<Sample> = names
            .zip(self.within)
            .map(|(name, count)| {
                so_far += count;
                let labels = vec![("le", name.to_owned())];
                Sample { suffix: "_bucket", labels, value: as_f64(so_far) }
            })
            .collect();
        let of = |suffix, value| Sample { suffix, labels: Vec::new(), value };
        samples.push(of("_sum", as_f64(self.sum_ns) / 1e9));
        samples.push(of("_count", as_f64(so_far)));
        samples
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            names: Names::default(),
            acquired: Tally::default(),
            released: Tally::default(),
            exhausted: Tally::default(),
            conflicts: Tally::default(),
            refused: Tally::with(Refusal::ALL.map(Refusal::name)),
            pool_taken: Tally::default(),
            pool_wrong_range: Tally::default(),
            lost: Tally::with(LossPlace::ALL),
            searches: Searches::default(),
        }
    }
}

impl Counters {
    /// The families of counters.
    pub(super) fn families(&self) -> Vec<Family> {
        let place = |netns, protocol: Protocol| {
            vec![("netns", self.label(netns)), ("protocol", protocol.name().to_owned())]
        };
        let and = |mut labels: Vec<_>, name, value: &str| {
            labels.push((name, value.to_owned()));
            labels
        };
        let counter = |name, help| Family::new(Kind::Counter, name, help);
        vec![
            counter(
                "port_observer_exhausted_total",
                "Calls that the kernel had no port for, by why there was none.",
            )
            .of(self.exhausted.samples(|&(netns, protocol, via, errno, cause)| {
                let labels = and(place(netns, protocol), "via", via.name());
                let labels = and(labels, "errno", &ErrorName(errno).to_string());
                and(labels, "cause", cause.map_or("unknown", CauseKind::name))
            })),
            counter(
                "port_observer_conflicts_total",
                "Calls for a certain port or 4-tuple that somebody else has.",
            )
            .of(self
                .conflicts
                .samples(|&(netns, protocol, via)| and(place(netns, protocol), "via", via.name()))),
            counter(
                "port_observer_refused_total",
                "Calls that failed with the words of exhaustion, and it is none, by reason.",
            )
            .of(self.refused.samples(|reason| vec![("reason", (*reason).to_owned())])),
            counter(
                "port_observer_pool_taken_total",
                "Ports of a declared pool that were taken by others than its owner, or by automatic \
                 choice.",
            )
            .of(self.pool_taken.samples(|name| pools::label(name))),
            counter(
                "port_observer_pool_wrong_range_total",
                "Ports that the owner of a declared pool took outside of its pools.",
            )
            .of(self.pool_wrong_range.samples(|name| pools::label(name))),
            counter(
                "port_observer_lost_events_total",
                "Events that were lost, by where. What was lost is reconciled against the kernel.",
            )
            .of(self.lost.samples(|place| vec![("where", place.name().to_owned())])),
            counter("port_observer_acquired_total", "Local ports taken, by call.").of(self
                .acquired
                .samples(|&(netns, protocol, via)| and(place(netns, protocol), "via", via.name()))),
            counter("port_observer_released_total", "Local ports that came free, by why.").of(self
                .released
                .samples(|&(netns, protocol, reason)| {
                    and(place(netns, protocol), "reason", reason.name())
                })),
            Family::new(
                Kind::Histogram,
                "port_observer_port_search_seconds",
                "How long the kernel searched for a port, where that was measured.",
            )
            .of(self.searches.samples()),
        ]
    }

    /// What a namespace is called in labels.
    pub(super) fn label(&self, netns: u32) -> String {
        if netns == OTHER { "other".to_owned() } else { self.names.unique(netns) }
    }

    fn count_pool(&mut self, of: &PoolReport) {
        let name = || Arc::clone(&of.pool.name);
        let count = of.repeated().saturating_add(1);
        match &of.event {
            // Where each pool is comes first: from then on its counters are there.
            PoolEvent::Threshold { .. } => {
                self.pool_taken.add(name(), 0, |key| key);
                self.pool_wrong_range.add(name(), 0, |key| key);
            }
            PoolEvent::Taken { .. } => self.pool_taken.add(name(), count, |key| key),
            PoolEvent::WrongRange { .. } => self.pool_wrong_range.add(name(), count, |key| key),
            PoolEvent::Exhausted { .. } => {}
        }
    }

    fn count(&mut self, body: &Body) {
        let of = |port: &Port| (port.netns, port.protocol);
        match *body {
            Body::Acquire { ref port, via, search_ns, .. } => {
                let (netns, protocol) = of(port);
                self.searches.add(search_ns);
                self.acquired.add((netns, protocol, via), 1, |key| (OTHER, key.1, key.2));
            }
            Body::Release { ref port, reason, .. } => {
                let (netns, protocol) = of(port);
                self.released.add((netns, protocol, reason), 1, |key| (OTHER, key.1, key.2));
            }
            Body::Exhausted { ref port, via, errno, search_ns, ref story, repeated } => {
                let (netns, protocol) = of(port);
                let cause = story.as_ref().and_then(|story| story.cause.as_ref());
                let key = (netns, protocol, via, errno, cause.map(|cause| cause.kind));
                self.searches.add(search_ns);
                let other = |(_, protocol, via, errno, cause)| (OTHER, protocol, via, errno, cause);
                self.exhausted.add(key, repeated.saturating_add(1), other);
            }
            Body::Conflict { ref port, via, repeated, .. } => {
                let (netns, protocol) = of(port);
                let key = (netns, protocol, via);
                self.conflicts.add(key, repeated.saturating_add(1), |key| (OTHER, key.1, key.2));
            }
            Body::Refused { refusal, repeated, .. } => {
                self.refused.add(refusal.name(), repeated.saturating_add(1), |key| key);
            }
            Body::Lost { count, place, .. } => self.lost.add(place, count, |key| key),
            Body::Pool(ref of) => self.count_pool(of),
            Body::Start(_)
            | Body::Existing { .. }
            | Body::TimeWait { .. }
            | Body::Threshold { .. }
            | Body::Summary(_)
            | Body::State { .. }
            | Body::Stop(_) => {}
        }
    }
}

impl Sink for Counters {
    fn set_offset(&mut self, _offset_ns: i64) {}

    fn name(&mut self, netns: u32, names: &[String]) {
        self.names.set(netns, names);
    }

    fn report(&mut self, report: &Report) -> io::Result<()> {
        self.count(&report.body);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
