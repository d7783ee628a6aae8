use std::sync::Arc;

use foldhash::HashMap;

use super::*;
use crate::{
    event::{self, Endpoint, ListedState, NamespaceSettings, Reason, Sharing, Via},
    ledger::Options,
    ports::{PortRange, Ports, ReservedPorts},
    process::Process,
    report::{Body, CauseKind, Holder, How, Report},
};

const SECOND: u64 = 1_000_000_000;
const PORTS: u16 = 10;

fn flow(port: u16) -> Flow {
    let local = Endpoint::new([10, 0, 0, 1].into(), port);
    let remote = Some(Endpoint::new([10, 0, 0, 9].into(), 80));
    Flow { netns: 1, protocol: Protocol::Tcp, local, remote }
}

fn refused(time_ns: u64) -> Event {
    let kind = Kind::Exhausted {
        own_range: None,
        via: Via::Connect,
        errno: 99,
        search_ns: None,
        task: None,
        repeated: Repeated::default(),
    };
    Event::Socket(SocketEvent { time_ns, socket: SocketId(99), flow: flow(0), kind })
}

fn taken(time_ns: u64, port: u16) -> Event {
    let kind =
        Kind::Conflict { via: Via::Bind, errno: 98, task: None, repeated: Repeated::default() };
    let flow = Flow { remote: None, ..flow(port) };
    Event::Socket(SocketEvent { time_ns, socket: SocketId(99), flow, kind })
}

fn apply(ledger: &mut Ledger, event: Event) -> Vec<Report> {
    let mut out = Vec::new();
    ledger.apply(0, event, None::<Caller>, &mut out);
    out
}

fn full() -> Ledger {
    let mut ledger = Ledger::new(Options::default());
    let ephemeral = PortRange { min: 40_000, max: 40_000 + PORTS - 1 };
    let settings = NamespaceSettings {
        netns: 1,
        names: Vec::new(),
        ports: Ports { ephemeral, reserved: ReservedPorts::default() },
        tw_reuse: 0,
        tw_reuse_delay_ms: 1000,
    };
    apply(&mut ledger, Event::Namespace(Box::new(settings)));
    for port in 0..PORTS {
        let kind = Kind::Acquire {
            via: Via::Connect,
            requested_port: Some(0),
            search_ns: None,
            task: None,
            sharing: Sharing { connect_bind: true, ..Sharing::default() },
        };
        let socket = SocketId(100 + u64::from(port));
        let flow = flow(40_000 + port);
        apply(&mut ledger, Event::Socket(SocketEvent { time_ns: SECOND, socket, flow, kind }));
    }
    ledger
}

fn listing(ledger: &mut Ledger, states: &[(u16, TcpState)]) {
    let listed = |state: &TcpState| ListedState { state: *state, inode: 0 };
    let sockets: HashMap<Flow, ListedState> =
        states.iter().map(|(port, state)| (flow(*port), listed(state))).collect();
    let listing = Listing {
        time_ns: 2 * SECOND,
        namespaces: [1].into(),
        sockets: Some((Protocol::Tcp, sockets)),
        ..Listing::default()
    };
    for Concluded { event, .. } in ledger.conclude(&listing) {
        assert!(apply(ledger, event).is_empty());
    }
}

#[test]
fn states_are_asked_for_once_a_second_when_a_call_was_refused() {
    let mut ledger = full();
    let (netns, protocol) = (1, Protocol::Tcp);
    let asked = Some(Ask::States { netns, protocol, time_ns: 2 * SECOND });
    assert_eq!(ledger.needs(&refused(2 * SECOND)), asked);
    assert_eq!(ledger.needs(&refused(3 * SECOND - 1)), None);
    assert!(ledger.needs(&refused(3 * SECOND)).is_some());
}

#[test]
fn states_that_nobody_asked_for_are_looked_at_once_a_second_where_connections_are() {
    let mut ledger = Ledger::new(Options::default());
    assert_eq!(ledger.stalest(2 * SECOND), None);
    let mut ledger = full();
    let (netns, protocol, time_ns) = (1, Protocol::Tcp, 2 * SECOND);
    assert_eq!(ledger.stalest(time_ns), Some(Ask::States { netns, protocol, time_ns }));
    assert_eq!(ledger.stalest(3 * SECOND - 1), None);
    // An answer waits for none of these.
    assert!(ledger.needs(&refused(3 * SECOND - 1)).is_some());
    assert!(ledger.stalest(3 * SECOND).is_some());
}

#[test]
fn a_port_is_asked_for_once_a_second_and_few_are_remembered() {
    let mut ledger = Ledger::new(Options::default());
    let port = |port, time_ns| Some(Ask::Port { netns: 1, protocol: Protocol::Tcp, port, time_ns });
    assert_eq!(ledger.needs(&taken(2 * SECOND, 80)), port(80, 2 * SECOND));
    assert_eq!(ledger.needs(&taken(3 * SECOND - 1, 80)), None);
    assert_eq!(ledger.needs(&taken(3 * SECOND - 1, 81)), port(81, 3 * SECOND - 1));
    assert_eq!(ledger.needs(&taken(3 * SECOND, 80)), port(80, 3 * SECOND));
    for number in 1..5_000 {
        assert!(ledger.needs(&taken(4 * SECOND, number)).is_some());
        assert!(ledger.answers.ports.len() <= super::PORTS);
    }
}

#[test]
fn what_is_listed_on_a_port_is_in_the_way_for_a_second() {
    let mut ledger = full();
    let holders = |ledger: &mut Ledger, time_ns| {
        let Body::Conflict { holders, .. } = apply(ledger, taken(time_ns, 40_000)).remove(0).body
        else {
            panic!("no conflict")
        };
        holders.iter().map(|one| one.way.unwrap().how).collect::<Vec<How>>()
    };
    // As the ledger knows it.
    assert_eq!(holders(&mut ledger, SECOND), [How::Outgoing]);
    let on_port = vec![
        event::OnPort { flow: flow(40_000), state: TcpState::ESTABLISHED, inode: 0 },
        event::OnPort {
            flow: Flow { remote: None, ..flow(40_000) },
            state: TcpState::LISTEN,
            inode: 8,
        },
    ];
    let listing = Listing { time_ns: 2 * SECOND, on_port: Some(on_port), ..Listing::default() };
    for Concluded { event, .. } in ledger.conclude(&listing) {
        apply(&mut ledger, event);
    }
    // Nobody has the listener open, and nobody is known to have taken its port.
    let kernel = [How::Kernel, How::Outgoing];
    let mut found = holders(&mut ledger, 2 * SECOND);
    found.sort_by_key(|how| how.name());
    assert_eq!(found, kernel);
    assert_eq!(holders(&mut ledger, 3 * SECOND), [How::Outgoing]);
}

fn process(pid: u32) -> Caller {
    let process = Process { pid, start_time_ns: SECOND, ..Process::default() };
    Caller { process: Arc::new(process), tid: pid }
}

#[test]
fn a_port_that_is_open_in_another_process_is_told_with_that_one_until_it_is_let_go() {
    let mut ledger = full();
    let socket = SocketId(100);
    let kind = Kind::Listed { state: TcpState::ESTABLISHED, task: None };
    let event = |time_ns| {
        Event::Socket(SocketEvent { time_ns, socket, flow: flow(40_000), kind: kind.clone() })
    };
    assert!(ledger.is_news(&event(2 * SECOND), Some(&process(7))));
    ledger.apply(0, event(2 * SECOND), Some(process(7)), &mut Vec::new());
    assert!(!ledger.is_news(&event(2 * SECOND), Some(&process(7))));
    assert!(!ledger.is_news(&event(2 * SECOND), None), "nobody was looked for");
    let open_in = |ledger: &mut Ledger, time_ns| {
        let Body::Exhausted { story: Some(story), .. } =
            apply(ledger, refused(time_ns)).remove(0).body
        else {
            panic!("no story")
        };
        let pid = |one: &Holder| one.open_in.as_ref().map(|process| process.pid);
        story.holders.iter().map(|one| (pid(one), one.total())).collect::<Vec<_>>()
    };
    assert_eq!(open_in(&mut ledger, 2 * SECOND), [(None, 9), (Some(7), 1)]);
    let kind = Kind::Release { reason: Reason::Closed };
    let flow = flow(40_000);
    apply(&mut ledger, Event::Socket(SocketEvent { time_ns: 3 * SECOND, socket, flow, kind }));
    assert_eq!(open_in(&mut ledger, 3 * SECOND), [(None, 9)]);
}

#[test]
fn holders_and_cause_are_of_the_states_that_were_listed() {
    let mut ledger = full();
    let unanswered: Vec<_> = (40_000..40_006).map(|p| (p, TcpState::SYN_SENT)).collect();
    listing(&mut ledger, &unanswered);
    let Body::Exhausted { story: Some(story), .. } =
        apply(&mut ledger, refused(2 * SECOND)).remove(0).body
    else {
        panic!("no story")
    };
    let counts = story.holders[0].counts;
    assert_eq!((counts.syn_sent, counts.established, counts.total()), (6, 4, 10));
    assert_eq!(story.cause.unwrap().kind, CauseKind::Unanswered);
    // They were answered.
    listing(&mut ledger, &[(40_000, TcpState::CLOSE_WAIT)]);
    let Body::Exhausted { story: Some(story), .. } =
        apply(&mut ledger, refused(3 * SECOND)).remove(0).body
    else {
        panic!("no story")
    };
    let counts = story.holders[0].counts;
    assert_eq!((counts.syn_sent, counts.close_wait, counts.established), (0, 1, 9));
}
