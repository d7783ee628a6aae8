//! What came of attempts of late.

use std::time::Duration;

use super::ns;
use crate::stress::parts::Progress;

/// So long next to nothing has to come of attempts, for them to have no prospect.
const STALL: Duration = Duration::from_millis(2_500);
/// So many connections that a server closes are no accident.
const CLOSED: u64 = 10;

/// Counts at the last look, and what has come since.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lately {
    since_ns: u64,
    worked: u64,
    closed: u64,
    retried: u64,
    /// The most that was made from one look to the next.
    best: u64,
    new: Since,
}

/// What came between two looks.
#[derive(Clone, Copy, Debug, Default)]
struct Since {
    worked: u64,
    closed: u64,
    retried: u64,
}

impl Lately {
    pub(super) fn begin(since_ns: u64) -> Self {
        Self { since_ns, ..Self::default() }
    }

    /// Looks again, once it is time.
    pub(super) fn next(&mut self, now_ns: u64, progress: &Progress) -> Option<Self> {
        if now_ns - self.since_ns < ns(STALL) {
            return None;
        }
        let new = Since {
            worked: progress.worked - self.worked,
            closed: progress.closed - self.closed,
            retried: progress.retried - self.retried,
        };
        *self = Self {
            since_ns: now_ns,
            worked: progress.worked,
            closed: progress.closed,
            retried: progress.retried,
            best: self.best.max(new.worked),
            new,
        };
        Some(*self)
    }

    /// Whether the server closed at least half of what it had accepted.
    pub(super) fn closes(&self) -> bool {
        self.new.closed >= CLOSED && self.new.closed * 2 >= self.new.worked
    }

    /// Whether next to nothing came of attempts. Where half of what stands had to be sent again, what is
    /// told of is how often it is, and no more how much goes.
    pub(super) fn is_slow(&self) -> bool {
        let Since { worked, retried, .. } = self.new;
        worked <= (self.best / 50).max(4) || retried * 2 >= worked
    }
}
