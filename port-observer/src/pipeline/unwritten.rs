//! Lines that were dropped because the reader did not take those before them.

use crate::{
    event::{LossKind, LossPlace},
    report::Body,
};

/// How many, until lines of type `lost` say so.
#[derive(Default)]
pub(super) struct Unwritten {
    /// By where they were lost, and of which kind: a few.
    counts: Vec<(LossPlace, LossKind, u64)>,
    total: u64,
}

impl Unwritten {
    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// How many lines ever, those of type `lost` not among them: what they say is kept.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Counts a line that is dropped.
    pub(super) fn add(&mut self, body: &Body) {
        let (place, kind, count) = match *body {
            Body::Lost { count, place, kind, .. } => (place, kind, count),
            _ => (LossPlace::Output, LossKind::of(body.event_type().name()), 1),
        };
        if place == LossPlace::Output {
            self.total += count;
        }
        let known = self.counts.iter_mut().find(|known| (known.0, known.1) == (place, kind));
        match known {
            Some((_, _, known)) => *known = known.saturating_add(count),
            None => self.counts.push((place, kind, count)),
        }
    }

    /// What the lines are that say so; from then on none is unsaid.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Body> + use<> {
        let counts = std::mem::take(&mut self.counts);
        counts.into_iter().map(|(place, kind, count)| {
            // Of several processes, perhaps.
            Body::Lost { count, place, kind, caller: None }
        })
    }
}
