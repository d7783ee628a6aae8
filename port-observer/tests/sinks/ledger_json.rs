use port_observer::event::Protocol;
use port_observer::ports::PortRange;
use port_observer::report::{
    Body, Cause, CauseKind, Evidence, Growth, Level, Report, Space, SpaceKind, Story,
};
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use serde_json::Value;

use super::json::{event, has_null, written};
use super::ledger_samples::{
    address, bind_space, cause, conflict, connect_space, exhausted, holder, ledger, named, story,
    summary, threshold,
};
use super::lines::{self, Endpoint, Event};
use super::samples::{NETNS, at, endpoint};

#[test]
fn what_the_ledger_concludes_looks_as_it_did() {
    insta::assert_snapshot!("json_ledger", written(&ledger()));
}

fn value(report: Report) -> Value {
    serde_json::from_str(&written(&[report])).unwrap()
}

#[test]
fn an_exhausted_line_tells_its_space_its_holders_and_the_cause() {
    let Event::Exhausted { space, holders, cause, .. } = event(exhausted(1, Some(story()))) else {
        panic!("not an exhausted")
    };
    let wanted = lines::Space {
        kind: "connect".into(),
        netns: NETNS,
        protocol: "tcp".into(),
        source: Some([10, 0, 0, 2].into()),
        destination: Some(Endpoint { address: [10, 0, 0, 1].into(), port: 443 }),
        address: None,
        capacity: 100,
        used: 100,
        headroom: 0,
        used_percent: 100.0,
        growth_per_second: Some(0.0),
        own_range: None,
        seconds_to_exhaustion: None,
    };
    assert_eq!(space, Some(wanted));
    let counts: Vec<_> = holders
        .unwrap()
        .into_iter()
        .map(|h| (h.process.map(|p| (p.pid, p.tid)), h.established, h.time_wait, h.total))
        .collect();
    assert_eq!(
        counts,
        [(Some((4242, None)), 2, 90, 92), (Some((77, None)), 1, 4, 5), (None, 0, 3, 3)]
    );
    let cause = cause.unwrap();
    assert_eq!(cause.kind, "churn");
    assert_eq!(cause.evidence.closed_per_second, Some(40.123));
}

#[test]
fn an_exhausted_line_without_a_story_claims_nothing() {
    let line = value(exhausted(1, None));
    for field in ["space", "holders", "cause"] {
        assert!(line.get(field).is_none(), "{field}");
    }
}

#[test]
fn every_cause_has_its_name_and_its_numbers() {
    for (kind, name) in [
        (CauseKind::Churn, "churn"),
        (CauseKind::Leak, "leak"),
        (CauseKind::BindHeld, "bind_held"),
        (CauseKind::Concurrency, "concurrency"),
        (CauseKind::SmallRange, "small_range"),
    ] {
        let story = Story { cause: Some(cause(kind)), ..story() };
        let line = value(exhausted(1, Some(story)));
        assert_eq!(line["cause"]["kind"], name);
        assert_eq!(line["cause"]["evidence"]["time_wait"], 97);
    }
}

#[test]
fn a_conflict_names_who_has_the_port_if_that_is_known() {
    let holders = vec![holder(Some(named(77, "php-fpm")), [0, 0, 1, 0])];
    let line = value(conflict(holders));
    assert_eq!(line["holders"][0]["process"]["pid"], 77);
    assert_eq!(line["holders"][0]["bound"], 1);
    assert!(value(conflict(Vec::new())).get("holders").is_none());
}

#[test]
fn a_threshold_has_its_level_and_a_forecast_if_there_is_one() {
    let line = value(threshold(1, Level::Critical, bind_space()));
    assert_eq!(line["level"], "critical");
    assert_eq!(line["space"]["kind"], "bind");
    assert_eq!(line["space"]["address"], "0.0.0.0");
    assert_eq!(line["space"]["used_percent"], 90.008);
    assert_eq!(line["space"]["growth_per_second"], 23.457);
    assert_eq!(line["space"]["seconds_to_exhaustion"], 120.264);
    let line = value(threshold(1, Level::Ok, connect_space(0)));
    assert_eq!(line["level"], "ok");
    assert!(line["space"].get("seconds_to_exhaustion").is_none());
}

#[test]
fn a_v4_mapped_address_of_a_space_is_written_as_ipv4() {
    let mapped = address("::ffff:10.0.0.2");
    let kind =
        SpaceKind::Connect { source: mapped, destination: endpoint("[::ffff:10.0.0.1]:443") };
    let line = value(threshold(1, Level::Ok, Space { kind, ..connect_space(0) }));
    assert_eq!(line["space"]["source"], "10.0.0.2");
    assert_eq!(line["space"]["destination"]["address"], "10.0.0.1");
    let kind = SpaceKind::Bind { address: mapped };
    let line = value(threshold(1, Level::Ok, Space { kind, ..connect_space(0) }));
    assert_eq!(line["space"]["address"], "10.0.0.2");
}

#[test]
fn a_summary_counts_reserved_ports_and_connections_that_begin_or_end() {
    let Event::Summary { namespaces, spaces, processes } =
        event(at(1, Body::Summary(Box::new(summary()))))
    else {
        panic!("not a summary")
    };
    assert_eq!((namespaces[0].reserved_ports, namespaces[0].capacity), (Some(10), Some(100)));
    assert_eq!(namespaces[0].tcp.connections, 5);
    assert_eq!((namespaces[1].reserved_ports, namespaces[1].capacity), (None, None));
    assert_eq!(namespaces[1].names, ["blue", "vpn"]);
    assert_eq!(spaces.iter().map(|space| space.used).collect::<Vec<_>>(), [97, 25_411, 12]);
    let pids: Vec<_> = processes.iter().map(|of| of.process.as_ref().map(|p| p.pid)).collect();
    assert_eq!(pids, [Some(4242), Some(77), None]);
    assert_eq!((processes[0].tcp.time_wait, processes[0].udp.ports), (92, 4));
}

#[test]
fn the_name_of_a_namespace_does_nothing_to_a_terminal() {
    let mut summary = summary();
    let hostile = "x\x1b[31m\u{9b}\u{202e}\n";
    summary.namespaces[1].names = vec![hostile.to_owned()];
    let text = written(&[at(1, Body::Summary(Box::new(summary)))]);
    assert_eq!(text.lines().count(), 1);
    assert!(text.trim_end().chars().all(|c| !c.is_control() && c != '\u{202e}'), "{text:?}");
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(line["namespaces"][1]["names"][0], hostile);
}

fn any_number() -> impl Strategy<Value = Option<f64>> {
    let odd = prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-f64::INFINITY), any::<f64>()];
    prop_oneof![Just(None), odd.prop_map(Some), (-1e6..1e6).prop_map(Some)]
}

fn any_space() -> impl Strategy<Value = Space> {
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>(), any::<bool>());
    (numbers, any::<[u8; 16]>(), any_number(), any_number()).prop_map(
        |((capacity, used, headroom, udp), address, growth_per_second, seconds_to_exhaustion)| {
            let kind = if udp {
                SpaceKind::Bind { address: address.into() }
            } else {
                let destination = endpoint("[2001:db8::1]:443");
                SpaceKind::Connect { source: address.into(), destination }
            };
            Space {
                kind,
                netns: NETNS,
                protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
                capacity,
                used,
                headroom,
                own_range: udp.then_some(PortRange { min: 1, max: u16::MAX }),
                growth_per_second,
                seconds_to_exhaustion,
            }
        },
    )
}

proptest! {
    #[test]
    fn whatever_is_reported_is_one_line_of_finite_numbers_without_null(
        space in any_space(),
        numbers in (any_number(), any_number(), any_number()),
        name in ".*",
    ) {
        let told = Story {
            space: space.clone(),
            holders: vec![holder(Some(named(1, &name)), [1, 2, 3, 4])].into(),
            cause: Some(Cause {
                evidence: Evidence {
                    growth: numbers.0.zip(numbers.2).map(|(closed_per_second, used_per_second)| {
                        Growth { used_per_second, closed_per_second }
                    }),
                    median_age_seconds: numbers.1,
                    ..cause(CauseKind::Leak).evidence
                },
                ..cause(CauseKind::Leak)
            }),
        };
        let mut all = summary();
        all.spaces.push(space.clone());
        all.namespaces[0].names.push(name);
        let reports = [
            threshold(1, Level::Warning, space),
            exhausted(1, Some(told)),
            at(1, Body::Summary(Box::new(all))),
        ];
        let text = written(&reports);
        prop_assert_eq!(text.lines().count(), reports.len());
        for line in text.lines() {
            let value: Value = serde_json::from_str(line).unwrap();
            prop_assert!(!has_null(&value), "{}", line);
            // Strict types: a number that is not finite would have no place in them.
            let read: Result<Event, _> = serde_json::from_str(line);
            prop_assert!(read.is_ok(), "{}: {:?}", line, read);
        }
    }
}
