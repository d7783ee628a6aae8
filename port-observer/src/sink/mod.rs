//! Where reports go: one file a form.

mod clock;
pub mod json;
pub mod table;
pub mod top;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write as _};
use std::os::fd::AsFd;

use crate::config::{Format, Output};
use crate::queued_writer::QueuedWriter;
use crate::report::{Closing, Report, Snapshot};

/// Something that takes reports, one line each.
pub trait Sink: Send {
    /// Sets realtime less boottime, in nanoseconds: what turns the times of reports into times of
    /// day. The clock may be set while we run, so this may be called at any time.
    fn set_offset(&mut self, offset_ns: i64);

    /// Another host's or another time's reports begin, whose offset was this at first: `set_offset`
    /// follows.
    fn begin(&mut self, _first_offset_ns: i64) {}

    /// Takes a report. It may be held back until the next `flush`.
    ///
    /// # Errors
    /// Writing failed; `BrokenPipe` says that the reader has left.
    fn report(&mut self, report: &Report) -> io::Result<()>;

    /// Takes what a person is shown at the end; most sinks have no use for it. It may be held back as
    /// a report may.
    ///
    /// # Errors
    /// As for `report`.
    fn closing(&mut self, _closing: &Closing) -> io::Result<()> {
        Ok(())
    }

    /// Writes what was held back, so that a reader sees it.
    ///
    /// # Errors
    /// As for `report`.
    fn flush(&mut self) -> io::Result<()>;
}

/// The sink of those who want no lines.
#[derive(Clone, Copy, Debug)]
pub struct Nowhere;

impl Sink for Nowhere {
    fn set_offset(&mut self, _offset_ns: i64) {}

    fn report(&mut self, _report: &Report) -> io::Result<()> {
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
    let file = unbuffered_output()?;
    let is_terminal = file.is_terminal();
    if file.metadata()?.is_file() {
        return Ok((sink_on(file, is_terminal, output, home_netns), None));
    }
    let queue = QueuedWriter::new(file);
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

/// A file of its own: the standard library's handle writes at every end of line.
pub(crate) fn unbuffered_output() -> io::Result<File> {
    Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?))
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
