//! Logs and errors, to standard error. Who does not read that does not hold the program up.

mod aside;

use std::{
    io::{self, IsTerminal as _, Write},
    os::fd::AsFd as _,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use env_logger::{Builder, Env, Target, WriteStyle};
use log::LevelFilter;

use self::aside::Aside;
use crate::{queued_writer::QueuedWriter, words::escape::Escaped};

/// Bytes that wait for a reader; log lines beyond them are dropped and counted.
const QUEUE_BYTES: usize = 1 << 20;

/// Starts logging. A level on the command line goes before `RUST_LOG`; without either, warnings
/// and errors are logged. `has_color`: lines are coloured.
pub fn start(level: Option<LevelFilter>, has_color: bool) {
    let mut builder = match level {
        Some(level) => {
            let mut builder = Builder::new();
            builder.filter_level(level);
            builder
        }
        // aya's warning about RLIMIT_MEMLOCK would say again what our error says.
        None => Builder::from_env(Env::default().default_filter_or("warn,aya::sys=error")),
    };
    if level == Some(LevelFilter::Debug) {
        // The loader tells of every relocation; --log-level trace shows that too.
        builder.filter_module("aya_obj", LevelFilter::Info);
    }
    builder.target(Target::Pipe(Box::new(Lines)));
    builder.write_style(if has_color { WriteStyle::Always } else { WriteStyle::Never });
    builder.format(|out, record| {
        let (level, target) = (record.level(), record.target());
        let (style, time) = (out.default_level_style(level), out.timestamp_seconds());
        let text = Escaped(record.args());
        writeln!(out, "[{time} {style}{level:<5}{style:#} {target}] {text}")
    });
    // A second start, as tests in one process make, keeps the first.
    let _ = builder.try_init();
}

/// From now on nothing is written to standard error if that is a terminal, where it would be in the
/// picture: it is kept, up to a limit, for [`write_kept`].
pub fn keep() {
    if !io::stderr().is_terminal() {
        return;
    }
    lock(&ASIDE).get_or_insert_default();
    if IS_THREADED.load(Ordering::Acquire) {
        // What was logged before.
        queue().wait_blocking();
    }
}

/// Writes what was kept, and from now on what is logged.
pub fn write_kept() {
    let kept = lock(&ASIDE).take();
    kept.into_iter().flat_map(Aside::into_lines).for_each(|line| put(&line));
}

/// Writes to standard error, after what was logged.
pub fn write(text: &str) {
    put(text.as_bytes());
}

/// From now on a thread of its own writes. Not earlier than the process has confined itself: some of that
/// is of a thread, and of those that it starts (landlock(7), capabilities(7)).
pub fn use_thread() {
    if !IS_THREADED.swap(true, Ordering::AcqRel) {
        let held = std::mem::take(&mut *lock(&HELD));
        let _ = queue().clone().write_all(&held);
    }
}

/// Waits until all is written that was logged, unless nobody reads it.
pub fn finish() {
    use_thread();
    Lines::write_dropped();
    queue().wait_blocking();
}

static IS_THREADED: AtomicBool = AtomicBool::new(false);
/// What is kept instead of being written.
static ASIDE: Mutex<Option<Aside>> = Mutex::new(None);
/// What could not be written before there was a thread.
static HELD: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static QUEUE: OnceLock<QueuedWriter> = OnceLock::new();

fn queue() -> &'static QueuedWriter {
    QUEUE.get_or_init(|| QueuedWriter::new(StandardError))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put(bytes: &[u8]) {
    if let Some(aside) = &mut *lock(&ASIDE) {
        aside.push(bytes);
        return;
    }
    if IS_THREADED.load(Ordering::Acquire) {
        // Without a thread there is no log.
        let _ = queue().clone().write_all(bytes);
        return;
    }
    let mut held = lock(&HELD);
    let mut rest = bytes;
    while !rest.is_empty() && held.is_empty() && has_room() {
        let piece = &rest[..rest.len().min(ATOMIC_BYTES)];
        match StandardError.write(piece) {
            Ok(length @ 1..) => rest = &rest[length..],
            // Closed, or its reader has left.
            Ok(_) | Err(_) => return,
        }
    }
    held.extend_from_slice(rest);
}

/// So much of a pipe is written at once or not at all (pipe(7)), and is free in one that can be written.
const ATOMIC_BYTES: usize = libc::PIPE_BUF;

/// Whether writing [`ATOMIC_BYTES`] to standard error does not wait for its reader.
fn has_room() -> bool {
    let mut poll = libc::pollfd { fd: libc::STDERR_FILENO, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one valid pollfd, no waiting.
    unsafe { libc::poll(&raw mut poll, 1, 0) == 1 }
}

/// Descriptor 2. Not [`io::Stderr`] itself: its lock would be held while the reader stalls, and a panic
/// could not be told.
struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(nix::unistd::write(io::stderr().as_fd(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the logger writes to: a whole line each time.
struct Lines;

/// How many lines found no room since the last one that did.
static DROPPED: Mutex<u64> = Mutex::new(0);

impl Lines {
    fn write_dropped() {
        let mut dropped = lock(&DROPPED);
        match std::mem::take(&mut *dropped) {
            0 => {}
            count => write(&format!("{count} lines of the log are missing here: nobody read it\n")),
        }
    }

    fn is_full() -> bool {
        let held = lock(&HELD).len();
        held + queue().pending_bytes() >= QUEUE_BYTES
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if Self::is_full() {
            *lock(&DROPPED) += 1;
        } else {
            Self::write_dropped();
            put(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
