//! How something went over time: a bounded number of samples, however long it takes. Pure.

use std::{collections::BTreeMap, mem};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// No more samples than these are kept: two neighbours become one once there are as many.
const MOST: usize = 600;

/// A stretch of time, from the end of the sample before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Its end, nanoseconds since boot.
    pub at_ns: u64,
    /// Connections then.
    pub connections: u64,
    /// Connections that were made in it, a second.
    pub rate_per_second: f64,
    /// Attempts that failed in it.
    pub refused: u64,
    /// How long half of those that were made in it took at most; `None`: none was made.
    pub p50_seconds: Option<f64>,
    /// And 99 of 100.
    pub p99_seconds: Option<f64>,
}

/// Samples that are taken.
#[derive(Clone, Debug)]
pub struct Samples {
    /// In order of time, the first of the start.
    all: Vec<Stretch>,
    /// How many of those that were pushed become one.
    each: u32,
}

#[derive(Clone, Debug, Default)]
struct Stretch {
    at_ns: u64,
    connections: u64,
    /// Since the start.
    refused: u64,
    /// How long connections took, in nanoseconds: how many of each.
    took: BTreeMap<u64, u64>,
    /// How many were pushed for it.
    pushed: u32,
}

/// Takes all out of a histogram: values, and how many of each.
pub fn drain(times: &mut Histogram<u64>) -> Vec<(u64, u64)> {
    let counted = times
        .iter_recorded()
        .map(|one| (one.value_iterated_to(), one.count_since_last_iteration()))
        .collect();
    times.reset();
    counted
}

impl Samples {
    /// None yet. `at_ns`: nanoseconds since boot.
    pub fn begin(at_ns: u64) -> Self {
        Self { all: vec![Stretch { at_ns, ..Stretch::default() }], each: 1 }
    }

    /// Takes one: how many connections there are at a moment, how many attempts have failed so far, and
    /// how long connections took since the one before.
    pub fn push(&mut self, at_ns: u64, connections: u64, refused: u64, took: &[(u64, u64)]) {
        let mut new = Stretch { at_ns, connections, refused, took: BTreeMap::new(), pushed: 1 };
        for &(ns, count) in took {
            *new.took.entry(ns).or_default() += count;
        }
        match self.all.as_mut_slice() {
            [_, .., last] if last.pushed < self.each || last.at_ns >= at_ns => last.join(new),
            _ => self.all.push(new),
        }
        if self.all.len() > MOST {
            self.halve();
        }
    }

    /// Two neighbours become one; the first stays what it is.
    fn halve(&mut self) {
        let mut old = mem::take(&mut self.all).into_iter();
        self.all.extend(old.next());
        while let Some(mut one) = old.next() {
            if let Some(next) = old.next() {
                one.join(next);
            }
            self.all.push(one);
        }
        self.each = self.each.saturating_mul(2);
    }

    /// All of them.
    pub fn all(&self) -> Vec<Sample> {
        let first = self.all.first().map(|first| Sample {
            at_ns: first.at_ns,
            connections: first.connections,
            rate_per_second: 0.0,
            refused: 0,
            p50_seconds: None,
            p99_seconds: None,
        });
        let others = self.all.windows(2).map(|pair| pair[1].since(&pair[0]));
        first.into_iter().chain(others).collect()
    }
}

impl Stretch {
    fn join(&mut self, next: Self) {
        for (ns, count) in next.took {
            *self.took.entry(ns).or_default() += count;
        }
        self.at_ns = self.at_ns.max(next.at_ns);
        self.connections = next.connections;
        self.refused = next.refused;
        self.pushed = self.pushed.saturating_add(next.pushed);
    }

    fn since(&self, before: &Self) -> Sample {
        let made: u64 = self.took.values().sum();
        let seconds = self.at_ns.saturating_sub(before.at_ns) as f64 / 1e9;
        Sample {
            at_ns: self.at_ns,
            connections: self.connections,
            rate_per_second: if seconds > 0.0 { made as f64 / seconds } else { 0.0 },
            refused: self.refused.saturating_sub(before.refused),
            p50_seconds: self.percentile(50),
            p99_seconds: self.percentile(99),
        }
    }

    /// How long so many percent took at most.
    fn percentile(&self, percent: u64) -> Option<f64> {
        let made: u64 = self.took.values().sum();
        let wanted = (made.saturating_mul(percent)).div_ceil(100);
        let mut count = 0;
        let reached = self.took.iter().find(|(_, those)| {
            count += **those;
            count >= wanted
        });
        reached.map(|(&ns, _)| ns as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_sample_is_what_came_since_the_one_before() {
        let mut samples = Samples::begin(SECOND);
        samples.push(2 * SECOND, 100, 3, &[(1_000, 98), (5_000, 2)]);
        samples.push(4 * SECOND, 90, 7, &[]);
        let all = samples.all();
        assert_eq!((all[0].at_ns, all[0].connections, all[0].p50_seconds), (SECOND, 0, None));
        assert_eq!((all[1].rate_per_second, all[1].refused), (100.0, 3));
        assert_eq!((all[1].p50_seconds, all[1].p99_seconds), (Some(1e-6), Some(5e-6)));
        assert_eq!((all[2].rate_per_second, all[2].refused, all[2].connections), (0.0, 4, 90));
        assert_eq!(all[2].p99_seconds, None);
    }

    #[test]
    fn thinning_keeps_the_first_the_last_the_order_and_all_connections() {
        for count in [1, 599, 600, 601, 1_200, 10_007_u64] {
            let mut samples = Samples::begin(0);
            for number in 1..=count {
                samples.push(number * SECOND, number, number, &[(number, 1)]);
            }
            let all = samples.all();
            assert!(all.len() <= MOST && all.len() as u64 >= (count + 1).min(250), "{}", all.len());
            assert_eq!((all[0].at_ns, all[0].connections), (0, 0));
            let last = all.last().expect("the last");
            assert_eq!((last.at_ns, last.connections), (count * SECOND, count));
            assert!(all.is_sorted_by(|one, next| one.at_ns < next.at_ns));
            assert_eq!(all.iter().map(|one| one.refused).sum::<u64>(), count);
            assert!(all[1..].iter().all(|one| (one.rate_per_second - 1.0).abs() < 1e-9));
        }
    }

    #[test]
    fn what_is_said_twice_of_a_moment_is_one_sample() {
        let mut samples = Samples::begin(0);
        samples.push(SECOND, 10, 0, &[(1_000, 10)]);
        samples.push(SECOND, 11, 1, &[(1_000, 1)]);
        let all = samples.all();
        assert_eq!(all.len(), 2);
        assert_eq!((all[1].connections, all[1].rate_per_second, all[1].refused), (11, 11.0, 1));
    }
}
