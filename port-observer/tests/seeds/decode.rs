//! The way of an event, from bytes to lines, fed with any bytes.

use std::{io, sync::Arc};

use jiff::tz::TimeZone;
use port_observer::{
    decode::decode,
    event::{Event, Task},
    ledger::{self, Ledger, Totals},
    process::{Caller, Process},
    report::{Body, Report, Sink},
    sink::{
        json::Json,
        table::{Options, Screen, Table},
    },
};
use port_observer_ebpf::{CallRecord, ExecRecord, ForkRecord, Kind, SocketRecord};

/// Knows what the events say, and asks nobody.
#[derive(Default)]
struct Told(Process);

impl Told {
    fn caller(&mut self, event: &Event) -> Option<Caller> {
        if let Event::Exec(exec) = event {
            self.0.executable = Some(exec.executable.as_str().into());
            self.0.command_line = exec.command_line.clone().into();
        }
        let Task { pid, tid, ref name, uid, start_time_ns, .. } = *event.task()?;
        let (name, uid) = (name.clone(), Some(uid));
        let process = Arc::new(Process { pid, name, uid, start_time_ns, ..self.0.clone() });
        Some(Caller { process, tid })
    }
}

/// Everything that the ledger can be asked for, and a limit that is soon reached.
const ACCOUNTED: ledger::Options = ledger::Options {
    sticky: true,
    warning: 80.0,
    critical: 90.0,
    max_holdings: 4,
    spaces: true,
    holders: 2,
    listings: true,
};

/// How long a record is that begins with this byte.
fn length(kind: u8) -> usize {
    match Kind::ALL.into_iter().find(|&known| known as u8 == kind) {
        None => 1,
        Some(
            Kind::Acquire
            | Kind::Exhausted
            | Kind::Conflict
            | Kind::Refused
            | Kind::Accept
            | Kind::Existing,
        ) => size_of::<CallRecord>(),
        Some(
            Kind::Inherit
            | Kind::TimeWait
            | Kind::Release
            | Kind::State
            | Kind::Listen
            | Kind::FinReceived
            | Kind::Rehash,
        ) => size_of::<SocketRecord>(),
        Some(Kind::Exec) => size_of::<ExecRecord>(),
        Some(Kind::Fork) => size_of::<ForkRecord>(),
    }
}

fn count(reports: &[Report], matches: fn(&Body) -> bool) -> u64 {
    reports.iter().filter(|report| matches(&report.body)).count() as u64
}

/// Takes any bytes.
pub fn run(bytes: &[u8]) {
    // One record of any length, then as many as there are of their right length.
    let _ = decode(bytes).map_err(|error| error.to_string());
    let (mut told, mut ledger) = (Told::default(), Ledger::new(ACCOUNTED));
    let mut reports = Vec::new();
    let mut rest = bytes;
    while let Some(&kind) = rest.first() {
        let (record, others) = rest.split_at(length(kind).min(rest.len()));
        if let Ok(event) = decode(record) {
            let caller = told.caller(&event);
            ledger.apply(0, event, caller, &mut reports);
        }
        rest = others;
    }
    let Totals { acquired, released, exhausted, .. } = ledger.totals();
    assert_eq!(acquired, count(&reports, |body| matches!(body, Body::Acquire { .. })));
    assert_eq!(released, count(&reports, |body| matches!(body, Body::Release { .. })));
    assert_eq!(exhausted, count(&reports, |body| matches!(body, Body::Exhausted { .. })));
    let options = Options {
        color: true,
        screen: Screen::Fixed { columns: 80, rows: 24 },
        time_zone: TimeZone::UTC,
        home_netns: None,
    };
    let mut sinks: [Box<dyn Sink>; 2] =
        [Box::new(Json::new(io::sink())), Box::new(Table::new(io::sink(), options))];
    for sink in &mut sinks {
        for report in &reports {
            sink.report(report).expect("a sink into nothing takes everything");
        }
    }
}
