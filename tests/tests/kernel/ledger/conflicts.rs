//! Who has a port that a call was refused, how, and what helps: as the kernel lists it at that moment.

use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use tests::child::Traffic;
use tests::lines::{Body, Conflict, Holder};
use tests::net::{FIN_WAIT2, Net, SERVER, TIME_WAIT, ephemeral_range, scenario, sysctl, tcp_state};
use tests::observer::until;
use tests::socket::{Held, local, tcp, udp};

use super::fill::only;

/// The one conflict since the last look.
fn conflict(net: &Net) -> Conflict {
    only(net, |body| match body {
        Body::Conflict(line) => Some(line.clone()),
        _ => None,
    })
}

/// Its only holder, and how that has the port.
fn holder<'a>(line: &'a Conflict, how: &str) -> &'a Holder {
    let holders = line.holders.as_deref().unwrap_or_default();
    let [holder] = holders else { panic!("not one holder: {line:?}") };
    assert_eq!(holder.how.as_deref(), Some(how), "{line:?}");
    holder
}

fn first_remedy(line: &Conflict) -> &str {
    &line.remedy.as_ref().expect("a remedy")[0]
}

fn pid(holder: &Holder) -> Option<u32> {
    holder.process.as_ref().map(|process| process.pid)
}

/// A connection to a server that listens no more, at both ends.
fn accepted(server: Held) -> (Held, Held) {
    let client = tcp().connect(SERVER);
    let child = server.accept();
    drop(server);
    (client, child)
}

#[test]
fn an_accepted_connection_keeps_the_port_of_a_server_that_is_to_start_again() {
    scenario(|net| {
        let server = net.server().0;
        let (_client, _child) = accepted(server);
        assert_eq!(tcp().try_bind(SERVER), Err(Errno::EADDRINUSE));
        let line = conflict(net);
        let holder = holder(&line, "accepted");
        assert_eq!(pid(holder), Some(std::process::id()), "{line:?}");
        assert_eq!(holder.established, 1, "{line:?}");
        assert!(first_remedy(&line).contains("SO_REUSEADDR"), "{line:?}");
    });
}

#[test]
fn with_so_reuseaddr_from_the_start_the_accepted_connection_is_in_nobodys_way() {
    scenario(|net| {
        let server = tcp().reuse_address().bind(SERVER).listen();
        let (_client, _child) = accepted(server);
        assert_eq!(tcp().reuse_address().try_bind(SERVER), Ok(()));
        net.forget();
    });
}

#[test]
fn time_wait_of_the_servers_side_keeps_its_port() {
    scenario(|net| {
        let server = net.server().0;
        let (mut client, mut child) = accepted(server);
        child.close();
        client.read_to_the_end();
        client.close();
        thread::sleep(Duration::from_millis(100));
        assert_eq!(tcp().try_bind(SERVER), Err(Errno::EADDRINUSE));
        let line = conflict(net);
        assert_eq!(holder(&line, "time_wait_server").time_wait, 1, "{line:?}");
        assert!(first_remedy(&line).contains("SO_REUSEADDR"), "{line:?}");
    });
}

#[test]
fn time_wait_of_a_client_that_reconnects_from_a_fixed_port_keeps_it_unless_both_have_so_reuseaddr()
{
    scenario(|net| {
        let server = net.server();
        let connect_and_close = || {
            let mut client = tcp().reuse_address().bind(local(4_000)).connect(SERVER);
            let mut child = server.accept();
            client.close();
            child.read_to_the_end();
            child.close();
            let is_there = || tcp_state(client.local, SERVER) == Some(TIME_WAIT);
            until("closed by both", is_there);
        };
        connect_and_close();
        net.forget();
        assert_eq!(tcp().try_bind(local(4_000)), Err(Errno::EADDRINUSE));
        let line = conflict(net);
        let holder = holder(&line, "time_wait_client");
        assert_eq!((holder.time_wait, pid(holder)), (1, Some(std::process::id())), "{line:?}");
        // connect() did not choose this port: no range and no reserved port would have helped.
        let remedies = line.remedy.as_deref().unwrap_or_default();
        assert!(remedies[0].contains("SO_REUSEADDR"), "{line:?}");
        assert!(!remedies.iter().any(|one| one.contains("reserved")), "{line:?}");
        connect_and_close();
        net.forget();
    });
}

#[test]
fn an_orphan_of_the_servers_side_is_told_in_its_state_until_the_peer_closes() {
    scenario(|net| {
        let server = net.server().0;
        let (mut client, mut child) = accepted(server);
        child.close();
        let is_there = || tcp_state(SERVER, client.local) == Some(FIN_WAIT2);
        until("acknowledged", is_there);
        assert_eq!(tcp().try_bind(SERVER), Err(Errno::EADDRINUSE));
        let line = conflict(net);
        let holder = holder(&line, "accepted");
        assert_eq!((holder.fin_wait, holder.time_wait), (Some(1), 0), "{line:?}");
        assert!(first_remedy(&line).contains("SO_REUSEADDR"), "{line:?}");
        assert!(first_remedy(&line).contains("tcp_fin_timeout"), "{line:?}");
        client.read_to_the_end();
        client.close();
        net.forget();
    });
}

#[test]
fn an_outgoing_connection_on_a_services_port_is_told_with_the_line_that_reserves_it() {
    scenario(|net| {
        ephemeral_range(40_000, 40_000);
        let server = net.server();
        let client = tcp().connect(SERVER);
        let _child = server.accept();
        assert_eq!(tcp().try_bind(local(40_000)), Err(Errno::EADDRINUSE));
        let line = conflict(net);
        let holder = holder(&line, "outgoing");
        assert_eq!(holder.remote.as_ref().map(|remote| remote.port), Some(80), "{line:?}");
        assert!(first_remedy(&line).contains("ip_local_reserved_ports=40000"), "{line:?}");
        // And so it is.
        drop(client);
        drop(server);
        ephemeral_range(41_000, 41_001);
        sysctl("ipv4/ip_local_reserved_ports", "41000");
        let server = tcp().reuse_address().bind(local(81)).listen();
        let client = tcp().connect(local(81));
        assert_eq!(client.port(), 41_001);
        drop(server);
        assert_eq!(tcp().reuse_address().try_bind(local(41_000)), Ok(()));
        net.forget();
    });
}

#[test]
fn a_listener_and_a_bound_udp_socket_are_told_as_what_they_are() {
    scenario(|net| {
        let _server = net.server();
        assert_eq!(tcp().try_bind(SERVER), Err(Errno::EADDRINUSE));
        let line = conflict(net);
        assert_eq!(holder(&line, "listener").listening, Some(1), "{line:?}");
        let _bound = udp().bind(local(4_000));
        assert_eq!(udp().try_bind(local(4_000)), Err(Errno::EADDRINUSE));
        let line = conflict(net);
        assert_eq!(pid(holder(&line, "bound")), Some(std::process::id()), "{line:?}");
    });
}

#[test]
fn a_listener_that_a_child_keeps_open_is_told_with_that_child() {
    scenario(|net| {
        let mut traffic = Traffic::start(&["inherit", "127.0.0.1:4000"]);
        let listener = traffic.taken().expect("a listener");
        let opener = traffic.pid();
        net.forget();
        assert_eq!(tcp().try_bind(listener.local), Err(Errno::EADDRINUSE));
        assert_eq!(pid(holder(&conflict(net), "listener")), Some(opener));
        traffic.kill();
        // Asked at most once a second.
        thread::sleep(Duration::from_millis(1100));
        assert_eq!(tcp().try_bind(listener.local), Err(Errno::EADDRINUSE));
        let line = conflict(net);
        let holder = holder(&line, "listener");
        assert_eq!(pid(holder), Some(opener), "{line:?}");
        let open_in = holder.open_in.as_deref().unwrap_or_default();
        let [child] = open_in else { panic!("open in nobody: {line:?}") };
        assert_ne!(child.pid, opener);
        assert!(first_remedy(&line).contains(&child.pid.to_string()), "{line:?}");
        traffic.go_on();
    });
}
