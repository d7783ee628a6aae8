//! The side of the recording that observes: hands over, and never waits.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::unistd::Gid;

use super::{
    disk::{Log, Storage},
    entry::Entry,
    writer,
};
use crate::{ledger::Checkpoint, report::Start};

/// How many entries may wait for the writer.
const QUEUE: usize = 262_144;
/// How many are handed over at once.
const BATCH: usize = 4_096;
/// How long the writer has for what is left when the recording ends.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// Why nothing is recorded after a fault of this program, which was printed.
const ENDED: &str = "the thread that writes it ended unexpectedly";

/// How a recording is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The file.
    pub path: PathBuf,
    /// What is older goes; `None`: nothing for its age.
    pub keep: Option<Duration>,
    /// How large the file may be, in bytes.
    pub max_size: u64,
    /// Who may read it beside the user; `None`: nobody.
    pub group: Option<Gid>,
}

/// The beginning of a run.
#[derive(Clone, Debug)]
pub struct RunStart {
    /// When (`CLOCK_BOOTTIME`).
    pub time_ns: u64,
    /// Realtime less boottime.
    pub offset_ns: i64,
    /// The first line.
    pub start: Start,
    /// See [`crate::ledger::Options`].
    pub is_sticky: bool,
}

/// What the writer is told.
pub(super) enum Message {
    Start(Box<RunStart>),
    Entries(Vec<Entry>),
    /// What is held now.
    Checkpoint(Box<Moment>),
    Stop {
        time_ns: u64,
        observed_ns: u64,
    },
    /// The thread is to panic.
    #[cfg(test)]
    Panic,
}

/// What is held at a moment.
pub(super) struct Moment {
    /// When (`CLOCK_BOOTTIME`).
    pub time_ns: u64,
    /// Realtime less boottime.
    pub offset_ns: i64,
    pub checkpoint: Checkpoint,
    /// How many entries before it found no place in the queue.
    pub lost: u64,
}

/// What both sides know.
#[derive(Default)]
pub(super) struct Shared {
    /// How many entries wait.
    pub queued: AtomicUsize,
    /// The writer needs a checkpoint to go on, or to begin a segment.
    pub wants_checkpoint: AtomicBool,
    /// How many entries were not recorded so far.
    pub lost: AtomicU64,
    /// Why nothing more can be recorded.
    pub failure: Mutex<Option<anyhow::Error>>,
}

impl Shared {
    /// Nothing more can be recorded, for this reason; the first one counts.
    pub(super) fn fail(&self, error: anyhow::Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// Takes in what the ledger takes in.
pub struct Recorder {
    sender: mpsc::Sender<Message>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    done: mpsc::Receiver<()>,
    batch: Vec<Entry>,
    is_sticky: bool,
    /// The queue was full: this many entries were dropped since.
    dropped: u64,
}

impl Recorder {
    /// Opens the file and begins to write. `is_sticky`: see [`crate::ledger::Options`].
    ///
    /// # Errors
    /// When it can't be written to or is not a recording, another program records into it, or others
    /// could have put it there.
    pub fn open(options: Options, is_sticky: bool) -> Result<Self> {
        Self::open_on(options, is_sticky, |log| Box::new(log))
    }

    /// The same, with something in front of the disk.
    pub(super) fn open_on(
        options: Options,
        is_sticky: bool,
        storage: fn(Log) -> Box<dyn Storage>,
    ) -> Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let (done_sender, done) = mpsc::channel();
        let shared = Arc::new(Shared::default());
        let writer = writer::Writer::open(options, receiver, Arc::clone(&shared), storage)?;
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || {
                writer.run();
                let _ = done_sender.send(());
            })
            .context("can't start the thread that writes the recording")?;
        let thread = Some(thread);
        Ok(Self { sender, shared, thread, done, batch: Vec::new(), is_sticky, dropped: 0 })
    }

    /// The run begins.
    pub fn start(&mut self, time_ns: u64, offset_ns: i64, start: &Start) {
        let (start, is_sticky) = (start.clone(), self.is_sticky);
        self.send(Message::Start(Box::new(RunStart { time_ns, offset_ns, start, is_sticky })));
    }

    /// Takes in one entry.
    pub fn push(&mut self, entry: Entry) {
        self.batch.push(entry);
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    /// How many entries wait to be written.
    pub fn queued(&self) -> usize {
        self.shared.queued.load(Ordering::Relaxed)
    }

    /// How many entries found no place in the queue since the last checkpoint.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Hands over what came since the last time. What finds no place is counted.
    pub fn flush(&mut self) {
        let count = self.batch.len();
        if count == 0 {
            return;
        }
        // After a gap nothing makes sense before a checkpoint.
        if self.dropped > 0 || self.shared.queued.load(Ordering::Relaxed) + count > QUEUE {
            self.dropped += count as u64;
            self.batch.clear();
            return;
        }
        self.shared.queued.fetch_add(count, Ordering::Relaxed);
        let batch =
            std::mem::replace(&mut self.batch, Vec::with_capacity(count.next_power_of_two()));
        self.send(Message::Entries(batch));
    }

    /// Whether [`Recorder::checkpoint`] is due.
    pub fn wants_checkpoint(&self) -> bool {
        let has_room = || self.shared.queued.load(Ordering::Relaxed) < QUEUE / 2;
        self.shared.wants_checkpoint.load(Ordering::Relaxed) || (self.dropped > 0 && has_room())
    }

    /// Tells what is held now, after all that was taken in so far.
    pub fn checkpoint(&mut self, time_ns: u64, offset_ns: i64, checkpoint: Checkpoint) {
        self.flush();
        self.shared.wants_checkpoint.store(false, Ordering::Relaxed);
        let lost = std::mem::take(&mut self.dropped);
        if lost > 0 {
            log::warn!("the recording could not be written fast enough: it misses {lost} events");
        }
        self.send(Message::Checkpoint(Box::new(Moment { time_ns, offset_ns, checkpoint, lost })));
    }

    /// Whether all is well.
    ///
    /// # Errors
    /// Nothing more can be recorded.
    pub fn check(&mut self) -> Result<()> {
        let mut failure = self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = failure.take() {
            return Err(error);
        }
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            bail!("can't go on recording: {ENDED}");
        }
        Ok(())
    }

    /// The run ends.
    pub fn stop(&mut self, time_ns: u64, observed: Duration) {
        self.flush();
        let observed_ns = u64::try_from(observed.as_nanos()).unwrap_or(u64::MAX);
        self.send(Message::Stop { time_ns, observed_ns });
    }

    /// Waits until all is written. Returns how many entries are not in the recording.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn finish(mut self) -> Result<u64> {
        self.flush();
        let dropped = self.dropped;
        drop(std::mem::replace(&mut self.sender, mpsc::channel().0));
        match self.done.recv_timeout(LAST_WORDS) {
            Err(mpsc::RecvTimeoutError::Timeout) => {
                return Err(anyhow!("the last events could not be written within {LAST_WORDS:?}"));
            }
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => {}
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            bail!("can't complete the recording: {ENDED}");
        }
        self.check()?;
        Ok(self.shared.lost.load(Ordering::Relaxed) + dropped)
    }

    /// Lets the thread that writes panic.
    #[cfg(test)]
    pub(super) fn panic(&self) {
        self.send(Message::Panic);
    }

    fn send(&self, message: Message) {
        // A writer that is gone has said why.
        let _ = self.sender.send(message);
    }
}
