//! The thread that writes: commits at least once a second, waits out a full disk, and leaves waiting
//! for a slow one to [`super::disk`].

use std::{
    fs::File,
    sync::{Arc, PoisonError, atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::fcntl::{Flock, FlockArg};
use rusqlite::{Connection, ErrorCode};

use super::{
    disk::{Bounds, Disk, Log, Storage},
    entry::{Entry, Input},
    insert::{Insert, Inserter},
    recorder::{Message, Moment, Options, RunStart, Shared},
    retention::Retention,
    schema,
};
use crate::{event::LossPlace, notice};

/// What is older than this is committed.
const COMMIT: Duration = Duration::from_millis(300);
/// If nothing but seconds passed, less often: a quiet host's disk may sleep.
const QUIET_COMMIT: Duration = Duration::from_secs(10);
/// What is committed at once at most.
const COMMIT_ENTRIES: usize = 25_000;
/// How long after a commit what is too much or too old is deleted before more is written.
const RETAINING: Duration = Duration::from_millis(250);
/// How often it is tried whether a full disk has room again.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    /// First: the last connection that is closed removes the log, and that is to be this one's.
    disk: Disk,
    connection: Connection,
    options: Options,
    receiver: mpsc::Receiver<Message>,
    shared: Arc<Shared>,
    inserter: Inserter,
    retention: Retention,
    state: State,
    /// What was written since the last commit.
    pending: Pending,
    /// The run, if its beginning is not written yet.
    unstarted: Option<Box<RunStart>>,
    /// Whether a checkpoint was asked for that has not come.
    has_asked: bool,
    /// Entries that were not recorded since the recording paused.
    lost: u64,
    /// Last: nobody else writes while this is held.
    _lock: Flock<File>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Recording,
    /// The disk is full; tried again then.
    Paused {
        retry: Instant,
    },
    /// There is room again: what is held now is asked for.
    Resuming,
    /// Nothing more can be written.
    Failed,
}

#[derive(Default)]
struct Pending {
    since: Option<Instant>,
    entries: usize,
    /// There is more in it than seconds.
    has_events: bool,
}

impl Pending {
    fn due(&self) -> Option<Instant> {
        let wait = if self.has_events { COMMIT } else { QUIET_COMMIT };
        self.since.map(|since| since + wait)
    }
}

impl Writer {
    pub(super) fn open(
        options: Options,
        receiver: mpsc::Receiver<Message>,
        shared: Arc<Shared>,
        storage: fn(Log) -> Box<dyn Storage>,
    ) -> Result<Self> {
        let lock = lock(&options)?;
        let connection = schema::open(&options.path)?;
        let what = || format!("can't go on with {}", options.path.display());
        let inserter = Inserter::of(&connection).with_context(what)?;
        let retention = Retention::of(&connection, &options).with_context(what)?;
        let bounds = Bounds::within(retention.log_room());
        let disk = Disk::open(&options.path, &connection, bounds, Arc::clone(&shared), storage)
            .with_context(what)?;
        Ok(Self {
            disk,
            connection,
            options,
            receiver,
            shared,
            inserter,
            retention,
            state: State::Recording,
            pending: Pending::default(),
            unstarted: None,
            has_asked: false,
            lost: 0,
            _lock: lock,
        })
    }

    /// Writes until the other side is gone.
    pub(super) fn run(mut self) {
        loop {
            let now = Instant::now();
            let wait = match (self.state, self.pending.due()) {
                (State::Paused { retry }, _) => retry.saturating_duration_since(now),
                (_, Some(due)) => due.saturating_duration_since(now),
                (_, None) if self.retention.is_busy() => Duration::ZERO,
                (_, None) => RETRY,
            };
            let result = match self.receiver.recv_timeout(wait) {
                Ok(message) => self.take(message),
                Err(mpsc::RecvTimeoutError::Timeout) => self.rest(),
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let result = self.commit();
                    self.handle(result);
                    self.shared.lost.fetch_add(self.lost, Ordering::Relaxed);
                    return;
                }
            };
            self.handle(result);
        }
    }

    fn take(&mut self, message: Message) -> rusqlite::Result<()> {
        if let Message::Entries(entries) = &message {
            self.shared.queued.fetch_sub(entries.len(), Ordering::Relaxed);
        }
        match (message, self.state) {
            (Message::Start(run), _) => {
                self.unstarted = Some(run);
                if self.state == State::Recording { self.start() } else { Ok(()) }
            }
            (Message::Entries(entries), State::Recording) => self.write(&entries),
            (Message::Checkpoint(moment), State::Recording | State::Resuming) => {
                let lost = moment.lost + std::mem::take(&mut self.lost);
                let result = self.checkpoint(&moment, lost);
                if result.is_err() {
                    self.lost = lost;
                } else if self.state == State::Resuming {
                    self.state = State::Recording;
                    self.say(&format!("goes on; {lost} events in between are missing"));
                }
                result
            }
            (Message::Stop { time_ns, observed_ns }, State::Recording) => {
                self.begin()?;
                self.inserter.stop(&self.connection, time_ns, observed_ns)?;
                self.commit()
            }
            (Message::Entries(entries), _) => {
                self.lose(entries.len() as u64);
                self.rest()
            }
            _ => Ok(()),
        }
    }

    /// Nothing came: what else is due.
    fn rest(&mut self) -> rusqlite::Result<()> {
        match self.state {
            State::Recording => {
                self.commit()?;
                self.retain()
            }
            State::Paused { retry } if Instant::now() >= retry => {
                // Some room has to be there, not just that of one page.
                self.connection.execute_batch(
                    "BEGIN IMMEDIATE; \
                     INSERT INTO strings (id, text) VALUES (-1, hex(zeroblob(131072))); \
                     DELETE FROM strings WHERE id = -1; COMMIT",
                )?;
                self.inserter.reload(&self.connection)?;
                self.state = State::Resuming;
                self.ask();
                Ok(())
            }
            State::Paused { .. } | State::Resuming | State::Failed => Ok(()),
        }
    }

    fn begin(&mut self) -> rusqlite::Result<()> {
        if self.pending.since.is_none() {
            self.disk.keep_bounded();
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
            self.pending.since = Some(Instant::now());
        }
        Ok(())
    }

    fn write(&mut self, entries: &[Entry]) -> rusqlite::Result<()> {
        self.begin()?;
        // Counted before: what fails is lost as a whole.
        self.pending.entries += entries.len();
        self.pending.has_events |= entries.iter().any(|entry| entry.input != Input::Tick);
        let Self { connection, inserter, .. } = self;
        let mut insert = Insert::prepare(connection)?;
        for entry in entries {
            inserter.entry(connection, &mut insert, entry)?;
        }
        drop(insert);
        let is_due = self.pending.due().is_some_and(|due| Instant::now() >= due);
        if is_due || self.pending.entries >= COMMIT_ENTRIES {
            self.commit()?;
            self.retain()?;
        }
        Ok(())
    }

    fn start(&mut self) -> rusqlite::Result<()> {
        if self.unstarted.is_none() {
            return Ok(());
        }
        self.begin()?;
        let Some(run) = &self.unstarted else { return Ok(()) };
        self.inserter.start(&self.connection, run)?;
        self.retention.segment_begins(0);
        self.commit()?;
        self.unstarted = None;
        Ok(())
    }

    fn checkpoint(&mut self, moment: &Moment, lost: u64) -> rusqlite::Result<()> {
        // What comes before it is safe, however large it is.
        self.commit()?;
        self.start()?;
        self.begin()?;
        self.inserter.checkpoint(&self.connection, moment, lost > 0)?;
        self.retention.segment_begins(moment.checkpoint.held.len());
        if lost > 0 {
            let (place, kind) = (LossPlace::Queue, "record");
            let input = Input::Lost { count: lost, place, kind, caller: None };
            let entry = Entry { time_ns: moment.time_ns, input };
            let mut insert = Insert::prepare(&self.connection)?;
            self.inserter.entry(&self.connection, &mut insert, &entry)?;
        }
        self.commit()?;
        self.shared.lost.fetch_add(lost, Ordering::Relaxed);
        self.has_asked = false;
        Ok(())
    }

    fn commit(&mut self) -> rusqlite::Result<()> {
        if self.pending.since.is_some() {
            self.connection.execute_batch("COMMIT")?;
            self.disk.committed();
            self.retention.written(self.pending.entries);
            self.pending = Pending::default();
        }
        Ok(())
    }

    fn retain(&mut self) -> rusqlite::Result<()> {
        let began = Instant::now();
        loop {
            self.disk.keep_bounded();
            if self.retention.step(&self.connection)? && !self.has_asked {
                self.ask();
            }
            if !self.retention.is_busy() || began.elapsed() > RETAINING {
                break;
            }
        }
        Ok(())
    }

    /// Asks the other side what is held.
    fn ask(&mut self) {
        self.has_asked = true;
        self.shared.wants_checkpoint.store(true, Ordering::Relaxed);
    }

    fn lose(&mut self, count: u64) {
        self.lost += count;
    }

    fn handle(&mut self, result: rusqlite::Result<()>) {
        let Err(error) = result else { return };
        let was = self.state;
        // It may be rolled back already: then there is nothing to do.
        let _ = self.connection.execute_batch("ROLLBACK");
        self.lose(self.pending.entries as u64);
        self.pending = Pending::default();
        if !is_no_room(&error) {
            self.state = State::Failed;
            let error = anyhow!(error)
                .context(format!("can't go on recording into {}", self.options.path.display()));
            let mut failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner);
            failure.get_or_insert(error);
            return;
        }
        self.state = State::Paused { retry: Instant::now() + RETRY };
        if was == State::Recording {
            self.say(&format!("is paused: {error}; it goes on when there is room"));
        }
    }

    /// To who sits at the terminal, whatever the level of the log is.
    fn say(&self, what: &str) {
        let path = self.options.path.display();
        notice::say(format_args!("port-observer: recording into {path} {what}"));
    }
}

/// Whether it may go on when somebody has made room.
fn is_no_room(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::DatabaseBusy)
    )
}

/// Nobody else is to write into the file. The lock is not one of those that SQLite takes, and its
/// file is to be closed after SQLite's: closing it lets go of those (<https://sqlite.org/howtocorrupt.html>).
fn lock(options: &Options) -> Result<Flock<File>> {
    let path = options.path.display();
    if options.path.is_dir() {
        bail!("can't record into {path}: it is a directory; name a file in it");
    }
    let file = File::options()
        .read(true)
        .append(true)
        .create(true)
        .open(&options.path)
        .with_context(|| format!("can't open {path} for writing"))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        anyhow!(errno).context(format!(
            "can't record into {path}: another port-observer does; record into another file, or end \
             that one"
        ))
    })
}
