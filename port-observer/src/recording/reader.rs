//! What is in a recording, in the order in which it was taken in.

use std::{collections::VecDeque, path::Path, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use rusqlite::{Connection, ErrorCode};

use super::{
    entry::{Entry, Input},
    item::{Item, Run},
    memory,
    open::{Opened, open},
    rows::Rows,
    segments::{self, SEGMENTS, Segment},
    sqlite::Budget,
};
use crate::event::{LossKind, LossPlace};

/// How many entries are read at once.
const BATCH: usize = 4_096;
/// How often it is looked for where a damaged file can be read again.
const PROBES: u32 = 20_000;
/// The least that an event takes in the file, in bytes.
const EVENT_BYTES: u64 = 8;

/// A recording that is read.
pub struct Reader {
    connection: Connection,
    budget: Budget,
    /// More events than this can't be in a file of this size.
    most_events: u64,
    rows: Rows,
    segments: VecDeque<Segment>,
    current: Option<Current>,
    /// What is wrong with the file.
    damage: Option<anyhow::Error>,
    /// Something of a segment could not be read.
    has_gap: bool,
    /// Events below this number were read, or are not to be.
    read_to: i64,
    /// How often it may still be looked for where the file can be read again.
    probes: u32,
    /// Reading ends when the process takes too much memory.
    is_bounded: bool,
}

/// Where it reads.
struct Current {
    run: Run,
    began_ns: u64,
    next_event: i64,
    /// The first event of the next segment.
    end: i64,
    last_ns: u64,
}

impl Reader {
    /// Opens a recording. It may still be written. Reading ends when the process takes too much
    /// memory.
    ///
    /// # Errors
    /// When it can't be read, or is not a recording.
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { is_bounded: true, ..Self::open_among_others(path)? })
    }

    /// The same in a process that does other things too: the memory of the process is not looked at.
    ///
    /// # Errors
    /// As for [`Reader::open`].
    pub fn open_among_others(path: &Path) -> Result<Self> {
        let opened = open(path)?;
        let damage = opened.newer(path);
        let Opened { connection, budget, version, file_bytes } = opened;
        let (segments, is_cut) = segments::read(&connection).with_context(|| {
            format!("can't read the recording {}: it is damaged", path.display())
        })?;
        let damage = damage.or_else(|| {
            is_cut.then(|| {
                anyhow!("the recording has more than {SEGMENTS} segments: the rest is left out")
            })
        });
        Ok(Self {
            connection,
            budget,
            most_events: file_bytes / EVENT_BYTES,
            rows: Rows::of(version),
            segments,
            current: None,
            damage,
            has_gap: false,
            read_to: i64::MIN,
            probes: PROBES,
            is_bounded: false,
        })
    }

    /// From when to when it goes, nanoseconds since 1970; `None`: nothing is in it.
    ///
    /// # Errors
    /// When that can't be read.
    pub fn span_ns(&self) -> Result<Option<(i64, i64)>> {
        let Some(first) = self.segments.front() else { return Ok(None) };
        let last =
            "SELECT max(time_ns) FROM (SELECT time_ns FROM events ORDER BY id DESC LIMIT 100)";
        self.budget.piece();
        let last: Option<i64> =
            self.connection.query_row(last, [], |row| row.get(0)).unwrap_or(None);
        let begun = self.segments.back().map_or(first.time_ns, |segment| segment.time_ns);
        Ok(Some((first.time_ns, last.unwrap_or(begun).max(begun))))
    }

    /// How many events there are about.
    pub fn len(&self) -> u64 {
        let first = self.segments.front().map_or(0, |segment| segment.first_event);
        distance(first, self.last_event().unwrap_or(first)).min(self.most_events)
    }

    fn last_event(&self) -> Option<i64> {
        self.budget.piece();
        let last = "SELECT max(id) FROM events";
        self.connection.query_row(last, [], |row| row.get(0)).unwrap_or(None)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The inode number of a network namespace: by itself, or by the name that it had under /run/netns.
    ///
    /// # Errors
    /// When there was none.
    pub fn netns(&self, name: &str) -> Result<u32> {
        if let Ok(inode) = name.parse() {
            return Ok(inode);
        }
        self.budget.whole();
        let found = super::tables::netns(&self.connection, name);
        found.ok().flatten().with_context(|| {
            format!(
                "the recording knows no network namespace of the name {name:?}; name its inode \
                 number"
            )
        })
    }

    /// Leaves out the segments that end before this moment, nanoseconds since 1970.
    pub fn skip_to(&mut self, time_ns: i64) {
        while self.segments.get(1).is_some_and(|second| second.time_ns <= time_ns) {
            self.segments.pop_front();
        }
    }

    /// What is wrong with the file, as far as it was read.
    pub fn take_damage(&mut self) -> Option<anyhow::Error> {
        self.damage.take()
    }

    /// What comes next, some of it at a time; nothing: that was all. What can't be read is left out
    /// and told as lost.
    ///
    /// # Errors
    /// When nothing more can be read.
    pub fn next(&mut self, out: &mut Vec<Item>) -> Result<()> {
        out.clear();
        if self.is_bounded && self.current.is_some() && memory::is_used_up() {
            self.stop();
        }
        while out.is_empty() {
            let is_over =
                self.current.as_ref().is_none_or(|current| current.next_event >= current.end);
            if !is_over {
                self.read(out);
            } else if !self.next_segment(out)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Nothing more is read.
    fn stop(&mut self) {
        self.segments.clear();
        if let Some(current) = &mut self.current {
            current.next_event = current.end;
        }
        self.damage.get_or_insert_with(|| {
            anyhow!(
                "the recording was not read to its end: that takes more than 256 MiB of memory; with \
                 --from and --to less of it is read"
            )
        });
    }

    fn read(&mut self, out: &mut Vec<Item>) {
        let Some(current) = &mut self.current else { return };
        self.budget.piece();
        let range = current.next_event..current.end;
        let result = self.rows.read(&self.connection, range, BATCH, |id, entry| {
            current.next_event = id.saturating_add(1);
            if let Some(entry) = entry {
                current.last_ns = current.last_ns.max(entry.time_ns);
                out.push(Item::Entry(entry));
            }
        });
        match result {
            Ok(true) => current.next_event = current.end,
            Ok(false) => {}
            Err(error) => self.skip(error, out),
        }
    }

    /// Something can't be read: goes on where that is possible again.
    fn skip(&mut self, error: anyhow::Error, out: &mut Vec<Item>) {
        let Some(current) = &self.current else { return };
        let (from, end, time_ns) = (current.next_event, current.end, current.last_ns);
        let at = if is_endless(&error) { end } else { self.readable_after(from, end) };
        // Beyond the last event there is nothing to lose.
        let last = self.last_event().filter(|last| (from..at).contains(last));
        let count = distance(from, last.map_or(at, |last| last.saturating_add(1)));
        let count = if at == i64::MAX && last.is_none() { 1 } else { count.min(self.most_events) };
        if let Some(current) = &mut self.current {
            current.next_event = at;
        }
        let lost =
            Input::Lost { count, place: LossPlace::Decode, kind: LossKind::Record, caller: None };
        out.push(Item::Entry(Entry { time_ns, input: lost }));
        self.has_gap = true;
        self.damage.get_or_insert_with(|| {
            error.context("the recording is damaged: what could be read was read")
        });
    }

    /// The first number after one that can't be read from which on it can be read again, or `end`.
    fn readable_after(&mut self, from: i64, end: i64) -> i64 {
        let (mut bad, mut good, mut step) = (from, end, 1_i64);
        while let Some(at) = from.checked_add(step).filter(|at| *at < end) {
            if self.is_readable(at) {
                good = at;
                break;
            }
            bad = at;
            let Some(twice) = step.checked_mul(2) else { break };
            step = twice;
        }
        while distance(bad, good) > 1 {
            // Between them, whatever their signs.
            let middle = (bad & good) + ((bad ^ good) >> 1);
            if self.is_readable(middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        good
    }

    /// Whether the event of this number, or the next one, can be read.
    fn is_readable(&mut self, id: i64) -> bool {
        self.budget.piece();
        self.probes = self.probes.saturating_sub(1);
        self.probes > 0 && self.rows.read(&self.connection, id..i64::MAX, 1, |_, _| {}).is_ok()
    }

    fn next_segment(&mut self, out: &mut Vec<Item>) -> Result<bool> {
        let Some(segment) = self.segments.pop_front() else {
            let Some(last) = self.current.take() else { return Ok(false) };
            out.push(self.ends(last));
            return Ok(true);
        };
        let end = self.segments.front().map_or(i64::MAX, |next| next.first_event);
        let time_ns = boot_ns(segment.time_ns, segment.offset_ns);
        let is_same = self.current.as_ref().is_some_and(|current| current.run.id == segment.run);
        if !is_same {
            if let Some(last) = self.current.take() {
                out.push(self.ends(last));
            }
            let run = self.run(segment.run)?;
            let (offset_ns, is_whole) = (segment.offset_ns, segment.time_ns == run.started_ns);
            self.current = Some(Current {
                run: run.clone(),
                began_ns: time_ns,
                next_event: 0,
                end: 0,
                last_ns: time_ns,
            });
            out.push(Item::Begins { run: Box::new(run), time_ns, offset_ns });
            self.has_gap = !is_whole;
        }
        self.rows.begin(segment.offset_ns);
        self.budget.piece();
        if self.has_gap || (is_same && segment.is_gap) {
            self.budget.whole();
            let checkpoint = self.rows.checkpoint(&self.connection, segment.id, self.is_bounded);
            match checkpoint {
                Ok(checkpoint) => {
                    out.push(Item::Holds { time_ns, checkpoint: Box::new(checkpoint) });
                }
                Err(error) => {
                    self.damage.get_or_insert_with(|| {
                        error.context("what was held at a moment can't be read")
                    });
                }
            }
            self.has_gap = false;
        }
        if let Some(current) = &mut self.current {
            // Nothing is read twice, wherever segments say that they begin.
            let first = segment.first_event.max(self.read_to);
            (current.next_event, current.end) = (first, end.max(first));
            self.read_to = current.end;
            current.last_ns = current.last_ns.max(time_ns);
        }
        Ok(true)
    }

    fn ends(&self, last: Current) -> Item {
        let stopped =
            last.run.stopped_ns.map_or(last.last_ns, |time| boot_ns(time, self.rows.offset_ns()));
        let so_far = Duration::from_nanos(stopped.saturating_sub(last.began_ns));
        Item::Ends { time_ns: stopped, observed: last.run.observed.unwrap_or(so_far) }
    }

    fn run(&self, id: i64) -> Result<Run> {
        self.budget.piece();
        super::tables::run(&self.connection, self.rows.version(), id)
            .with_context(|| format!("can't read how run {id} of the recording began"))
    }
}

/// From time since 1970 to time since boot.
pub(super) fn boot_ns(wall_ns: i64, offset_ns: i64) -> u64 {
    u64::try_from(wall_ns.wrapping_sub(offset_ns)).unwrap_or(0)
}

/// From one number to a later one; 0 if it is none.
fn distance(from: i64, to: i64) -> u64 {
    if to > from { to.abs_diff(from) } else { 0 }
}

/// Whether SQLite was stopped because it did not come back.
fn is_endless(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<rusqlite::Error>()
        .and_then(rusqlite::Error::sqlite_error_code)
        .is_some_and(|code| code == ErrorCode::OperationInterrupted)
}
