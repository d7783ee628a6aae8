//! A recording that is read through, while who waits at a terminal sees how far it is.

use std::{
    io::{self, IsTerminal as _, Write as _},
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    config::{Lines, Output},
    forensics::{self, Collector},
    ledger::Ledger,
    pipeline::{Recorded, Stream},
    recording::{Reader, Run},
    report::{Nowhere, Sink},
};

/// For how long at most nothing is recorded while a recorder runs.
const GAP_NS: i64 = 10_000_000_000;

/// What is told of a recording: all that is in it.
pub(super) fn lines(output: Output) -> Lines {
    Lines {
        existing: false,
        top: 1,
        // What was recorded fitted into a ledger.
        max_holdings: usize::try_from(u32::MAX).unwrap_or(usize::MAX),
        ..Lines::everything(output)
    }
}

/// A sink that asks how full spaces are.
pub(super) trait TakesCensus: Sink {
    /// Takes a census of a moment, in nanoseconds since 1970 and in the ledger's time; returns how long
    /// after it the next is due.
    fn take_census(&mut self, at_ns: i64, now_ns: u64, ledger: &mut Ledger) -> Duration;
}

impl TakesCensus for Collector {
    fn take_census(&mut self, at_ns: i64, now_ns: u64, ledger: &mut Ledger) -> Duration {
        let census = ledger.census(now_ns, forensics::SPACES, &self.followed());
        self.add(at_ns, &census);
        self.step()
    }
}

impl TakesCensus for Nowhere {
    fn take_census(&mut self, _at_ns: i64, _now_ns: u64, _ledger: &mut Ledger) -> Duration {
        Duration::MAX
    }
}

/// A recording that is read through.
pub(super) struct Reading<S> {
    source: Recorded,
    stream: Stream<S>,
    progress: Shown,
    looks: Option<Looks>,
}

/// When it is looked how full spaces are, in nanoseconds since 1970.
struct Looks {
    from_ns: i64,
    to_ns: i64,
    next_ns: i64,
}

impl Looks {
    /// When the next one is due, if that is before the next entry. Each second is an entry of its own:
    /// nothing is known of a longer time without any, or the clock was set.
    fn due(&mut self, entry_ns: i64) -> Option<i64> {
        let ahead_ns = entry_ns.saturating_sub(self.next_ns);
        if !(-2 * GAP_NS..=GAP_NS).contains(&ahead_ns) {
            self.skip_to(entry_ns);
        }
        self.next().filter(|next_ns| *next_ns < entry_ns)
    }

    /// Up to where entries may be handed over before the next one.
    fn next(&self) -> Option<i64> {
        (self.next_ns <= self.to_ns).then_some(self.next_ns)
    }

    fn skip_to(&mut self, entry_ns: i64) {
        self.next_ns = entry_ns.max(self.from_ns);
    }

    fn done(&mut self, step: Duration) {
        let step_ns = i64::try_from(step.as_nanos()).unwrap_or(i64::MAX);
        self.next_ns = self.next_ns.saturating_add(step_ns);
    }
}

impl<S: TakesCensus> Reading<S> {
    /// Reads nothing yet.
    pub(super) fn begin(reader: Reader, lines: Lines, sink: S, progress: Progress) -> Result<Self> {
        let mut stream = Stream::of_recording(&lines, sink)?;
        stream.is_silent();
        let progress = Shown::of(&reader, progress)?;
        Ok(Self { source: Recorded::new(reader, lines), stream, progress, looks: None })
    }

    /// Only what is of these times goes to the sink, nanoseconds since 1970.
    pub(super) fn print_only(&mut self, window: RangeInclusive<i64>) {
        self.stream.print_only(window);
    }

    /// Says again and again how full spaces are, in this time.
    pub(super) fn look_into(&mut self, window: RangeInclusive<i64>) {
        let (from_ns, to_ns) = window.into_inner();
        let looks = Looks { from_ns, to_ns, next_ns: from_ns };
        self.looks = Some(looks);
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
            let next_ns = self.looks.as_ref().and_then(Looks::next);
            let stop_ns = next_ns.map_or(until_ns, |next_ns| next_ns.min(until_ns));
            self.source.drain(stop_ns, &mut self.stream)?;
        }
        self.progress.done();
        Ok(())
    }

    /// Takes each census that is due before the next entry.
    fn look_before(&mut self, next_ns: i64) {
        let Some(looks) = &mut self.looks else { return };
        while let Some(due_ns) = looks.due(next_ns) {
            let (ledger, sink) = self.stream.both();
            if self.source.run().is_none() || !ledger.knows_all() {
                looks.skip_to(next_ns);
                return;
            }
            let boot_ns = due_ns.wrapping_sub(self.source.offset_ns());
            let now_ns = u64::try_from(boot_ns).unwrap_or(0);
            let step = sink.take_census(due_ns, now_ns, ledger);
            looks.done(step);
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
    pub(super) fn stream(&mut self) -> &mut Stream<S> {
        &mut self.stream
    }

    /// The sink, when all is read.
    pub(super) fn into_sink(self) -> S {
        self.stream.into_sink()
    }

    /// What is wrong with the file.
    pub(super) fn take_damage(&mut self) -> Option<anyhow::Error> {
        self.source.reader().take_damage()
    }
}

/// Whether it is said how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// For who waits at a terminal.
    OnTerminal,
    /// Not at all.
    Silent,
}

/// How far it is, for who waits at a terminal.
struct Shown {
    is_shown: bool,
    began_ns: i64,
    ended_ns: i64,
    next: Instant,
    has_told: bool,
}

impl Shown {
    fn of(reader: &Reader, progress: Progress) -> Result<Self> {
        let (began_ns, ended_ns) = reader.span_ns()?.unwrap_or((0, 0));
        let is_shown = progress == Progress::OnTerminal && io::stderr().is_terminal();
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

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// When it is looked, in seconds, as entries come.
    fn looked(looks: &mut Looks, entries: impl IntoIterator<Item = i64>) -> Vec<i64> {
        let mut looked = Vec::new();
        for second in entries {
            while let Some(due_ns) = looks.due(second * SECOND) {
                looked.push(due_ns / SECOND);
                looks.done(Duration::from_secs(4));
            }
        }
        looked
    }

    #[test]
    fn it_is_looked_in_steps_within_what_is_asked_for() {
        let mut looks = Looks { from_ns: 100 * SECOND, to_ns: 110 * SECOND, next_ns: 100 * SECOND };
        assert_eq!(looked(&mut looks, 0..200), [100, 104, 108]);
        let mut all = Looks { from_ns: i64::MIN, to_ns: i64::MAX, next_ns: i64::MIN };
        assert_eq!(looked(&mut all, 1_000..1_010), [1_000, 1_004, 1_008]);
    }

    #[test]
    fn a_year_without_entries_is_passed_over_and_a_clock_that_is_set_back_is_followed() {
        let mut looks = Looks { from_ns: i64::MIN, to_ns: i64::MAX, next_ns: i64::MIN };
        assert_eq!(looked(&mut looks, [10, 12, 31_536_000, 31_536_001]), [10, 31_536_000]);
        assert_eq!(looked(&mut looks, [31_536_000, 500, 501, 505]), [500, 504]);
    }
}
