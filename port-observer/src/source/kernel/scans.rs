//! When scans are due, and how far the one under way is.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{super::observer::ROUND_COST, scan::Scan};
use crate::event::Existing;

/// How long after a scan another may begin: after a loss all is to be right again within a second.
const PAUSE: Duration = Duration::from_millis(250);
/// Where scans take long, those after a loss may take one part in so many of the time.
const LOSS_COST: u32 = 4;

/// When to look at what is there.
pub(super) struct Scans {
    pub(super) current: Option<Scan>,
    /// What it found and has not handed over.
    pub(super) found: Vec<Existing>,
    /// The namespaces that it looked into, once it has read all. It ends when what was told before is in.
    pub(super) read: Option<HashSet<u32>>,
    /// When it last had its turn.
    pub(super) left: Instant,
    /// What the next one is needed for, and from this moment on at the earliest.
    pub(super) wanted: Option<For>,
    pub(super) next: Instant,
    /// When the last one ended.
    pub(super) ended: Option<Instant>,
    /// One has shown what was there.
    pub(super) has_shown: bool,
    /// What the current one has taken so far, or the last one took.
    pub(super) spent: Duration,
}

/// What a scan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum For {
    /// The first account, or ports that nobody has told of.
    Completeness,
    /// An account that is wrong until then.
    Loss,
}

impl Scans {
    /// The first may begin at once.
    pub(super) fn none_yet() -> Self {
        let now = Instant::now();
        Self {
            current: None,
            found: Vec::new(),
            read: None,
            left: now,
            wanted: None,
            next: now,
            ended: None,
            has_shown: false,
            spent: Duration::ZERO,
        }
    }

    /// One has begun and not ended.
    pub(super) fn is_under_way(&self) -> bool {
        self.current.is_some() || self.read.is_some()
    }

    /// Asks for one.
    pub(super) fn want(&mut self, what: For) {
        self.wanted = self.wanted.max(Some(what));
    }

    /// It is time for the next one.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let cost = match self.wanted {
            None => return false,
            Some(For::Completeness) => ROUND_COST,
            Some(For::Loss) => LOSS_COST,
        };
        let pause = PAUSE.max(self.spent * cost);
        now >= self.next && self.ended.is_none_or(|ended| now >= ended + pause)
    }
}
