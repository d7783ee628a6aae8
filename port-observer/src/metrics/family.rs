//! A metric and its series.

use foldhash::HashMap;

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows; its name ends in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How often a value was at most so much.
    Histogram,
}

/// Names and values, which may be text of others.
pub type Labels = Vec<(&'static str, String)>;

/// A metric: its name, what it means, and its series.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name, with unit and `_total` where they belong.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it means, a sentence.
    pub help: &'static str,
    /// Its series, the most important first.
    pub samples: Vec<Sample>,
}

/// One series at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What follows the family's name in that of the series: `_bucket`, `_sum`, `_count`, or nothing.
    pub suffix: &'static str,
    /// What tells it from the others.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
}

/// The family that says how many series were left out.
const DROPPED: &str = "port_observer_dropped_series";

impl Sample {
    /// Of labels and a value.
    pub fn new(labels: Labels, value: f64) -> Self {
        Self { suffix: "", labels, value }
    }
}

impl Family {
    /// A metric without series yet.
    pub fn new(kind: Kind, name: &'static str, help: &'static str) -> Self {
        Self { name, kind, help, samples: Vec::new() }
    }

    /// A metric of one series without labels.
    pub fn single(kind: Kind, name: &'static str, help: &'static str, value: f64) -> Self {
        Self { samples: vec![Sample::new(Vec::new(), value)], ..Self::new(kind, name, help) }
    }

    /// The same metric with these series.
    pub fn of(self, samples: impl IntoIterator<Item = Sample>) -> Self {
        Self { samples: samples.into_iter().collect(), ..self }
    }
}

/// Leaves so many series in all, and says how many went. Every family gets an equal part first, so that
/// none takes the room of the others; a histogram has all of its series or none.
pub(super) fn limit(families: &mut Vec<Family>, max_series: usize) {
    families.iter_mut().for_each(merge);
    let room = max_series.saturating_sub(1);
    let mut left: Vec<usize> = families.iter().map(|family| family.samples.len()).collect();
    let total: usize = left.iter().sum();
    let mut given = vec![0; left.len()];
    let mut rest = room.min(total);
    while rest > 0 {
        let hungry = left.iter().filter(|count| **count > 0).count();
        if hungry == 0 {
            break;
        }
        let part = (rest / hungry).max(1);
        for (left, given) in left.iter_mut().zip(&mut given) {
            let more = part.min(*left).min(rest);
            *left -= more;
            *given += more;
            rest -= more;
        }
    }
    let mut dropped = 0;
    for (family, given) in families.iter_mut().zip(given) {
        let is_partial = given < family.samples.len();
        let kept = if is_partial && family.kind == Kind::Histogram { 0 } else { given };
        dropped += family.samples.len() - kept;
        family.samples.truncate(kept);
    }
    families.retain(|family| !family.samples.is_empty());
    families.push(Family::single(
        Kind::Gauge,
        DROPPED,
        "Series that were left out of this answer, which has --max-series at most.",
        as_f64(dropped as u64),
    ));
}

/// Series of the same labels are one: a process may be called `other`.
fn merge(family: &mut Family) {
    let mut seen: HashMap<(&'static str, Labels), usize> = HashMap::default();
    let mut merged: Vec<Sample> = Vec::with_capacity(family.samples.len());
    for sample in family.samples.drain(..) {
        let at = *seen.entry((sample.suffix, sample.labels.clone())).or_insert(merged.len());
        match merged.get_mut(at) {
            Some(same) => same.value += sample.value,
            None => merged.push(sample),
        }
    }
    family.samples = merged;
}

/// A count as a metric's value: beyond 2^53 it is the nearest that there is.
#[expect(clippy::cast_precision_loss, reason = "metrics are floating point")]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}
