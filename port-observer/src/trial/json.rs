//! Trials as JSON. Times are in seconds; what is not known is left out.

use std::net::SocketAddr;

use serde::Serialize;

use super::{
    calls::PortError,
    echo::{Counts, Served},
    outcome::{Outcome, seconds},
    run::Ran,
    tally::{Percentiles, Tally},
};
use crate::{
    pools::Holder,
    words::{
        errno::{self, ErrorName},
        escape::json_line,
    },
};

/// One line of JSON with what a trial came to, without its end.
///
/// # Errors
/// Never in practice: all values have a form in JSON.
pub fn render(outcome: &Outcome) -> serde_json::Result<String> {
    let ran = outcome.ran.as_ref();
    json_line(&Document {
        pool: &outcome.pool,
        range: &outcome.range,
        peer: outcome.peer.into(),
        calls: Calls { wanted: outcome.wanted, set_up: outcome.set_up },
        legs_per_call: outcome.legs,
        ports_per_leg: outcome.ports_per_leg,
        duration_seconds: ran.map(|ran| seconds(ran.sending)),
        complete: ran.is_some_and(|ran| ran.is_complete),
        passed: outcome.is_good(),
        rtp: ran.map(Rtp::of),
        rtcp: ran.map(|ran| Rtcp::of(&ran.tally)),
        dropped_here: outcome.dropped(),
        leased_ports: outcome.leased,
        port_errors: outcome.errors.iter().map(Failed::of).collect(),
        port_errors_total: outcome.failed,
    })
}

/// One line of JSON with what a peer did, without its end.
///
/// # Errors
/// The same.
pub fn render_served(at: SocketAddr, served: &Served) -> serde_json::Result<String> {
    let Counts { rtp, rtp_answered, reports, reports_answered, .. } = served.counts;
    let Counts { repeated, ignored, turned_away, unsent, streams, .. } = served.counts;
    json_line(&Answered {
        listen: at.into(),
        streams,
        rtp: Part { received: rtp, answered: rtp_answered },
        rtcp: Part { received: reports, answered: reports_answered },
        repeated,
        ignored,
        turned_away,
        unsent,
        dropped_here: served.dropped,
    })
}

#[derive(Serialize)]
struct Document<'a> {
    pool: &'a str,
    range: &'a str,
    peer: Address,
    calls: Calls,
    legs_per_call: u32,
    ports_per_leg: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_seconds: Option<f64>,
    /// Whether all was sent that was to be.
    complete: bool,
    /// Whether all calls were set up, no packet was lost and all reports were answered.
    passed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtp: Option<Rtp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtcp: Option<Rtcp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped_here: Option<u64>,
    leased_ports: u32,
    port_errors: Vec<Failed<'a>>,
    port_errors_total: u64,
}

#[derive(Serialize)]
struct Address {
    address: std::net::IpAddr,
    port: u16,
}

impl From<SocketAddr> for Address {
    fn from(at: SocketAddr) -> Self {
        Self { address: at.ip().to_canonical(), port: at.port() }
    }
}

#[derive(Serialize)]
struct Calls {
    wanted: u32,
    set_up: u32,
}

/// Packets; lost are those that did not come back within a second, the late ones among them.
#[derive(Serialize)]
struct Rtp {
    sent: u64,
    received: u64,
    lost: u64,
    lost_percent: f64,
    /// Of those, on the way there, as the peer says.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_there: Option<u64>,
    late: u64,
    duplicate: u64,
    reordered: u64,
    foreign: u64,
    /// Sent more than 20 ms after their time.
    late_sends: u64,
    /// Not sent, as this host stood still.
    skipped: u64,
    /// Not sent, as the kernel refused.
    refused: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_errno: Option<ErrorName>,
    unreachable: u64,
    #[serde(flatten)]
    rtt: Rtt,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter_p50_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter_p99_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter_max_seconds: Option<f64>,
}

impl Rtp {
    fn of(ran: &Ran) -> Self {
        let tally = &ran.tally;
        let jitter = tally.jitter.percentiles();
        Self {
            sent: tally.sent,
            received: tally.received,
            lost: tally.lost(),
            lost_percent: percent(tally.lost(), tally.sent),
            lost_there: ran.lost_there,
            late: tally.late,
            duplicate: tally.duplicate,
            reordered: tally.reordered,
            foreign: tally.foreign,
            late_sends: tally.late_sends,
            skipped: tally.skipped,
            refused: tally.refused,
            refused_errno: tally.errno.map(ErrorName),
            unreachable: tally.unreachable,
            rtt: Rtt::of(tally.rtt.percentiles()),
            jitter_p50_seconds: jitter.map(|all| of_ns(all.p50)),
            jitter_p99_seconds: jitter.map(|all| of_ns(all.p99)),
            jitter_max_seconds: jitter.map(|all| of_ns(all.max)),
        }
    }
}

#[derive(Serialize)]
struct Rtcp {
    sent: u64,
    received: u64,
    lost: u64,
    #[serde(flatten)]
    rtt: Rtt,
}

impl Rtcp {
    fn of(tally: &Tally) -> Self {
        let rtt = Rtt::of(tally.report_rtt.percentiles());
        let (sent, received, lost) = (tally.reports, tally.answers, tally.unanswered());
        Self { sent, received, lost, rtt }
    }
}

#[derive(Serialize)]
struct Rtt {
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_p50_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_p90_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_p99_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_p99_9_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_max_seconds: Option<f64>,
}

impl Rtt {
    fn of(all: Option<Percentiles>) -> Self {
        Self {
            rtt_p50_seconds: all.map(|all| of_ns(all.p50)),
            rtt_p90_seconds: all.map(|all| of_ns(all.p90)),
            rtt_p99_seconds: all.map(|all| of_ns(all.p99)),
            rtt_p99_9_seconds: all.map(|all| of_ns(all.p99_9)),
            rtt_max_seconds: all.map(|all| of_ns(all.max)),
        }
    }
}

#[derive(Serialize)]
struct Failed<'a> {
    port: u16,
    protocol: &'static str,
    errno: ErrorName,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<Process<'a>>,
}

impl<'a> Failed<'a> {
    fn of(error: &'a PortError) -> Self {
        Self {
            port: error.port,
            protocol: "udp",
            errno: ErrorName(error.errno),
            message: errno::error(error.errno),
            holder: error.holder.as_ref().map(Process::of),
        }
    }
}

#[derive(Serialize)]
struct Process<'a> {
    pid: u32,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a str>,
}

impl<'a> Process<'a> {
    fn of(holder: &'a Holder) -> Self {
        let container = holder.container.first().map(String::as_str);
        Self { pid: holder.pid, name: &holder.name, container }
    }
}

#[derive(Serialize)]
struct Answered {
    listen: Address,
    streams: u64,
    rtp: Part,
    rtcp: Part,
    repeated: u64,
    ignored: u64,
    turned_away: u64,
    unsent: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped_here: Option<u64>,
}

#[derive(Serialize)]
struct Part {
    received: u64,
    answered: u64,
}

/// In seconds, with three digits of microseconds.
fn of_ns(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// A part in percent, to a thousandth.
pub(super) fn percent(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { (part as f64 * 100_000.0 / all as f64).round() / 1_000.0 }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::trial::outcome::tests::sample;

    #[test]
    fn a_trial_is_one_object_with_units_in_its_names() {
        let value: Value = serde_json::from_str(&render(&sample()).unwrap()).unwrap();
        assert_eq!(value["calls"], json!({ "wanted": 5, "set_up": 5 }));
        assert_eq!(value["peer"], json!({ "address": "127.0.0.1", "port": 65_534 }));
        assert_eq!((&value["passed"], &value["complete"]), (&json!(false), &json!(true)));
        let rtp = &value["rtp"];
        assert_eq!((&rtp["lost"], &rtp["lost_percent"]), (&json!(10), &json!(1.0)));
        assert_eq!((&rtp["lost_there"], &value["dropped_here"]), (&json!(4), &json!(3)));
        let p50 = rtp["rtt_p50_seconds"].as_f64().unwrap();
        assert!((0.000_494..0.000_497).contains(&p50), "{p50}");
        assert_eq!(value["rtcp"]["sent"], 8);
        let holder = json!({ "pid": 7, "name": "python3" });
        let first = json!({
            "port": 21_002, "protocol": "udp", "errno": "EADDRINUSE",
            "message": "EADDRINUSE Address already in use", "holder": holder,
        });
        assert_eq!(value["port_errors"][0], first);
        assert_eq!(value["port_errors"][1].get("holder"), None);
        assert!(!render(&Outcome { ran: None, ..sample() }).unwrap().contains("rtt"));
    }

    #[test]
    fn what_a_peer_did_is_one_object() {
        let counts = Counts { rtp: 5, rtp_answered: 4, ignored: 2, ..Counts::default() };
        let served = Served { counts, dropped: None };
        let text = render_served("[::1]:7680".parse().unwrap(), &served).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["listen"], json!({ "address": "::1", "port": 7_680 }));
        assert_eq!(value["rtp"], json!({ "received": 5, "answered": 4 }));
        assert_eq!((&value["ignored"], value.get("dropped_here")), (&json!(2), None));
    }
}
