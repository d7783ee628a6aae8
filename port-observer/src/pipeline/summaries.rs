//! Summaries, again and again.

use std::time::Duration;

use anyhow::Result;

use super::Stream;
use crate::report::{Body, Report, Sink};

/// When summaries are printed, by `CLOCK_BOOTTIME`.
pub(super) struct Summaries {
    every_ns: u64,
    next_ns: u64,
}

impl Summaries {
    pub(super) fn new(every: Duration, now_ns: u64) -> Self {
        let every_ns = u64::try_from(every.as_nanos()).unwrap_or(u64::MAX);
        Self { every_ns, next_ns: now_ns.saturating_add(every_ns) }
    }

    /// Another run begins.
    pub(super) fn begin(&mut self, now_ns: u64) {
        self.next_ns = now_ns.saturating_add(self.every_ns);
    }
}

impl<S: Sink> Stream<S> {
    /// How long until the next summary is due, if any is. Until all is known that was held before,
    /// none is.
    pub fn until_summary(&self) -> Option<Duration> {
        if !self.ledger.knows_all() {
            return None;
        }
        let next_ns = self.summaries.as_ref()?.next_ns;
        Some(Duration::from_nanos(next_ns.saturating_sub(self.time.now_ns().unwrap_or(0))))
    }

    /// Prints a summary, if it is time to.
    ///
    /// # Errors
    /// When the output can't be written.
    pub fn summarize(&mut self) -> Result<()> {
        let Some(summaries) = &mut self.summaries else { return Ok(()) };
        if !self.ledger.knows_all() {
            return Ok(());
        }
        let time_ns = self.time.now_ns()?;
        if time_ns < summaries.next_ns {
            return Ok(());
        }
        // One that is late does not make the others come closer together.
        summaries.next_ns = summaries.next_ns.saturating_add(summaries.every_ns).max(time_ns);
        let printer = &self.printer;
        let mut summary = self.ledger.summary(
            time_ns,
            self.top,
            &|space| printer.shows_space(space),
            &|process| printer.shows_holder(process),
        );
        let filter = printer.filter();
        let is_wanted = |netns: u32| filter.netns.is_empty() || filter.netns.contains(&netns);
        summary.namespaces.retain(|namespace| is_wanted(namespace.netns));
        self.print(&Report { time_ns, body: Body::Summary(Box::new(summary)) })?;
        self.flush()
    }
}
