//! The thread that waits for the disk, so that the one that writes need not.
//!
//! In WAL mode with `synchronous=NORMAL` a commit only writes into the log, `FILE-wal`: that survives
//! the end of the process, however it ends. This thread then makes it survive the power, with one
//! fdatasync for all commits since the last, and copies the log into the file: a passive checkpoint
//! keeps no writer waiting (<https://sqlite.org/wal.html>). What is left to the writer is one fsync of
//! the log's header whenever the log begins anew, without which the power could take the file.

#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{
    claim::{beside, open_log},
    recorder::Shared,
};

/// From one pass to the next, at least.
const PAUSE: Duration = Duration::from_millis(300);
/// How long after a checkpoint found no room it is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long the log gets before it is copied into the file.
const COPIED: u64 = 4 << 20;
/// How long it gets before the writer waits for that.
const AWAITED: u64 = 64 << 20;

/// How long the log may get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// From here on it is copied into the file, to be begun anew.
    copied: u64,
    /// From here on the writer waits for that.
    awaited: u64,
}

impl Bounds {
    /// Those of a log that has this much room: half of it is for the commits that come on top.
    pub(super) fn within(room: u64) -> Self {
        let awaited = AWAITED.min(room / 2);
        Self { copied: COPIED.min(awaited / 2), awaited }
    }
}

/// What this thread waits for.
pub(super) trait Storage: Send {
    /// Returns when all that was committed before is on the disk.
    fn sync(&self) -> io::Result<()>;
    /// Copies into the file what is in the log.
    fn checkpoint(&self) -> rusqlite::Result<()>;
}

/// The log of a recording and a connection of its own.
pub(super) struct Log {
    /// SQLite keeps no locks on this one, closing it lets go of none.
    file: File,
    connection: Connection,
}

impl Log {
    /// Of a recording that a writer has opened.
    fn open(path: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_NOFOLLOW
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        // The log belongs to it once it has read something.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(Self { file: log(path)?, connection })
    }
}

impl Storage for Log {
    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn checkpoint(&self) -> rusqlite::Result<()> {
        // That it stops at what a reader still reads, or at another's checkpoint, is no error.
        self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }
}

fn log(path: &Path) -> io::Result<File> {
    open_log(&beside(path, "-wal"))
}

/// The writer's side.
pub(super) struct Disk {
    passes: Arc<Passes>,
    log: File,
    bounds: Bounds,
    /// How long the log is when the writer waits next.
    awaited: u64,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// Begins for a recording that a writer has opened, with its connection. What goes wrong is told
    /// to `shared`.
    pub(super) fn open(
        path: &Path,
        writer: &Connection,
        bounds: Bounds,
        shared: Arc<Shared>,
        storage: fn(Log) -> Box<dyn Storage>,
    ) -> Result<Self> {
        writer.pragma_update(None, "wal_autocheckpoint", 0)?;
        writer.pragma_update(None, "journal_size_limit", bounds.copied.cast_signed())?;
        let storage = storage(Log::open(path)?);
        let passes = Arc::new(Passes::default());
        let mut worker = Worker {
            storage,
            passes: Arc::clone(&passes),
            log: log(path)?,
            copied: bounds.copied,
            shared,
            shown: path.display().to_string(),
        };
        let thread = std::thread::Builder::new()
            .name("recorder-disk".to_owned())
            .spawn(move || worker.run())
            .context("can't start the thread that waits for the disk")?;
        let (log, awaited) = (log(path)?, bounds.awaited);
        Ok(Self { passes, log, bounds, awaited, thread: Some(thread) })
    }

    /// Whether the thread runs.
    pub(super) fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Something was committed.
    pub(super) fn committed(&self) {
        self.passes.state().has_committed = true;
        self.passes.changed.notify_all();
    }

    /// Waits if the log is too long, until a pass has copied it; to be called between transactions.
    pub(super) fn keep_bounded(&mut self) {
        let length = length(&self.log);
        if length <= self.awaited {
            self.awaited = self.bounds.awaited;
            return;
        }
        let mut state = self.passes.state();
        let wanted = state.begun + 1;
        state.is_awaited = true;
        self.passes.changed.notify_all();
        while state.done < wanted && self.thread.as_ref().is_some_and(|one| !one.is_finished()) {
            state = self.passes.wait(state, RETRY);
        }
        // If it could not be copied (somebody reads for long, or there is no room), the writer waits
        // again when it has grown by as much as is copied at once.
        self.awaited = length + self.bounds.copied;
    }
}

impl Drop for Disk {
    /// A last pass.
    fn drop(&mut self) {
        self.passes.state().is_over = true;
        self.passes.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread that waits for the recording's disk ended unexpectedly");
        }
    }
}

fn length(log: &File) -> u64 {
    log.metadata().map_or(0, |metadata| metadata.len())
}

/// What both sides know. Nobody waits for the disk while this is locked.
#[derive(Default)]
struct Passes {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    has_committed: bool,
    /// The writer waits for a pass.
    is_awaited: bool,
    is_over: bool,
    begun: u64,
    done: u64,
}

impl Passes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The thread's side.
struct Worker {
    storage: Box<dyn Storage>,
    passes: Arc<Passes>,
    log: File,
    copied: u64,
    shared: Arc<Shared>,
    shown: String,
}

impl Worker {
    fn run(&mut self) {
        let passes = Arc::clone(&self.passes);
        let mut retries = false;
        loop {
            let is_due = |state: &State| state.has_committed || state.is_awaited || state.is_over;
            let mut state = passes.state();
            if retries && !is_due(&state) {
                state = passes.wait(state, RETRY);
            }
            while !retries && !is_due(&state) {
                state = passes.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            (state.has_committed, state.is_awaited) = (false, false);
            state.begun += 1;
            let is_over = state.is_over;
            drop(state);
            retries = match self.pass() {
                Ok(is_complete) => !is_complete,
                Err(error) => {
                    self.shared.fail(error);
                    true
                }
            };
            let mut state = passes.state();
            state.done += 1;
            passes.changed.notify_all();
            if is_over {
                return;
            }
            let rests = |state: &mut State| !state.is_awaited && !state.is_over;
            drop(passes.changed.wait_timeout_while(state, PAUSE, rests));
        }
    }

    /// Returns whether there was room for it.
    fn pass(&self) -> Result<bool> {
        let what = || anyhow!("can't go on recording into {}", self.shown);
        match self.storage.sync() {
            Err(error) if is_full(&error) => return Ok(false),
            result => result.with_context(what)?,
        }
        if length(&self.log) <= self.copied {
            return Ok(true);
        }
        match self.storage.checkpoint() {
            Err(error) if is_no_room(&error) => Ok(false),
            result => result.map(|()| true).with_context(what),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Whether a checkpoint may come to its end when there is room, or another's is over. Nothing is lost
/// until then: what it copies stays in the log.
fn is_no_room(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::DatabaseBusy
                | ErrorCode::OutOfMemory
                | ErrorCode::SystemIoFailure
        )
    )
}
