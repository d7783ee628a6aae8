//! Made-up sockets.

use super::*;
use crate::event::Flow;
use crate::ports::{PortRange, ReservedPorts};

fn tally() -> Tally {
    let reserved = ReservedPorts::new(vec![PortRange { min: 40_090, max: 40_200 }]);
    let ephemeral = PortRange { min: 40_000, max: 40_099 };
    Tally::new(Protocol::Tcp, Ports { ephemeral, reserved })
}

fn endpoint(text: &str) -> Endpoint {
    text.parse::<std::net::SocketAddr>().unwrap().into()
}

fn socket(local: &str, remote: Option<&str>, state: TcpState, inode: u32) -> DiagSocket {
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
        inode,
        cookie: 0,
        v6only: None,
        interface: 0,
    }
}

const TO: Option<&str> = Some("10.0.0.1:443");

#[test]
fn a_port_that_destinations_share_is_one_port_and_two_connections() {
    let mut tally = tally();
    tally.list(&socket("10.0.0.2:40000", TO, TcpState::ESTABLISHED, 7));
    tally.list(&socket("10.0.0.2:40000", Some("10.0.0.3:80"), TcpState::TIME_WAIT, 0));
    assert_eq!((tally.used(), tally.sockets(), tally.time_waits()), (1, 2, 1));
    assert_eq!(tally.top_addresses(5), [("10.0.0.2".parse().unwrap(), 2)]);
    assert_eq!(tally.wanted(), HashSet::from([7]));
}

#[test]
fn what_is_counted_in_parts_is_what_is_counted_at_once() {
    let sockets = [
        socket("10.0.0.2:40000", TO, TcpState::ESTABLISHED, 7),
        socket("10.0.0.2:40001", Some("10.0.0.3:80"), TcpState::TIME_WAIT, 0),
        socket("10.0.0.2:40002", TO, TcpState::ESTABLISHED, 8),
        socket("10.0.0.2:40002", Some("10.0.0.3:80"), TcpState::ESTABLISHED, 8),
        socket("0.0.0.0:40001", None, TcpState::LISTEN, 9),
    ];
    for cut in 0..=sockets.len() {
        let (mut whole, mut first, mut second) = (tally(), tally(), tally());
        sockets.iter().for_each(|one| whole.list(one));
        sockets[..cut].iter().for_each(|one| first.list(one));
        sockets[cut..].iter().for_each(|one| second.list(one));
        first.merge(second);
        let seen = |of: &Tally| {
            let connected = of.in_state(TcpState::ESTABLISHED);
            let counts = (of.used(), of.blocked(), of.sockets(), of.time_waits(), connected);
            (counts, of.busiest(), of.top_addresses(9), of.wanted())
        };
        assert_eq!(seen(&first), seen(&whole));
        assert_eq!((first.used(), first.busiest().unwrap().used), (3, 3));
    }
}

#[test]
fn reserved_ports_ports_outside_and_requests_do_not_count() {
    let mut tally = tally();
    for local in ["10.0.0.2:40090", "10.0.0.2:39999", "10.0.0.2:40100", "10.0.0.2:0"] {
        tally.list(&socket(local, TO, TcpState::ESTABLISHED, 7));
    }
    tally.list(&socket("10.0.0.2:40000", TO, TcpState::SYN_RECV, 0));
    assert_eq!((tally.used(), tally.sockets(), tally.busiest()), (0, 0, None));
}

#[test]
fn the_busiest_destination_lacks_bound_ports_too_and_counts_none_twice() {
    let mut tally = tally();
    for port in 40_000..40_010 {
        tally.list(&socket(&format!("10.0.0.2:{port}"), TO, TcpState::ESTABLISHED, 7));
    }
    tally.list(&socket("10.0.0.2:40020", Some("10.0.0.3:80"), TcpState::ESTABLISHED, 8));
    // One that is bound by itself, and one that a connection has as well.
    tally.list(&socket("0.0.0.0:40030", None, TcpState::LISTEN, 9));
    tally.list(&socket("127.0.0.1:40000", None, TcpState::BOUND_INACTIVE, 9));
    let busiest = tally.busiest().unwrap();
    assert_eq!(busiest.destination, endpoint("10.0.0.1:443"));
    assert_eq!((busiest.used, tally.used(), tally.blocked()), (11, 12, 2));
    let owners = [(7, 100), (9, 200)].into();
    assert_eq!(tally.by_process(&owners), BTreeMap::from([(100, 10), (200, 2)]));
}

#[test]
fn what_bind_holds_of_connections_is_blocked_for_every_destination() {
    let bind_held: BindHeldPorts = (40_000..40_050).chain([40_060]).collect();
    let mut tally = tally().knowing(bind_held);
    for port in 40_000..40_050 {
        tally.list(&socket(&format!("10.0.0.2:{port}"), TO, TcpState::ESTABLISHED, 7));
    }
    let other = Some("10.0.0.3:80");
    for port in 40_050..40_055 {
        tally.list(&socket(&format!("10.0.0.2:{port}"), other, TcpState::TIME_WAIT, 0));
    }
    tally.list(&socket("0.0.0.0:40060", None, TcpState::LISTEN, 9));
    tally.list(&socket("0.0.0.0:40061", None, TcpState::BOUND_INACTIVE, 10));
    assert_eq!((tally.used(), tally.blocked(), tally.bind_held()), (57, 52, 51));
    let busiest = tally.busiest().unwrap();
    assert_eq!((busiest.destination, busiest.used), (endpoint("10.0.0.3:80"), 57));
    assert_eq!((tally.shared_in_state(TcpState::ESTABLISHED), tally.shared_time_waits()), (0, 5));
    let owners = [(7, 100), (9, 200), (10, 300)].into();
    assert_eq!(tally.bind_held_by_process(&owners), BTreeMap::from([(100, 50), (300, 1)]));
}

#[test]
fn a_destination_of_connections_that_bind_holds_alone_is_one() {
    let mut tally = tally().knowing((40_000..40_050).collect());
    for port in 40_000..40_050 {
        tally.list(&socket(&format!("10.0.0.2:{port}"), TO, TcpState::ESTABLISHED, 7));
    }
    let busiest = tally.busiest().unwrap();
    assert_eq!((busiest.destination, busiest.used), (endpoint("10.0.0.1:443"), 50));
}

#[test]
fn accepted_connections_are_no_space() {
    let mut tally = tally();
    tally.list(&socket("0.0.0.0:40030", None, TcpState::LISTEN, 9));
    tally.list(&socket("10.0.0.2:40030", Some("10.0.0.3:5000"), TcpState::ESTABLISHED, 9));
    assert_eq!(tally.busiest(), None);
}
