//! connect(), and the ways in which a connection ends.

use nix::errno::Errno;
use tests::expect::Reason::Closed;
use tests::expect::Via::{Bind, Connect};
use tests::expect::conflict;
use tests::net::{SERVER, ephemeral_range, scenario};
use tests::socket::{ANY, local, local6, mapped, tcp, tcp6};

#[test]
fn connect_takes_a_port_and_a_reset_gives_it_back() {
    scenario(|net| {
        let _server = net.server();
        let mut a = tcp().connect(SERVER);
        net.sees([a.acquired(Connect)]);
        a.reset();
        net.sees([a.released(Closed)]);
    });
}

#[test]
fn the_side_that_closes_first_leaves_time_wait() {
    scenario(|net| {
        let server = net.server();
        let mut a = tcp().connect(SERVER);
        let mut child = server.accept();
        a.close();
        child.read_to_the_end();
        child.close();
        net.until_time_wait(&a);
        net.sees([a.acquired(Connect), a.time_wait()]);
    });
}

#[test]
fn the_side_that_closes_last_gives_its_port_back_at_once() {
    scenario(|net| {
        let server = net.server();
        let mut a = tcp().connect(SERVER);
        let mut child = server.accept();
        child.close();
        a.read_to_the_end();
        a.close();
        net.sees([a.acquired(Connect), a.released(Closed)]);
    });
}

#[test]
fn a_reset_by_the_peer_gives_the_port_back_before_close() {
    scenario(|net| {
        let server = net.server();
        let mut a = tcp().connect(SERVER);
        server.accept().reset();
        net.sees([a.acquired(Connect), a.released(Closed)]);
        a.close();
        net.sees([]);
    });
}

#[test]
fn a_refused_connect_takes_a_port_and_gives_it_back() {
    scenario(|net| {
        ephemeral_range(40000, 40000);
        let mut a = tcp();
        assert_eq!(a.try_connect(local(9)), Err(Errno::ECONNREFUSED));
        a.had(local(40000));
        net.sees([a.acquired(Connect), a.released(Closed)]);
    });
}

#[test]
fn connect_with_a_port_bound_before_takes_no_second_one() {
    scenario(|net| {
        let _server = net.server();
        let mut a = tcp().bind(ANY).connect(SERVER);
        a.reset();
        net.sees([a.acquired(Bind(0)), a.released(Closed)]);
    });
}

#[test]
fn with_ip_bind_address_no_port_it_is_connect_that_takes_the_port() {
    scenario(|net| {
        let _server = net.server();
        let mut a = tcp().bind_address_no_port().bind(ANY);
        net.sees([]);
        a = a.connect(SERVER);
        a.reset();
        net.sees([a.acquired(Connect), a.released(Closed)]);
    });
}

#[test]
fn a_connection_that_exists_already_is_a_conflict_of_connect() {
    scenario(|net| {
        let _server = net.server();
        let mut a = tcp().reuse_address().bind(local(4000)).connect(SERVER);
        let mut b = tcp().reuse_address().bind(local(4000));
        assert_eq!(b.try_connect(SERVER), Err(Errno::EADDRNOTAVAIL));
        net.sees([
            a.acquired(Bind(4000)),
            b.acquired(Bind(4000)),
            conflict(Connect, local(4000), Some(SERVER), "EADDRNOTAVAIL"),
        ]);
        b.close();
        net.sees([b.released(Closed)]);
        a.reset();
        net.sees([a.released(Closed)]);
    });
}

#[test]
fn accepted_children_are_not_acquisitions_and_outlive_their_listener() {
    scenario(|net| {
        let mut listener = tcp().bind(SERVER).listen();
        let a = tcp().connect(SERVER);
        let mut child = listener.accept();
        listener.close();
        net.sees([listener.acquired(Bind(80)), a.acquired(Connect), listener.released(Closed)]);
        child.reset();
        net.sees([a.released(Closed)]);
    });
}

#[test]
fn connect_over_ipv6_takes_a_port() {
    scenario(|net| {
        let _listener = tcp6().bind(local6(80)).listen();
        net.forget();
        let mut a = tcp6().connect(local6(80));
        a.reset();
        net.sees([a.acquired(Connect), a.released(Closed)]);
    });
}

#[test]
fn a_v4_mapped_connection_is_written_as_the_ipv4_that_it_is() {
    scenario(|net| {
        let server = net.server();
        let mut a = tcp6().connect(mapped(80));
        a.reset();
        net.sees([a.acquired(Connect), a.released(Closed)]);

        let mut b = tcp6().connect(mapped(80));
        let _children = [server.accept(), server.accept()];
        b.close();
        net.sees([b.acquired(Connect), b.time_wait()]);
    });
}
