//! What is written of reports: one module for each form.

mod clock;
pub mod json;
pub mod table;

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use crate::queued_writer::{QueuedWriter, WholeLines, unbuffered_output};
use crate::report::{Sink, Snapshot};
pub use clock::UtcClock;

/// What lines are written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An aligned table for people.
    Table,
    /// One JSON object a line.
    Json,
}

/// Where lines are written to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    #[default]
    StandardOutput,
    /// Standard error, which others write to too.
    StandardError,
    /// A file.
    File(PathBuf),
}

/// As errors name it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StandardOutput => f.write_str("standard output"),
            Self::StandardError => f.write_str("standard error"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    /// What lines are written as.
    pub format: Format,
    /// Whether text is coloured.
    pub color: bool,
}

/// The sink that writes to standard output what was asked for, and the queue in front of it. A regular
/// file has no reader that could stall: it has no queue. `home_netns` is the namespace that need not be
/// named in the table, as the one that most lines are about.
///
/// # Errors
/// Standard output is closed.
pub fn standard_output(
    output: Output,
    home_netns: Option<u32>,
) -> io::Result<(Box<dyn Sink>, Option<QueuedWriter>)> {
    lines_to(unbuffered_output()?, false, output, home_netns)
}

/// The same on standard error, between the lines of others.
///
/// # Errors
/// Standard error is closed.
pub fn standard_error(
    output: Output,
    home_netns: Option<u32>,
) -> io::Result<(Box<dyn Sink>, Option<QueuedWriter>)> {
    let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    lines_to(file, true, output, home_netns)
}

/// The same in any file. `is_shared`: others write to it too, so that whole lines are written.
///
/// # Errors
/// When it can't be asked what it is.
pub fn lines_to(
    file: File,
    is_shared: bool,
    output: Output,
    home_netns: Option<u32>,
) -> io::Result<(Box<dyn Sink>, Option<QueuedWriter>)> {
    let is_terminal = file.is_terminal();
    if file.metadata()?.is_file() && !is_shared {
        return Ok((sink_on(file, is_terminal, output, home_netns), None));
    }
    let queue = QueuedWriter::new(WholeLines::new(file));
    Ok((sink_on(queue.clone(), is_terminal, output, home_netns), Some(queue)))
}

fn sink_on(
    out: impl io::Write + Send + 'static,
    is_terminal: bool,
    output: Output,
    home_netns: Option<u32>,
) -> Box<dyn Sink> {
    match output.format {
        Format::Json => Box::new(json::Json::new(out)),
        Format::Table => Box::new(table_on(out, is_terminal, output, home_netns)),
    }
}

/// Writes what was looked at once to standard output, as it was asked for. `offset_ns`: realtime
/// less boottime; `home_netns` as for [`standard_output`].
///
/// # Errors
/// Writing failed; `BrokenPipe` says that the reader has left.
pub fn write_snapshot(
    output: Output,
    home_netns: Option<u32>,
    offset_ns: i64,
    snapshot: &Snapshot,
) -> io::Result<()> {
    let file = unbuffered_output()?;
    match output.format {
        Format::Json => {
            let mut out = BufWriter::new(file);
            json::snapshot::write(&mut out, snapshot, offset_ns)?;
            out.flush()
        }
        Format::Table => {
            let is_terminal = file.is_terminal();
            let mut table = table_on(file, is_terminal, output, home_netns);
            table.set_offset(offset_ns);
            table.snapshot(snapshot)
        }
    }
}

fn table_on<W: io::Write>(
    out: W,
    is_terminal: bool,
    output: Output,
    home_netns: Option<u32>,
) -> table::Table<W> {
    let screen = if is_terminal { table::Screen::Terminal } else { table::Screen::None };
    let options = table::Options {
        color: output.color,
        screen,
        time_zone: jiff::tz::TimeZone::system(),
        home_netns,
    };
    table::Table::new(out, options)
}
