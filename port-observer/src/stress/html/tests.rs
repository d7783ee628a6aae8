//! The page, of a run whose names and words try to be more than text.

use serde_json::{Value, json};

use super::*;
use crate::stress::{
    Evidence, Observed,
    compare::Old,
    samples::Samples,
    variations::{HardLimit, Mitigation, Row},
};

const HOSTILE: &str = "</script><script>document.title='run'</script><!--\u{202e}";

/// A run that met a limit after 2 s, of 400 connections.
fn outcome() -> Outcome {
    let mut samples = Samples::begin(5_000_000_000);
    samples.push(6_000_000_000, 300, 0, &[(20_000, 300)]);
    samples.push(7_000_000_000, 400, 7, &[(90_000, 100)]);
    let mut evidence = serde_json::to_value(Evidence::default()).unwrap();
    evidence["server"]["name"] = HOSTILE.into();
    let outcome = json!({
        "plan": {
            "connections": null, "range": [40_000, 40_199], "sources": 1, "destinations": 2,
            "nofile": null, "close": "keep", "tw_reuse": null, "bind": "none", "rate": null,
            "duration": {"secs": 300, "nanos": 0}, "ipv6": false, "udp": false, "server": HOSTILE,
            "server_port": null, "tcp_memory_max": 0, "settings": [],
        },
        "range": [40_000, 40_199], "began_ns": 5_000_000_000_u64, "seconds": 2.0,
        "connections": 400, "refused": {"99": 7}, "retried": 0, "clients": 1,
        "end": {"refused": {"call": "connect", "errno": 99}},
        "milestones": [{"connections": 1000, "reached": false}],
        "samples": samples.all(),
        "verdict": {"limit": "ephemeral_ports", "also": ["accept_queue"], "reasons": [HOSTILE]},
        "evidence": evidence,
        "health": {
            "alive": true, "accepting": true, "first_byte_seconds": 0.1, "recovered_seconds": 0.2,
        },
    });
    serde_json::from_value(outcome).unwrap()
}

fn page(told: &Told<'_>) -> String {
    let mut page = Vec::new();
    write(&mut page, told).unwrap();
    String::from_utf8(page).unwrap()
}

/// What the pictures are drawn from.
fn drawn(page: &str) -> Value {
    let (_, json) = page.split_once("id=\"report\">").unwrap();
    serde_json::from_str(json.split_once("</script>").unwrap().0).unwrap()
}

fn told<'a>(outcome: &'a Outcome, observed: Result<&'a Observed, &'a str>) -> Told<'a> {
    Told {
        time: "2026-11-28T12:00:00Z".to_owned(),
        host: HOSTILE.to_owned(),
        kernel: "6.18".to_owned(),
        outcome,
        observed,
        variations: &[],
        mitigations: &[],
        hard_limits: &[],
        compared: None,
    }
}

#[test]
fn texts_of_others_are_never_read_as_html() {
    let outcome = outcome();
    let page = page(&told(&outcome, Err(HOSTILE)));
    assert_eq!(page.to_lowercase().matches("<script").count(), 2);
    assert!(!page.contains("<!--") && !page.contains('\u{202e}'));
    assert!(page.contains("document.title=&#39;run&#39;"), "it is there as text");
    assert!(
        page.contains(
            "http-equiv=\"Content-Security-Policy\" content=\"default-src &#39;none&#39;"
        )
    );
    assert_eq!(drawn(&page)["answer"]["configuration"]["server"], HOSTILE);
}

#[test]
fn the_page_has_what_json_and_text_have_and_samples() {
    let outcome = outcome();
    let told = told(&outcome, Err("not here"));
    let page = page(&told);
    let drawn = drawn(&page);
    let answer: Value = serde_json::from_str(&json::render(&told).unwrap()).unwrap();
    assert_eq!(drawn["answer"], answer);
    assert_eq!(drawn["limit_seconds"], 2.0);
    let connects = &drawn["connects"];
    assert_eq!(connects["seconds"], json!([0.0, 1.0, 2.0]));
    assert_eq!(connects["connections"], json!([0, 300, 400]));
    assert_eq!(connects["rate_per_second"], json!([null, 300.0, 100.0]));
    assert_eq!(connects["refused"], json!([0, 0, 7]));
    assert_eq!(connects["p99_seconds"], json!([null, 20e-6, 90e-6]));
    for text in [
        "Limit: ephemeral ports. 400 connections stand after 2.00 s (200/s); 7 refused: EADDRNOTAVAIL",
        "Also met: the accept queue",
        "id=\"connections\"",
        "id=\"connect-time\"",
        "id=\"milestones\"",
        "not reached",
        "id=\"evidence\"",
        "none: not here",
    ] {
        assert!(page.contains(text), "{text}");
    }
    for text in ["id=\"search-time\"", "id=\"variations\"", "id=\"mitigations\"", "Compared"] {
        assert!(!page.contains(text), "{text}");
    }
}

#[test]
fn searches_variations_mitigations_and_what_it_is_compared_with_are_there_where_they_are_known() {
    let outcome = outcome();
    let mut searches = Samples::begin(5_100_000_000);
    searches.push(6_000_000_000, 300, 0, &[(4_000, 300)]);
    let observed = Observed { searches: searches.all(), ..Observed::default() };
    let mitigation = json!({
        "change": "widen_range", "command": "sysctl -w a=\"1 2\"", "before": 400, "after": 4000,
        "limit": "requested", "proved": true,
    });
    let old = json!({
        "time": HOSTILE,
        "breaking_point": {"connections": 200, "rate_per_second": 1.0, "limit": "server"},
    });
    let mitigation: Mitigation = serde_json::from_value(mitigation).unwrap();
    let page = page(&Told {
        variations: &[Row::of("as it is", &outcome)],
        mitigations: &[mitigation],
        hard_limits: &[HardLimit::of("as it is", &outcome)],
        compared: Some(Old::read(&old.to_string()).unwrap().against(&outcome)),
        ..told(&outcome, Ok(&observed))
    });
    assert_eq!(drawn(&page)["searches"]["p50_seconds"], json!([null, 4e-6]));
    for text in [
        "id=\"search-time\"",
        "id=\"variations\"",
        "id=\"mitigations\"",
        "id=\"hard-limits\"",
        "sysctl -w a=&#34;1 2&#34;",
        "+100.0% connections (of 200)",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert_eq!(page.to_lowercase().matches("<script").count(), 2);
}

#[test]
fn of_connections_that_are_closed_the_first_refusal_is_marked_and_what_is_no_limit_is_not() {
    let mut outcome = outcome();
    outcome.plan.close = crate::stress::Close::Client;
    outcome.seconds = 8.0;
    assert_eq!(limit_seconds(&outcome), Some(2.0));
    outcome.verdict.limit = Limit::Duration;
    assert_eq!(limit_seconds(&outcome), None);
}
