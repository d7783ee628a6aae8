use jiff::tz::TimeZone;
use port_observer::event::{Protocol, TcpState};
use port_observer::report::{self, Holding, Port, Snapshot};
use port_observer::sink::json::snapshot::write;
use port_observer::sink::table::{Options, Screen, Table};
use serde::Deserialize;
use unicode_width::UnicodeWidthStr;

use super::json::has_null;
use super::ledger_samples::summary;
use super::lines::{Endpoint, Namespace, Process, ProcessUse, Space};
use super::samples::{NETNS, OFFSET_NS, curl, port};
use super::table::screen;

/// What a program reads.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    schema: u32,
    time: String,
    host: String,
    kernel: String,
    missing: Vec<String>,
    sources: Sources,
    namespaces: Vec<Namespace>,
    spaces: Vec<Space>,
    processes: Vec<ProcessUse>,
    holdings: Option<Vec<ReadHolding>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sources {
    sockets: String,
    processes: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadHolding {
    netns: u32,
    protocol: String,
    state: String,
    local: Endpoint,
    remote: Option<Endpoint>,
    process: Option<Process>,
    inode: Option<u32>,
}

fn holding(port: Port, state: TcpState, inode: Option<u32>) -> Holding {
    Holding { port, state, inode }
}

fn snapshot() -> Snapshot {
    let elsewhere = Port { netns: 4_026_532_177, ..port("[2001:db8::1]:8080", None, Some(curl())) };
    let udp = Port { protocol: Protocol::Udp, ..port("0.0.0.0:53124", None, Some(curl())) };
    let to = Some("10.0.0.1:443");
    let bound = port("127.0.0.1:40009", None, Some(curl()));
    Snapshot {
        time_ns: 61_236_000_007,
        host: "web-1".to_owned(),
        kernel: "6.18.5".to_owned(),
        missing: vec!["TCP sockets that are only bound: this kernel lists none".to_owned()],
        sources: report::Sources { sockets: "sock_diag", processes: Some("proc") },
        summary: summary(),
        holdings: Some(vec![
            holding(port("10.0.0.2:40007", to, Some(curl())), TcpState::ESTABLISHED, Some(4711)),
            holding(port("10.0.0.2:40008", to, None), TcpState::TIME_WAIT, None),
            holding(bound, TcpState::BOUND_INACTIVE, Some(4712)),
            holding(udp, TcpState::CLOSE, Some(4713)),
            holding(elsewhere, TcpState::LISTEN, Some(4714)),
        ]),
        asked: None,
    }
}

fn json(snapshot: &Snapshot) -> String {
    let mut bytes = Vec::new();
    write(&mut bytes, snapshot, OFFSET_NS).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn text(snapshot: &Snapshot, screen: Screen, color: bool) -> String {
    let mut bytes = Vec::new();
    let options = Options { color, screen, time_zone: TimeZone::UTC, home_netns: Some(NETNS) };
    let mut table = Table::new(&mut bytes, options);
    port_observer::report::Sink::set_offset(&mut table, OFFSET_NS);
    table.snapshot(snapshot).unwrap();
    drop(table);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn a_snapshot_is_one_line_of_json_that_looks_as_it_did() {
    let text = json(&snapshot());
    assert_eq!(text.find('\n'), Some(text.len() - 1));
    insta::assert_snapshot!("json_snapshot", text);
}

#[test]
fn a_program_reads_all_of_a_snapshot_and_no_null() {
    let text = json(&snapshot());
    assert!(!has_null(&serde_json::from_str(&text).unwrap()));
    let read: Read = serde_json::from_str(&text).unwrap();
    assert_eq!((read.schema, &*read.time), (1, "2026-01-02T03:05:06.236000007Z"));
    assert_eq!(
        (&*read.sources.sockets, read.sources.processes.as_deref()),
        ("sock_diag", Some("proc"))
    );
    assert_eq!((&*read.host, &*read.kernel, read.missing.len()), ("web-1", "6.18.5", 1));
    let parts = (read.namespaces.len(), read.spaces.len(), read.processes.len());
    assert_eq!(parts, (2, 3, 3));
    let holdings = read.holdings.unwrap();
    let one = &holdings[0];
    assert_eq!((one.netns, &*one.protocol, &*one.state), (NETNS, "tcp", "ESTABLISHED"));
    assert_eq!((one.local.port, one.remote.as_ref().unwrap().port), (40007, 443));
    // A process holds a port, none of its threads does.
    let process = one.process.as_ref().unwrap();
    assert_eq!((process.pid, process.tid, one.inode), (4242, None, Some(4711)));
    assert!(holdings[1].process.is_none() && holdings[1].inode.is_none());
    assert_eq!(holdings[2].state, "BOUND_INACTIVE");
}

#[test]
fn holdings_that_were_not_asked_for_are_not_there() {
    let some = Snapshot { holdings: None, ..snapshot() };
    assert!(serde_json::from_str::<Read>(&json(&some)).unwrap().holdings.is_none());
    assert!(!text(&some, screen(80), false).contains("LOCAL"));
    let none = Snapshot { holdings: Some(Vec::new()), ..snapshot() };
    assert_eq!(serde_json::from_str::<Read>(&json(&none)).unwrap().holdings.unwrap().len(), 0);
    assert!(text(&none, screen(80), false).ends_with("\nHoldings: none\n"));
}

#[test]
fn a_snapshot_fits_eighty_columns() {
    let text = text(&snapshot(), screen(80), false);
    assert!(text.lines().all(|line| line.width() <= 80), "{text}");
    insta::assert_snapshot!("table_snapshot_80", text);
}

#[test]
fn a_snapshot_in_a_file_is_whole_and_not_wrapped() {
    insta::assert_snapshot!("table_snapshot_file", text(&snapshot(), Screen::None, false));
}

#[test]
fn colour_adds_nothing_but_escape_sequences() {
    let colored = text(&snapshot(), screen(80), true);
    assert!(colored.contains('\u{1b}'));
    assert_eq!(super::table::without_color(&colored), text(&snapshot(), screen(80), false));
}

#[test]
fn who_has_a_port_is_answered_and_nothing_else() {
    let mut asked = Snapshot { asked: Some("port 8080".to_owned()), ..snapshot() };
    asked.holdings.as_mut().unwrap().drain(..4);
    insta::assert_snapshot!("table_snapshot_port", text(&asked, screen(80), false));
    asked.holdings = Some(Vec::new());
    assert!(text(&asked, screen(80), false).ends_with("\nNobody is seen to hold port 8080\n"));
}
