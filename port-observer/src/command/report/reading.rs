//! A recording that is read through, while who waits at a terminal sees how far it is.

use std::{
    io::{self, IsTerminal as _, Write as _},
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::super::{processes::Processes, recorded::Recorded, stream::Stream, time::Time};
use crate::{
    config::{Lines, Output},
    filter::Filter,
    forensics::{self, Collector},
    ledger,
    recording::{Reader, Run},
    sink::Sink,
};

/// What is told of a recording: all that is in it.
pub(super) fn lines(output: Output) -> Lines {
    let ledger::Options { warning, critical, holders, .. } = ledger::Options::default();
    Lines {
        count: None,
        states: false,
        existing: false,
        spaces: false,
        summary: None,
        top: 1,
        warning,
        critical,
        // What was recorded fitted into a ledger.
        max_holdings: usize::try_from(u32::MAX).unwrap_or(usize::MAX),
        holders,
        filter: Filter::default(),
        output,
    }
}

/// A recording that is read through.
pub(super) struct Reading {
    source: Recorded,
    stream: Stream,
    progress: Progress,
    looks: Option<Looks>,
}

/// When it is looked how full spaces are, by nanoseconds since 1970.
struct Looks {
    collector: Collector,
    next_ns: i64,
    last_ns: i64,
}

impl Reading {
    /// Reads nothing yet.
    pub(super) fn begin(reader: Reader, lines: Lines, sink: Box<dyn Sink>) -> Result<Self> {
        let time = Time::Recorded { now_ns: 0, offset_ns: 0 };
        let mut stream = Stream::new(&lines, false, Processes::recorded(), time, sink)?;
        stream.is_silent();
        let progress = Progress::of(&reader)?;
        Ok(Self { source: Recorded::new(reader, lines), stream, progress, looks: None })
    }

    /// Only what is of these times goes to the sink, nanoseconds since 1970.
    pub(super) fn print_only(&mut self, window: RangeInclusive<i64>) {
        self.stream.print_only(window);
    }

    /// Says again and again how full spaces are, in this time.
    pub(super) fn look_into(&mut self, collector: &Collector, window: RangeInclusive<i64>) {
        let (next_ns, last_ns) = window.into_inner();
        self.looks = Some(Looks { collector: collector.clone(), next_ns, last_ns });
    }

    /// Up to a moment, nanoseconds since 1970.
    pub(super) fn read_to(&mut self, until_ns: i64) -> Result<()> {
        while !self.source.is_over() {
            let next_ns = self.source.next_ns();
            if let Some(next_ns) = next_ns {
                if next_ns > until_ns {
                    break;
                }
                self.progress.tell(next_ns.min(until_ns), until_ns);
                self.look_before(next_ns);
            }
            let stop_ns = self.looks.as_ref().map_or(until_ns, |looks| looks.next_ns.min(until_ns));
            self.source.drain(stop_ns, &mut self.stream)?;
        }
        self.progress.done();
        Ok(())
    }

    /// Takes each census that is due before the next entry.
    fn look_before(&mut self, next_ns: i64) {
        let Some(looks) = &mut self.looks else { return };
        while looks.next_ns < next_ns && looks.next_ns <= looks.last_ns {
            // What comes next is far away, or what is held is not known.
            if self.source.run().is_none() || !self.stream.ledger().knows_all() {
                looks.next_ns = next_ns;
                return;
            }
            let boot_ns = looks.next_ns.wrapping_sub(self.source.offset_ns());
            let followed = looks.collector.followed();
            let ledger = self.stream.ledger();
            let now_ns = u64::try_from(boot_ns).unwrap_or(0);
            let census = ledger.census(now_ns, forensics::SPACES, &followed);
            looks.collector.add(looks.next_ns, &census);
            let step_ns = i64::try_from(looks.collector.step().as_nanos()).unwrap_or(i64::MAX);
            looks.next_ns = looks.next_ns.saturating_add(step_ns);
        }
    }

    /// Ends what is under way.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.source.finish(&mut self.stream)
    }

    /// The run under way.
    pub(super) fn run(&self) -> Option<&Run> {
        self.source.run()
    }

    /// Realtime less boottime, where it is.
    pub(super) fn offset_ns(&self) -> i64 {
        self.source.offset_ns()
    }

    /// What the ledger is in.
    pub(super) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// What is wrong with the file.
    pub(super) fn take_damage(&mut self) -> Option<anyhow::Error> {
        self.source.reader().take_damage()
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
