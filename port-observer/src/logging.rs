//! Logs and errors, to standard error. Who does not read that does not hold the program up.

use std::{
    io::{self, Write},
    os::fd::AsFd as _,
    sync::{Mutex, OnceLock, PoisonError},
};

use env_logger::{Builder, Env, Target, WriteStyle};
use log::LevelFilter;

use crate::{
    cli::{Color, LogLevel},
    config::uses_color,
    queued_writer::QueuedWriter,
    sink::escape::Escaped,
};

/// Bytes that wait for a reader; log lines beyond them are dropped and counted.
const QUEUE_BYTES: usize = 1 << 20;

/// Starts logging. A level on the command line goes before `RUST_LOG`; without either, warnings
/// and errors are logged.
pub fn start(level: Option<LogLevel>, color: Color) {
    let mut builder = match level {
        Some(level) => {
            let mut builder = Builder::new();
            builder.filter_level(filter(level));
            builder
        }
        // aya's warning about RLIMIT_MEMLOCK would say again what our error says.
        None => Builder::from_env(Env::default().default_filter_or("warn,aya::sys=error")),
    };
    if level == Some(LogLevel::Debug) {
        // The loader tells of every relocation; --log-level trace shows that too.
        builder.filter_module("aya_obj", LevelFilter::Info);
    }
    builder.target(Target::Pipe(Box::new(Lines)));
    builder.write_style(if uses_color(color, &io::stderr()) {
        WriteStyle::Always
    } else {
        WriteStyle::Never
    });
    builder.format(|out, record| {
        let (level, target) = (record.level(), record.target());
        let (style, time) = (out.default_level_style(level), out.timestamp_seconds());
        let text = Escaped(record.args());
        writeln!(out, "[{time} {style}{level:<5}{style:#} {target}] {text}")
    });
    // A second start, as tests in one process make, keeps the first.
    let _ = builder.try_init();
}

/// Writes to standard error, after what was logged.
pub fn write(text: &str) {
    if let Some(queue) = queue() {
        let _ = queue.clone().write_all(text.as_bytes());
    }
}

/// Waits until all is written that was logged, unless nobody reads it.
pub fn finish() {
    let dropped = Lines::dropped();
    if let Some(Some(queue)) = QUEUE.get() {
        Lines::write_dropped(queue, dropped);
        queue.wait_blocking();
    }
}

static QUEUE: OnceLock<Option<QueuedWriter>> = OnceLock::new();

/// Made when something is logged: most commands log nothing. Without a thread there is no log.
fn queue() -> Option<&'static QueuedWriter> {
    QUEUE.get_or_init(|| QueuedWriter::start(StandardError).ok()).as_ref()
}

/// Descriptor 2, whatever it is then: `top` puts a file in its place for a while. Not
/// [`io::Stderr`] itself: its lock would be held while the reader stalls, and a panic could not be told.
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
    fn dropped() -> u64 {
        std::mem::take(&mut *DROPPED.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write_dropped(queue: &QueuedWriter, dropped: u64) {
        if dropped > 0 {
            let text = format!("{dropped} lines of the log are missing here: nobody read it\n");
            let _ = queue.clone().write_all(text.as_bytes());
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let Some(queue) = queue() else { return Ok(line.len()) };
        if queue.pending_bytes() >= QUEUE_BYTES {
            *DROPPED.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        } else {
            Self::write_dropped(queue, Self::dropped());
            let _ = queue.clone().write_all(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
        LogLevel::Trace => LevelFilter::Trace,
    }
}
