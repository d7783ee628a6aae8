//! Ranges without a free port.

use nix::errno::Errno;
use tests::expect::Reason::Closed;
use tests::expect::Via::{Autobind, Bind, Connect};
use tests::expect::{Row, exhausted};
use tests::net::{SERVER, ephemeral_range, scenario};
use tests::socket::{ANY, Held, tcp, udp};

#[test]
fn a_hundred_ports_are_a_hundred_acquisitions_and_then_exhausted() {
    scenario(|net| {
        ephemeral_range(40000, 40099);
        let _server = net.server();
        let mut held: Vec<Held> = (0..100).map(|_| tcp().connect(SERVER)).collect();
        let mut rows: Vec<Row> = held.iter().map(|a| a.acquired(Connect)).collect();

        assert_eq!(tcp().try_connect(SERVER), Err(Errno::EADDRNOTAVAIL));
        rows.push(exhausted(Connect, "tcp", Some(SERVER), "EADDRNOTAVAIL"));
        net.sees(rows);

        held.iter_mut().for_each(Held::reset);
        // In any order: a process that another test makes may have a copy of one for a moment.
        net.sees_in_any_order(held.iter().map(|a| a.released(Closed)));
    });
}

#[test]
fn each_namespace_has_a_range_of_its_own() {
    scenario(|net| {
        ephemeral_range(50000, 50001);
        let _server = net.server();
        let held = [tcp().connect(SERVER), tcp().connect(SERVER)];
        assert!(held.iter().all(|a| (50000..=50001).contains(&a.port())));
        assert_eq!(tcp().try_connect(SERVER), Err(Errno::EADDRNOTAVAIL));
        net.sees([
            held[0].acquired(Connect),
            held[1].acquired(Connect),
            exhausted(Connect, "tcp", Some(SERVER), "EADDRNOTAVAIL"),
        ]);
    });
}

#[test]
fn bind_to_any_port_is_exhausted_with_eaddrinuse() {
    scenario(|net| {
        ephemeral_range(40000, 40001);
        let held = [tcp().bind(ANY), tcp().bind(ANY)];
        assert_eq!(tcp().try_bind(ANY), Err(Errno::EADDRINUSE));
        net.sees([
            held[0].acquired(Bind(0)),
            held[1].acquired(Bind(0)),
            exhausted(Bind(0), "tcp", None, "EADDRINUSE"),
        ]);
    });
}

#[test]
fn connect_over_udp_is_exhausted_with_eagain() {
    scenario(|net| {
        ephemeral_range(40000, 40001);
        net.known();
        let held = [udp().connect(SERVER), udp().connect(SERVER)];
        assert_eq!(udp().try_connect(SERVER), Err(Errno::EAGAIN));
        net.sees([
            held[0].acquired(Autobind),
            held[1].acquired(Autobind),
            Row { remote: None, ..exhausted(Autobind, "udp", None, "EAGAIN") },
        ]);
    });
}

#[test]
fn sendto_over_udp_is_exhausted_with_eagain() {
    scenario(|net| {
        ephemeral_range(40000, 40001);
        net.known();
        let held = [udp().send_to(SERVER), udp().send_to(SERVER)];
        assert_eq!(udp().try_send_to(SERVER), Err(Errno::EAGAIN));
        net.sees([
            held[0].acquired(Autobind),
            held[1].acquired(Autobind),
            Row { remote: None, ..exhausted(Autobind, "udp", None, "EAGAIN") },
        ]);
    });
}

#[test]
fn bind_to_any_port_over_udp_is_exhausted_with_eaddrinuse() {
    scenario(|net| {
        ephemeral_range(40000, 40001);
        net.known();
        let held = [udp().bind(ANY), udp().bind(ANY)];
        assert_eq!(udp().try_bind(ANY), Err(Errno::EADDRINUSE));
        net.sees([
            held[0].acquired(Bind(0)),
            held[1].acquired(Bind(0)),
            exhausted(Bind(0), "udp", None, "EADDRINUSE"),
        ]);
    });
}
