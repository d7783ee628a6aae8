//! What was measured, as text.

use serde_json::Value;

use super::{alone, scan};

/// A table of words: the first column to the left, the others to the right.
pub(super) struct Table(Vec<Vec<String>>);

impl Table {
    pub(super) fn new(head: &[&str]) -> Self {
        Self(vec![head.iter().map(|&word| word.to_owned()).collect()])
    }

    pub(super) fn row(&mut self, row: Vec<String>) {
        self.0.push(row);
    }

    pub(super) fn text(&self) -> String {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let words = self.0.iter().filter_map(|row| row.get(column));
            words.map(|word| word.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.0 {
            let mut line = String::from(" ");
            for (column, (word, &width)) in row.iter().zip(&widths).enumerate() {
                line += &match column {
                    0 => format!(" {word:width$}"),
                    _ => format!("  {word:>width$}"),
                };
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// One run.
pub fn render(run: &Value) -> String {
    let mut text = String::new();
    if !run["machine"].is_null() {
        observed(&mut text, run);
    }
    alone::render(&mut text, run);
    targets(&mut text, &run["targets"]);
    text
}

/// What was measured on real traffic.
fn observed(text: &mut String, run: &Value) {
    let machine = &run["machine"];
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    *text += &format!(
        "\nLinux {}, backend {}{}\nload average {} before, {} after; others used {:.0}% of the \
         processors{}\n",
        word(&machine["kernel"]),
        word(&run["backend"]),
        if run["emulated"] == true { ", emulated: only ratios mean something" } else { "" },
        word(&machine["load_average_before"]),
        word(&machine["load_average_after"]),
        number(&machine["share_of_others"]) * 100.0,
        if machine["noisy"] == true { ": NOISY, measure again when they are done" } else { "" },
    );
    if let Some(host) = run["host_load_average"].as_str() {
        *text += &format!("load average {host} on the machine that emulates, before\n");
    }
    traffic(text, "connect, accept, reset", &run["cost"]);
    traffic(text, "connect, accept, close into TIME_WAIT", &run["time_wait"]);
    programs(text, &run["programs"]);
    memory(text, &run["memory"]);
    latency(text, &run["latency"]);
    rate(text, &run["rate"]);
    scan::render(text, &run["scan"]);
}

pub(super) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

pub(super) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether this part was measured; if it failed, says why.
pub(super) fn begins(text: &mut String, what: &str, part: &Value) -> bool {
    if part.is_null() {
        return false;
    }
    *text += &format!("\n{what}\n");
    if let Some(error) = part["error"].as_str() {
        *text += &format!("  not measured: {error}\n");
        return false;
    }
    true
}

fn traffic(text: &mut String, what: &str, part: &Value) {
    if !begins(text, &format!("{what} (loopback, one thread; medians of pairs)"), part) {
        return;
    }
    let none = &part["without"];
    *text += &format!(
        "  without a tracer: {:.0} connections/s; {:.1} us of CPU each (of the traffic's thread, \
         with the softirq work done on it); connect() {:.1} us p50, {:.1} us p99\n",
        number(&none["connections_per_second"]),
        number(&none["cpu_us_per_connection"]),
        number(&none["connect_p50_us"]),
        number(&none["connect_p99_us"]),
    );
    let mut table = Table::new(&[
        "against none",
        "CPU/connection",
        "(least, most)",
        "connections/s",
        "connect() p50",
        "p99",
        "tracer's CPU s/million events",
        "lost",
    ]);
    for tracer in items(&part["tracers"]) {
        let ratio = |name: &str| format!("{:.3}", number(&tracer[name]["median"]));
        let cpu = &tracer["cpu_per_connection"];
        table.row(vec![
            tracer["name"].as_str().unwrap_or("?").to_owned(),
            ratio("cpu_per_connection"),
            format!("({:.3}, {:.3})", number(&cpu["min"]), number(&cpu["max"])),
            ratio("connections_per_second"),
            ratio("connect_p50"),
            ratio("connect_p99"),
            ratio("cpu_seconds_per_million_events"),
            tracer["lost"].as_u64().map_or("-".to_owned(), |lost| lost.to_string()),
        ]);
    }
    *text += &table.text();
}

fn programs(text: &mut String, part: &Value) {
    if !begins(text, "kernel programs (bpf_stats, which holds 55 ns of its own in each call)", part)
    {
        return;
    }
    let mut table = Table::new(&[
        "program",
        "calls/connection",
        "ns/call",
        "other namespace: ns/call",
        "other protocol: ns/call",
    ]);
    for program in items(&part["seen"]) {
        let other = |set: &str| {
            let same = items(&part[set]).iter().find(|other| other["name"] == program["name"]);
            same.map_or("-".to_owned(), |other| format!("{:.0}", number(&other["ns_per_call"])))
        };
        table.row(vec![
            program["name"].as_str().unwrap_or("?").to_owned(),
            format!("{:.1}", number(&program["calls_per_connection"])),
            format!("{:.0}", number(&program["ns_per_call"])),
            other("filtered_by_netns"),
            other("filtered_by_protocol"),
        ]);
    }
    *text += &table.text();
    *text += &format!(
        "  {:.0} ns a connection in all; {:.0} records are delivered of it, {:.0} ns each without \
         the calls that deliver none\n",
        number(&part["ns_per_connection"]),
        number(&part["records_per_connection"]),
        number(&part["ns_per_record"]),
    );
}

fn memory(text: &mut String, part: &Value) {
    if begins(text, "memory", part) {
        let mb = |name: &str| number(&part[name]) / 1e6;
        *text += &format!(
            "  {} holdings (TIME_WAIT): grown by {:.1} MB to {:.1} MB, {:.1} MB resident at most, \
             kernel maps {:.1} MB, lost {}; \
             {:.1} ms of CPU a second to look after them\n",
            part["holdings"],
            mb("grown_bytes"),
            mb("anonymous_bytes"),
            mb("peak_resident_bytes"),
            mb("maps_bytes"),
            part["lost"],
            number(&part["cpu_ms_per_second"]),
        );
    }
}

fn latency(text: &mut String, part: &Value) {
    if begins(text, "from connect() to its line in a pipe, quiet", part) {
        *text += &format!(
            "  {:.2} ms p50, {:.2} ms at most, of {} calls; {:.2} ms of CPU a second when nothing \
             happens\n",
            number(&part["p50_ms"]),
            number(&part["max_ms"]),
            part["calls"],
            number(&part["idle_cpu_ms_per_second"]),
        );
    }
}

fn rate(text: &mut String, part: &Value) {
    if begins(text, "events/s", part) {
        let traffic = &part["traffic"];
        *text += &format!(
            "  a full buffer taken in, per second of CPU: {:.0} ledger only (lost {}), {:.0} as \
             JSON lines\n  traffic on both processors, the tracer between: {:.0} events/s, lost {}\n",
            number(&part["one_core_ledger_events_per_second"]["median"]),
            part["one_core_lost"],
            number(&part["one_core_lines_events_per_second"]["median"]),
            number(&traffic["events_per_second"]),
            traffic["lost"],
        );
    }
}

fn targets(text: &mut String, targets: &Value) {
    if items(targets).is_empty() {
        return;
    }
    *text += "\ntargets\n";
    let mut table = Table::new(&["figure", "value", "target", ""]);
    for target in items(targets) {
        let value = number(&target["value"]);
        let word = |name: &str| target[name].as_str().unwrap_or("?").to_owned();
        let digits = if value < 10.0 { 3 } else { 0 };
        let value = format!("{value:.digits$}");
        table.row(vec![word("figure"), value, word("target"), word("verdict")]);
    }
    *text += &table.text();
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_part_that_failed_says_why_and_one_that_was_not_asked_for_is_left_out() {
        let run = json!({
            "backend": "fexit",
            "machine": { "kernel": "6.12", "noisy": true, "share_of_others": 0.5 },
            "cost": { "error": "no such backend" },
            "latency": { "p50_ms": 0.2, "max_ms": 7.0, "calls": 60, "idle_cpu_ms_per_second": 1.0 },
            "targets": [{ "figure": "a", "value": 1.25, "target": "<= 1", "verdict": "missed" }],
        });
        let text = render(&run);
        assert!(text.contains("not measured: no such backend"), "{text}");
        assert!(text.contains("others used 50% of the processors: NOISY"), "{text}");
        assert!(text.contains("0.20 ms p50, 7.00 ms at most, of 60 calls"), "{text}");
        assert!(text.contains("a       1.250    <= 1  missed"), "{text}");
        assert!(!text.contains("memory"), "{text}");
    }
}
