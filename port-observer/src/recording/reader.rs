//! What is in a recording, in the order in which it was taken in.

use std::{collections::VecDeque, path::Path, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::{
    entry::{Entry, Input},
    rows::Rows,
    schema::{self, Identity},
    sqlite,
};
use crate::{event::LossPlace, ledger::Checkpoint, report::Start};

/// How many entries are read at once.
const BATCH: usize = 4_096;

/// One run of the recorder.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its number in the file.
    pub id: i64,
    /// The first line.
    pub start: Start,
    /// See [`crate::ledger::Options`].
    pub is_sticky: bool,
    /// When it began, nanoseconds since 1970.
    pub started_ns: i64,
    /// Realtime less boottime when it began.
    pub offset_ns: i64,
    /// When it ended; `None`: it was killed, or goes on.
    pub stopped_ns: Option<i64>,
    /// How long it observed, if it ended by itself.
    pub observed: Option<Duration>,
}

/// A stretch of a run with what was held when it began.
#[derive(Clone, Copy, Debug)]
struct Segment {
    id: i64,
    run: i64,
    is_gap: bool,
    time_ns: i64,
    offset_ns: i64,
    first_event: i64,
}

/// What comes next.
#[derive(Debug)]
pub enum Item {
    /// A run begins, or what is left of it.
    Begins {
        /// Which.
        run: Box<Run>,
        /// When (`CLOCK_BOOTTIME`).
        time_ns: u64,
        /// Realtime less boottime.
        offset_ns: i64,
    },
    /// What is held now, known from elsewhere than the entries before.
    Holds {
        /// When (`CLOCK_BOOTTIME`).
        time_ns: u64,
        /// What.
        checkpoint: Box<Checkpoint>,
    },
    /// Something that the ledger took in.
    Entry(Entry),
    /// The run ended.
    Ends {
        /// When (`CLOCK_BOOTTIME`).
        time_ns: u64,
        /// For how long it observed.
        observed: Duration,
    },
}

/// A recording that is read.
pub struct Reader {
    connection: Connection,
    rows: Rows,
    segments: VecDeque<Segment>,
    current: Option<Current>,
    /// What is wrong with the file.
    damage: Option<anyhow::Error>,
    /// Something of a segment could not be read.
    has_gap: bool,
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
    /// Opens a recording. It may still be written.
    ///
    /// # Errors
    /// When it can't be read, or is not a recording.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display();
        let (connection, identity) =
            connect(path).with_context(|| format!("can't read the recording {shown}"))?;
        let mut damage = None;
        let version = match identity {
            Identity::Recording(version @ 1..=schema::VERSION) => version,
            Identity::Recording(version) if version > schema::VERSION => {
                damage = Some(anyhow!(
                    "{shown} is of a newer port-observer (schema {version}, this one knows {}): \
                     what is new in it was left out; read it with that version",
                    schema::VERSION
                ));
                version
            }
            Identity::Recording(version) => {
                bail!("can't read {shown}: no program has written schema {version}")
            }
            Identity::Empty => bail!("can't read {shown}: nothing is in it"),
            Identity::Foreign => {
                bail!("can't read {shown}: it is a database of another program, not a recording")
            }
        };
        let segments = segments(&connection)
            .with_context(|| format!("can't read the recording {shown}: it is damaged"))?;
        let rows = Rows::of(version);
        Ok(Self { connection, rows, segments, current: None, damage, has_gap: false })
    }

    /// The runs, in their order.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn runs(&self) -> Result<Vec<Run>> {
        let mut ids: Vec<i64> = self.segments.iter().map(|segment| segment.run).collect();
        ids.dedup();
        ids.into_iter().map(|id| self.run(id)).collect()
    }

    /// From when to when it goes, nanoseconds since 1970; `None`: nothing is in it.
    ///
    /// # Errors
    /// When that can't be read.
    pub fn span_ns(&self) -> Result<Option<(i64, i64)>> {
        let Some(first) = self.segments.front() else { return Ok(None) };
        let last =
            "SELECT max(time_ns) FROM (SELECT time_ns FROM events ORDER BY id DESC LIMIT 100)";
        let last: Option<i64> =
            self.connection.query_row(last, [], |row| row.get(0)).unwrap_or(None);
        let begun = self.segments.back().map_or(first.time_ns, |segment| segment.time_ns);
        Ok(Some((first.time_ns, last.unwrap_or(begun).max(begun))))
    }

    /// How many events there are about.
    pub fn len(&self) -> u64 {
        let last: Option<i64> = self
            .connection
            .query_row("SELECT max(id) FROM events", [], |row| row.get(0))
            .unwrap_or(None);
        let first = self.segments.front().map_or(0, |segment| segment.first_event);
        u64::try_from(last.unwrap_or(first).saturating_sub(first)).unwrap_or(0)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The inode number of the network namespace that had this name under /run/netns.
    ///
    /// # Errors
    /// When there was none.
    pub fn netns(&self, name: &str) -> Result<u32> {
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

    fn read(&mut self, out: &mut Vec<Item>) {
        let Some(current) = &mut self.current else { return };
        let range = current.next_event..current.end;
        let mut count = 0;
        let result = self.rows.read(&self.connection, range, BATCH, |id, entry| {
            current.next_event = id + 1;
            count += 1;
            if let Some(entry) = entry {
                current.last_ns = current.last_ns.max(entry.time_ns);
                out.push(Item::Entry(entry));
            }
        });
        match result {
            Ok(()) if count < BATCH => current.next_event = current.end,
            Ok(()) => {}
            Err(error) => self.skip(error, out),
        }
    }

    /// Something can't be read: goes on where that is possible again.
    fn skip(&mut self, error: rusqlite::Error, out: &mut Vec<Item>) {
        let Some(current) = &mut self.current else { return };
        let from = current.next_event;
        let last = match current.end {
            i64::MAX => from.saturating_add(1 << 32),
            end => end,
        };
        let mut step = 1;
        let mut at = from.saturating_add(1);
        while at < last && !self.rows.is_readable(&self.connection, at) {
            step = (step * 2).min(4_096);
            at = at.saturating_add(step);
            if step == 4_096 && last - from > 1 << 24 && at - from > 1 << 24 {
                at = last;
            }
        }
        let at = at.min(last);
        current.next_event = if at == last { current.end } else { at };
        let count = (at - from).unsigned_abs();
        let time_ns = current.last_ns;
        let lost = Input::Lost { count, place: LossPlace::Decode, kind: "record" };
        out.push(Item::Entry(Entry { time_ns, input: lost }));
        self.has_gap = true;
        self.damage.get_or_insert_with(|| {
            anyhow!(error).context("the recording is damaged: what could be read was read")
        });
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
        if self.has_gap || (is_same && segment.is_gap) {
            let checkpoint = self.rows.checkpoint(&self.connection, segment.id);
            match checkpoint {
                Ok(checkpoint) => {
                    out.push(Item::Holds { time_ns, checkpoint: Box::new(checkpoint) });
                }
                Err(error) => {
                    self.damage.get_or_insert_with(|| {
                        anyhow!(error).context("what was held at a moment can't be read")
                    });
                }
            }
            self.has_gap = false;
        }
        if let Some(current) = &mut self.current {
            (current.next_event, current.end) = (segment.first_event, end);
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
        super::tables::run(&self.connection, id)
            .with_context(|| format!("can't read how run {id} of the recording began"))
    }
}

/// From time since 1970 to time since boot.
pub(super) fn boot_ns(wall_ns: i64, offset_ns: i64) -> u64 {
    u64::try_from(wall_ns.wrapping_sub(offset_ns)).unwrap_or(0)
}

/// Opens it for reading, and sees what it is.
pub(super) fn connect(path: &Path) -> Result<(Connection, Identity)> {
    sqlite::check_version()?;
    let metadata = path.metadata().context("can't look at it")?;
    if !metadata.is_file() {
        bail!("it is not a file");
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = |immutable: bool, is_short: bool| {
        let connection = if immutable {
            // A URI: SQLite then looks for no file beside it.
            let mut uri = "file:".to_owned();
            for byte in std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()) {
                match byte {
                    b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                        uri.push(char::from(*byte));
                    }
                    other => uri.push_str(&format!("%{other:02X}")),
                }
            }
            uri.push_str("?immutable=1");
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?
        } else {
            Connection::open_with_flags(path, flags)?
        };
        connection.busy_timeout(Duration::from_secs(5))?;
        if is_short {
            // Nothing is written. It is what makes SQLite read a file that is shorter than it says
            // (`lockBtree`, btree.c).
            connection.pragma_update(None, "writable_schema", true)?;
        }
        let identity = schema::identity(&connection)?;
        Ok::<_, rusqlite::Error>((connection, identity))
    };
    match open(false, false) {
        // Where nothing can be written, SQLite can't make its files beside this one.
        Err(error)
            if matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)
            ) =>
        {
            Ok(open(true, false)?)
        }
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
            Ok(open(false, true)?)
        }
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            bail!("it is not a recording, or its beginning is damaged")
        }
        other => Ok(other?),
    }
}

fn segments(connection: &Connection) -> rusqlite::Result<VecDeque<Segment>> {
    let all = "SELECT id, run, is_gap, time_ns, offset_ns, first_event FROM segments ORDER BY id";
    let mut statement = connection.prepare(all)?;
    let rows = statement.query_map(params![], |row| {
        Ok(Segment {
            id: row.get(0)?,
            run: row.get(1)?,
            is_gap: row.get(2)?,
            time_ns: row.get(3)?,
            offset_ns: row.get(4)?,
            first_event: row.get(5)?,
        })
    })?;
    rows.collect()
}
