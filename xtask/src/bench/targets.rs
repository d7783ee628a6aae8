//! What is to be reached.

use serde_json::{Value, json};

/// Which side of the target is good.
#[derive(Clone, Copy)]
enum Bound {
    AtMost,
    AtLeast,
}

/// One figure that is aimed at.
struct Target {
    figure: &'static str,
    /// Where it is in what was measured (a JSON pointer).
    pointer: &'static str,
    bound: Bound,
    value: f64,
    /// It is divided by this to have its unit.
    unit: f64,
    /// It compares two measurements of one run, so it means something on any processor.
    is_ratio: bool,
}

const fn at_most(figure: &'static str, pointer: &'static str, value: f64) -> Target {
    Target { figure, pointer, bound: Bound::AtMost, value, unit: 1.0, is_ratio: false }
}

const fn ratio(figure: &'static str, pointer: &'static str, value: f64) -> Target {
    Target { is_ratio: true, ..at_most(figure, pointer, value) }
}

const TARGETS: [Target; 23] = [
    Target {
        is_ratio: true,
        ..at_most(
            "CPU per connection, printing lines, against none",
            "/cost/tracers/0/cpu_per_connection/median",
            1.05,
        )
    },
    Target {
        is_ratio: true,
        ..at_most(
            "the same, connections that end in TIME_WAIT",
            "/time_wait/tracers/0/cpu_per_connection/median",
            1.05,
        )
    },
    at_most("ns per event delivered, in the programs", "/programs/ns_per_record", 250.0),
    at_most(
        "ns per call filtered out by namespace",
        "/programs/ns_per_call_filtered_by_netns",
        100.0,
    ),
    at_most(
        "ns per call filtered out by protocol",
        "/programs/ns_per_call_filtered_by_protocol",
        100.0,
    ),
    at_most(
        "observer's CPU s per million events, ledger only",
        "/cost/tracers/1/cpu_seconds_per_million_events/median",
        0.3,
    ),
    at_most(
        "observer's CPU s per million events, JSON lines",
        "/cost/tracers/0/cpu_seconds_per_million_events/median",
        0.8,
    ),
    Target {
        bound: Bound::AtLeast,
        ..at_most(
            "events/s without loss, one core, ledger only",
            "/rate/one_core_ledger_events_per_second/median",
            500_000.0,
        )
    },
    Target {
        unit: 1e6,
        ..at_most(
            "MB per 100,000 holdings, with the maps",
            "/memory/bytes_per_100000_holdings",
            25.0,
        )
    },
    at_most("events lost while 100,000 a second are recorded", "/record/lost", 0.0),
    at_most("s to report a million events", "/report/seconds_per_million_events", 12.0),
    Target {
        unit: 1e6,
        ..at_most("MB of memory to report them", "/report/most_memory_bytes", 200.0)
    },
    at_most("ms per frame of top, 100,000 holdings", "/top/most_milliseconds", 10.0),
    at_most("ms per scrape, 100,000 holdings", "/scrape/milliseconds_per_scrape", 20.0),
    at_most("ms from connect() to its line, median", "/latency/p50_ms", 100.0),
    at_most("ms from connect() to its line, largest", "/latency/max_ms", 100.0),
    ratio("check, against ss, 28,000 sockets", "/scan/sizes/1/check/wall/median", 0.25),
    ratio(
        "check, unprivileged, against ss, 28,000 sockets",
        "/scan/sizes/1/unprivileged/wall/median",
        0.25,
    ),
    ratio("check, against ss, 60,000 sockets", "/scan/sizes/2/check/wall/median", 0.25),
    ratio(
        "check, unprivileged, against ss, 60,000 sockets",
        "/scan/sizes/2/unprivileged/wall/median",
        0.25,
    ),
    ratio("check, against ss, 200,000 sockets", "/scan/sizes/3/check/wall/median", 0.25),
    ratio(
        "check, unprivileged, against ss, 200,000 sockets",
        "/scan/sizes/3/unprivileged/wall/median",
        0.25,
    ),
    ratio(
        "check with processes, against ss -p, 60,000 sockets",
        "/scan/processes/check/wall/median",
        0.15,
    ),
];

/// Each target beside what was measured; those that were not measured are left out. On an emulated
/// processor only ratios can be compared.
pub fn compare(run: &Value) -> Value {
    let emulated = run["emulated"] == true;
    let compared = TARGETS.iter().filter_map(|target| {
        let value = run.pointer(target.pointer)?.as_f64()? / target.unit;
        let (sign, reached) = match target.bound {
            Bound::AtMost => ("<=", value <= target.value),
            Bound::AtLeast => (">=", value >= target.value),
        };
        let verdict = match reached {
            _ if emulated && !target.is_ratio => "not comparable: emulated",
            true => "reached",
            false => "missed",
        };
        Some(json!({
            "figure": target.figure,
            "value": value,
            "target": format!("{sign} {}", target.value),
            "verdict": verdict,
        }))
    });
    compared.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(emulated: bool) -> Value {
        json!({
            "emulated": emulated,
            "programs": { "ns_per_record": 251.0 },
            "cost": { "tracers": [{ "cpu_per_connection": { "median": 1.04 } }] },
            "memory": { "bytes_per_100000_holdings": 24e6 },
            "rate": { "one_core_ledger_events_per_second": { "median": 499_999.0 } },
        })
    }

    fn verdicts(run: &Value) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let compared = compare(run);
        let rows = compared.as_array().unwrap();
        rows.iter().map(|row| (text(&row["figure"]), text(&row["verdict"]))).collect()
    }

    #[test]
    fn each_figure_that_was_measured_is_compared_and_no_other() {
        let verdicts = verdicts(&run(false));
        let verdicts: Vec<&str> = verdicts.iter().map(|(_, verdict)| verdict.as_str()).collect();
        assert_eq!(verdicts, ["reached", "missed", "missed", "reached"]);
    }

    #[test]
    fn on_an_emulated_processor_only_ratios_are_compared() {
        let verdicts = verdicts(&run(true));
        let reached = verdicts.iter().filter(|(_, verdict)| verdict == "reached").count();
        assert_eq!((reached, verdicts.len()), (1, 4));
        assert!(verdicts[1].1.contains("emulated"), "{verdicts:?}");
    }
}
