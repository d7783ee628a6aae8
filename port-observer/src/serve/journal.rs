//! The last event lines, for clients that follow them: each at its own pace, none holding up another.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use axum::body::Bytes;
use tokio::sync::watch;

use super::marks::{Mark, Marks};
use crate::{
    filter::Filter,
    report::{Body, Report, Sink},
    sink::json::Json,
};

/// How many bytes of lines are kept: text, and about what they stand on in memory.
const KEPT_BYTES: usize = 16 << 20;
/// A page is not longer than this, but for its last line.
const PAGE_BYTES: usize = 64 << 10;
/// Lines looked at for a page.
const PAGE_LINES: usize = 4096;

/// How many namespaces with names are known, the latest.
const NAMES: usize = 4096;

/// Which form of the lines a client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// All of them.
    Whole,
    /// Without command lines.
    Reduced,
}

/// The last event lines of this run.
#[derive(Debug)]
pub struct Journal {
    /// Tells this run from others: set by its first line.
    run: OnceLock<String>,
    lines: Mutex<Lines>,
    /// The number of the last line.
    news: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<Line>,
    bytes: usize,
    /// The number of the last line, 0: there was none.
    last: u64,
    has_ended: bool,
    marks: Marks,
    /// Realtime less boottime.
    offset_ns: i64,
    /// What namespaces are called.
    names: Vec<(u32, Vec<String>)>,
}

#[derive(Debug)]
struct Line {
    report: Report,
    whole: Option<Bytes>,
    reduced: Option<Bytes>,
    bytes: usize,
}

/// What comes after a line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Each line as an event of a `text/event-stream`.
    pub text: Vec<u8>,
    /// The last line that was looked at: the next page comes after it.
    pub last: u64,
    /// How many lines before these are not kept any more.
    pub missed: u64,
    /// There are more already.
    pub has_more: bool,
    /// The run is over, and this is its last page.
    pub is_end: bool,
}

impl Journal {
    /// Of a run that begins now.
    pub fn new() -> Arc<Self> {
        let news = watch::Sender::new(0);
        Arc::new(Self { run: OnceLock::new(), lines: Mutex::default(), news })
    }

    /// What tells this run from others: when it began. Empty before its first line.
    pub fn run(&self) -> &str {
        self.run.get().map_or("", String::as_str)
    }

    /// Tells the number of the last line as it changes.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// The number of the last line.
    pub fn last(&self) -> u64 {
        self.lines().last
    }

    /// The number of the first line that is kept, or of the next.
    pub(super) fn first(&self) -> u64 {
        self.lines().first()
    }

    /// By what the lines after number `after` are found in the recording.
    pub(super) fn marks(&self, after: u64) -> Vec<Mark> {
        self.lines().marks.after(after)
    }

    /// A time since boot as one since 1970, in nanoseconds.
    pub(super) fn of_day(&self, time_ns: u64) -> i64 {
        self.lines().offset_ns.wrapping_add_unsigned(time_ns)
    }

    /// The inode number of the network namespace of this name.
    pub fn namespace(&self, name: &str) -> Option<u32> {
        let lines = self.lines();
        let is_it = |names: &[String]| names.iter().any(|one| one == name);
        lines.names.iter().find(|(_, names)| is_it(names)).map(|(netns, _)| *netns)
    }

    /// The lines after number `after` that a filter lets through.
    pub fn after(&self, after: u64, filter: &Filter, form: Form) -> Page {
        let lines = self.lines();
        let first = lines.first();
        let missed = first.saturating_sub(after + 1);
        let mut last = after + missed;
        let mut text = Vec::new();
        let skipped = usize::try_from(last + 1 - first).unwrap_or(usize::MAX);
        for line in lines.kept.iter().skip(skipped).take(PAGE_LINES) {
            if text.len() >= PAGE_BYTES {
                break;
            }
            last += 1;
            let json = match form {
                Form::Whole => line.whole.as_ref(),
                Form::Reduced => line.reduced.as_ref(),
            };
            if let Some(json) = json.filter(|_| filter.matches(&line.report)) {
                write_event(&mut text, self.run(), last, &line.report, json);
            }
        }
        let has_more = last < lines.last;
        Page { text, last, missed, has_more, is_end: lines.has_ended && !has_more }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // What is kept is whole whenever the lock is free.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What tells a run from others: when its first line was, in milliseconds since 1970.
pub(super) fn run_of(time_ns: u64, offset_ns: i64) -> String {
    let began_ns = u64::try_from(offset_ns.wrapping_add_unsigned(time_ns)).unwrap_or(0);
    format!("{:x}", began_ns / 1_000_000)
}

/// Writes a line as an event of a `text/event-stream`.
pub(super) fn write_event(text: &mut Vec<u8>, run: &str, number: u64, of: &Report, json: &[u8]) {
    let name = of.body.event_type().name();
    text.extend_from_slice(format!("id: {run}-{number}\nevent: {name}\ndata: ").as_bytes());
    text.extend_from_slice(json);
    text.extend_from_slice(b"\n\n");
}

impl Lines {
    fn first(&self) -> u64 {
        self.last + 1 - self.kept.len() as u64
    }

    fn push(&mut self, line: Line) {
        self.last += 1;
        self.marks.add(self.last, line.report.time_ns);
        self.bytes += line.bytes;
        self.has_ended |= matches!(line.report.body, Body::Stop(_));
        self.kept.push_back(line);
        while self.bytes > KEPT_BYTES
            && let Some(oldest) = self.kept.pop_front()
        {
            self.bytes -= oldest.bytes;
        }
    }
}

/// The sink that writes the journal.
pub struct Feed {
    journal: Arc<Journal>,
    whole: Option<Json<Vec<u8>>>,
    reduced: Option<Json<Vec<u8>>>,
    /// Lines that clients don't know of yet.
    new: Vec<Line>,
}

impl Feed {
    /// Writes the forms that somebody may read.
    pub fn new(journal: Arc<Journal>, has_whole: bool, has_reduced: bool) -> Self {
        let json = || Json::new(Vec::new());
        Self {
            journal,
            whole: has_whole.then(json),
            reduced: has_reduced.then(|| json().without_command_lines()),
            new: Vec::new(),
        }
    }

    fn forms(&mut self) -> impl Iterator<Item = &mut Json<Vec<u8>>> {
        self.whole.iter_mut().chain(&mut self.reduced)
    }
}

impl Sink for Feed {
    fn set_offset(&mut self, offset_ns: i64) {
        self.journal.lines().offset_ns = offset_ns;
        self.forms().for_each(|json| json.set_offset(offset_ns));
    }

    fn begin(&mut self, first_offset_ns: i64) {
        self.forms().for_each(|json| json.begin(first_offset_ns));
    }

    fn name(&mut self, netns: u32, names: &[String]) {
        let mut lines = self.journal.lines();
        lines.names.retain(|(known, _)| *known != netns);
        if lines.names.len() >= NAMES {
            lines.names.remove(0);
        }
        if !names.is_empty() {
            lines.names.push((netns, names.to_vec()));
        }
    }

    fn report(&mut self, report: &Report) -> io::Result<()> {
        self.journal.run.get_or_init(|| run_of(report.time_ns, self.journal.lines().offset_ns));
        let line = |json: &mut Option<Json<Vec<u8>>>| -> io::Result<Option<Bytes>> {
            json.as_mut().map(|json| json.line(report).map(Bytes::from)).transpose()
        };
        let (whole, reduced) = (line(&mut self.whole)?, line(&mut self.reduced)?);
        let length = |text: &Option<Bytes>| text.as_ref().map_or(0, Bytes::len);
        let process = report.body.caller().map_or(0, |caller| caller.process.bytes());
        let bytes = length(&whole) + length(&reduced) + size_of::<Line>() + process;
        self.new.push(Line { report: report.clone(), whole, reduced, bytes });
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.new.is_empty() {
            return Ok(());
        }
        let mut lines = self.journal.lines();
        for line in self.new.drain(..) {
            lines.push(line);
        }
        let last = lines.last;
        drop(lines);
        self.journal.news.send_replace(last);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{EventType, Stop};

    fn journal_of(count: u64) -> (Arc<Journal>, Feed) {
        let journal = Journal::new();
        let mut feed = Feed::new(Arc::clone(&journal), true, false);
        for number in 0..count {
            let body = Body::Stop(Stop { events: number, ..Stop::default() });
            feed.report(&Report { time_ns: 1, body }).unwrap();
        }
        feed.flush().unwrap();
        (journal, feed)
    }

    #[test]
    fn each_client_reads_on_where_it_was() {
        let (journal, _feed) = journal_of(3);
        let page = journal.after(1, &Filter::default(), Form::Whole);
        let text = String::from_utf8(page.text).unwrap();
        let events: Vec<&str> = text.split_terminator("\n\n").collect();
        assert_eq!(events.len(), 2);
        assert!(events[0].starts_with("id: 0-2\nevent: stop\ndata: {\"schema\":1,\"seq\":2,"));
        assert_eq!((page.last, page.missed, page.has_more, page.is_end), (3, 0, false, true));
        assert_eq!(journal.after(3, &Filter::default(), Form::Whole).text, b"");
    }

    #[test]
    fn a_filter_leaves_gaps_and_goes_on_after_them() {
        let (journal, _feed) = journal_of(3);
        let filter = Filter { events: vec![EventType::Acquire], ..Filter::default() };
        let page = journal.after(0, &filter, Form::Whole);
        assert_eq!((page.text.len(), page.last), (0, 3));
    }

    #[test]
    fn a_form_that_nobody_may_read_is_not_written() {
        let (journal, _feed) = journal_of(1);
        assert_eq!(journal.after(0, &Filter::default(), Form::Reduced).text, b"");
    }

    #[test]
    fn what_is_not_kept_any_more_is_counted() {
        let (journal, _feed) = journal_of(200_000);
        let page = journal.after(10, &Filter::default(), Form::Whole);
        assert!(page.missed > 0 && page.has_more, "{} missed", page.missed);
        let text = String::from_utf8(page.text).unwrap();
        assert!(text.starts_with(&format!("id: 0-{}\n", 11 + page.missed)), "{}", &text[..40]);
        assert!(journal.lines().bytes <= KEPT_BYTES);
    }
}
