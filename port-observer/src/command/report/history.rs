//! The last day of a recording, for who asks `serve`.

use std::{path::Path, time::Duration};

use anyhow::Result;

use super::{
    AFTER_NS,
    reading::{self, Progress, Reading, TakesCensus},
};
use crate::{
    config::{Format, Output},
    forensics::{History, LONGEST},
    ledger::Ledger,
    recording::{Moment, Reader},
};

impl TakesCensus for History {
    fn take_census(&mut self, at_ns: i64, now_ns: u64, ledger: &mut Ledger) -> Duration {
        ledger.advance(now_ns);
        self.add(at_ns, ledger.holdings().fullest(1, &|_| true).first());
        self.look_step()
    }
}

/// How full it was in the last day that was recorded, and how many calls failed, as JSON.
///
/// # Errors
/// When it can't be read.
pub(in crate::command) fn written(file: &Path) -> Result<Vec<u8>> {
    let mut reader = Reader::open_among_others(file)?;
    let (begun_ns, to_ns) = reader.span_ns()?.unwrap_or_default();
    let (day_ns, _) = super::window(&reader, Some(Moment::BeforeEnd(LONGEST)), None)?;
    let history = History::of(begun_ns.max(day_ns), to_ns);
    let from_ns = history.began_ns();
    reader.skip_to(from_ns);
    let lines = reading::lines(Output { format: Format::Json, color: false });
    let mut reading = Reading::begin(reader, lines, history, Progress::Silent)?;
    reading.print_only(from_ns..=to_ns);
    reading.look_into(from_ns..=to_ns);
    reading.read_to(to_ns.saturating_add(AFTER_NS))?;
    reading.finish()?;
    if let Some(damage) = reading.take_damage() {
        log::warn!("the last day is not all that was recorded: {damage:#}");
    }
    let mut body = Vec::new();
    reading.into_sink().write(&mut body)?;
    Ok(body)
}
