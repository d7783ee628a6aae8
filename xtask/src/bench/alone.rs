//! What is measured of the program's parts by themselves, without a kernel.

use serde_json::Value;

use super::render::{begins, items, number};

/// The parts that need no kernel: benchmarks of the program's own package.
pub const PARTS: [&str; 5] = ["ledger", "record", "report", "scrape", "top"];

/// Those that were measured.
pub fn render(text: &mut String, run: &Value) {
    ledger(text, &run["ledger"]);
    record(text, &run["record"]);
    report(text, &run["report"]);
    scrape(text, &run["scrape"]);
    top(text, &run["top"]);
}

/// The recorder by itself.
fn record(text: &mut String, part: &Value) {
    if !begins(text, "recording by itself (100 destinations, 50 processes)", part) {
        return;
    }
    *text += &format!(
        "  {:.0} events/s offered, {} of {} lost; {:.1} bytes each in the file\n  \
         {:.2} s of CPU per million events to write them, {:.0} ns each to hand them over\n  \
         {:.0} events/s at most\n",
        number(&part["offered_per_second"]),
        part["lost"],
        part["events"],
        number(&part["bytes_per_event"]),
        number(&part["writer_cpu_seconds_per_million_events"]),
        number(&part["observer_ns_per_event"]),
        number(&part["most_events_per_second"]),
    );
}

/// A report of a long recording.
fn report(text: &mut String, part: &Value) {
    if !begins(text, "report --html (101 destinations, 51 processes)", part) {
        return;
    }
    *text += &format!(
        "  {} events in {:.1} s, {:.2} s per million; {:.0} MB of memory at most\n  {:.0} MB of \
         recording, {:.1} MB of page\n",
        part["events"],
        number(&part["seconds"]),
        number(&part["seconds_per_million_events"]),
        number(&part["most_memory_bytes"]) / 1e6,
        number(&part["recording_bytes"]) / 1e6,
        number(&part["page_bytes"]) / 1e6,
    );
}

/// The ledger by itself.
fn ledger(text: &mut String, part: &Value) {
    if !begins(text, "the ledger by itself (100,000 holdings, 50 processes)", part) {
        return;
    }
    *text += &format!(
        "  {:.0} ns per event; {:.1} MB allocated per 100,000 holdings\n",
        number(&part["ns_per_event"]),
        number(&part["bytes_per_100000_holdings"]) / 1e6,
    );
    for summary in items(&part["summaries"]) {
        *text += &format!(
            "  a summary at {} destinations: {:.1} ms\n",
            summary["destinations"],
            number(&summary["milliseconds"]),
        );
    }
}

/// An answer of `/metrics`.
fn scrape(text: &mut String, part: &Value) {
    if begins(text, "scrape (100,000 holdings, 10,000 destinations)", part) {
        *text += &format!("  {:6.2} ms\n", number(&part["milliseconds_per_scrape"]));
    }
}

/// A frame of the full screen.
fn top(text: &mut String, part: &Value) {
    if !begins(text, "top (100,000 holdings, 100 destinations), ms per frame", part) {
        return;
    }
    for (view, time) in part["milliseconds_per_frame"].as_object().into_iter().flatten() {
        *text += &format!("  {view:20} {:6.2}\n", number(time));
    }
}
