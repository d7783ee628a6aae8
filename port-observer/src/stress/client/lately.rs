//! What came of attempts of late.

use std::time::Duration;

use super::ns;
use crate::stress::parts::Progress;

/// How often it is looked back, and how far.
const STALL: Duration = Duration::from_millis(2_500);
/// So many connections that a server closes are no accident.
const CLOSED: u64 = 10;
/// Where an attempt takes this long on average, most are sent again, and what is told of is how often they
/// are, and no more how much goes.
const SLOW: Duration = Duration::from_millis(500);

/// Counts at the last look, and what has come since.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lately {
    since_ns: u64,
    worked: u64,
    closed: u64,
    /// When attempts were last counted, and what they have waited since the last look, all together.
    counted_ns: u64,
    waited_ns: u64,
    new: Since,
}

/// What came between two looks.
#[derive(Clone, Copy, Debug, Default)]
struct Since {
    worked: u64,
    closed: u64,
    waited_ns: u64,
}

impl Lately {
    pub(super) fn begin(since_ns: u64) -> Self {
        Self { since_ns, counted_ns: since_ns, ..Self::default() }
    }

    /// So many attempts have been waiting since the last call.
    pub(super) fn wait(&mut self, now_ns: u64, pending: usize) {
        let time = now_ns.saturating_sub(self.counted_ns);
        self.counted_ns = now_ns;
        self.waited_ns = self.waited_ns.saturating_add(time.saturating_mul(pending as u64));
    }

    /// Looks again, once it is time.
    pub(super) fn next(&mut self, now_ns: u64, progress: &Progress) -> Option<Self> {
        if now_ns.saturating_sub(self.since_ns) < ns(STALL) {
            return None;
        }
        let new = Since {
            worked: progress.worked - self.worked,
            closed: progress.closed - self.closed,
            waited_ns: self.waited_ns,
        };
        *self = Self {
            since_ns: now_ns,
            worked: progress.worked,
            closed: progress.closed,
            counted_ns: self.counted_ns,
            waited_ns: 0,
            new,
        };
        Some(*self)
    }

    /// Whether the server closed at least half of what it had accepted.
    pub(super) fn closes(&self) -> bool {
        self.new.closed >= CLOSED && self.new.closed * 2 >= self.new.worked
    }

    /// Whether attempts take so long on average that next to nothing comes of them. The average is what all
    /// have waited, by those that worked (Little's law): those that still wait count.
    pub(super) fn is_slow(&self) -> bool {
        let Since { worked, waited_ns, .. } = self.new;
        waited_ns >= ns(STALL / 2) && waited_ns >= worked.saturating_mul(ns(SLOW))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of 2.5 s in which as many attempts wait all the time, and as many work.
    fn is_slow(pending: usize, worked: u64) -> bool {
        let mut lately = Lately::begin(1_000);
        for step in 1..=10 {
            lately.wait(1_000 + step * ns(STALL) / 10, pending);
        }
        let progress = Progress { worked, ..Progress::default() };
        lately.next(1_000 + ns(STALL), &progress).expect("a look").is_slow()
    }

    #[test]
    fn what_takes_half_a_second_on_average_has_no_prospect() {
        assert!(is_slow(64, 0));
        assert!(is_slow(1, 0));
        // 20 or 41 in a second, whether they were sent again or came right after one that was.
        assert!(is_slow(64, 50) && is_slow(64, 103));
        // A long queue that is emptied a thousand times a second, in bursts.
        assert!(!is_slow(64, 2_500));
        assert!(!is_slow(1, 50));
        // None was made.
        assert!(!is_slow(0, 0));
    }
}
