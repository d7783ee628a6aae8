//! The queue, and the thread that writes it.

use std::{
    collections::VecDeque,
    io::{self, Write},
    os::unix::thread::JoinHandleExt as _,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use caps::CapSet;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use tokio::sync::Notify;

/// Small writes are put together up to so many bytes: a sink's 64 KiB, and the line that filled them up.
const CHUNK_BYTES: usize = 72 << 10;
/// At most so many bytes go into one write(2), so that a slow reader's progress shows.
const WRITE_BYTES: usize = 32 << 10;
/// So many written chunks are kept, to be filled anew.
const SPARE_CHUNKS: usize = 4;
/// Interrupts a write(2) that waits. Where it has no handler it does nothing, and nobody sends it to
/// processes without out-of-band data.
const INTERRUPT: Signal = Signal::SIGURG;
/// How often the thread is interrupted before nothing is expected of it any more. More than once: it may
/// not have been in its write(2) yet.
const INTERRUPTS: u32 = 40;
const INTERRUPT_EVERY: Duration = Duration::from_millis(5);

pub(super) struct Shared {
    queue: Mutex<Queue>,
    /// The thread has something to do.
    filled: Condvar,
    /// The thread has ended.
    ended: Condvar,
    pending: AtomicUsize,
    progress: Notify,
    thread: OnceLock<JoinHandle<()>>,
}

struct Queue {
    /// What is written to, until the thread has it.
    out: Option<Box<dyn Write + Send>>,
    chunks: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    last_progress: Instant,
    /// Nothing more is to be written.
    is_closed: bool,
    has_ended: bool,
    /// Lines of the chunk that the thread had begun and did not write to their ends.
    cut_off: u64,
    failure: Option<Failure>,
}

/// An `io::Error` that can be given out again and again.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Os(i32),
    Kind(io::ErrorKind),
}

impl From<&io::Error> for Failure {
    fn from(error: &io::Error) -> Self {
        error.raw_os_error().map_or(Self::Kind(error.kind()), Self::Os)
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Os(errno) => Self::from_raw_os_error(errno),
            Failure::Kind(kind) => kind.into(),
        }
    }
}

impl Shared {
    pub(super) fn new(out: Box<dyn Write + Send>) -> Self {
        let queue = Queue {
            out: Some(out),
            chunks: VecDeque::new(),
            spare: Vec::new(),
            last_progress: Instant::now(),
            is_closed: false,
            has_ended: false,
            cut_off: 0,
            failure: None,
        };
        Self {
            queue: Mutex::new(queue),
            filled: Condvar::new(),
            ended: Condvar::new(),
            pending: AtomicUsize::new(0),
            progress: Notify::new(),
            thread: OnceLock::new(),
        }
    }

    fn start(of_thread: Arc<Self>, out: Box<dyn Write + Send>) -> io::Result<JoinHandle<()>> {
        catch_interrupts()?;
        thread::Builder::new().name("output".to_owned()).spawn(move || {
            give_up_capabilities();
            of_thread.write_all(out);
        })
    }

    pub(super) fn pending_bytes(&self) -> usize {
        self.pending.load(Ordering::Acquire)
    }

    /// Returns when something was written since the last call, or nothing will be any more.
    pub(super) async fn progress(&self) {
        self.progress.notified().await;
    }

    /// When something was written last, or the queue was empty.
    pub(super) fn last_progress(&self) -> Instant {
        self.lock().last_progress
    }

    pub(super) fn failure(&self) -> Option<io::Error> {
        self.lock().failure.map(io::Error::from)
    }

    pub(super) fn push(shared: &Arc<Self>, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let mut queue = shared.lock();
        if let Some(out) = queue.out.take() {
            match Self::start(Arc::clone(shared), out) {
                Ok(thread) => drop(shared.thread.set(thread)),
                Err(error) => queue.failure = Some(Failure::from(&error)),
            }
        }
        if let Some(failure) = queue.failure {
            return Err(failure.into());
        }
        if queue.is_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if shared.pending.fetch_add(bytes.len(), Ordering::AcqRel) == 0 {
            queue.last_progress = Instant::now();
        }
        match queue.chunks.back_mut() {
            Some(last) if last.len() + bytes.len() <= CHUNK_BYTES => last.extend_from_slice(bytes),
            _ => {
                let chunk = queue.spare.pop();
                let mut chunk = chunk.unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES));
                chunk.extend_from_slice(bytes);
                queue.chunks.push_back(chunk);
                shared.filled.notify_one();
            }
        }
        Ok(())
    }

    /// Closes the queue; returns how many lines in it were not written to their ends.
    pub(super) fn drop_rest(&self) -> u64 {
        let mut queue = self.lock();
        queue.is_closed = true;
        if queue.out.is_some() {
            return 0;
        }
        let dropped: u64 = queue.chunks.drain(..).map(|chunk| lines(&chunk)).sum();
        self.filled.notify_one();
        for _ in 0..INTERRUPTS {
            if queue.has_ended {
                break;
            }
            if let Some(thread) = self.thread.get() {
                // SAFETY: the thread was neither joined nor detached, so its id is valid also when it
                // has ended.
                unsafe { libc::pthread_kill(thread.as_pthread_t(), INTERRUPT as libc::c_int) };
            }
            let waited = self.ended.wait_timeout(queue, INTERRUPT_EVERY);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.pending.store(0, Ordering::Release);
        dropped + queue.cut_off
    }

    /// What the thread does.
    fn write_all(&self, mut out: Box<dyn Write + Send>) {
        let mut queue = self.lock();
        loop {
            let Some(mut chunk) = queue.chunks.pop_front() else {
                if queue.is_closed {
                    break;
                }
                queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(queue);
            let written = self.write(&mut *out, &chunk);
            queue = self.lock();
            match written {
                Ok(length) if length == chunk.len() => {}
                Ok(length) => {
                    queue.cut_off = lines(&chunk[length..]);
                    break;
                }
                Err(error) => {
                    queue.failure = Some(Failure::from(&error));
                    queue.chunks.clear();
                    self.pending.store(0, Ordering::Release);
                    break;
                }
            }
            if queue.spare.len() < SPARE_CHUNKS && chunk.capacity() <= 2 * CHUNK_BYTES {
                chunk.clear();
                queue.spare.push(chunk);
            }
        }
        queue.has_ended = true;
        drop(queue);
        self.ended.notify_all();
        self.progress.notify_one();
    }

    /// Writes a chunk; returns how much of it, less than all only when the queue was closed meanwhile.
    fn write(&self, out: &mut dyn Write, chunk: &[u8]) -> io::Result<usize> {
        let mut at = 0;
        while at < chunk.len() {
            let end = chunk.len().min(at + WRITE_BYTES);
            match out.write(&chunk[at..end]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    at += length;
                    self.lock().last_progress = Instant::now();
                    self.pending.fetch_sub(length, Ordering::AcqRel);
                    self.progress.notify_one();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Somebody else who has the terminal or the pipe open set O_NONBLOCK.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error),
            }
            if at < chunk.len() && self.lock().is_closed {
                break;
            }
        }
        Ok(at)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writing to what is open takes none, and a thread that started before the sandbox was entered would
/// keep what it has (capabilities(7)). What the kernel refuses has nobody to be told to: this may be the
/// thread that writes the log.
fn give_up_capabilities() {
    // With the permitted set goes the ambient one.
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        let _ = caps::clear(None, set);
    }
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(*byte == b'\n')).sum()
}

/// Lets [`INTERRUPT`] end a write(2) that waits. Without `SA_RESTART`, as by signal(7) the kernel would
/// go on with it.
fn catch_interrupts() -> io::Result<()> {
    extern "C" fn nothing(_: libc::c_int) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing, which is async-signal-safe.
    unsafe { sigaction(INTERRUPT, &action) }?;
    Ok(())
}
