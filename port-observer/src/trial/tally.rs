//! What is counted of all legs.

use hdrhistogram::Histogram;

use super::nanoseconds;
use std::time::Duration;

/// Longer times than this count as this.
const LONGEST: Duration = Duration::from_secs(60);

/// Times in nanoseconds, three digits of each; bounded.
#[derive(Clone, Debug)]
pub struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        // Never fails: the bounds are right, and constants.
        let made = Histogram::new_with_bounds(1, nanoseconds(LONGEST), 3);
        Self(made.unwrap_or_else(|_| unreachable!("the bounds are right")))
    }
}

/// What is told of times, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    /// Half are not longer.
    pub p50: u64,
    /// 90% are not longer.
    pub p90: u64,
    /// 99% are not longer.
    pub p99: u64,
    /// 99.9% are not longer.
    pub p99_9: u64,
    /// The longest.
    pub max: u64,
}

impl Times {
    /// Counts one.
    pub fn add(&mut self, ns: u64) {
        self.0.saturating_record(ns.max(1));
    }

    /// Of all that were counted; `None`: there are none.
    pub fn percentiles(&self) -> Option<Percentiles> {
        let at = |quantile| self.0.value_at_quantile(quantile);
        (!self.0.is_empty()).then(|| Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: self.0.max(),
        })
    }

    /// What 99% are not longer than.
    pub fn p99(&self) -> Option<u64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(0.99))
    }
}

/// Counts of all legs.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// RTP packets sent.
    pub sent: u64,
    /// Of those, how many came back in time, each once.
    pub received: u64,
    /// How many came back too late; they are lost too.
    pub late: u64,
    /// How many came back again.
    pub duplicate: u64,
    /// Of those received, how many came after one that was sent later.
    pub reordered: u64,
    /// Datagrams that nobody here sent so.
    pub foreign: u64,
    /// How many left more than one interval after their time, as this host was busy.
    pub late_sends: u64,
    /// How many were not sent at all, as it stood still for longer.
    pub skipped: u64,
    /// How many the kernel refused to send, and how it refused the last one.
    pub refused: u64,
    /// The last reason.
    pub errno: Option<i32>,
    /// How often a host answered that nobody has the port there (ICMP).
    pub unreachable: u64,
    /// RTT of RTP.
    pub rtt: Times,
    /// Interarrival jitter, as it was at each packet.
    pub jitter: Times,
    /// Sender reports sent.
    pub reports: u64,
    /// Answers to them.
    pub answers: u64,
    /// RTT by LSR and DLSR.
    pub report_rtt: Times,
}

impl Tally {
    /// How many of the packets sent did not come back in time.
    pub fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// How many reports were not answered.
    pub fn unanswered(&self) -> u64 {
        self.reports.saturating_sub(self.answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_all_times_and_memory_is_bounded() {
        let mut times = Times::default();
        assert_eq!((times.percentiles(), times.p99()), (None, None));
        (1..=1_000u64).for_each(|n| times.add(n * 1_000));
        let found = times.percentiles().unwrap();
        for (value, expected) in [
            (found.p50, 500_000),
            (found.p90, 900_000),
            (found.p99, 990_000),
            (found.p99_9, 999_000),
            (found.max, 1_000_000),
        ] {
            assert!(value.abs_diff(expected) <= expected / 500, "{value} {expected}");
        }
        times.add(0);
        times.add(u64::MAX);
        assert!(times.0.max().abs_diff(60_000_000_000) < 100_000_000, "{}", times.0.max());
    }
}
