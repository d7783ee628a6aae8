use std::sync::Arc;

use jiff::tz::TimeZone;

use super::*;
use crate::{
    event::{Endpoint, Protocol, Refusal},
    ledger::Census,
    ports::PortRange,
    process::Caller,
    report::{
        Body, CauseKind, Counts, EphemeralRange, Evidence, Growth, Holder, Port, Report, Sink as _,
        SpaceKind, Story, Summary,
    },
};

const SECOND: u64 = 1_000_000_000;
/// 2026-01-02T03:04:05Z
const OFFSET: i64 = 1_767_323_045_000_000_000;

fn process(pid: u32, name: &str) -> Arc<Process> {
    Arc::new(Process { pid, name: name.to_owned(), ..Process::default() })
}

fn start() -> Report {
    let range = |netns| EphemeralRange { netns, min: 32_768, max: 60_999 };
    let start = Start {
        host: "web-1".to_owned(),
        kernel: "6.1.0".to_owned(),
        version: "0.1.0".into(),
        backend: "fexit",
        exact: true,
        missing: Vec::new(),
        ephemeral_range: vec![range(7)],
        netns: Some(7),
    };
    Report { time_ns: 0, body: Body::Start(start) }
}

fn space(used: u32) -> Space {
    let source = "10.0.0.2".parse().unwrap();
    let destination = Endpoint::new("10.0.0.1".parse().unwrap(), 443);
    Space {
        kind: SpaceKind::Connect { source, destination },
        netns: 7,
        protocol: Protocol::Tcp,
        capacity: 28_232,
        used,
        headroom: 28_232 - used,
        growth_per_second: None,
        own_range: None,
        seconds_to_exhaustion: None,
    }
}

fn holder(name: &str, [established, time_wait, bound]: [u32; 3]) -> Holder {
    let counts = Counts { established, time_wait, bound, ..Counts::default() };
    Holder::new(Some(process(42, name)), counts)
}

fn cause(kind: CauseKind, [established, time_wait, bound]: [u32; 3]) -> Cause {
    Cause {
        kind,
        evidence: Evidence {
            capacity: 28_232,
            time_wait,
            established,
            bound,
            median_age_seconds: Some(2.0),
            growth: Some(Growth {
                used_per_second: 12.5,
                closed_per_second: f64::from(time_wait) / 60.0,
            }),
            ..Evidence::default()
        },
    }
}

fn refused(time_ns: u64, kind: CauseKind, ports: [u32; 3]) -> Report {
    let port = Port {
        netns: 7,
        protocol: Protocol::Tcp,
        local: None,
        remote: Some(Endpoint::new("10.0.0.1".parse().unwrap(), 443)),
        caller: Some(Caller { process: process(42, "curl"), tid: 42 }),
    };
    let story = Story {
        space: space(28_232),
        holders: vec![holder("curl", ports)].into(),
        cause: Some(cause(kind, ports)),
    };
    let (via, story) = (Via::Connect, Some(Box::new(story)));
    let body = Body::Exhausted { port, via, errno: 99, search_ns: None, story, repeated: 0 };
    Report { time_ns, body }
}

fn summary(time_ns: u64, used: u32) -> Report {
    let summary = Summary { spaces: vec![space(used)], ..Summary::default() };
    Report { time_ns, body: Body::Summary(Box::new(summary)) }
}

fn told(reports: impl IntoIterator<Item = Report>) -> Forensics {
    let mut collector = Collector::default();
    collector.set_offset(OFFSET);
    reports.into_iter().for_each(|report| collector.report(&report).unwrap());
    collector.finish()
}

fn kinds(told: &Forensics) -> Vec<RemedyKind> {
    told.incidents[0].remedies.iter().map(|remedy| remedy.kind).collect()
}

#[test]
fn an_incident_is_told_in_words_with_its_numbers() {
    let mut reports = vec![start()];
    reports.extend((1..=30_u32).map(|n| summary(u64::from(n) * 10 * SECOND, n * 900)));
    let churn = [232, 28_000, 0];
    reports
        .extend((0..40).map(|n| refused(305 * SECOND + n * SECOND / 10, CauseKind::Churn, churn)));
    let stop = Stop { acquired: 90_000, released: 61_768, exhausted: 40, ..Stop::default() };
    reports.push(Report { time_ns: 400 * SECOND, body: Body::Stop(stop) });
    let told = told(reports);
    let mut text = Vec::new();
    text::write(&mut text, &told, &TimeZone::UTC, 100).unwrap();
    insta::assert_snapshot!(String::from_utf8(text).unwrap());
    let mut json = Vec::new();
    json::write(&mut json, &told).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    insta::assert_snapshot!(serde_json::to_string_pretty(&json["incidents"][0]).unwrap());
}

#[test]
fn timelines_are_columns_in_json() {
    let mut collector = Collector::default();
    for (second, used) in [(1, 100), (2, 300), (7, 200)] {
        let mailer = Some(process(43, "mailer"));
        let ports = [
            holder("curl", [used / 2, used / 4, 0]),
            Holder { process: mailer, ..holder("", [0, 0, used / 4]) },
        ];
        let census = Census { space: space(used), holders: ports.to_vec() };
        collector.add(OFFSET + second * 1_000_000_000, &[census]);
    }
    let mut json = Vec::new();
    json::write(&mut json, &collector.finish()).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    insta::assert_snapshot!(serde_json::to_string(&json["timelines"]).unwrap());
}

#[test]
fn failures_close_in_time_are_one_incident() {
    let at = |second: u64| refused(second * SECOND, CauseKind::Concurrency, [28_232, 0, 0]);
    let told = told([start(), at(1), at(50), at(109), at(170), at(300)]);
    let failures: Vec<u64> = told.incidents.iter().map(|incident| incident.failures).collect();
    assert_eq!(failures, [3, 1, 1]);
}

/// So many bind() calls that wanted a port that somebody has.
fn taken(time_ns: u64, port: u16, calls: u64) -> Report {
    let port = Port {
        netns: 7,
        protocol: Protocol::Tcp,
        local: Some(Endpoint::new("127.0.0.1".parse().unwrap(), port)),
        remote: None,
        caller: Some(Caller { process: process(44, "api\u{1b}[2J"), tid: 44 }),
    };
    let holders = vec![holder("nginx", [0, 0, 1])];
    let body = Body::Conflict { port, via: Via::Bind, errno: 98, holders, repeated: calls - 1 };
    Report { time_ns, body }
}

#[test]
fn calls_that_wanted_a_port_that_somebody_has_are_told() {
    let told =
        told([start(), taken(SECOND, 80, 1), taken(3 * SECOND, 80, 999), taken(SECOND, 81, 2)]);
    let mut text = Vec::new();
    text::write(&mut text, &told, &TimeZone::UTC, 100).unwrap();
    insta::assert_snapshot!(String::from_utf8(text).unwrap());
    let mut json = Vec::new();
    json::write(&mut json, &told).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(
        (&json["conflicts_count"], &json["conflicts"][0]["count"]),
        (&1002.into(), &1000.into())
    );
    assert_eq!(json["conflicts"][0]["holders"][0]["process"]["name"], "nginx");
    let mut page = Vec::new();
    html::write(&mut page, &told, &TimeZone::UTC).unwrap();
    assert!(String::from_utf8(page).unwrap().contains("1002 calls were refused a certain port"));
}

/// So many bind() calls to an address that is not there.
fn not_local(time_ns: u64, calls: u64) -> Report {
    let port = Port {
        netns: 7,
        protocol: Protocol::Udp,
        local: Some(Endpoint::new("203.0.113.5".parse().unwrap(), 53)),
        remote: None,
        caller: Some(Caller { process: process(44, "dns"), tid: 44 }),
    };
    let (refusal, repeated) = (Refusal::AddressNotLocal, calls - 1);
    let body = Body::Refused { port, via: Via::Bind, errno: 99, refusal, repeated };
    Report { time_ns, body }
}

#[test]
fn calls_for_an_address_that_is_not_there_are_told_and_are_no_exhaustion() {
    let told = told([start(), not_local(SECOND, 1), not_local(3 * SECOND, 999)]);
    assert!(told.incidents.is_empty() && told.taken.count == 0);
    let mut text = Vec::new();
    text::write(&mut text, &told, &TimeZone::UTC, 100).unwrap();
    insta::assert_snapshot!(String::from_utf8(text).unwrap());
    let mut json = Vec::new();
    json::write(&mut json, &told).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["refusals_count"], 1000);
    assert_eq!(json["refusals"][0]["count"], 1000);
    assert_eq!(json["refusals"][0]["reason"], "address_not_local");
    let mut page = Vec::new();
    html::write(&mut page, &told, &TimeZone::UTC).unwrap();
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("1000 calls failed for an address that was not there"));
    assert!(!page.contains("No call was refused a port"));
}

#[test]
fn ever_new_conflicts_are_counted_in_bounded_memory() {
    let many = (0..3_000).map(|n| taken(SECOND, n, 1)).chain([taken(SECOND, 5_000, 7)]);
    let told = told([start()].into_iter().chain(many));
    let most = &told.taken.most;
    assert_eq!((told.taken.count, most.len(), most[0].count), (3_007, 50, 7));
}

#[test]
fn an_event_that_stands_for_many_calls_counts_as_many() {
    let mut report = refused(2 * SECOND, CauseKind::Churn, [0, 28_232, 0]);
    if let Body::Exhausted { repeated, .. } = &mut report.body {
        *repeated = 499;
    }
    let told = told([start(), refused(SECOND, CauseKind::Churn, [0, 28_232, 0]), report]);
    let incident = &told.incidents[0];
    assert_eq!((incident.failures, incident.worst_per_second), (501, 500));
    assert_eq!((incident.failed[0].count, incident.spaces[0].failures), (501, 501));
}

/// A call of a thread, in a storm of a second.
fn refused_of_thread(kind: CauseKind, ports: [u32; 3], tid: u32) -> Report {
    let mut report = refused(SECOND, kind, ports);
    if let Body::Exhausted { port, .. } = &mut report.body {
        port.caller = Some(Caller { process: process(42, "curl"), tid });
    }
    report
}

#[test]
fn a_thread_that_tries_again_wants_no_more_ports() {
    let ports = [28_232, 0, 0];
    let calls = (0..9_600).map(|n| refused_of_thread(CauseKind::Concurrency, ports, n % 12));
    let told = told([start()].into_iter().chain(calls));
    let incident = &told.incidents[0];
    assert_eq!((incident.failures, incident.worst_per_second), (9_600, 9_600));
    assert_eq!(incident.spaces[0].threads, 12);
    let remedy = &incident.remedies[0];
    assert_eq!(remedy.kind, RemedyKind::LargerRange);
    let range = remedy.range.unwrap();
    // (28,232 + 12) × 1.25
    assert_eq!(range.count(), 35_305);
    let why = "at least 28244 were wanted at the same time (28232 taken, and 12 threads refused in the \
               worst second)";
    assert!(remedy.text.contains(why), "{}", remedy.text);
}

#[test]
fn retries_add_nothing_to_what_time_wait_takes() {
    let calls = (0..9_600).map(|_| refused_of_thread(CauseKind::Churn, [232, 28_000, 0], 42));
    let told = told([start()].into_iter().chain(calls));
    let remedy = &told.incidents[0].remedies[1];
    assert_eq!((remedy.kind, remedy.range.unwrap().count()), (RemedyKind::LargerRange, 35_292));
    assert!(remedy.text.contains("28232 taken, and 1 thread refused"), "{}", remedy.text);
    // More was in use than the range has now: it was changed meanwhile.
    let churn = refused(SECOND, CauseKind::Churn, [1_232, 28_000, 0]);
    let told = self::told([start(), churn]);
    let text = &told.incidents[0].remedies[1].text;
    let why = "at least 29232 were wanted at the same time (connections closed at 467/s keep their ports \
               for 60 s of TIME_WAIT each, and 1232 were in use)";
    assert!(text.contains(why), "{text}");
}

/// A call of a process of its own, when so many others have left TIME_WAIT behind.
fn refused_of_many(number: u32) -> Report {
    let mut report = refused(SECOND, CauseKind::Churn, [0, 28_232, 0]);
    if let Body::Exhausted { port, story: Some(story), .. } = &mut report.body {
        port.caller = Some(Caller { process: process(number, "curl"), tid: number });
        let curl = |pid| Holder { process: Some(process(pid, "curl")), ..holder("", [0, 280, 0]) };
        story.holders = (0..100).map(curl).chain([holder("mailer", [232, 0, 0])]).collect();
    }
    report
}

#[test]
fn many_processes_of_one_name_are_told_as_one() {
    let told = told([start()].into_iter().chain((0..50).map(refused_of_many)));
    let incident = &told.incidents[0];
    let groups: Vec<(u32, u32)> = incident
        .onset
        .as_ref()
        .unwrap()
        .iter()
        .map(|group| (group.processes, group.holder.total()))
        .collect();
    assert_eq!(groups, [(100, 28_000), (1, 232)]);
    let [failed] = &incident.failed[..] else { panic!("one group") };
    assert_eq!((failed.processes, failed.count), (50, 50));
    let mut text = Vec::new();
    text::write(&mut text, &told, &TimeZone::UTC, 1_000).unwrap();
    let text = String::from_utf8(text).unwrap();
    for line in [
        "refused: curl (50 processes) 50 times (EADDRNOTAVAIL)\n",
        "curl (100 processes) 28000 (28000 TIME_WAIT); mailer 42 232 (232 established)\n",
        "1. Reuse connections (keep-alive, a pool) in curl (100 processes) towards 10.0.0.1:443: ",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn few_processes_that_hold_most_are_told_apart_from_the_others_of_their_name() {
    let of =
        |pid, total| Holder { process: Some(process(pid, "python3")), ..holder("", [total, 0, 0]) };
    let mut all = vec![of(1, 900), of(2, 500)];
    all.extend((10..40).map(|pid| of(pid, 10)));
    let groups = group::holders(&all);
    let groups: Vec<(u32, u32)> =
        groups.iter().map(|group| (group.processes, group.holder.total())).collect();
    assert_eq!(groups, [(1, 900), (1, 500), (30, 300)]);
}

#[test]
fn no_remedy_is_named_that_would_not_have_helped() {
    let of = |kind, ports| told([start(), refused(SECOND, kind, ports)]);
    // Nothing but the program helps against a leak.
    let leak = of(CauseKind::Leak, [28_232, 0, 0]);
    assert_eq!(kinds(&leak), [RemedyKind::CloseConnections]);
    // 28,000 in TIME_WAIT are 467 connections a second: no range is so large with what is in use.
    let churn = of(CauseKind::Churn, [28_000, 28_232, 0]);
    assert_eq!(kinds(&churn), [RemedyKind::ReuseConnections, RemedyKind::MoreAddresses]);
    let addresses = churn.incidents[0].remedies[1].addresses;
    assert_eq!(addresses, Some(3));
    // None of the entries could have been taken over, so tcp_tw_reuse is not named.
    let some = of(CauseKind::Churn, [0, 20_000, 0]);
    assert_eq!(kinds(&some), [RemedyKind::ReuseConnections, RemedyKind::LargerRange]);
    // What is bound and not connected gains nothing from IP_BIND_ADDRESS_NO_PORT.
    let idle = of(CauseKind::BindHeld, [0, 0, 28_232]);
    assert_eq!(kinds(&idle), [RemedyKind::PortsOutsideRange, RemedyKind::LargerRange]);
}

#[test]
fn memory_is_bounded_however_much_fails() {
    let mut reports = vec![start()];
    for n in 0..5_000 {
        reports.push(refused(n * 100 * SECOND, CauseKind::Churn, [0, 28_232, 0]));
        reports.push(summary(n * 100 * SECOND + 90 * SECOND, 1));
    }
    let told = told(reports);
    assert_eq!((told.incidents.len(), told.left_out), (1_000, 4_000));
}

#[test]
fn a_range_of_the_sockets_own_is_another_incident_than_that_of_the_namespace() {
    let own = |time_ns| {
        let mut report = refused(time_ns, CauseKind::SmallRange, [20, 0, 0]);
        if let Body::Exhausted { story: Some(story), .. } = &mut report.body {
            let own_range = Some(PortRange { min: 40_000, max: 40_019 });
            story.space = Space { own_range, capacity: 20, used: 20, headroom: 0, ..space(0) };
        }
        report
    };
    let all = |time_ns| refused(time_ns, CauseKind::Concurrency, [28_232, 0, 0]);
    let mut told = told([start(), own(SECOND), all(2 * SECOND), own(3 * SECOND), all(4 * SECOND)]);
    told.incidents.sort_by_key(|incident| incident.began_ns);
    let [own, all] = &told.incidents[..] else { panic!("{:?}", told.incidents) };
    assert_eq!((own.failures, all.failures), (2, 2));
    let of = |incident: &Incident| incident.remedies.last().map(|one| (one.kind, one.text.clone()));
    let (kind, text) = of(own).unwrap();
    assert!(kind == RemedyKind::LargerRange && text.contains("IP_LOCAL_PORT_RANGE"), "{text}");
    let (kind, text) = of(all).unwrap();
    assert!(kind == RemedyKind::LargerRange && text.contains("net.ipv4"), "{text}");
}
