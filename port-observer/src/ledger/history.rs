//! How the use of a space changed over the last minute.

use std::collections::VecDeque;

use crate::report::Growth;

/// How far back the growth of a space is looked at.
const WINDOW_NS: u64 = 60_000_000_000;
/// How far apart samples are, at least.
const STEP_NS: u64 = 1_000_000_000;
/// From how much of the past a growth is stated.
const LEAST_NS: u64 = 2_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Sample {
    time_ns: u64,
    used: u32,
    closed: u64,
}

/// Samples of how much of a space was used, taken when something happened in it.
#[derive(Clone, Debug, Default)]
pub struct History {
    samples: VecDeque<Sample>,
    /// Connections of the space that were closed since it is known.
    closed: u64,
    /// When something last happened.
    changed_ns: u64,
    /// When something happened before that: since then it was as it was until now.
    since_ns: u64,
}

impl History {
    /// Something happens now. Whether a sample is due, of what was until then.
    pub fn is_due(&mut self, now_ns: u64) -> bool {
        self.since_ns = if self.changed_ns == 0 { now_ns } else { self.changed_ns };
        self.changed_ns = now_ns;
        self.samples.back().is_none_or(|last| now_ns >= last.time_ns.saturating_add(STEP_NS))
    }

    /// Takes a sample: how much was used until now.
    pub fn sample(&mut self, used: u32) {
        self.samples.push_back(Sample { time_ns: self.since_ns, used, closed: self.closed });
        let oldest = self.changed_ns.saturating_sub(WINDOW_NS);
        // One from before the window stays: it says how it was when the window began.
        while self.samples.get(1).is_some_and(|second| second.time_ns <= oldest) {
            self.samples.pop_front();
        }
    }

    /// A connection was closed.
    pub fn closed(&mut self) {
        self.closed += 1;
    }

    /// Whether less is used than when the last sample was taken: then nothing says when it will be full.
    pub fn is_shrinking(&self, used: u32) -> bool {
        self.samples.back().is_some_and(|last| used < last.used)
    }

    /// How fast the use grows, and in how many seconds it will have grown by `left`, where it grows at all.
    pub fn outlook(&self, now_ns: u64, used: u32, left: u32) -> (Option<f64>, Option<f64>) {
        let rate = self.growth(now_ns, used).map(|growth| growth.used_per_second);
        let grows = rate.filter(|rate| *rate > 0.0 && !self.is_shrinking(used));
        (rate, grows.map(|rate| f64::from(left) / rate))
    }

    /// The growth up to now, with `used` used; `None` while too little of the past is known.
    pub fn growth(&self, now_ns: u64, used: u32) -> Option<Growth> {
        let oldest_ns = now_ns.saturating_sub(WINDOW_NS);
        if now_ns >= self.changed_ns.saturating_add(WINDOW_NS) {
            return Some(Growth { used_per_second: 0.0, closed_per_second: 0.0 });
        }
        let at = self.samples.partition_point(|sample| sample.time_ns <= oldest_ns);
        let first = self.samples.get(at.saturating_sub(1))?;
        let second = self.samples.get(at.max(1));
        // It changed all the time, or it was so until the window began.
        let is_steady =
            second.is_some_and(|second| second.time_ns < first.time_ns.saturating_add(2 * STEP_NS));
        let from_ns = if is_steady { first.time_ns } else { first.time_ns.max(oldest_ns) };
        let span_ns = now_ns.saturating_sub(from_ns);
        if span_ns < LEAST_NS {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a minute, and counts")]
        let (seconds, closed) = (span_ns as f64 / 1e9, (self.closed - first.closed) as f64);
        Some(Growth {
            used_per_second: (f64::from(used) - f64::from(first.used)) / seconds,
            closed_per_second: closed / seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Something happens, and until then this much was used.
    fn happens(history: &mut History, now_ns: u64, used: u32) {
        if history.is_due(now_ns) {
            history.sample(used);
        }
    }

    #[test]
    fn a_constant_rate_is_stated_as_it_is() {
        let mut history = History::default();
        for step in 1..2000u32 {
            let now = u64::from(step) * SECOND / 10;
            happens(&mut history, now, step - 1);
            if let Some(growth) = history.growth(now, step) {
                assert!((growth.used_per_second - 10.0).abs() < 0.6, "{growth:?} at {now}");
            }
        }
        let now = 1999 * SECOND / 10;
        let growth = history.growth(now, 1999).unwrap().used_per_second;
        assert!((growth - 10.0).abs() < 0.03, "{growth}");
        assert!(history.samples.len() <= 70);
    }

    #[test]
    fn what_happened_more_than_a_minute_ago_does_not_count() {
        let mut history = History::default();
        happens(&mut history, 1, 0);
        happens(&mut history, SECOND, 100);
        // Of what comes after a sample, within the same second, only the time is kept.
        happens(&mut history, SECOND * 3 / 2, 200);
        assert_eq!(history.growth(100 * SECOND, 500).unwrap().used_per_second, 0.0);
        happens(&mut history, 90 * SECOND, 500);
        assert_eq!(history.growth(100 * SECOND, 560).unwrap().used_per_second, 1.0);
    }

    #[test]
    fn less_than_a_moment_ago_is_shrinking() {
        let mut history = History::default();
        assert!(!history.is_shrinking(0));
        happens(&mut history, SECOND, 0);
        happens(&mut history, 3 * SECOND, 100);
        assert!(history.is_shrinking(99) && !history.is_shrinking(100));
        assert!(history.growth(3 * SECOND, 99).unwrap().used_per_second > 0.0);
    }

    #[test]
    fn two_seconds_are_needed_for_a_growth() {
        let mut history = History::default();
        assert_eq!(history.growth(SECOND, 3), None);
        happens(&mut history, 1, 0);
        assert_eq!(history.growth(SECOND, 3), None);
        assert!(history.growth(2 * SECOND + 1, 3).is_some());
    }

    #[test]
    fn closed_connections_are_counted_per_second() {
        let mut history = History::default();
        happens(&mut history, 1, 10);
        (0..40).for_each(|_| history.closed());
        assert_eq!(history.growth(10 * SECOND + 1, 10).unwrap().closed_per_second, 4.0);
    }
}
