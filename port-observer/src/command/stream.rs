//! The one loop that knows source, ledger and sink.

use std::{
    io,
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    config::{Format, LiveConfig},
    event::{Event, Exec, Fork, Task},
    filter::Filter,
    kernel::clock,
    ledger::{self, Ledger, Who},
    process::{Process, ProcessTable},
    report::{Body, EventType, Report, Start},
    sink::Sink,
};

impl Who for ProcessTable {
    fn resolve(&mut self, task: &Task) -> std::sync::Arc<Process> {
        Self::resolve(self, task)
    }

    fn exec(&mut self, exec: &Exec) {
        Self::exec(self, exec);
    }

    fn fork(&mut self, fork: &Fork) {
        Self::fork(self, fork);
    }
}

/// Events in, lines out.
pub struct Stream {
    ledger: Ledger<ProcessTable>,
    filter: Filter,
    sink: Box<dyn Sink>,
    offset_ns: i64,
    started: Instant,
    duration: Option<Duration>,
    /// How many lines about ports are still to be printed.
    remaining: Option<u64>,
    /// Whether what was held before the start is printed.
    existing: bool,
    summaries: Option<Summaries>,
    /// How many spaces and processes a summary has.
    top: usize,
    /// Whether the end is followed by a closing table.
    closes: bool,
    events: u64,
    reports: Vec<Report>,
}

/// When summaries are printed.
struct Summaries {
    every: Duration,
    next: Instant,
}

/// A wall clock that was moved by more than this is followed; less is the clocks' own jitter.
const CLOCK_STEP_NS: u64 = 10_000_000;

impl Stream {
    /// Begins with nothing observed. `sticky`: see [`ledger::Options`].
    ///
    /// # Errors
    /// When the kernel refuses the clocks.
    pub fn new(
        config: &LiveConfig,
        sticky: bool,
        who: ProcessTable,
        mut sink: Box<dyn Sink>,
    ) -> Result<Self> {
        let options = ledger::Options {
            sticky,
            warning: config.warning,
            critical: config.critical,
            max_holdings: config.max_holdings,
            spaces: config.spaces,
        };
        let offset_ns = clock::offset_ns()?;
        sink.set_offset(offset_ns);
        Ok(Self {
            ledger: Ledger::new(who, options),
            filter: config.filter.clone(),
            sink,
            offset_ns,
            started: Instant::now(),
            duration: config.duration,
            remaining: config.count.map(Into::into),
            existing: config.existing,
            summaries: config
                .summary
                .map(|every| Summaries { every, next: Instant::now() + every }),
            top: config.top,
            closes: config.output.format == Format::Table,
            events: 0,
            reports: Vec::new(),
        })
    }

    /// The ledger.
    pub fn ledger(&mut self) -> &mut Ledger<ProcessTable> {
        &mut self.ledger
    }

    /// How long to go on, `None`: until told to stop.
    pub fn time_left(&self) -> Option<Duration> {
        self.duration.map(|duration| duration.saturating_sub(self.started.elapsed()))
    }

    /// How long it has observed. Detaching, which comes after, can take seconds of its own.
    pub fn observed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether `--count` or `--duration` is reached.
    pub fn is_done(&self) -> bool {
        self.remaining == Some(0) || self.time_left().is_some_and(|left| left.is_zero())
    }

    /// Writes the first line.
    ///
    /// # Errors
    /// When the output can't be written.
    pub fn start(&mut self, start: Start) -> Result<()> {
        let report = Report { time_ns: clock::now_boot_ns()?, body: Body::Start(start) };
        self.print(&report)?;
        self.flush()
    }

    /// Takes in one event and writes what it means.
    ///
    /// # Errors
    /// When the output can't be written.
    pub fn event(&mut self, event: Event) -> Result<()> {
        if matches!(event, Event::Lost { .. }) {
            self.ledger.who().events_lost();
        }
        let needs_time = matches!(event, Event::Lost { .. } | Event::ScanEnded { .. });
        let now_ns = if needs_time { clock::now_boot_ns()? } else { 0 };
        let mut reports = std::mem::take(&mut self.reports);
        self.ledger.apply(now_ns, event, &mut reports);
        self.print_all(reports)
    }

    /// Prints, and keeps the memory for the next time.
    fn print_all(&mut self, mut reports: Vec<Report>) -> Result<()> {
        for report in reports.drain(..) {
            self.print(&report)?;
        }
        self.reports = reports;
        Ok(())
    }

    fn print(&mut self, report: &Report) -> Result<()> {
        let event_type = report.body.event_type();
        let is_existing = event_type == EventType::Existing;
        if is_existing && !self.existing {
            return Ok(());
        }
        // What was there before has not happened.
        let is_about_a_port = report.body.port().is_some() && !is_existing;
        self.events += u64::from(is_about_a_port);
        if !self.filter.matches(report) || (is_about_a_port && self.remaining == Some(0)) {
            return Ok(());
        }
        if is_about_a_port && let Some(remaining) = &mut self.remaining {
            *remaining -= 1;
        }
        self.sink.report(report).context("can't write to standard output")
    }

    /// Writes what is held back, and follows the wall clock.
    ///
    /// # Errors
    /// When the output can't be written, or its reader has left.
    pub fn flush(&mut self) -> Result<()> {
        self.sink.flush().context("can't write to standard output")
    }

    /// What is due once a second.
    ///
    /// # Errors
    /// When the clocks can't be read, or the reader of the output has left.
    pub fn tick(&mut self) -> Result<()> {
        let offset_ns = clock::offset_ns()?;
        if offset_ns.abs_diff(self.offset_ns) > CLOCK_STEP_NS {
            log::info!("the wall clock was set: times are of the new one from here on");
            self.offset_ns = offset_ns;
            self.sink.set_offset(offset_ns);
        }
        let mut reports = std::mem::take(&mut self.reports);
        self.ledger.tick(clock::now_boot_ns()?, &mut reports);
        self.print_all(reports)?;
        if is_reader_gone() {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe)).context("standard output");
        }
        Ok(())
    }

    /// How long until the next summary is due, if any is. Until all is known that was held before,
    /// none is.
    pub fn until_summary(&self) -> Option<Duration> {
        if !self.ledger.knows_all() {
            return None;
        }
        let next = self.summaries.as_ref()?.next;
        Some(next.saturating_duration_since(Instant::now()))
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
        let now = Instant::now();
        if now < summaries.next {
            return Ok(());
        }
        // One that is late does not make the others come closer together.
        summaries.next = (summaries.next + summaries.every).max(now);
        let time_ns = clock::now_boot_ns()?;
        let filter = &self.filter;
        let mut summary = self.ledger.summary(
            time_ns,
            self.top,
            &|space| filter.matches_space(space),
            &|process| filter.matches_holder(process),
        );
        let is_wanted = |netns: u32| filter.netns.is_empty() || filter.netns.contains(&netns);
        summary.namespaces.retain(|namespace| is_wanted(namespace.netns));
        self.print(&Report { time_ns, body: Body::Summary(Box::new(summary)) })?;
        self.flush()
    }

    /// Writes the last line.
    ///
    /// # Errors
    /// When the output can't be written.
    pub fn stop(&mut self, observed: Duration) -> Result<()> {
        // What found no place in the ledger since the last tick belongs to the totals.
        let mut reports = std::mem::take(&mut self.reports);
        self.ledger.tick(clock::now_boot_ns()?, &mut reports);
        self.print_all(reports)?;
        let stop = self.ledger.totals().stop(self.events, observed.as_secs_f64());
        let time_ns = clock::now_boot_ns()?;
        self.print(&Report { time_ns, body: Body::Stop(stop) })?;
        if self.closes {
            let closing = self.ledger.closing(time_ns);
            self.sink.closing(&closing).context("can't write to standard output")?;
        }
        self.flush()
    }
}

/// Whether standard output is a pipe that nobody reads anymore. Without this look, a quiet host
/// would keep the program running until the next event.
fn is_reader_gone() -> bool {
    let mut poll = libc::pollfd { fd: io::stdout().as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one valid pollfd, no waiting.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready == 1 && poll.revents & libc::POLLERR != 0
}
