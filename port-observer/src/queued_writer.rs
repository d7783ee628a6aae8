//! A writer whose caller never waits: what is written to it is queued in memory, and a thread of its own
//! writes the queue to a descriptor. A pipe that nobody reads or a terminal that was stopped (Ctrl-S)
//! holds up that thread alone.
//!
//! `O_NONBLOCK` would do without a thread, but it belongs to the open file description, which others
//! share: a shell's terminal above all (open(2), fcntl(2)).

mod shared;
#[cfg(test)]
mod tests;
mod whole_lines;

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd as _,
    sync::Arc,
    time::{Duration, Instant},
};

use self::shared::Shared;
pub use self::whole_lines::WholeLines;

/// How long at the end the reader may take less than [`LEAST_BYTES`] before the rest is dropped.
const PATIENCE: Duration = Duration::from_millis(800);
/// A reader that took nothing for longer than that before the end has so long for another try.
const LAST_TRY: Duration = Duration::from_millis(200);
/// A reader that takes fewer bytes than this while [`PATIENCE`] lasts stalls; all that is left will do
/// too. It is what a pipe holds.
const LEAST_BYTES: usize = 64 << 10;

/// Standard output as a file that buffers nothing: the standard library's handle writes at every end of
/// line.
pub(crate) fn unbuffered_output() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
}

/// The queue's end that is written to. Clones write to the same queue.
///
/// Nothing limits the queue here: [`QueuedWriter::pending_bytes`] says how long it is. Dropping it waits
/// for nothing; see [`QueuedWriter::finish`].
#[derive(Clone)]
pub struct QueuedWriter {
    shared: Arc<Shared>,
}

impl QueuedWriter {
    /// A queue in front of `out`, which buffers nothing. Its thread starts at the first write, and has no
    /// capabilities, whenever the process gives up its own.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self { shared: Arc::new(Shared::new(Box::new(out))) }
    }

    /// Bytes that were taken in and are not written yet.
    pub fn pending_bytes(&self) -> usize {
        self.shared.pending_bytes()
    }

    /// Returns when fewer bytes than `limit` are pending, or none will be written any more. For one
    /// caller at a time.
    pub async fn room(&self, limit: usize) {
        while self.pending_bytes() >= limit {
            self.shared.progress().await;
        }
    }

    /// Waits until all is written, for as long as the reader goes on taking it, and until `given_up`
    /// returns. What is left then is dropped: returns how many lines of it were not written whole.
    ///
    /// # Errors
    /// Writing failed, now or before.
    pub async fn finish(&self, given_up: impl Future<Output = ()>) -> io::Result<u64> {
        let mut given_up = std::pin::pin!(given_up);
        let mut patience = self.patience();
        while self.pending_bytes() > 0 && !patience.is_over(self.pending_bytes()) {
            tokio::select! {
                () = &mut given_up => break,
                () = self.shared.progress() => {}
                () = tokio::time::sleep(patience.left()) => {}
            }
        }
        self.drop_rest()
    }

    /// The same where there is no event loop.
    ///
    /// # Errors
    /// As [`QueuedWriter::finish`].
    pub fn finish_blocking(&self) -> io::Result<u64> {
        self.wait_blocking();
        self.drop_rest()
    }

    /// Waits as [`QueuedWriter::finish_blocking`], drops nothing, and returns whether all is written.
    pub fn wait_blocking(&self) -> bool {
        let mut patience = self.patience();
        while self.pending_bytes() > 0 && !patience.is_over(self.pending_bytes()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.pending_bytes() == 0
    }

    fn drop_rest(&self) -> io::Result<u64> {
        let lines = self.shared.drop_rest();
        self.shared.failure().map_or(Ok(lines), Err)
    }

    fn patience(&self) -> Patience {
        let now = Instant::now();
        let latest = now.checked_sub(PATIENCE.saturating_sub(LAST_TRY)).unwrap_or(now);
        let since = self.shared.last_progress().max(latest);
        Patience { since, pending_bytes: self.pending_bytes() }
    }
}

impl Write for QueuedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Shared::push(&self.shared, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.shared.failure().map_or(Ok(()), Err)
    }
}

/// How long the reader is waited for.
struct Patience {
    since: Instant,
    /// What was pending then.
    pending_bytes: usize,
}

impl Patience {
    fn left(&self) -> Duration {
        PATIENCE.saturating_sub(self.since.elapsed())
    }

    fn is_over(&mut self, pending_bytes: usize) -> bool {
        if self.pending_bytes.saturating_sub(pending_bytes) >= LEAST_BYTES {
            *self = Self { since: Instant::now(), pending_bytes };
        }
        self.left().is_zero()
    }
}
