//! The file that is written to, with its connection: transactions, and what has to be written in which
//! order.

use std::{
    fs::File,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    fcntl::Flock,
    sys::stat::{fstat, lstat},
    unistd::unlink,
};
use rusqlite::Connection;

use super::{
    claim::{Claim, Whereabouts, beside, lock_log},
    disk::{Bounds, Disk, Log, Storage},
    entry::{Entry, Input},
    faults,
    insert::{Insert, Inserter},
    recorder::{Moment, Options, RunStart, Shared},
    retention::Retention,
    schema,
};
use crate::{
    event::{LossKind, LossPlace},
    own_file::identity,
};

/// What is older than this is committed.
const COMMIT: Duration = Duration::from_millis(300);
/// If nothing but seconds passed, less often: a quiet host's disk may sleep.
const QUIET_COMMIT: Duration = Duration::from_secs(10);
/// What is committed at once at most.
const COMMIT_ENTRIES: usize = 25_000;
/// How long after a commit what is too much or too old is deleted before more is written.
const RETAINING: Duration = Duration::from_millis(250);
/// How long SQLite waits for a lock that another process holds.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// The same while events wait for a new file.
const BRIEFLY: Duration = Duration::from_millis(200);

/// A recording that is open for writing.
pub(super) struct Target {
    /// First: the last connection that is closed removes the log, and that is to be this one's.
    disk: Disk,
    connection: Connection,
    inserter: Inserter,
    retention: Retention,
    /// What was written since the last commit.
    pending: Pending,
    /// Entries that were written since the file was last found at its path.
    unseen: u64,
    /// Keeps another recorder from taking the log for that of its own file.
    log: Flock<File>,
    /// Device and inode number of `FILE-shm`.
    index: Option<(u64, u64)>,
    /// Last: nobody else writes while this is held.
    claim: Claim,
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

impl Target {
    /// Opens or makes the recording.
    ///
    /// # Errors
    /// When that fails; a file that was made is removed then.
    pub(super) fn open(
        options: &Options,
        shared: &Arc<Shared>,
        storage: fn(Log) -> Box<dyn Storage>,
    ) -> Result<Self> {
        let claim = Claim::take(options)?;
        match Parts::open(&claim, options, shared, storage) {
            Ok(Parts { disk, connection, inserter, retention, log, index }) => Ok(Self {
                disk,
                connection,
                inserter,
                retention,
                pending: Pending::default(),
                unseen: 0,
                log,
                index,
                claim,
            }),
            Err(error) => {
                // Nothing was beside a file that was made, or the claim had failed.
                claim.abandon(&["-wal", "-shm", "-journal", ""]);
                Err(error)
            }
        }
    }

    /// When something has to be committed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.pending.due()
    }

    /// Whether there is something to delete right now.
    pub(super) fn is_busy(&self) -> bool {
        self.retention.is_busy()
    }

    /// Whether the thread that waits for the disk is there.
    pub(super) fn has_disk(&self) -> bool {
        self.disk.is_alive()
    }

    fn begin(&mut self) -> rusqlite::Result<()> {
        if self.pending.since.is_none() {
            self.disk.keep_bounded();
            self.connection.execute_batch("BEGIN IMMEDIATE")?;
            self.pending.since = Some(Instant::now());
        }
        Ok(())
    }

    /// Writes entries, and commits if it is time to. Returns whether it did.
    pub(super) fn write(&mut self, entries: &[Entry]) -> rusqlite::Result<bool> {
        // Counted before: what fails is lost as a whole.
        self.pending.entries += entries.len();
        self.unseen += entries.len() as u64;
        self.begin()?;
        self.pending.has_events |= entries.iter().any(|entry| entry.input != Input::Tick);
        let Self { connection, inserter, .. } = self;
        let mut insert = Insert::prepare(connection)?;
        for entry in entries {
            inserter.entry(connection, &mut insert, entry)?;
        }
        drop(insert);
        let is_due = self.due().is_some_and(|due| Instant::now() >= due);
        if is_due || self.pending.entries >= COMMIT_ENTRIES {
            self.commit()?;
            return Ok(true);
        }
        Ok(false)
    }

    /// The run begins, or goes on in this file.
    pub(super) fn start(&mut self, run: &RunStart, now: Option<Now>) -> rusqlite::Result<()> {
        self.begin()?;
        self.inserter.start(&self.connection, run, now)?;
        self.retention.segment_begins(0);
        self.commit()
    }

    /// The run ends.
    pub(super) fn stop(&mut self, time_ns: u64, observed_ns: u64) -> rusqlite::Result<()> {
        self.begin()?;
        self.inserter.stop(&self.connection, time_ns, observed_ns)?;
        self.commit()
    }

    /// A segment begins, with what is held. `is_gap`: what came before it is not all there.
    pub(super) fn checkpoint(
        &mut self,
        moment: &Moment,
        lost: u64,
        is_gap: bool,
    ) -> rusqlite::Result<()> {
        // What comes before it is safe, however large it is.
        self.commit()?;
        self.begin()?;
        self.inserter.checkpoint(&self.connection, moment, is_gap)?;
        self.retention.segment_begins(moment.checkpoint.held.len());
        if lost > 0 {
            let mut insert = Insert::prepare(&self.connection)?;
            let entry = lost_entry(moment.time_ns, lost);
            self.inserter.entry(&self.connection, &mut insert, &entry)?;
        }
        self.commit()
    }

    /// Commits what was written.
    pub(super) fn commit(&mut self) -> rusqlite::Result<()> {
        if self.pending.since.is_some() {
            self.connection.execute_batch("COMMIT")?;
            self.disk.committed();
            self.retention.written(self.pending.entries);
            self.pending = Pending::default();
        }
        Ok(())
    }

    /// Undoes what was not committed. Returns how many entries that were.
    pub(super) fn roll_back(&mut self) -> u64 {
        if !self.connection.is_autocommit() {
            // SQLite may have done it already.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        let entries = std::mem::take(&mut self.pending).entries as u64;
        self.unseen = self.unseen.saturating_sub(entries);
        entries
    }

    /// Deletes some of what is too much or too old. Returns whether another segment is to begin.
    pub(super) fn retain(&mut self) -> rusqlite::Result<bool> {
        let began = Instant::now();
        let mut wants_segment = false;
        loop {
            self.disk.keep_bounded();
            wants_segment |= self.retention.step(&self.connection)?;
            if !self.retention.is_busy() || began.elapsed() > RETAINING {
                return Ok(wants_segment);
            }
        }
    }

    /// Tries whether there is room again: some of it, not just that of one page.
    pub(super) fn try_room(&mut self) -> rusqlite::Result<()> {
        self.connection.execute_batch(
            "BEGIN IMMEDIATE; \
             INSERT INTO strings (id, text) VALUES (-1, hex(zeroblob(131072))); \
             DELETE FROM strings WHERE id = -1; COMMIT",
        )?;
        self.inserter.reload(&self.connection)
    }

    /// What went wrong last, for people.
    pub(super) fn explained(&self, error: &rusqlite::Error) -> String {
        faults::explained(&self.connection, error)
    }

    /// Looks whether the file is still at its path. `None`: that can't be known now.
    pub(super) fn look(&mut self) -> Option<Whereabouts> {
        let found = self.claim.whereabouts();
        if let Ok(Whereabouts::Here) = found {
            self.unseen = 0;
        }
        found.inspect_err(|error| log::debug!("can't look at the recording: {error:#}")).ok()
    }

    /// How many entries were written since the file was last found at its path.
    pub(super) fn unseen(&self) -> u64 {
        self.unseen
    }

    /// Copies the whole log into the file, through the descriptors that are open: SQLite would look
    /// for the log beside the file's new name. Returns whether nobody who reads kept it from that.
    pub(super) fn complete(&mut self) -> rusqlite::Result<bool> {
        self.commit()?;
        self.connection.busy_timeout(BRIEFLY)?;
        let is_busy =
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0));
        self.connection.busy_timeout(BUSY)?;
        is_busy.map(|is_busy: bool| !is_busy)
    }

    /// Closes a file that is not at its path anymore, and removes its log and index, which SQLite
    /// leaves in that case (`sqlite3PagerClose`, `databaseIsUnmoved`, pager.c).
    pub(super) fn leave(self, gone: &Whereabouts) {
        let Self { disk, connection, log, index, claim, .. } = self;
        drop(disk);
        drop(connection);
        let log = fstat(&*log).ok().map(|status| identity(&status));
        let moved = if let Whereabouts::Moved(Some(path)) = gone { Some(&**path) } else { None };
        for path in [Some(claim.real()), moved].into_iter().flatten() {
            for (suffix, own) in [("-wal", log), ("-shm", index)] {
                let name = beside(path, suffix);
                if own.is_some() && lstat(&name).ok().map(|status| identity(&status)) == own {
                    let _ = unlink(&name);
                }
            }
        }
    }
}

/// What says in the recording that so many entries are not in it.
pub(super) fn lost_entry(time_ns: u64, count: u64) -> Entry {
    Entry {
        time_ns,
        input: Input::Lost { count, place: LossPlace::Queue, kind: LossKind::Record, caller: None },
    }
}

/// A moment of a run that goes on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Now {
    /// `CLOCK_BOOTTIME`.
    pub time_ns: u64,
    /// Realtime less boottime.
    pub offset_ns: i64,
}

/// A target without its claim, which is needed after any of these failed to open.
struct Parts {
    disk: Disk,
    connection: Connection,
    inserter: Inserter,
    retention: Retention,
    log: Flock<File>,
    index: Option<(u64, u64)>,
}

impl Parts {
    fn open(
        claim: &Claim,
        options: &Options,
        shared: &Arc<Shared>,
        storage: fn(Log) -> Box<dyn Storage>,
    ) -> Result<Self> {
        let path = claim.real();
        let connection = schema::open(path)?;
        let what = || format!("can't record into {}", path.display());
        let inserter = Inserter::of(&connection).with_context(what)?;
        let retention = Retention::of(&connection, options).with_context(what)?;
        let bounds = Bounds::within(retention.log_room());
        let disk = Disk::open(path, &connection, bounds, Arc::clone(shared), storage)
            .with_context(what)?;
        claim.check_opened().with_context(what)?;
        let log = lock_log(&beside(path, "-wal")).with_context(what)?;
        let index = lstat(&beside(path, "-shm")).ok().map(|status| identity(&status));
        if let Some(group) = options.group {
            claim.share(group).with_context(what)?;
        }
        Ok(Self { disk, connection, inserter, retention, log, index })
    }
}
