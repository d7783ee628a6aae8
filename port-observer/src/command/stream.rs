//! The one loop that knows source, ledger and sink.

use std::{
    io,
    os::fd::AsRawFd as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{
    config::LiveConfig,
    event::{Event, Exec, Fork, Task},
    filter::Filter,
    kernel::clock,
    ledger::{self, Ledger, Who},
    process::{Process, ProcessTable},
    report::{Body, Report, Start},
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
    events: u64,
    reports: Vec<Report>,
}

/// A wall clock that was moved by more than this is followed; less is the clocks' own jitter.
const CLOCK_STEP_NS: u64 = 10_000_000;

impl Stream {
    /// Begins with nothing observed.
    ///
    /// # Errors
    /// When the kernel refuses the clocks.
    pub fn new(config: &LiveConfig, who: ProcessTable, mut sink: Box<dyn Sink>) -> Result<Self> {
        let offset_ns = clock::offset_ns()?;
        sink.set_offset(offset_ns);
        Ok(Self {
            ledger: Ledger::new(who, ledger::Options::default()),
            filter: config.filter.clone(),
            sink,
            offset_ns,
            started: Instant::now(),
            duration: config.duration,
            remaining: config.count.map(Into::into),
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
        let now_ns = if matches!(event, Event::Lost { .. }) { clock::now_boot_ns()? } else { 0 };
        let mut reports = std::mem::take(&mut self.reports);
        self.ledger.apply(now_ns, event, &mut reports);
        for report in reports.drain(..) {
            self.print(&report)?;
        }
        self.reports = reports;
        Ok(())
    }

    fn print(&mut self, report: &Report) -> Result<()> {
        let is_about_a_port = report.body.port().is_some();
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
        if is_reader_gone() {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe)).context("standard output");
        }
        Ok(())
    }

    /// Writes the last line.
    ///
    /// # Errors
    /// When the output can't be written.
    pub fn stop(&mut self, observed: Duration) -> Result<()> {
        let stop = self.ledger.totals().stop(self.events, observed.as_secs_f64());
        let report = Report { time_ns: clock::now_boot_ns()?, body: Body::Stop(stop) };
        self.print(&report)?;
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
