//! Event lines: one JSON object a line.

mod event;
mod pool;
mod processes;
mod rare;
pub mod snapshot;
mod space;
mod summary;
mod types;

use std::io::{self, Write};

use self::event::Event;
use self::processes::{Objects, Processes};
use self::types::Line;
pub use self::{space::Space, types::Endpoint};
use super::clock::UtcClock;
use crate::report::{Body, Report, Sink};
use crate::words::escape::write_json;

/// Bytes from which on they are written without waiting for a flush.
const BUFFER_BYTES: usize = 64 << 10;

/// Writes event lines. Numbers them from 1, without gaps.
#[derive(Debug)]
pub struct Json<W: Write> {
    out: W,
    /// Whole lines that are not written yet.
    held_back: Vec<u8>,
    seq: u64,
    clock: UtcClock,
    processes: Processes,
}

impl<W: Write> Json<W> {
    /// Writes to `out`, in few and large pieces.
    pub fn new(out: W) -> Self {
        Self {
            out,
            held_back: Vec::with_capacity(BUFFER_BYTES + 4096),
            seq: 0,
            clock: UtcClock::default(),
            processes: Processes::default(),
        }
    }

    /// The objects of the processes that the line names beside its own.
    fn holders(&mut self, body: &Body) -> io::Result<Objects> {
        let holders = match body {
            Body::Exhausted { story: Some(story), .. } => &story.holders[..],
            Body::Conflict { holders, .. } => &holders[..],
            Body::Pool(of) => {
                let processes = of.holders().iter().map(|holder| holder.process.as_ref());
                return self.processes.of_holders(processes);
            }
            Body::Summary(summary) => {
                let processes = summary.processes.iter().map(|of| of.process.as_ref());
                return self.processes.of_holders(processes);
            }
            _ => return Ok(Vec::new()),
        };
        self.processes.of_holders(space::processes(holders))
    }

    /// Leaves command lines out from now on: they may have what not everybody is to read.
    #[must_use]
    pub fn without_command_lines(mut self) -> Self {
        self.processes.leave_out_command_lines();
        self
    }

    /// The next line has this number.
    pub fn number_from(&mut self, number: u64) {
        self.seq = number.saturating_sub(1);
    }

    fn write(&mut self) -> io::Result<()> {
        let result = self.out.write_all(&self.held_back);
        self.held_back.clear();
        result
    }
}

impl Json<Vec<u8>> {
    /// The line of a report, without its end.
    ///
    /// # Errors
    /// A value that JSON can't have; there is none.
    pub fn line(&mut self, report: &Report) -> io::Result<Vec<u8>> {
        self.report(report)?;
        self.write()?;
        let mut line = std::mem::take(&mut self.out);
        line.truncate(line.len().saturating_sub(1));
        Ok(line)
    }
}

impl<W: Write + Send> Sink for Json<W> {
    fn set_offset(&mut self, offset_ns: i64) {
        self.clock.set_offset(offset_ns);
        self.processes.set_offset(offset_ns);
    }

    fn begin(&mut self, first_offset_ns: i64) {
        self.processes.begin(first_offset_ns);
    }

    fn report(&mut self, report: &Report) -> io::Result<()> {
        let caller = report.body.caller();
        let holders = self.holders(&report.body)?;
        let process = match caller {
            Some(caller) => Some(self.processes.get(&caller.process, caller.tid)?),
            None => None,
        };
        let time = self.clock.format(report.time_ns);
        self.seq += 1;
        match Event::new(&report.body, process.as_deref(), &holders) {
            Event::Frequent(event) => {
                serde_json::to_writer(&mut self.held_back, &Line::new(self.seq, time, event))?;
            }
            Event::Rare(event) => {
                write_json(&Line::new(self.seq, time, event), &mut self.held_back)?
            }
        }
        self.held_back.push(b'\n');
        if self.held_back.len() >= BUFFER_BYTES { self.write() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write()?;
        self.out.flush()
    }
}
