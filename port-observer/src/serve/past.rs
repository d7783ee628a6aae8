//! Lines that are no longer kept, from the recording: for a client that comes back after a while.
//!
//! A recording that is read gives the lines that were told, in the same order, so that their numbers
//! are found by counting: from the first line of a run, or from a [`Mark`].

use std::{fmt, io, sync::Arc, time::Duration};

use anyhow::Result;
use axum::body::Bytes;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};

use super::{
    journal::{Form, Journal, run_of, write_event},
    marks::Mark,
};
use crate::{
    filter::Filter,
    report::{Body, Report, Sink},
    sink::json::Json,
};

/// How much is sent at once.
const PIECE_BYTES: usize = 64 << 10;
/// How many pieces wait for a client.
const PIECES: usize = 4;
/// How long a client may take for a piece: others wait for their turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where anybody may ask, nothing is read for so many times as long as was read: a processor is not to
/// be had by asking again and again.
const REST: u32 = 4;

/// Hands the lines of the recording to a sink: those after a moment (nanoseconds since 1970), and some
/// before it. It may take minutes, and is called on a thread of its own.
type Read = dyn Fn(i64, Box<dyn Sink>) -> Result<()> + Send + Sync;

/// Who reads the recording: for one client at a time, since it takes a processor.
#[derive(Clone)]
pub struct Past {
    read: Arc<Read>,
    turn: Arc<Semaphore>,
}

impl fmt::Debug for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Past").finish_non_exhaustive()
    }
}

/// Which lines.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Those after this one of a run.
    pub(super) run: String,
    pub(super) after: u64,
    /// Up to this one of the run that goes on.
    pub(super) last: u64,
    pub(super) filter: Filter,
    pub(super) form: Form,
}

/// Some of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Each line as an event of a `text/event-stream`.
    pub(super) text: Bytes,
    /// The last line of the run that goes on that was looked at; 0: that is still to come.
    pub(super) last: u64,
}

impl Past {
    /// By this function.
    pub fn by(read: impl Fn(i64, Box<dyn Sink>) -> Result<()> + Send + Sync + 'static) -> Self {
        Self { read: Arc::new(read), turn: Arc::new(Semaphore::new(1)) }
    }

    /// Reads lines, as soon as nobody else does. The end comes early if they can't be read or found,
    /// or if nobody takes them.
    pub(super) fn lines(&self, journal: &Journal, wanted: Wanted) -> mpsc::Receiver<Piece> {
        let (sender, pieces) = mpsc::channel(PIECES);
        let (read, turn) = (Arc::clone(&self.read), Arc::clone(&self.turn));
        let is_present = wanted.run == journal.run();
        // A mark's time is of this run's clock: where the recording is begun to be read is of the day.
        let marks = journal.marks(if is_present { wanted.after } else { 0 });
        let from_ns = if is_present {
            marks.first().map(|mark| journal.of_day(mark.time_ns))
        } else {
            began_ns(&wanted.run)
        };
        let present = journal.run().to_owned();
        tokio::spawn(async move {
            // The semaphore is never closed.
            let Ok(turn) = turn.acquire_owned().await else { return };
            let (Some(from_ns), false) = (from_ns, sender.is_closed()) else { return };
            let server = Handle::current();
            let out = move |piece| {
                let sent = server.block_on(timeout(PATIENCE, sender.send(piece)));
                if matches!(sent, Ok(Ok(()))) { Ok(()) } else { Err(gone()) }
            };
            let is_trusted = wanted.form == Form::Whole;
            let sink = Again::new(wanted, present, marks, Box::new(out));
            let began = Instant::now();
            let read = spawn_blocking(move || read(from_ns, Box::new(sink))).await;
            if let Ok(Err(error)) = read
                && !is_gone(&error)
            {
                log::warn!("a client does not get all that was recorded: {error:#}");
            }
            if !is_trusted {
                sleep(began.elapsed() * REST).await;
            }
            drop(turn);
        });
        pieces
    }
}

/// When a run began, nanoseconds since 1970, as its name has it.
fn began_ns(run: &str) -> Option<i64> {
    i64::from_str_radix(run, 16).ok()?.checked_mul(1_000_000)
}

/// Ends the reading.
fn gone() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

fn is_gone(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
}

type Out = Box<dyn FnMut(Piece) -> io::Result<()> + Send>;

/// The sink that finds them.
struct Again {
    json: Json<Vec<u8>>,
    /// The run that goes on.
    present: String,
    /// The run under way.
    run: String,
    /// The number of the last line, once it is known.
    number: Option<u64>,
    /// The client had all lines before.
    is_begun: bool,
    offset_ns: i64,
    /// Of the run that goes on, those to come.
    marks: Vec<Mark>,
    wanted: Wanted,
    text: Vec<u8>,
    out: Out,
}

impl Again {
    fn new(wanted: Wanted, present: String, marks: Vec<Mark>, out: Out) -> Self {
        let json = Json::new(Vec::new());
        Self {
            json: match wanted.form {
                Form::Whole => json,
                Form::Reduced => json.without_command_lines(),
            },
            present,
            run: String::new(),
            number: None,
            is_begun: false,
            offset_ns: 0,
            marks,
            wanted,
            text: Vec::new(),
            out,
        }
    }

    /// The number of a line, once that is known.
    ///
    /// # Errors
    /// `BrokenPipe` when the run that is looked for is not there.
    fn number(&mut self, report: &Report) -> io::Result<Option<u64>> {
        if let Body::Start(_) = report.body {
            self.run = run_of(report.time_ns, self.offset_ns);
            // Of what is left of a run, the first line is no line that was told.
            let is_whole = self.run == self.present || self.is_begun || self.run == self.wanted.run;
            self.number = is_whole.then_some(0);
            // Runs are in the order in which they began.
            let is_past = began_ns(&self.run) > began_ns(&self.wanted.run);
            if is_past && !self.is_begun && self.wanted.run != self.present {
                return Err(gone());
            }
        }
        self.number = self.number.map(|number| number + 1);
        let mark = self.marks.binary_search_by_key(&report.time_ns, |mark| mark.time_ns);
        if let Ok(mark) = mark
            && !matches!(report.body, Body::Start(_) | Body::Existing { .. })
        {
            self.run.clone_from(&self.present);
            self.number = Some(self.marks[mark].number);
            self.marks.drain(..=mark);
        }
        Ok(self.number)
    }

    fn send(&mut self, last: u64) -> io::Result<()> {
        let text = std::mem::take(&mut self.text).into();
        (self.out)(Piece { text, last })
    }
}

impl Sink for Again {
    fn set_offset(&mut self, offset_ns: i64) {
        self.offset_ns = offset_ns;
        self.json.set_offset(offset_ns);
    }

    fn begin(&mut self, first_offset_ns: i64) {
        self.json.begin(first_offset_ns);
    }

    fn report(&mut self, report: &Report) -> io::Result<()> {
        let Some(number) = self.number(report)? else { return Ok(()) };
        let is_present = self.run == self.present;
        if !self.is_begun {
            self.is_begun = self.run == self.wanted.run && number > self.wanted.after;
        }
        let last = if is_present { number } else { 0 };
        if last > self.wanted.last {
            // The client goes on with what is kept.
            if self.is_begun {
                self.send(self.wanted.last)?;
            }
            return Err(gone());
        }
        if self.is_begun && self.wanted.filter.matches(report) {
            self.json.number_from(number);
            let line = self.json.line(report)?;
            write_event(&mut self.text, &self.run, number, report, &line);
        }
        if self.is_begun
            && (self.text.len() >= PIECE_BYTES || (last > 0 && last == self.wanted.last))
        {
            self.send(last)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::Stop, serve::Feed};

    /// Three lines of each time, as a run tells them, or as its recording does from a line on.
    fn tell(sink: &mut dyn Sink, first: u64) {
        sink.set_offset(5_000_000_000);
        sink.begin(5_000_000_000);
        for number in first..=60_000 {
            let body = Body::Stop(Stop { events: number, ..Stop::default() });
            let told = sink.report(&Report { time_ns: 1_000_000 + number / 3, body });
            if told.is_err() {
                return;
            }
        }
        sink.flush().unwrap();
    }

    /// The numbers of the lines after one that was had, and whether each has its own.
    fn lines_after(run: &str, after: u64, first: u64) -> (Vec<u64>, u64) {
        let journal = Journal::new();
        tell(&mut Feed::new(Arc::clone(&journal), true, false), 1);
        let last = journal.first() - 1;
        let past = Past::by(move |from_ns, mut sink| {
            assert!(from_ns >= 0);
            tell(&mut *sink, first);
            Ok(())
        });
        let filter = Filter::default();
        let wanted = Wanted { run: run.to_owned(), after, last, filter, form: Form::Whole };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut numbers = Vec::new();
        runtime.block_on(async {
            let mut pieces = past.lines(&journal, wanted);
            while let Some(piece) = pieces.recv().await {
                let text = String::from_utf8(piece.text.to_vec()).unwrap();
                for line in text.lines().filter_map(|line| line.strip_prefix("data: ")) {
                    let line: serde_json::Value = serde_json::from_str(line).unwrap();
                    assert_eq!(line["seq"], line["events"], "the number is that of the line");
                    numbers.push(line["seq"].as_u64().unwrap());
                }
                assert_eq!(Some(&piece.last), numbers.last());
            }
        });
        (numbers, last)
    }

    #[test]
    fn lines_are_those_between_what_a_client_had_and_what_is_kept() {
        let run = run_of(1_000_000, 5_000_000_000);
        for (after, first) in [(10, 1), (9_000, 1), (9_000, 8_001)] {
            let (numbers, last) = lines_after(&run, after, first);
            assert!(last > 10_000, "{last} are not kept");
            assert!(numbers.into_iter().eq(after + 1..=last), "after {after}, from {first}");
        }
    }

    #[test]
    fn lines_of_a_run_that_is_not_there_are_none() {
        assert_eq!(lines_after("abc", 10, 1).0, [] as [u64; 0]);
        assert_eq!(lines_after("not a run", 10, 1).0, [] as [u64; 0]);
    }
}
