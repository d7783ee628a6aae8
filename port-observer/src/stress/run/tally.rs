//! How far all clients are, one after the other.

use std::mem;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;

use crate::stress::{
    MILESTONES, Milestone,
    parts::Progress,
    samples::{Sample, Samples},
};

/// Longer times count as this.
const LONGEST_NS: u64 = 120_000_000_000;

/// What clients have said.
pub(super) struct Tally {
    is_churn: bool,
    began_ns: u64,
    /// Of clients that are done.
    before: Progress,
    /// Of the one that connects.
    now: Progress,
    took: Histogram<u64>,
    reached: Vec<Milestone>,
    samples: Samples,
}

impl Tally {
    /// `began_ns`: nanoseconds since boot.
    pub(super) fn begin(is_churn: bool, began_ns: u64) -> Result<Self> {
        let took = Histogram::new_with_max(LONGEST_NS, 2).context("can't count times")?;
        let (before, now) = (Progress::default(), Progress::default());
        let samples = Samples::begin(began_ns);
        Ok(Self { is_churn, began_ns, before, now, took, reached: Vec::new(), samples })
    }

    pub(super) fn began_ns(&self) -> u64 {
        self.began_ns
    }

    /// From the start to what was said last.
    pub(super) fn seconds(&self) -> f64 {
        self.all().at_ns.saturating_sub(self.began_ns) as f64 / 1e9
    }

    /// The client is done, another follows.
    pub(super) fn next_client(&mut self) {
        self.before = self.all();
        self.now = Progress::default();
    }

    /// Takes in how far the client is that connects.
    pub(super) fn take(&mut self, mut progress: Progress) {
        let took = mem::take(&mut progress.took);
        for &(ns, count) in &took {
            self.took.saturating_record_n(ns, count);
        }
        self.now = progress;
        let (all, standing, seconds) = (self.all(), self.standing(), self.seconds());
        self.samples.push(all.at_ns, standing, all.failed(), &took);
        while let Some(&connections) = MILESTONES.get(self.reached.len()) {
            if standing < connections {
                break;
            }
            // Of a program of the user's it is not known how long its calls take.
            let at = |quantile| {
                let ns = self.took.value_at_quantile(quantile);
                (!self.took.is_empty()).then_some(ns as f64 / 1e9)
            };
            self.reached.push(Milestone {
                connections,
                reached: true,
                seconds: Some(seconds),
                rate_per_second: (seconds > 0.0).then(|| connections as f64 / seconds),
                connect_p50_seconds: at(0.5),
                connect_p99_seconds: at(0.99),
                search_p50_seconds: None,
            });
        }
    }

    /// Connections that stand; of those that are closed at once, all that were made.
    pub(super) fn standing(&self) -> u64 {
        let all = self.all();
        if self.is_churn { all.worked } else { all.worked.saturating_sub(all.closed) }
    }

    /// How many were made until the limit, and in how many seconds: of those that are kept, the most that
    /// stood, and when.
    pub(super) fn breaking_point(&self) -> (u64, f64) {
        let all = self.all();
        if self.is_churn || all.peak == 0 {
            return (all.worked, self.seconds());
        }
        (all.peak, all.peak_ns.saturating_sub(self.began_ns) as f64 / 1e9)
    }

    /// Those that were reached, and those that were not.
    pub(super) fn milestones(&self) -> Vec<Milestone> {
        let left = MILESTONES.into_iter().skip(self.reached.len());
        self.reached.iter().cloned().chain(left.map(Milestone::not_reached)).collect()
    }

    /// How it went over time.
    pub(super) fn samples(&self) -> Vec<Sample> {
        self.samples.all()
    }

    /// How far all are.
    pub(super) fn all(&self) -> Progress {
        let (before, now) = (&self.before, &self.now);
        let mut refused = before.refused.clone();
        for (&errno, &count) in &now.refused {
            *refused.entry(errno).or_default() += count;
        }
        // Of a client that has made none yet, the moment is that of the one before.
        Progress {
            at_ns: now.at_ns.max(before.at_ns),
            worked: before.worked + now.worked,
            peak: before.peak + now.peak,
            peak_ns: now.peak_ns.max(before.peak_ns),
            pending: now.pending,
            refused,
            retried: before.retried + now.retried,
            closed: before.closed + now.closed,
            is_filtered: now.is_filtered,
            heard: before.heard.clone().or_else(|| now.heard.clone()),
            took: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_one_after_the_other_are_counted_together() {
        let mut tally = Tally::begin(false, 1_000_000_000).unwrap();
        let at = |seconds: u64, worked, closed| Progress {
            at_ns: seconds * 1_000_000_000,
            worked,
            closed,
            took: vec![(1_000, worked)],
            refused: [(libc::EADDRNOTAVAIL, 1)].into(),
            ..Progress::default()
        };
        tally.take(at(2, 900, 0));
        tally.next_client();
        tally.take(at(3, 150, 10));
        assert_eq!((tally.standing(), tally.all().failed()), (1_040, 2));
        let milestones = tally.milestones();
        let (first, second) = (&milestones[0], &milestones[1]);
        assert_eq!((first.connections, first.seconds), (1_000, Some(2.0)));
        assert_eq!(first.rate_per_second, Some(500.0));
        assert_eq!((second.connections, second.reached), (10_000, false));
        assert!(first.connect_p50_seconds.is_some(), "{first:?}");
        let mut unknown = Tally::begin(false, 1_000_000_000).unwrap();
        unknown.take(Progress { took: Vec::new(), ..at(2, 1_000, 0) });
        assert_eq!(unknown.milestones()[0].connect_p50_seconds, None);
        let samples = tally.samples();
        let of = |at: usize| (samples[at].connections, samples[at].refused);
        assert_eq!((of(0), of(1), of(2)), ((0, 0), (900, 1), (1_040, 1)));
    }
}
