//! `report`: what happened in a recording.

mod held;
mod page;
mod reading;

use std::io::{self, BufWriter, Write as _};

use anyhow::{Context as _, Result};
use jiff::tz::TimeZone;

use super::replay::window;
use crate::{
    cli::{Color, ReportArgs},
    config::{Format, Output},
    forensics::{self, Collector},
    recording::Reader,
    sandbox::{Sandbox, Task},
};
use page::Page;
use reading::Reading;

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
    let mut reader = Reader::open(&args.file)?;
    let output = Output::resolve(args.json, color);
    if let Some(at) = args.at {
        let (_, at_ns) = window(&reader, None, Some(at))?;
        return held::tell(args, reader, at_ns, output);
    }
    // Before minutes of reading.
    let page = args.html.as_deref().map(|path| Page::at(path, &args.file)).transpose()?;
    let (from_ns, to_ns) = window(&reader, args.from, args.to)?;
    reader.skip_to(from_ns.saturating_sub(BEFORE_NS));
    let mut lines = reading::lines(output);
    lines.summary = Some(forensics::SAMPLE);
    lines.top = forensics::SPACES;
    lines.holders = forensics::HOLDERS;
    let mut reading = Reading::begin(reader, lines, Collector::default())?;
    reading.print_only(from_ns.saturating_sub(BEFORE_NS)..=to_ns);
    reading.look_into(from_ns..=to_ns);
    reading.read_to(to_ns.saturating_add(AFTER_NS))?;
    reading.finish()?;
    let damage = reading.take_damage();
    let mut told = reading.into_sink().finish();
    told.incidents.retain(|incident| incident.ended_ns >= from_ns);
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
