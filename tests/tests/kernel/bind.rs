//! bind() and listen().

use nix::errno::Errno;
use tests::expect::Reason::Closed;
use tests::expect::Via::{Autobind, Bind, Listen};
use tests::expect::{Row, conflict, exhausted};
use tests::net::{SERVER, ephemeral_range, scenario};
use tests::socket::{ANY, local, local6, tcp, tcp6};

#[test]
fn bind_to_any_port_and_listen_is_one_acquisition() {
    scenario(|net| {
        let mut a = tcp().bind(ANY).listen();
        a.close();
        net.sees([a.acquired(Bind(0)), a.released(Closed)]);
    });
}

#[test]
fn bind_to_a_fixed_port_says_which_one_was_asked_for() {
    scenario(|net| {
        let mut a = tcp().bind(local(4000));
        net.sees([a.acquired(Bind(4000))]);
        a.close();
        net.sees([a.released(Closed)]);
    });
}

#[test]
fn bind_over_ipv6_takes_a_port() {
    scenario(|net| {
        let mut a = tcp6().bind(local6(4000));
        a.close();
        net.sees([a.acquired(Bind(4000)), a.released(Closed)]);
    });
}

#[test]
fn listen_without_bind_takes_a_port_by_itself() {
    scenario(|net| {
        let mut a = tcp().listen();
        a.close();
        net.sees([a.acquired(Autobind), a.released(Closed)]);
    });
}

#[test]
fn listen_without_bind_in_a_full_range_is_exhausted() {
    scenario(|net| {
        ephemeral_range(40_000, 40_001);
        let held = [tcp().listen(), tcp().listen()];
        assert_eq!(tcp().try_listen(), Err(Errno::EADDRINUSE));
        let acquired = held.iter().map(|a| a.acquired(Autobind));
        let refused = Row { remote: None, ..exhausted(Listen, "tcp", None, "EADDRINUSE") };
        net.sees(acquired.chain([refused]));
    });
}

#[test]
fn listen_on_a_bound_port_that_another_listens_on_is_a_conflict() {
    scenario(|net| {
        let mut a = tcp().reuse_address().bind(SERVER);
        let mut b = tcp().reuse_address().bind(SERVER).listen();
        assert_eq!(a.try_listen(), Err(Errno::EADDRINUSE));
        let bound = [a.acquired(Bind(80)), b.acquired(Bind(80))];
        net.sees(bound.into_iter().chain([conflict(Listen, SERVER, None, "EADDRINUSE")]));
        b.close();
        net.sees([b.released(Closed)]);
        // Its port was its own all the time.
        assert_eq!(a.try_listen(), Ok(()));
        a.close();
        net.sees([a.released(Closed)]);
    });
}

#[test]
fn a_fixed_port_in_use_is_a_conflict() {
    scenario(|net| {
        let _server = net.server();
        assert_eq!(tcp().try_bind(SERVER), Err(Errno::EADDRINUSE));
        net.sees([conflict(Bind(80), SERVER, None, "EADDRINUSE")]);
    });
}

#[test]
fn each_socket_that_shares_a_port_by_so_reuseport_takes_it_and_gives_it_back() {
    scenario(|net| {
        let mut a = tcp().reuse_port().bind(local(4000)).listen();
        let mut b = tcp().reuse_port().bind(local(4000)).listen();
        net.sees([a.acquired(Bind(4000)), b.acquired(Bind(4000))]);
        b.close();
        a.close();
        net.sees([b.released(Closed), a.released(Closed)]);
    });
}

#[test]
fn a_port_that_the_kernel_chose_at_bind_is_given_back_when_connect_is_refused() {
    scenario(|net| {
        let mut a = tcp().bind(ANY);
        assert_eq!(a.try_connect(local(9)), Err(Errno::ECONNREFUSED));
        net.sees([a.acquired(Bind(0)), a.released(Closed)]);
        a.close();
        net.sees([]);
    });
}

#[test]
fn a_port_that_the_kernel_chose_at_bind_is_given_back_when_the_peer_resets() {
    scenario(|net| {
        let server = net.server();
        let mut a = tcp().bind(ANY).connect(SERVER);
        server.accept().reset();
        net.sees([a.acquired(Bind(0)), a.released(Closed)]);
        a.close();
        net.sees([]);
    });
}

#[test]
fn a_fixed_port_is_kept_through_a_refused_connect_until_close() {
    scenario(|net| {
        let mut a = tcp().bind(local(4000));
        assert_eq!(a.try_connect(local(9)), Err(Errno::ECONNREFUSED));
        net.sees([a.acquired(Bind(4000))]);
        a.close();
        net.sees([a.released(Closed)]);
    });
}

#[test]
fn a_fixed_port_is_kept_through_a_reset_by_the_peer_until_close() {
    scenario(|net| {
        let server = net.server();
        let mut a = tcp().bind(local(4000)).connect(SERVER);
        server.accept().reset();
        net.until_gone(&a);
        net.sees([a.acquired(Bind(4000))]);
        a.close();
        net.sees([a.released(Closed)]);
    });
}
