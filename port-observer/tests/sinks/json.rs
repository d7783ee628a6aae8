use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Mutex};

use port_observer::event::{Refusal, Via};
use port_observer::report::Sink;
use port_observer::report::{Body, Report};
use port_observer::sink::json::Json;
use serde_json::Value;

use super::ledger_samples::ledger;
use super::lines::{Container, Endpoint, Event, Head, Place, Process, Range, fields};
use super::pools::pools;
use super::samples::{OFFSET_NS, acquire, awkward, curl, port, stream};

/// A reader that the writer does not own.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub fn written(reports: &[Report]) -> String {
    let shared = Shared::default();
    let mut sink = Json::new(shared.clone());
    sink.set_offset(OFFSET_NS);
    for report in reports {
        sink.report(report).unwrap();
    }
    sink.flush().unwrap();
    shared.text()
}

pub fn event(report: Report) -> Event {
    serde_json::from_str(&written(&[report])).unwrap()
}

pub fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(values) => values.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[test]
fn each_type_of_line_looks_as_it_did() {
    insta::assert_snapshot!("json_lines", written(&stream()));
}

#[test]
fn each_line_reads_back_with_its_own_fields_and_no_others() {
    for line in written(&[stream(), ledger()].concat()).lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        let head: Head = serde_json::from_str(line).unwrap();
        let event: Result<Event, _> = serde_json::from_str(line);
        assert!(event.is_ok(), "{line}: {event:?}");
        assert_eq!(head.schema, 1);
        let known = fields(&head.r#type);
        for field in value.as_object().unwrap().keys() {
            assert!(known.contains(&field.as_str()), "{field} in {line}");
        }
        assert!(!has_null(&value), "{line}");
    }
}

#[test]
fn each_line_says_what_was_reported() {
    let text = written(&stream());
    let events: Vec<Event> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let netns = 4_026_531_840;
    assert_eq!(
        events[0],
        Event::Start {
            host: "web-1".into(),
            kernel: "6.18.5".into(),
            version: "0.1.0".into(),
            backend: "tracepoint".into(),
            exact: false,
            missing: vec!["the release of UDP ports, found by comparing".into()],
            ephemeral_range: vec![Range { netns, min: 32768, max: 60999 }],
        }
    );
    let endpoint = |address: [u8; 4], port| Some(Endpoint { address: address.into(), port });
    let process = || Process {
        pid: 4242,
        tid: Some(4243),
        name: Some("curl".into()),
        executable: Some("/usr/bin/curl".into()),
        command_line: Some(vec!["curl".into(), "-s".into(), "http://10.0.0.1".into()]),
        uid: Some(1000),
        start_time: Some("2026-01-02T03:04:14.500000000Z".into()),
        cgroup: Some("/system.slice/docker-0123.scope".into()),
        container: Some(Container {
            id: "0123456789abcdef".repeat(4),
            name: Some("web".into()),
            runtime: "docker".into(),
        }),
    };
    let place = || Place {
        netns,
        protocol: "tcp".into(),
        local: endpoint([10, 0, 0, 2], 40001),
        remote: endpoint([10, 0, 0, 1], 443),
        process: Some(process()),
    };
    let acquire = Event::Acquire {
        via: "connect".into(),
        requested_port: Some(0),
        search_ns: Some(12_345),
        space: None,
        place: place(),
    };
    assert_eq!(events[1], acquire);
    let state = Event::State {
        old: "CLOSE".into(),
        new: "SYN_SENT".into(),
        place: Place { process: None, ..place() },
    };
    assert_eq!(events[2], state);
    assert_eq!(events[6], Event::TimeWait { place: place() });
    let release = Event::Release {
        reason: "time_wait_expired".into(),
        held_ns: Some(61_233_000_000),
        place: place(),
    };
    assert_eq!(events[7], release);
    let exhausted = Event::Exhausted {
        via: "connect".into(),
        errno: "EADDRNOTAVAIL".into(),
        search_ns: Some(1_416_000),
        space: None,
        holders: None,
        cause: None,
        repeated: None,
        place: Place { local: None, ..place() },
    };
    assert_eq!(events[9], exhausted);
    let conflict = Event::Conflict {
        via: "bind".into(),
        errno: "EADDRINUSE".into(),
        holders: None,
        remedy: None,
        repeated: None,
        place: Place { local: endpoint([127, 0, 0, 1], 8080), remote: None, ..place() },
    };
    assert_eq!(events[10], conflict);
    let lost = Event::Lost {
        count: 12,
        r#where: "kernel_buffer".into(),
        kind: Some("acquire".into()),
        process: None,
    };
    assert_eq!(events[11], lost);
    let stop = Event::Stop {
        events: 10,
        lost: 12,
        duration_seconds: 61.25,
        acquired: 3,
        released: 2,
        exhausted: 1,
    };
    assert_eq!(events[12], stop);
}

#[test]
fn every_type_of_report_is_among_the_samples() {
    let text = written(&[stream(), ledger(), pools()].concat());
    for event in port_observer::report::EventType::ALL {
        let name = event.name();
        assert!(text.contains(&format!("\"type\":\"{name}\"")), "{name}");
    }
}

#[test]
fn lines_are_numbered_from_one_without_gaps() {
    let text = written(&stream());
    let numbers: Vec<u64> =
        text.lines().map(|line| serde_json::from_str::<Head>(line).unwrap().seq).collect();
    assert_eq!(numbers, (1..=stream().len() as u64).collect::<Vec<_>>());
}

#[test]
fn times_are_rfc_3339_in_utc_with_nine_digits_of_the_second() {
    let text = written(&stream());
    let head: Head = serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
    assert_eq!(head.time, "2026-01-02T03:04:15.001000007Z");
    let time: jiff::Timestamp = head.time.parse().unwrap();
    assert_eq!(time.as_nanosecond(), i128::from(OFFSET_NS) + 10_001_000_007);
}

#[test]
fn a_process_keeps_its_start_time_when_the_clock_is_set() {
    let shared = Shared::default();
    let mut sink = Json::new(shared.clone());
    let report = acquire(port("10.0.0.2:40001", None, Some(curl())));
    for offset in [OFFSET_NS, OFFSET_NS + 3_000_000_000] {
        sink.set_offset(offset);
        sink.report(&report).unwrap();
    }
    sink.flush().unwrap();
    let text = shared.text();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["time"], "2026-01-02T03:04:15.001000007Z");
    assert_eq!(lines[1]["time"], "2026-01-02T03:04:18.001000007Z");
    for line in lines {
        assert_eq!(line["process"]["start_time"], "2026-01-02T03:04:14.500000000Z");
    }
}

#[test]
fn a_v4_mapped_address_is_written_as_ipv4() {
    let report = acquire(port("[::ffff:10.0.0.2]:40001", Some("[::ffff:10.0.0.1]:443"), None));
    let Event::Acquire { place, .. } = event(report) else { panic!("not an acquire") };
    assert_eq!(place.local, Some(Endpoint { address: [10, 0, 0, 2].into(), port: 40001 }));
    assert_eq!(place.remote, Some(Endpoint { address: [10, 0, 0, 1].into(), port: 443 }));
}

#[test]
fn what_is_not_known_is_absent() {
    let process = port_observer::process::Process { pid: 7, ..Default::default() };
    let text = written(&[acquire(port("10.0.0.2:40001", None, Some(process)))]);
    assert!(text.contains(r#""process":{"pid":7,"tid":4243}"#), "{text}");
    let text = written(&[acquire(port("10.0.0.2:40001", None, None))]);
    assert!(!text.contains("process") && !text.contains("remote"), "{text}");
}

#[test]
fn hostile_names_reach_the_reader_whole_and_the_terminal_harmless() {
    let reports = awkward();
    let text = written(&reports);
    assert_eq!(text.lines().count(), reports.len());
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    for (line, report) in text.lines().zip(&reports) {
        let value: Value = serde_json::from_str(line).unwrap();
        let Body::Acquire { port, .. } = &report.body else { panic!("not an acquire") };
        let Some(caller) = &port.caller else { continue };
        assert_eq!(value["process"]["name"].as_str().unwrap_or_default(), caller.process.name);
    }
}

#[test]
fn an_errno_without_a_name_is_its_number() {
    let Body::Acquire { port, via, .. } = acquire(port("10.0.0.2:1", None, None)).body else {
        panic!("not an acquire")
    };
    let body = Body::Conflict { port, via, errno: 9999, holders: Vec::new(), repeated: 0 };
    let report = Report { time_ns: 1, body };
    let Event::Conflict { errno, .. } = event(report) else { panic!("not a conflict") };
    assert_eq!(errno, "9999");
}

#[test]
fn a_refused_call_says_why_and_what_helps() {
    let Body::Acquire { port, .. } = acquire(port("203.0.113.5:80", None, None)).body else {
        panic!("not an acquire")
    };
    let refusal = Refusal::AddressNotLocal;
    let body = Body::Refused { port, via: Via::Bind, errno: 99, refusal, repeated: 2 };
    let Event::Refused { via, errno, reason, remedy, repeated, place } =
        event(Report { time_ns: 1, body })
    else {
        panic!("not refused")
    };
    assert_eq!((&*via, &*errno, &*reason), ("bind", "EADDRNOTAVAIL", "address_not_local"));
    assert_eq!((place.local.map(|local| local.port), repeated), (Some(80), Some(2)));
    assert!(remedy.is_some_and(|remedy| remedy[1].contains("203.0.113.5/32")));
}

#[test]
fn a_reader_that_left_is_told_as_a_broken_pipe() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut sink = Json::new(writer);
    sink.report(&stream()[1]).unwrap();
    assert_eq!(sink.flush().unwrap_err().kind(), ErrorKind::BrokenPipe);

    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut sink = Json::new(writer);
    let error = (0..10_000).find_map(|_| sink.report(&stream()[1]).err()).unwrap();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn lines_are_held_back_until_the_flush_and_then_whole() {
    let shared = Shared::default();
    let mut sink = Json::new(shared.clone());
    sink.report(&stream()[1]).unwrap();
    assert_eq!(shared.text(), "");
    sink.flush().unwrap();
    assert!(shared.text().ends_with("}\n"));
}
