//! What was looked at once, as one JSON object.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::value::RawValue;

use super::processes::{Objects, Processes};
use super::summary::Summary;
use super::types::{Place, SCHEMA};
use crate::report::{self, Sources};
use crate::sink::clock::UtcClock;
use crate::words::escape::write_json;

#[derive(Serialize)]
struct Snapshot<'a> {
    schema: u32,
    time: &'a str,
    host: &'a str,
    kernel: &'a str,
    missing: &'a [String],
    sources: Sources,
    #[serde(flatten)]
    summary: Summary<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holdings: Option<Vec<Holding<'a>>>,
}

#[derive(Serialize)]
struct Holding<'a> {
    state: &'static str,
    #[serde(flatten)]
    place: Place<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inode: Option<u32>,
}

/// Writes it with a line end. `offset_ns`: realtime less boottime.
///
/// # Errors
/// Writing failed; `BrokenPipe` says that the reader has left.
pub fn write(out: impl Write, snapshot: &report::Snapshot, offset_ns: i64) -> io::Result<()> {
    write_as(Processes::default(), out, snapshot, offset_ns)
}

/// The same without command lines.
///
/// # Errors
/// As for [`write()`].
pub fn write_reduced(
    out: impl Write,
    snapshot: &report::Snapshot,
    offset_ns: i64,
) -> io::Result<()> {
    let mut processes = Processes::default();
    processes.leave_out_command_lines();
    write_as(processes, out, snapshot, offset_ns)
}

fn write_as(
    mut processes: Processes,
    mut out: impl Write,
    snapshot: &report::Snapshot,
    offset_ns: i64,
) -> io::Result<()> {
    processes.set_offset(offset_ns);
    let mut clock = UtcClock::default();
    clock.set_offset(offset_ns);
    let largest = snapshot.summary.processes.iter().map(|of| of.process.as_ref());
    let largest = processes.of_holders(largest)?;
    let holdings = snapshot.holdings.as_deref().unwrap_or_default();
    let callers = holdings.iter().map(|one| one.port.caller.as_ref().map(|c| &c.process));
    let owners = processes.of_holders(callers)?;
    let object = Snapshot {
        schema: SCHEMA,
        time: clock.format(snapshot.time_ns),
        host: &snapshot.host,
        kernel: &snapshot.kernel,
        missing: &snapshot.missing,
        sources: snapshot.sources,
        summary: Summary::new(&snapshot.summary, &largest),
        holdings: snapshot.holdings.as_ref().map(|all| all_of(all, &owners)),
    };
    write_json(&object, &mut out)?;
    out.write_all(b"\n")
}

fn all_of<'a>(holdings: &'a [report::Holding], owners: &'a Objects) -> Vec<Holding<'a>> {
    let each = holdings.iter().zip(owners);
    each.map(|(holding, owner)| Holding::new(holding, owner.as_deref())).collect()
}

impl<'a> Holding<'a> {
    fn new(of: &'a report::Holding, process: Option<&'a RawValue>) -> Self {
        Self { state: of.state.name(), place: Place::new(&of.port, process), inode: of.inode }
    }
}
