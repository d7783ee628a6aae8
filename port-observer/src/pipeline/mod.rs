//! The stream that joins a source, the ledger and a sink; the commands loop over it.

mod intake;
mod pools;
mod printer;
mod reader;
mod recorded;
mod summaries;
mod time;
mod unwritten;
mod watched;

use std::{
    io,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use self::{
    intake::{OPENERS_AHEAD, OPENERS_COST, STATES_COST},
    printer::Printer,
    summaries::Summaries,
    time::CLOCK_STEP_NS,
    watched::Watched,
};
pub use self::{recorded::Recorded, time::Time};
use crate::{
    config::{Format, Lines, Target},
    event::Event,
    kernel::clock::Budget,
    ledger::{self, Checkpoint, Ledger},
    pools::watch::Watch,
    process::{ProcessTable, Tree},
    queued_writer::QueuedWriter,
    recording::{Entry, Recorder},
    report::{Body, FailedCalls, Report, Sink, Start},
    source::Observer,
};

/// How many events are taken in before anything else is looked at.
pub const BATCH: usize = 8192;

/// Events in, lines out.
pub struct Stream<S> {
    ledger: Ledger,
    /// Who calls; empty where the source says so itself.
    who: ProcessTable,
    /// What finding out who has a port open, of which a call was refused, may cost.
    openers: Budget,
    /// What states of connections that are no answer may cost, where somebody is shown them.
    states: Option<Budget>,
    printer: Printer<S>,
    time: Time,
    /// Realtime less boottime, as the printer has it.
    offset_ns: i64,
    /// Takes in what the ledger takes in.
    recorder: Option<Recorder>,
    started: Instant,
    duration: Option<Duration>,
    /// Where lines go.
    to: Target,
    /// Nothing goes to standard output, so it matters to nobody whether that is open.
    is_silent: bool,
    summaries: Option<Summaries>,
    /// Declared pools that are told of.
    pools: Option<Box<Watch>>,
    /// How many spaces and processes a summary has.
    top: usize,
    /// Lines are for people.
    is_table: bool,
    /// They are shown what there is at the end.
    closes: bool,
    /// What people are shown at the end is of all processes.
    is_for_all: bool,
    reports: Vec<Report>,
    events: Vec<Event>,
}

fn options(config: &Lines) -> ledger::Options {
    ledger::Options {
        warning: config.warning,
        critical: config.critical,
        max_holdings: config.max_holdings,
        spaces: config.spaces,
        holders: config.holders,
        ..ledger::Options::default()
    }
}

impl<S: Sink> Stream<S> {
    /// Of a host that is observed, with nothing observed yet; the sink is told what its namespaces are
    /// called.
    ///
    /// # Errors
    /// When the kernel refuses the clocks.
    pub fn of_host(config: &Lines, observer: &Observer, sink: S) -> Result<Self> {
        let options = ledger::Options {
            sticky: observer.is_blocking_sticky(),
            listings: observer.lists(),
            ..options(config)
        };
        let mut stream = Self::new(config, options, ProcessTable::seeded(), Time::Kernel, sink)?;
        for (netns, names) in observer.named() {
            stream.printer.sink().name(*netns, names);
        }
        Ok(stream)
    }

    /// Of a recording, which begins with [`Stream::begin_again`].
    ///
    /// # Errors
    /// None that is known: the clocks of a recording can be read.
    pub fn of_recording(config: &Lines, sink: S) -> Result<Self> {
        let time = Time::Recorded { now_ns: 0, offset_ns: 0 };
        Self::new(config, options(config), ProcessTable::default(), time, sink)
    }

    fn new(
        config: &Lines,
        options: ledger::Options,
        who: ProcessTable,
        time: Time,
        sink: S,
    ) -> Result<Self> {
        let offset_ns = time.offset_ns()?;
        let mut printer = Printer::new(config, sink);
        printer.set_offset(offset_ns);
        let now_ns = time.now_ns()?;
        Ok(Self {
            ledger: Ledger::new(options),
            who,
            openers: Budget::new(OPENERS_COST, OPENERS_AHEAD),
            states: (config.summary.is_some() || config.output.format == Format::Table)
                .then(|| Budget::new(STATES_COST, Duration::ZERO)),
            printer,
            time,
            offset_ns,
            recorder: None,
            started: Instant::now(),
            duration: None,
            is_silent: config.to != Target::StandardOutput,
            to: config.to.clone(),
            is_for_all: true,
            summaries: config.summary.map(|every| Summaries::new(every, now_ns)),
            pools: None,
            top: config.top,
            is_table: config.output.format == Format::Table,
            closes: config.closing,
            reports: Vec::new(),
            events: Vec::new(),
        })
    }

    /// Prints from now on only lines of this process tree, and no totals of the host for people.
    pub fn watch(&mut self, tree: Tree) {
        self.printer.watch(Watched::new(tree));
        self.is_for_all = false;
    }

    /// What the process tree that is watched was refused.
    pub fn failed(&mut self) -> FailedCalls {
        self.printer.watched().map_or_else(FailedCalls::default, |watched| watched.failed().clone())
    }

    /// Lines that were lost: of the kernel's side, of the ledger, and not taken by the reader.
    pub fn lost(&self) -> u64 {
        self.ledger.totals().stop(0, 0.0).lost + self.printer.lost()
    }

    /// Standard output is not what the sink writes to.
    pub fn is_silent(&mut self) {
        self.is_silent = true;
    }

    /// The sink writes to this queue: what finds no room in it is dropped and counted. Without, all is
    /// written, however long that takes.
    pub fn drop_when_full(&mut self, queue: Option<QueuedWriter>) {
        self.printer.drop_when_full(queue);
    }

    /// The sink writes to this queue: [`Stream::has_room`] says whether that is full.
    pub fn wait_when_full(&mut self, queue: Option<QueuedWriter>) {
        self.printer.wait_when_full(queue);
    }

    /// Whether more may be taken in without holding more in memory than is sensible.
    pub fn has_room(&self) -> bool {
        self.printer.has_room()
    }

    /// Returns when it has.
    pub async fn room(&self) {
        self.printer.room().await;
    }

    /// Hands from now on what the ledger takes in to a recorder too.
    pub fn record_into(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    /// Prints from now on only lines of these times of day, in nanoseconds since 1970.
    pub fn print_only(&mut self, window: std::ops::RangeInclusive<i64>) {
        self.printer.print_only(window);
    }

    /// What the time is from now on, for a stream whose time is that of a recording.
    pub fn set_time(&mut self, time: Time) {
        self.time = time;
    }

    /// Another run begins, with nothing observed. `first_offset_ns`: realtime less boottime when it
    /// began, which may be before what is left of it.
    ///
    /// # Errors
    /// When the kernel refuses the clocks.
    pub fn begin_again(
        &mut self,
        config: &Lines,
        sticky: bool,
        first_offset_ns: i64,
    ) -> Result<()> {
        self.ledger = Ledger::new(ledger::Options { sticky, ..options(config) });
        self.offset_ns = self.time.offset_ns()?;
        self.printer.begin(first_offset_ns);
        self.printer.set_offset(self.offset_ns);
        if let Some(summaries) = &mut self.summaries {
            summaries.begin(self.time.now_ns()?);
        }
        Ok(())
    }

    /// The ledger.
    pub fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// The sink.
    pub fn sink(&mut self) -> &mut S {
        self.printer.sink()
    }

    /// The ledger and the sink, for who asks both.
    pub fn both(&mut self) -> (&mut Ledger, &mut S) {
        (&mut self.ledger, self.printer.sink())
    }

    /// The sink, when all is over.
    pub fn into_sink(self) -> S {
        self.printer.into_sink()
    }

    /// What the time is, in nanoseconds since boot.
    ///
    /// # Errors
    /// When the kernel refuses the clock.
    pub fn now_ns(&self) -> Result<u64> {
        self.time.now_ns()
    }

    /// Realtime less boottime, in nanoseconds.
    pub fn offset_ns(&self) -> i64 {
        self.offset_ns
    }

    /// Whether `--count` or `--duration` is reached.
    pub fn is_done(&self) -> bool {
        self.printer.is_done() || self.time_left().is_some_and(|left| left.is_zero())
    }

    /// Writes the first line.
    ///
    /// # Errors
    /// When the output can't be written.
    pub fn start(&mut self, start: Start) -> Result<()> {
        let time_ns = self.time.now_ns()?;
        if let Some(recorder) = &mut self.recorder {
            recorder.start(time_ns, self.offset_ns, &start);
        }
        let report = Report { time_ns, body: Body::Start(start) };
        self.print(&report)?;
        self.flush()
    }

    /// From now on the holdings are these: says what was not known.
    ///
    /// # Errors
    /// When the output can't be written.
    pub fn restore(&mut self, checkpoint: Checkpoint) -> Result<()> {
        for settings in &checkpoint.namespaces {
            self.printer.sink().name(settings.netns, &settings.names);
        }
        let mut reports = std::mem::take(&mut self.reports);
        self.ledger.restore(self.time.now_ns()?, checkpoint, &mut reports);
        self.restore_pools();
        self.print_all(reports)
    }

    /// Prints, and keeps the memory for the next time.
    fn print_all(&mut self, mut reports: Vec<Report>) -> Result<()> {
        for report in reports.drain(..) {
            self.print(&report)?;
            self.tell_pools(&report)?;
        }
        self.reports = reports;
        Ok(())
    }

    fn cant_write(&self) -> String {
        format!("can't write to {}", self.to)
    }

    fn print(&mut self, report: &Report) -> Result<()> {
        self.printer.print(report).with_context(|| self.cant_write())
    }

    /// Writes what is held back, and follows the wall clock.
    ///
    /// # Errors
    /// When the output can't be written, its reader has left, or nothing more can be recorded.
    pub fn flush(&mut self) -> Result<()> {
        if let Some(recorder) = &mut self.recorder {
            recorder.check()?;
            recorder.flush();
            if recorder.wants_checkpoint() {
                let checkpoint = self.ledger.holdings().checkpoint();
                recorder.checkpoint(self.time.now_ns()?, self.offset_ns, checkpoint);
            }
        }
        self.printer.flush().with_context(|| self.cant_write())
    }

    /// What is due once a second.
    ///
    /// # Errors
    /// When the clocks can't be read, the reader of the output has left, or nothing more can be
    /// recorded.
    pub fn tick(&mut self) -> Result<()> {
        let offset_ns = self.time.offset_ns()?;
        let now_ns = self.time.now_ns()?;
        if offset_ns.abs_diff(self.offset_ns) > CLOCK_STEP_NS {
            log::info!("the wall clock was set: times are of the new one from here on");
            self.offset_ns = offset_ns;
            self.printer.set_offset(offset_ns);
            if let Some(recorder) = &mut self.recorder {
                recorder.push(Entry::clock(now_ns, offset_ns));
            }
        }
        let mut reports = std::mem::take(&mut self.reports);
        self.ledger.tick(now_ns, &mut reports);
        if let Some(recorder) = &mut self.recorder {
            recorder.push(Entry::tick(now_ns));
            recorder.check()?;
        }
        self.print_all(reports)?;
        self.tick_pools(now_ns)?;
        self.printer.report_lost(now_ns).with_context(|| self.cant_write())?;
        if !self.is_silent && reader::is_gone() {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe)).context("standard output");
        }
        Ok(())
    }

    /// Writes the last line.
    ///
    /// # Errors
    /// When the output can't be written.
    pub fn stop(&mut self, observed: Duration) -> Result<()> {
        // What found no place in the ledger since the last tick belongs to the totals.
        let mut reports = std::mem::take(&mut self.reports);
        let time_ns = self.time.now_ns()?;
        self.ledger.tick(time_ns, &mut reports);
        if let Some(recorder) = &mut self.recorder {
            recorder.stop(time_ns, observed);
        }
        self.print_all(reports)?;
        let mut stop = self.ledger.totals().stop(self.printer.events(), observed.as_secs_f64());
        stop.lost += self.printer.lost();
        if self.is_for_all || !self.is_table {
            self.print(&Report { time_ns, body: Body::Stop(stop) })?;
        }
        if self.is_for_all && self.is_table && self.closes {
            let closing = self.ledger.closing(time_ns);
            self.printer.closing(&closing).with_context(|| self.cant_write())?;
        }
        self.flush()
    }
}
