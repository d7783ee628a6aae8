use std::collections::BTreeMap;
use std::net::SocketAddr;

use port_observer::check::{
    Answer, BindHeldPorts, BindHolder, Consumer, Finding, Status, Tally, Terms, Threshold, json,
    text,
};
use port_observer::event::{Endpoint, Flow, Protocol, TcpState};
use port_observer::kernel::diag::DiagSocket;
use port_observer::ports::{PortRange, Ports, ReservedPorts};
use port_observer::report::Sources;
use serde::Deserialize;

/// What a program reads: the names of the check that was there before, and more.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Read {
    status: String,
    port_min: u16,
    port_max: u16,
    total_ports: u32,
    used_ports: u32,
    used_percent: u32,
    health_score: u32,
    warning_threshold: u32,
    critical_threshold: u32,
    top_consumers: Vec<Address>,
    top_processes: Vec<Process>,
    busiest_destination: Option<Busiest>,
    connections: u32,
    states: BTreeMap<String, u32>,
    protocol: String,
    namespace: String,
    reserved_ports: u32,
    bind_held_ports: u32,
    missing: Vec<String>,
    sources: BTreeMap<String, String>,
    message: String,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Address {
    local_addr: String,
    address: String,
    count: u32,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Process {
    pid: Option<u32>,
    name: String,
    count: u32,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Busiest {
    source: String,
    destination: String,
    used: u32,
    capacity: u32,
    used_percent: u32,
}

fn endpoint(text: &str) -> Endpoint {
    text.parse::<SocketAddr>().unwrap().into()
}

fn socket(local: &str, remote: Option<&str>, state: TcpState) -> DiagSocket {
    let flow = Flow {
        netns: 1,
        protocol: Protocol::Tcp,
        local: endpoint(local),
        remote: remote.map(endpoint),
    };
    DiagSocket {
        flow,
        state,
        time_wait: state == TcpState::TIME_WAIT,
        expires_ms: 0,
        is_unread: false,
        accept_queue: (0, 0),
        inode: 0,
        cookie: 0,
        v6only: None,
        interface: 0,
    }
}

/// 78 of 100 ports: 70 in TIME_WAIT to one destination, seven connections, one listener.
fn tally() -> Tally {
    let reserved = ReservedPorts::new(vec![PortRange { min: 40_100, max: 40_109 }]);
    let ephemeral = PortRange { min: 40_000, max: 40_109 };
    let mut tally = Tally::new(Protocol::Tcp, Ports { ephemeral, reserved });
    for port in 40_000..40_070 {
        let local = format!("10.0.0.2:{port}");
        tally.list(&socket(&local, Some("10.0.0.1:443"), TcpState::TIME_WAIT));
    }
    for port in 40_070..40_077 {
        let local = format!("[2001:db8::2]:{port}");
        tally.list(&socket(&local, Some("[2001:db8::1]:5432"), TcpState::ESTABLISHED));
    }
    tally.list(&socket("127.0.0.1:40077", None, TcpState::LISTEN));
    tally
}

fn finding() -> Finding {
    let consumer = |pid, name: &str, count| Consumer { pid, name: name.to_owned(), count };
    Finding {
        namespace: "blue".to_owned(),
        status: Status::Warning,
        range: PortRange { min: 40_000, max: 40_109 },
        reserved: 10,
        tally: tally(),
        processes: vec![
            consumer(None, "TIME_WAIT", 70),
            consumer(Some(4242), "curl|\u{1b}[31m", 7),
            consumer(None, "not known", 1),
        ],
        sources: Sources { sockets: "sock_diag", processes: Some("bpf_iterator") },
        lists_bound: true,
        unknown_binds: None,
        bind_holders: Vec::new(),
        missing: Vec::new(),
        doubt: None,
    }
}

fn answer(findings: Vec<Finding>) -> Answer {
    let terms = Terms {
        protocol: Protocol::Tcp,
        range: None,
        warning: Threshold::Percent(70.0),
        critical: Threshold::Percent(85.0),
        per_destination: false,
    };
    Answer { terms, findings, failures: Vec::new() }
}

#[test]
fn the_line_of_a_plugin_looks_as_it_did() {
    let mut lines = vec![text::render(&answer(vec![finding()]))];
    let mut destination = answer(vec![finding()]);
    destination.terms.per_destination = true;
    lines.push(text::render(&destination));
    let ok = Finding { status: Status::Ok, namespace: "red".to_owned(), ..finding() };
    lines.push(text::render(&answer(vec![finding(), ok])));
    let unseen = "TCP sockets that are only bound: this kernel lists none".to_owned();
    let ok = Finding { status: Status::Ok, missing: vec![unseen], ..finding() };
    lines.push(text::render(&answer(vec![ok])));
    let garbage = Some("3 records about sockets made no sense".to_owned());
    let doubt = Finding { status: Status::Unknown, doubt: garbage, ..finding() };
    lines.push(text::render(&answer(vec![doubt])));
    let mut gone = answer(vec![finding()]);
    gone.failures.push("network namespace red: it is gone".to_owned());
    lines.push(text::render(&gone));
    lines.push(text::unknown("a reason | with a bar"));
    // Connections that have taken their ports by bind().
    let bind_held = |holders: &[(&str, u32, u32)]| {
        let mut tally = Tally::new(Protocol::Tcp, tally().ports().clone())
            .knowing((40_000..40_080).collect::<BindHeldPorts>());
        for port in 40_000..40_080 {
            let local = format!("10.0.0.2:{port}");
            tally.list(&socket(&local, Some("10.0.0.1:443"), TcpState::ESTABLISHED));
        }
        let holder = |&(name, processes, sockets): &(&str, u32, u32)| {
            (name.to_owned(), BindHolder { processes, sockets })
        };
        let bind_holders = holders.iter().map(holder).collect();
        Finding { tally, bind_holders, ..finding() }
    };
    let holders =
        [("etl-worker", 3, 60), ("api", 1, 12), ("curl", 1, 4), ("a|b", 2, 3), ("x", 1, 1)];
    lines.extend(
        [&holders[..1], &holders, &[]].map(|of| text::render(&answer(vec![bind_held(of)]))),
    );
    let unknown = Some("it takes CAP_BPF and CAP_PERFMON".to_owned());
    let unknown = json::render(&answer(vec![Finding { unknown_binds: unknown, ..finding() }]));
    assert!(!unknown.unwrap().contains("bindHeldPorts"));
    insta::assert_snapshot!("check_text", lines.join("\n"));
}

#[test]
fn the_object_looks_as_it_did() {
    insta::assert_snapshot!("check_json", json::render(&answer(vec![finding()])).unwrap());
}

#[test]
fn a_program_reads_all_of_the_object() {
    let text = json::render(&answer(vec![finding()])).unwrap();
    let read: Read = serde_json::from_str(&text).unwrap();
    assert_eq!((&*read.status, &*read.namespace, &*read.protocol), ("warning", "blue", "tcp"));
    assert_eq!((read.port_min, read.port_max, read.reserved_ports), (40_000, 40_109, 10));
    assert_eq!((read.total_ports, read.used_ports, read.connections), (100, 78, 78));
    assert_eq!((read.used_percent, read.health_score), (78, 22));
    assert_eq!((read.warning_threshold, read.critical_threshold), (70, 85));
    let addresses: Vec<_> = read.top_consumers.iter().map(|one| one.address.as_str()).collect();
    assert_eq!(addresses, ["10.0.0.2", "2001:db8::2", "127.0.0.1"]);
    if cfg!(target_endian = "little") {
        let written: Vec<_> = read.top_consumers.iter().map(|one| &*one.local_addr).collect();
        assert_eq!(written, ["0200000A", "B80D0120000000000000000002000000", "0100007F"]);
    }
    assert_eq!(read.top_processes[0], Process { pid: None, name: "TIME_WAIT".into(), count: 70 });
    assert_eq!(read.top_processes[1].pid, Some(4242));
    let busiest = read.busiest_destination.unwrap();
    // The listener's port is none that connect() could have.
    let wanted = ("10.0.0.2", "10.0.0.1:443", 71, 100, 71);
    let Busiest { source, destination, used, capacity, used_percent } = &busiest;
    assert_eq!((&**source, &**destination, *used, *capacity, *used_percent), wanted);
    assert_eq!(read.bind_held_ports, 0, "it is a listener's");
    assert_eq!((read.states["time_wait"], read.states["established"]), (70, 7));
    assert_eq!((read.states["listen"], read.states["bound"]), (1, 0));
    assert_eq!(
        (&*read.sources["sockets"], &*read.sources["processes"]),
        ("sock_diag", "bpf_iterator")
    );
    assert!(read.missing.is_empty() && read.message.contains("tcp_tw_reuse"), "{}", read.message);
}

#[test]
fn a_state_that_the_kernel_does_not_report_is_not_counted_as_none() {
    let unseen = "TCP sockets that are only bound: this kernel lists none".to_owned();
    let finding = Finding { missing: vec![unseen], lists_bound: false, ..finding() };
    let text = json::render(&answer(vec![finding])).unwrap();
    let read: Read = serde_json::from_str(&text).unwrap();
    assert!(!read.states.contains_key("bound") && read.missing.len() == 1);
}

#[test]
fn what_could_not_be_checked_is_never_ok() {
    let ok = || Finding { status: Status::Ok, ..finding() };
    assert_eq!(answer(vec![ok()]).status(), Status::Ok);
    assert_eq!(answer(Vec::new()).status(), Status::Unknown);
    let mut gone = answer(vec![ok()]);
    gone.failures.push("network namespace red: it is gone".to_owned());
    assert_eq!(gone.status(), Status::Unknown);
    gone.findings[0].status = Status::Critical;
    assert_eq!(gone.status(), Status::Critical);
    let object: serde_json::Value = serde_json::from_str(&json::render(&gone).unwrap()).unwrap();
    assert_eq!(object["failures"][0], "network namespace red: it is gone");
    assert_eq!(object["namespaces"][0]["namespace"], "blue");
}

#[test]
fn what_is_said_about_an_answer_leaves_it_readable() {
    let line = text::render(&answer(vec![finding()]));
    let noted = text::with_note(&line, "12 s | old");
    assert!(noted.contains("ip_local_port_range [12 s / old] | used=78;"), "{noted}");
    assert_eq!(noted.matches('|').count(), 1);
    let object = json::render(&answer(vec![finding()])).unwrap();
    let aged = json::with_member(&object, "ageSeconds", &12).unwrap();
    let read: serde_json::Value = serde_json::from_str(&aged).unwrap();
    assert_eq!((&read["ageSeconds"], &read["status"]), (&12.into(), &"warning".into()));
}
