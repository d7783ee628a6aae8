//! `report`: what happened in a recording.

mod held;
pub(super) mod history;
mod reading;

use std::{
    io::{self, BufWriter, Write as _},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;

use super::{page_file::PageFile, replay::window};
use crate::{
    cli::{Color, ReportArgs},
    config::{Format, Output},
    forensics::{self, Collector, Forensics},
    recording::{Moment, Reader},
    sandbox::{Sandbox, Task},
    serve::{Asked, Written},
};
use reading::{Progress, Reading};

/// How long before what is told of it is read: the growth before an incident is told too.
const BEFORE_NS: i64 = 600_000_000_000;
/// How long after what is told is read on, see `replay`.
const AFTER_NS: i64 = 2_000_000_000;
/// The width of lines where there is no terminal.
const WIDTH: usize = 100;

/// Tells it.
///
/// # Errors
/// When it can't be read, or the output can't be written; also if only some of it could be read.
pub fn run(args: &ReportArgs, color: Color, sandbox: Sandbox) -> Result<()> {
    sandbox.enter(&Task::Replay { recording: &args.file, page: args.html.as_deref() });
    let reader = Reader::open(&args.file)?;
    let output = Output::resolve(args.json, color);
    if let Some(at) = args.at {
        let (_, at_ns) = window(&reader, None, Some(at))?;
        return held::tell(args, reader, at_ns, output);
    }
    // Before minutes of reading.
    let page = args.html.as_deref();
    let page = page.map(|path| PageFile::at(path, &[(&args.file, "the recording")])).transpose()?;
    let (told, damage) = told(reader, output, args.from, args.to, Progress::OnTerminal)?;
    let zone = TimeZone::system();
    match (page, output.format) {
        (Some(page), _) => page.write(|out| forensics::html::write(out, &told, &zone))?,
        (None, format) => {
            let mut out = BufWriter::new(io::stdout().lock());
            match format {
                Format::Json => forensics::json::write(&mut out, &told),
                Format::Table => {
                    let width = terminal_size::terminal_size_of(io::stdout())
                        .map_or(WIDTH, |(width, _)| usize::from(width.0).min(WIDTH));
                    forensics::text::write(&mut out, &told, &zone, width)
                }
            }
            .and_then(|()| out.flush())
            .context("can't write to standard output")?;
        }
    }
    damage.map_or(Ok(()), Err)
}

/// What happened in a recording between two moments, and what is wrong with the file.
///
/// # Errors
/// When it can't be read.
fn told(
    mut reader: Reader,
    output: Output,
    from: Option<Moment>,
    to: Option<Moment>,
    progress: Progress,
) -> Result<(Forensics, Option<anyhow::Error>)> {
    let (from_ns, to_ns) = window(&reader, from, to)?;
    reader.skip_to(from_ns.saturating_sub(BEFORE_NS));
    let mut lines = reading::lines(output);
    lines.summary = Some(forensics::SAMPLE);
    lines.top = forensics::SPACES;
    lines.holders = forensics::HOLDERS;
    let mut reading = Reading::begin(reader, lines, Collector::default(), progress)?;
    reading.print_only(from_ns.saturating_sub(BEFORE_NS)..=to_ns);
    reading.look_into(from_ns..=to_ns);
    reading.read_to(to_ns.saturating_add(AFTER_NS))?;
    reading.finish()?;
    let damage = reading.take_damage();
    let mut told = reading.into_sink().finish();
    told.incidents.retain(|incident| incident.ended_ns >= from_ns);
    Ok((told, damage))
}

/// A report for who asks `serve`: of the last hour of the recording, if nothing else is asked for.
///
/// # Errors
/// When it can't be read.
pub(super) fn written(file: &Path, asked: Asked) -> Result<Written> {
    const USUALLY: Moment = Moment::BeforeEnd(Duration::from_secs(3600));
    let reader = Reader::open_among_others(file)?;
    let output = Output { format: Format::Json, color: false };
    let from = asked.from.or(Some(USUALLY));
    let (told, damage) = told(reader, output, from, asked.to, Progress::Silent)?;
    if let Some(damage) = damage {
        log::warn!("a report is not of all that was recorded: {damage:#}");
    }
    let mut body = Vec::new();
    if asked.is_page {
        forensics::html::write(&mut body, &told, &TimeZone::system())?;
        let policy = format!("{}; frame-ancestors 'none'", forensics::html::policy());
        return Ok(Written { body, policy: Some(policy) });
    }
    forensics::json::write(&mut body, &told)?;
    Ok(Written { body, policy: None })
}
