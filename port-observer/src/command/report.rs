//! `report`: what happened in a recording.

use std::{
    io::{self, BufWriter, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use jiff::tz::TimeZone;

use super::{processes::Processes, recorded::Recorded, replay::window, stream::Stream, time::Time};
use crate::{
    cli::{Color, ReportArgs},
    config::{Format, Lines, Output},
    forensics::{self, Collector},
    ledger::Held,
    recording::{Reader, Run},
    report::{Holding, Port, Snapshot, Sources},
    sink,
};

/// How long before what is told of it is read: the growth before an incident is told too.
const BEFORE_NS: i64 = 600_000_000_000;
/// How long after what is told is read on, see `replay`.
const AFTER_NS: i64 = 2_000_000_000;
/// The width of lines where there is no terminal.
const WIDTH: usize = 100;

/// Tells it.
///
/// # Errors
/// When it can't be read, or the output can't be written; also if only some of it could be read.
pub fn run(args: &ReportArgs, color: Color) -> Result<()> {
    let mut reader = Reader::open(&args.file)?;
    let output = Output::resolve(args.json, color);
    if let Some(at) = args.at {
        let (_, at_ns) = window(&reader, None, Some(at))?;
        return held_at(args, reader, at_ns, output);
    }
    let (from_ns, to_ns) = window(&reader, args.from, args.to)?;
    reader.skip_to(from_ns.saturating_sub(BEFORE_NS));
    let collector = Collector::default();
    let mut lines = lines(output);
    lines.summary = Some(forensics::SAMPLE);
    lines.top = forensics::SPACES;
    let mut reading = Reading::begin(reader, lines, Box::new(collector.clone()))?;
    reading.stream.print_only(from_ns.saturating_sub(BEFORE_NS)..=to_ns);
    reading.read_to(to_ns.saturating_add(AFTER_NS))?;
    reading.source.finish(&mut reading.stream)?;
    let mut told = collector.finish();
    told.incidents.retain(|incident| incident.ended_ns >= from_ns);
    let mut out = BufWriter::new(io::stdout().lock());
    match output.format {
        Format::Json => forensics::json::write(&mut out, &told),
        Format::Table => {
            let width = terminal_size::terminal_size_of(io::stdout())
                .map_or(WIDTH, |(width, _)| usize::from(width.0).min(WIDTH));
            forensics::text::write(&mut out, &told, &TimeZone::system(), width)
        }
    }
    .and_then(|()| out.flush())
    .context("can't write to standard output")?;
    reading.source.reader().take_damage().map_or(Ok(()), Err)
}

/// Who held what at a moment, as `snapshot` shows it.
fn held_at(args: &ReportArgs, mut reader: Reader, at_ns: i64, output: Output) -> Result<()> {
    let (began_ns, ended_ns) = reader.span_ns()?.unwrap_or((i64::MAX, i64::MIN));
    if at_ns < began_ns || at_ns > ended_ns {
        let zone = TimeZone::system();
        let text = |time_ns: i64| {
            let time = jiff::Timestamp::from_nanosecond(time_ns.into()).unwrap_or_default();
            time.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
        };
        bail!(
            "nothing is known of {}: the recording goes from {} to {}",
            text(at_ns),
            text(began_ns),
            text(ended_ns)
        );
    }
    reader.skip_to(at_ns);
    let mut reading = Reading::begin(reader, lines(output), Box::new(sink::Nowhere))?;
    reading.read_to(at_ns)?;
    let Some(run) = reading.source.run().cloned() else {
        bail!("nothing was recorded at that moment: one run had ended, the next had not begun");
    };
    let offset_ns = reading.source.offset_ns();
    let time_ns = u64::try_from(at_ns.wrapping_sub(offset_ns)).unwrap_or(0);
    let snapshot = snapshot(&mut reading.stream, run, time_ns, args);
    sink::write_snapshot(output, None, offset_ns, &snapshot)
        .context("can't write to standard output")?;
    reading.source.reader().take_damage().map_or(Ok(()), Err)
}

fn snapshot(stream: &mut Stream, run: Run, time_ns: u64, args: &ReportArgs) -> Snapshot {
    let ledger = stream.ledger();
    let summary = ledger.summary(time_ns, args.top.get(), &|_| true, &|_| true);
    let holdings = args.holdings.then(|| {
        let held = ledger.holdings().checkpoint().held;
        let mut holdings: Vec<Holding> = held.into_iter().map(Held::report).collect();
        holdings.sort_by_key(|one| {
            let Port { netns, protocol, local, remote, .. } = &one.port;
            (*netns, *protocol, local.map(|local| (local.port, local.address)), *remote)
        });
        holdings
    });
    Snapshot {
        time_ns,
        host: run.start.host,
        kernel: run.start.kernel,
        missing: run.start.missing,
        sources: Sources { sockets: "recording", processes: Some("recording") },
        summary,
        holdings,
        asked: None,
    }
}

fn lines(output: Output) -> Lines {
    Lines {
        existing: false,
        top: 1,
        // What was recorded fitted into a ledger.
        max_holdings: usize::try_from(u32::MAX).unwrap_or(usize::MAX),
        ..Lines::everything(output)
    }
}

/// A recording that is read through.
struct Reading {
    source: Recorded,
    stream: Stream,
    progress: Progress,
}

impl Reading {
    fn begin(reader: Reader, lines: Lines, sink: Box<dyn sink::Sink>) -> Result<Self> {
        let time = Time::Recorded { now_ns: 0, offset_ns: 0 };
        let mut stream = Stream::new(&lines, false, Processes::recorded(), time, sink)?;
        stream.is_silent();
        let progress = Progress::of(&reader)?;
        Ok(Self { source: Recorded::new(reader, lines), stream, progress })
    }

    /// Up to a moment, nanoseconds since 1970.
    fn read_to(&mut self, until_ns: i64) -> Result<()> {
        while !self.source.is_over() {
            let next_ns = self.source.next_ns();
            if let Some(next_ns) = next_ns {
                if next_ns > until_ns {
                    break;
                }
                self.progress.tell(next_ns.min(until_ns), until_ns);
            }
            self.source.drain(until_ns, &mut self.stream)?;
        }
        self.progress.done();
        Ok(())
    }
}

/// How far it is, for who waits at a terminal.
struct Progress {
    is_shown: bool,
    began_ns: i64,
    ended_ns: i64,
    next: Instant,
    has_told: bool,
}

impl Progress {
    fn of(reader: &Reader) -> Result<Self> {
        let (began_ns, ended_ns) = reader.span_ns()?.unwrap_or((0, 0));
        let is_shown = io::stderr().is_terminal();
        let next = Instant::now() + Duration::from_millis(500);
        Ok(Self { is_shown, began_ns, ended_ns, next, has_told: false })
    }

    fn tell(&mut self, at_ns: i64, until_ns: i64) {
        if !self.is_shown || Instant::now() < self.next {
            return;
        }
        self.next = Instant::now() + Duration::from_millis(200);
        self.has_told = true;
        let all = self.ended_ns.min(until_ns).saturating_sub(self.began_ns).max(1);
        let percent = i128::from(at_ns.saturating_sub(self.began_ns)) * 100 / i128::from(all);
        let _ = write!(io::stderr(), "\rreading the recording: {}%", percent.clamp(0, 100));
    }

    fn done(&self) {
        if self.has_told {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
