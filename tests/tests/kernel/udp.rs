//! UDP.

use std::net::{Ipv6Addr, SocketAddr};

use nix::errno::Errno;
use tests::expect::Reason::Closed;
use tests::expect::Via::{Autobind, Bind};
use tests::expect::{Row, conflict};
use tests::net::scenario;
use tests::socket::{ANY, Held, local, local6, mapped, udp, udp6};

/// Takes a port and gives it back.
fn taken_and_given_back(make: impl Fn() -> Held + Send + Sync, row: fn(&Held) -> Row) {
    scenario(|net| {
        net.known();
        let mut a = make();
        net.sees([row(&a)]);
        a.close();
        net.sees([a.released(Closed)]);
    });
}

#[test]
fn bind_over_udp_takes_a_port() {
    taken_and_given_back(|| udp().bind(ANY), |a| a.acquired(Bind(0)));
    taken_and_given_back(|| udp().bind(local(4000)), |a| a.acquired(Bind(4000)));
    taken_and_given_back(|| udp6().bind(local6(4000)), |a| a.acquired(Bind(4000)));
}

#[test]
fn connect_over_udp_takes_a_port_by_itself() {
    taken_and_given_back(|| udp().connect(local(53)), |a| a.acquired(Autobind));
    taken_and_given_back(|| udp6().connect(local6(53)), |a| a.acquired(Autobind));
}

#[test]
fn sendto_over_udp_takes_a_port_by_itself() {
    taken_and_given_back(|| udp().send_to(local(53)), |a| a.acquired(Autobind));
}

#[test]
fn connect_of_a_bound_udp_socket_takes_no_second_port() {
    taken_and_given_back(|| udp().bind(ANY).connect(local(53)), |a| a.acquired(Bind(0)));
}

#[test]
fn the_address_that_connect_gives_a_udp_socket_is_followed() {
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let any6 = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    for (at, to) in [(any, local(53)), (any6, local6(53)), (any6, mapped(53))] {
        scenario(|net| {
            net.known();
            let a = if at.is_ipv4() { udp() } else { udp6() }.bind(at);
            net.sees([a.acquired(Bind(0))]);
            let mut a = a.connect(to);
            // What is found by rounds is found by now.
            net.known();
            let released = Row { address: Some(to.ip().to_canonical()), ..a.released(Closed) };
            a.close();
            net.sees([released]);
        });
    }
}

#[test]
fn a_fixed_port_in_use_over_udp_is_a_conflict() {
    scenario(|net| {
        let a = udp().bind(local(4000));
        assert_eq!(udp().try_bind(local(4000)), Err(Errno::EADDRINUSE));
        let refused = conflict(Bind(4000), local(4000), None, "EADDRINUSE");
        net.sees([a.acquired(Bind(4000)), Row { protocol: "udp", ..refused }]);
    });
}
