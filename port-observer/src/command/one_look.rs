//! What was listed once goes through a ledger, as what is observed does.

use crate::{
    event::{Event, Existing},
    ledger::Ledger,
    process::ProcessTable,
};

/// Takes in all that one look has found, at its time (`CLOCK_BOOTTIME`). Nobody waits for a line of each.
pub(super) fn take_in(ledger: &mut Ledger, time_ns: u64, existing: Vec<Existing>) {
    let mut processes = ProcessTable::default();
    let mut lines = Vec::new();
    ledger.apply(time_ns, Event::ScanBegins, None, &mut lines);
    for one in existing {
        let event = Event::Existing(Box::new(one));
        let caller = processes.caller(&event);
        ledger.apply(time_ns, event, caller, &mut lines);
        lines.clear();
    }
    ledger.apply(time_ns, Event::ScanEnded { skipped: Vec::new() }, None, &mut lines);
}
