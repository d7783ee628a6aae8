//! Which reports become lines, and what becomes of those that the reader does not take.

use std::{io, ops::RangeInclusive};

use super::{unwritten::Unwritten, watched::Watched};
use crate::{
    config::{Lines, Target},
    filter::Filter,
    process::Process,
    queued_writer::QueuedWriter,
    report::{Body, Closing, EventType, Report, Sink, Space},
};

/// Bytes of output that wait for a reader while something is observed, which waits for nobody.
const DROP_BYTES: usize = 64 << 20;
/// After a loss so many bytes are to be free before lines are written again: else nearly every line of a
/// slow reader were one that says how many were lost before it.
const RESUME_BYTES: usize = 4 << 20;
/// Bytes of output that wait for a reader where what is read can wait too.
const WAIT_BYTES: usize = 1 << 20;

/// In front of the sink.
pub(super) struct Printer<S> {
    sink: S,
    to: Target,
    filter: Filter,
    /// Only lines of this process tree are printed.
    watched: Option<Watched>,
    /// Only lines of these times of day are printed, nanoseconds since 1970.
    window: Option<RangeInclusive<i64>>,
    /// Realtime less boottime.
    offset_ns: i64,
    /// How many lines about ports and pools are still to be printed.
    remaining: Option<u64>,
    /// Whether what was held before the start is printed.
    existing: bool,
    /// Lines about ports so far.
    events: u64,
    queue: Option<QueuedWriter>,
    /// What may be in the queue before lines are dropped; `None`: they never are.
    limit: Option<usize>,
    unwritten: Unwritten,
}

impl<S: Sink> Printer<S> {
    pub(super) fn new(config: &Lines, sink: S) -> Self {
        Self {
            sink,
            to: config.to.clone(),
            filter: config.filter.clone(),
            watched: None,
            window: None,
            offset_ns: 0,
            remaining: config.count.map(Into::into),
            existing: config.existing,
            events: 0,
            queue: None,
            limit: None,
            unwritten: Unwritten::default(),
        }
    }

    pub(super) fn drop_when_full(&mut self, queue: Option<QueuedWriter>) {
        self.queue = queue;
        self.limit = Some(DROP_BYTES);
    }

    pub(super) fn wait_when_full(&mut self, queue: Option<QueuedWriter>) {
        self.queue = queue;
    }

    pub(super) fn has_room(&self) -> bool {
        self.queue.as_ref().is_none_or(|queue| queue.pending_bytes() < WAIT_BYTES)
    }

    pub(super) async fn room(&self) {
        if let Some(queue) = &self.queue {
            queue.room(WAIT_BYTES).await;
        }
    }

    pub(super) fn sink(&mut self) -> &mut S {
        &mut self.sink
    }

    pub(super) fn into_sink(self) -> S {
        self.sink
    }

    pub(super) fn filter(&self) -> &Filter {
        &self.filter
    }

    /// Whether a summary has a space.
    pub(super) fn shows_space(&self, space: &Space) -> bool {
        let is_watched = self.watched.as_ref().is_none_or(|watched| watched.uses(space));
        is_watched && self.filter.matches_space(space)
    }

    /// Whether a summary has a process.
    pub(super) fn shows_holder(&self, process: Option<&Process>) -> bool {
        let is_known = |watched: &Watched| process.is_some_and(|process| watched.knows(process));
        self.watched.as_ref().is_none_or(is_known) && self.filter.matches_holder(process)
    }

    pub(super) fn watch(&mut self, watched: Watched) {
        self.watched = Some(watched);
    }

    pub(super) fn watched(&mut self) -> Option<&mut Watched> {
        self.watched.as_mut()
    }

    pub(super) fn print_only(&mut self, window: RangeInclusive<i64>) {
        self.window = Some(window);
    }

    pub(super) fn set_offset(&mut self, offset_ns: i64) {
        self.offset_ns = offset_ns;
        self.sink.set_offset(offset_ns);
    }

    /// Another run begins, see [`Sink::begin`].
    pub(super) fn begin(&mut self, first_offset_ns: i64) {
        self.sink.begin(first_offset_ns);
        self.events = 0;
    }

    /// Whether as many lines as were asked for are printed.
    pub(super) fn is_done(&self) -> bool {
        self.remaining == Some(0)
    }

    /// Lines about ports: printed, filtered out or lost.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Lines that were dropped because the reader did not take those before them.
    pub(super) fn lost(&self) -> u64 {
        self.unwritten.total()
    }

    pub(super) fn print(&mut self, report: &Report) -> io::Result<()> {
        if !self.is_in_window(report) {
            return Ok(());
        }
        let is_watched = self.watched.as_mut().is_none_or(|watched| watched.note(&report.body));
        let event_type = report.body.event_type();
        let is_existing = event_type == EventType::Existing;
        if is_existing && !self.existing {
            return Ok(());
        }
        // What was there before has not happened.
        let is_about_a_port = report.body.port().is_some() && !is_existing;
        let is_counted = is_about_a_port || matches!(report.body, Body::Pool(_));
        self.events += u64::from(is_about_a_port);
        if !is_watched || !self.filter.matches(report) || (is_counted && self.remaining == Some(0))
        {
            return Ok(());
        }
        // A line that is lost has no number: those that are written have no gaps.
        let is_dropped = match event_type {
            EventType::Start => false,
            EventType::Stop => {
                self.write_lost(report.time_ns)?;
                false
            }
            _ => {
                self.report_lost(report.time_ns)?;
                !self.unwritten.is_empty() || self.is_full()
            }
        };
        if is_dropped {
            if self.unwritten.total() == 0 {
                log::warn!(
                    "the reader of {} is too slow: {} MiB wait for it, and lines are lost until \
                     it reads on",
                    self.to,
                    DROP_BYTES >> 20
                );
            }
            self.unwritten.add(&report.body);
            return Ok(());
        }
        if is_counted && let Some(remaining) = &mut self.remaining {
            *remaining -= 1;
        }
        self.sink.report(report)
    }

    pub(super) fn closing(&mut self, closing: &Closing) -> io::Result<()> {
        self.sink.closing(closing)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }

    /// Writes how many lines were lost, once there is room again.
    pub(super) fn report_lost(&mut self, time_ns: u64) -> io::Result<()> {
        if self.unwritten.is_empty() || self.is_full() {
            return Ok(());
        }
        self.write_lost(time_ns)
    }

    fn write_lost(&mut self, time_ns: u64) -> io::Result<()> {
        for body in self.unwritten.take() {
            self.sink.report(&Report { time_ns, body })?;
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        let (Some(queue), Some(limit)) = (&self.queue, self.limit) else { return false };
        let room = if self.unwritten.is_empty() { 0 } else { RESUME_BYTES.min(limit / 2) };
        queue.pending_bytes() >= limit - room
    }

    fn is_in_window(&self, report: &Report) -> bool {
        let is_of_the_run = matches!(report.body, Body::Start(_) | Body::Stop(_));
        let time_ns = report.time_ns.wrapping_add_signed(self.offset_ns).cast_signed();
        is_of_the_run || self.window.as_ref().is_none_or(|window| window.contains(&time_ns))
    }
}

#[cfg(test)]
mod tests;
