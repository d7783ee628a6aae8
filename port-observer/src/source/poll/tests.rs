//! The rules on made-up rounds.

mod live;

use std::collections::HashSet;

use super::compare::{Change, Round, Snapshot, compare};
use crate::event::{
    Endpoint, Flow, Kind, Protocol, Reason, Reuse, Sharing, SocketId, TcpState, Via,
};
use crate::kernel::diag::DiagSocket;

const NETNS: u32 = 7;
const ENTRY: u64 = 1 << 63;

fn endpoint(text: &str) -> Endpoint {
    text.parse::<std::net::SocketAddr>().unwrap().into()
}

fn socket(cookie: u64, state: TcpState, local: &str, remote: Option<&str>) -> DiagSocket {
    let local = endpoint(local);
    DiagSocket {
        flow: Flow { netns: NETNS, protocol: Protocol::Tcp, local, remote: remote.map(endpoint) },
        state,
        time_wait: false,
        expires_ms: 0,
        is_unread: false,
        accept_queue: (0, 0),
        inode: u32::try_from(cookie).unwrap() + 100,
        cookie,
        v6only: None,
        interface: 0,
    }
}

fn connection(cookie: u64, local: &str) -> DiagSocket {
    socket(cookie, TcpState::ESTABLISHED, local, Some("10.0.0.9:443"))
}

fn time_wait(cookie: u64, local: &str, expires_ms: u32) -> DiagSocket {
    let live = connection(cookie, local);
    DiagSocket { state: TcpState::TIME_WAIT, time_wait: true, expires_ms, inode: 0, ..live }
}

fn udp(cookie: u64, local: &str, remote: Option<&str>) -> DiagSocket {
    let mut udp = socket(cookie, TcpState::CLOSE, local, remote);
    udp.flow.protocol = Protocol::Udp;
    udp
}

/// Rounds ten seconds apart, and what the last brought.
fn rounds(lists: Vec<Vec<DiagSocket>>) -> Vec<Change> {
    let mut previous = Snapshot::default();
    let mut changes = Vec::new();
    for (number, list) in (1u64..).zip(lists) {
        let round = Round { list, looked: HashSet::from([NETNS]), kept: HashSet::new() };
        let current = Snapshot::new(round, number * 10_000_000_000, &previous);
        changes = compare(&previous, &current);
        previous = current;
    }
    changes
}

fn kinds(changes: &[Change]) -> Vec<(u64, Kind)> {
    changes.iter().map(|change| (change.socket.0, change.kind.clone())).collect()
}

fn acquire(via: Via) -> Kind {
    Kind::Acquire {
        via,
        requested_port: None,
        search_ns: None,
        task: None,
        sharing: Sharing::default(),
    }
}

fn end_in(entry: SocketId) -> Kind {
    Kind::TimeWait { successor: Some(entry), done: true, reuse: Reuse::default() }
}

fn release(reason: Reason) -> Kind {
    Kind::Release { reason }
}

#[test]
fn a_new_socket_is_an_acquire_by_what_it_is() {
    let changes = rounds(vec![
        vec![],
        vec![
            connection(1, "10.0.0.1:40001"),
            socket(2, TcpState::SYN_SENT, "10.0.0.1:40002", Some("10.0.0.9:443")),
            socket(3, TcpState::LISTEN, "0.0.0.0:80", None),
            socket(4, TcpState::BOUND_INACTIVE, "10.0.0.1:40003", None),
            udp(5, "0.0.0.0:53", None),
            udp(6, "10.0.0.1:40004", Some("10.0.0.9:53")),
            socket(7, TcpState::CLOSE, "10.0.0.1:0", None),
        ],
    ]);
    let expected =
        [Via::Connect, Via::Connect, Via::Bind, Via::Bind, Via::Bind, Via::Autobind].map(acquire);
    assert_eq!(kinds(&changes), (1..).zip(expected).collect::<Vec<_>>());
    assert_eq!(changes[0].inode, 101);
}

#[test]
fn nothing_happened_between_equal_rounds() {
    let list = vec![connection(1, "10.0.0.1:40001"), time_wait(2, "10.0.0.1:40002", 60_000)];
    assert_eq!(rounds(vec![list.clone(), list]), []);
}

#[test]
fn a_socket_that_is_gone_was_closed() {
    let changes =
        rounds(vec![vec![connection(1, "10.0.0.1:40001"), udp(2, "[::]:53", None)], vec![]]);
    assert_eq!(kinds(&changes), [(1, release(Reason::Closed)), (2, release(Reason::Closed))]);
    assert_eq!(changes[0].flow.local.port, 40001);
}

#[test]
fn time_wait_succeeds_its_socket_and_expires() {
    let live = vec![connection(1, "10.0.0.1:40001")];
    let waiting = |expires_ms| vec![time_wait(1, "10.0.0.1:40001", expires_ms)];
    let successor = SocketId(1 | ENTRY);
    assert_eq!(kinds(&rounds(vec![live.clone(), waiting(60_000)])), [(1, end_in(successor))]);
    let ended = |expires_ms| kinds(&rounds(vec![live.clone(), waiting(expires_ms), vec![]]));
    assert_eq!(ended(9_000), [(1 | ENTRY, release(Reason::TimeWaitExpired))]);
    // It had fifty seconds to go: what ended it is not known.
    assert_eq!(ended(60_000), [(1 | ENTRY, release(Reason::Reconciled))]);
}

#[test]
fn time_wait_ends_early_when_its_addresses_are_taken_again() {
    let changes = rounds(vec![
        vec![time_wait(1, "10.0.0.1:40001", 60_000)],
        vec![connection(2, "10.0.0.1:40001")],
    ]);
    assert_eq!(
        kinds(&changes),
        [(1 | ENTRY, release(Reason::TimeWaitReused)), (2, acquire(Via::Connect))]
    );
}

#[test]
fn time_wait_of_a_socket_that_was_never_seen_is_an_acquire_and_its_end() {
    let changes = rounds(vec![vec![], vec![time_wait(1, "10.0.0.1:40001", 60_000)]]);
    let end = end_in(SocketId(1 | ENTRY));
    assert_eq!(kinds(&changes), [(1, acquire(Via::Connect)), (1, end)]);
    assert_eq!(changes[0].inode, 0);
}

#[test]
fn accepted_children_inherit_and_acquire_nothing() {
    let listener = |cookie, local| socket(cookie, TcpState::LISTEN, local, None);
    for (listening, child, inherits) in [
        ("0.0.0.0:80", "10.0.0.1:80", true),
        ("10.0.0.1:80", "10.0.0.1:80", true),
        ("[::]:80", "10.0.0.1:80", true),
        ("[::]:80", "[fd00::1]:80", true),
        ("10.0.0.2:80", "10.0.0.1:80", false),
        ("0.0.0.0:80", "[fd00::1]:80", false),
        ("0.0.0.0:81", "10.0.0.1:80", false),
    ] {
        // The child's cookie is the smaller: the listener comes first all the same.
        let list = vec![connection(1, child), listener(2, listening)];
        let begun = if inherits {
            vec![
                (2, acquire(Via::Bind)),
                (1, Kind::Inherit { listener: SocketId(2), sharing: Sharing::default() }),
            ]
        } else {
            vec![(1, acquire(Via::Connect)), (2, acquire(Via::Bind))]
        };
        assert_eq!(kinds(&rounds(vec![vec![], list])), begun, "{listening} {child}");
    }
    let mut v6only = listener(2, "[::]:80");
    v6only.v6only = Some(true);
    let changes = rounds(vec![vec![v6only.clone()], vec![v6only, connection(3, "10.0.0.1:80")]]);
    assert_eq!(kinds(&changes), [(3, acquire(Via::Connect))]);
}

#[test]
fn a_child_outlives_its_listener_as_a_child() {
    let listener = socket(1, TcpState::LISTEN, "0.0.0.0:80", None);
    // It comes in the round in which the listener goes.
    let changes = rounds(vec![vec![listener.clone()], vec![connection(2, "10.0.0.1:80")]]);
    let inherit = Kind::Inherit { listener: SocketId(1), sharing: Sharing::default() };
    assert_eq!(kinds(&changes), [(1, release(Reason::Closed)), (2, inherit)]);
    let changes = rounds(vec![
        vec![listener],
        vec![connection(2, "10.0.0.1:80")],
        vec![time_wait(2, "10.0.0.1:80", 60_000), time_wait(3, "10.0.0.1:40001", 60_000)],
    ]);
    let end = |id| end_in(SocketId(id | ENTRY));
    assert_eq!(kinds(&changes), [(2, end(2)), (3, acquire(Via::Connect)), (3, end(3))]);
}

#[test]
fn a_connection_request_is_no_socket() {
    let mut request = connection(1, "10.0.0.1:80");
    request.state = TcpState::try_from(3).unwrap();
    request.inode = 0;
    assert_eq!(rounds(vec![vec![], vec![request]]), []);
}

#[test]
fn a_bound_socket_that_connects_is_a_connect_and_a_state_change() {
    let before = socket(1, TcpState::BOUND_INACTIVE, "10.0.0.1:40001", None);
    let changes = rounds(vec![vec![before], vec![connection(1, "10.0.0.1:40001")]]);
    let state = Kind::State { old: TcpState::BOUND_INACTIVE, new: TcpState::ESTABLISHED };
    assert_eq!(kinds(&changes), [(1, state), (1, acquire(Via::Connect))]);
}

#[test]
fn a_socket_that_is_given_another_port_gives_the_first_back() {
    let changes =
        rounds(vec![vec![connection(1, "10.0.0.1:40001")], vec![connection(1, "10.0.0.1:40002")]]);
    assert_eq!(kinds(&changes), [(1, release(Reason::Closed)), (1, acquire(Via::Connect))]);
    assert_eq!(changes[0].flow.local.port, 40001);
}

#[test]
fn sockets_without_cookies_keep_their_identity() {
    let bare = |socket: DiagSocket| DiagSocket { cookie: 0, ..socket };
    let live = bare(connection(1, "10.0.0.1:40001"));
    let orphan = DiagSocket { inode: 0, state: TcpState::FIN_WAIT2, ..live.clone() };
    let waiting = bare(time_wait(1, "10.0.0.1:40001", 9_000));
    let story = [vec![], vec![live], vec![orphan], vec![waiting], vec![]];
    let told: Vec<_> = (2..=5).map(|count| rounds(story[..count].to_vec())).collect();
    let id = told[0][0].socket;
    let successor = SocketId(id.0 | ENTRY);
    let state = Kind::State { old: TcpState::ESTABLISHED, new: TcpState::FIN_WAIT2 };
    assert_eq!(kinds(&told[0]), [(id.0, acquire(Via::Connect))]);
    assert_eq!(kinds(&told[1]), [(id.0, state)]);
    assert_eq!(kinds(&told[2]), [(id.0, end_in(successor))]);
    assert_eq!(kinds(&told[3]), [(successor.0, release(Reason::TimeWaitExpired))]);
}

#[test]
fn what_could_not_be_read_is_not_taken_for_gone() {
    let looked = HashSet::from([NETNS]);
    let list = vec![connection(1, "10.0.0.1:40001")];
    let first = Round { list, looked, kept: HashSet::new() };
    let before = Snapshot::new(first, 1, &Snapshot::default());
    let kept = Round { kept: HashSet::from([NETNS]), ..Round::default() };
    let unread = Snapshot::new(kept, 2, &before);
    assert_eq!(compare(&before, &unread), []);
    // A namespace that is gone: when its sockets went is not known.
    let gone = Snapshot::new(Round::default(), 3, &unread);
    assert_eq!(kinds(&compare(&unread, &gone)), [(1, release(Reason::Reconciled))]);
}
