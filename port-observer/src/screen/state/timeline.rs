//! How often something happened, second by second, over the last minutes.

use std::collections::VecDeque;

/// How many seconds are kept: five minutes.
const KEPT: usize = 300;
/// Over how many whole seconds a rate is taken.
const RATE_SECONDS: u64 = 5;

/// Counts by second; those before the first are not known.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// The second after the last count.
    end: u64,
    counts: VecDeque<u32>,
}

impl Timeline {
    /// Something happened in this second.
    pub fn add(&mut self, second: u64) {
        self.advance(second);
        // What comes late goes where it belongs, if that is kept.
        let back = usize::try_from(self.end - 1 - second.min(self.end - 1)).unwrap_or(usize::MAX);
        let at = self.counts.len().checked_sub(back + 1);
        if let Some(count) = at.and_then(|at| self.counts.get_mut(at)) {
            *count = count.saturating_add(1);
        }
    }

    /// Time has gone by up to this second.
    fn advance(&mut self, second: u64) {
        if self.counts.is_empty() {
            self.end = second;
        }
        let gap = (second + 1).saturating_sub(self.end);
        let new = usize::try_from(gap).unwrap_or(KEPT).min(KEPT);
        self.counts.extend(std::iter::repeat_n(0, new));
        let excess = self.counts.len().saturating_sub(KEPT);
        self.counts.drain(..excess);
        self.end = self.end.max(second + 1);
    }

    fn count(&self, second: u64) -> Option<u32> {
        let back = usize::try_from((self.end).checked_sub(second + 1)?).ok()?;
        self.counts.get(self.counts.len().checked_sub(back + 1)?).copied()
    }

    /// How often per second, over the last whole seconds before `now`, of which nothing is known
    /// before `since`.
    pub fn per_second(&self, now: u64, since: u64) -> f64 {
        let from = now.saturating_sub(RATE_SECONDS).max(since).min(now);
        let counts = (from..now).filter_map(|second| self.count(second));
        let sum = counts.map(f64::from).fold(0.0, |sum, count| sum + count);
        #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
        let seconds = (now - from).max(1) as f64;
        sum / seconds
    }

    /// The last `bars` sums of so many seconds each, the newest last: up to the second before `now`.
    pub fn bars(&self, now: u64, bars: usize, seconds: u64) -> Vec<u32> {
        // Bars that stand still until the next begins, rather than all changing every second.
        let end = now / seconds * seconds;
        let bar = |back: u64| {
            let first = end.saturating_sub((back + 1) * seconds);
            let of = (first..first + seconds).filter_map(|second| self.count(second));
            of.fold(0u32, u32::saturating_add)
        };
        (0..bars as u64).rev().map(bar).collect()
    }

    /// The second of the last count.
    pub fn last(&self) -> u64 {
        self.end.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_of_the_last_whole_seconds() {
        let mut line = Timeline::default();
        assert_eq!(line.per_second(10, 0), 0.0);
        for second in 10..20 {
            (0..second).for_each(|_| line.add(second));
        }
        assert_eq!(line.per_second(20, 0), 17.0);
        assert_eq!(line.per_second(20, 18), 18.5);
        assert_eq!(line.per_second(22, 0), (17.0 + 18.0 + 19.0) / 5.0);
        assert_eq!(line.per_second(100, 0), 0.0);
    }

    #[test]
    fn what_comes_late_counts_where_it_belongs() {
        let mut line = Timeline::default();
        line.add(100);
        line.add(103);
        line.add(101);
        assert_eq!(line.bars(104, 4, 1), [1, 1, 0, 1]);
        // Before the first that is known.
        line.add(7);
        assert_eq!(line.bars(104, 4, 1), [1, 1, 0, 1]);
    }

    #[test]
    fn bars_stand_still_until_the_next_begins() {
        let mut line = Timeline::default();
        (90..110).for_each(|second| line.add(second));
        assert_eq!(line.bars(110, 3, 5), [5, 5, 5]);
        assert_eq!(line.bars(112, 3, 5), [5, 5, 5]);
        assert_eq!(line.bars(115, 3, 5), [5, 5, 0]);
    }

    #[test]
    fn only_minutes_are_kept_however_long_nothing_happens() {
        let mut line = Timeline::default();
        line.add(1);
        line.add(u64::from(u32::MAX));
        assert_eq!(line.counts.len(), KEPT);
        assert_eq!(line.last(), u64::from(u32::MAX));
    }
}
