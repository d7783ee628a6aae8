//! Decoders on made-up bytes, and the whole on real sockets (loopback, a namespace of its own when
//! that may be made).

use std::io::Read;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use nix::sys::socket::sockopt::ReuseAddr;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, getsockname, setsockopt,
    socket,
};
use proptest::prelude::{any, prop, proptest};

use super::wire::{Malformed, Message, Raw};
use super::{
    DiagSocket, Dump, Origin, Request, States, dump, for_each, lists_bound_sockets, proc_net, wire,
};
use crate::event::{Endpoint, Protocol, TcpState};
use crate::kernel::testing::in_fresh_namespace;

/// An answer about one IPv4 socket, as the kernel sends it.
fn sample() -> Vec<u8> {
    let mut body = vec![2, 1, 0, 0];
    body.extend_from_slice(&40001u16.to_be_bytes());
    body.extend_from_slice(&443u16.to_be_bytes());
    body.extend_from_slice(&[10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    body.extend_from_slice(&[10, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for word in [7u32, 0x1234, 1, 0, 0, 0, 1000, 4242] {
        body.extend_from_slice(&word.to_ne_bytes());
    }
    // INET_DIAG_SHUTDOWN and INET_DIAG_CGROUP_ID, which are passed over.
    body.extend_from_slice(&5u16.to_ne_bytes());
    body.extend_from_slice(&8u16.to_ne_bytes());
    body.extend_from_slice(&[3, 0, 0, 0]);
    body.extend_from_slice(&12u16.to_ne_bytes());
    body.extend_from_slice(&21u16.to_ne_bytes());
    body.extend_from_slice(&99u64.to_ne_bytes());
    body
}

fn framed(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut message = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&2u16.to_ne_bytes());
    message.extend_from_slice(&7u32.to_ne_bytes());
    message.extend_from_slice(&0u32.to_ne_bytes());
    message.extend_from_slice(body);
    message
}

#[test]
fn an_answer_becomes_a_socket() {
    let socket = wire::socket(&sample(), Protocol::Tcp, 5).unwrap();
    assert_eq!(socket.flow.netns, 5);
    assert_eq!(socket.flow.local.to_string(), "10.0.0.1:40001");
    assert_eq!(socket.flow.remote.unwrap().to_string(), "10.0.0.2:443");
    assert_eq!(socket.state, TcpState::ESTABLISHED);
    assert_eq!((socket.inode, socket.interface), (4242, 7));
    assert_eq!(socket.cookie, 0x1_0000_1234);
    assert!(!socket.time_wait);
}

#[test]
fn a_time_wait_entry_is_told_by_its_timer() {
    let mut bytes = sample();
    bytes[1] = TcpState::FIN_WAIT2.number();
    bytes[2] = 3;
    let socket = wire::socket(&bytes, Protocol::Tcp, 1).unwrap();
    assert!(socket.time_wait);
    assert_eq!(socket.state, TcpState::FIN_WAIT2);
}

#[test]
fn a_short_answer_or_one_with_an_unknown_family_or_state_is_malformed() {
    let good = sample();
    for length in 0..72 {
        assert_eq!(wire::socket(&good[..length], Protocol::Tcp, 1), Err(Malformed), "{length}");
    }
    for (at, value) in [(0, 1), (1, 0), (1, 14)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(wire::socket(&bad, Protocol::Tcp, 1), Err(Malformed));
    }
}

#[test]
fn a_datagram_is_taken_apart_and_stops_where_it_makes_no_sense() {
    let mut bytes = framed(18, &sample());
    bytes.extend(framed(2, &(-2i32).to_ne_bytes()));
    bytes.extend(framed(3, &0i32.to_ne_bytes()));
    bytes.extend([1, 0, 0]);
    let mut datagram = bytes.as_slice();
    let kinds: Vec<_> = std::iter::from_fn(|| wire::next(&mut datagram))
        .map(|raw: Result<Raw<'_>, _>| raw.map(|raw| (raw.sequence, wire::classify(raw).unwrap())))
        .collect();
    assert_eq!(
        kinds,
        [
            Ok((7, Message::Socket(&sample()))),
            Ok((7, Message::Error(2))),
            Ok((7, Message::Done(0))),
            Err(Malformed)
        ]
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut datagram = bytes.as_slice();
        let mut messages = 0;
        while let Some(raw) = wire::next(&mut datagram) {
            messages += 1;
            if let Ok(Ok(Message::Socket(payload))) = raw.map(wire::classify) {
                let _ = wire::socket(payload, Protocol::Tcp, 1);
            }
        }
        assert!(messages <= bytes.len());
    }

    #[test]
    fn no_payload_makes_the_decoder_panic(
        family in prop::sample::select(vec![2u8, 10]),
        state in 1u8..=13,
        rest in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let payload = [vec![family, state], rest].concat();
        assert_eq!(wire::socket(&payload, Protocol::Udp, 1).is_ok(), payload.len() >= 72);
    }

    #[test]
    fn no_line_makes_the_fallback_panic(line in "[ 0-9A-F:é]{0,120}") {
        let _ = proc_net::parse(&line, Protocol::Tcp, 1);
    }
}

#[test]
fn lines_of_proc_net_become_sockets() {
    let line = "   1: 0100007F:9C41 0200000A:01BB 06 00000000:00000000 03:000005DC 00000000     0        0 0 3 x";
    let socket = proc_net::parse(line, Protocol::Tcp, 1).unwrap();
    assert_eq!(socket.flow.local.to_string(), "127.0.0.1:40001");
    assert_eq!(socket.flow.remote.unwrap().to_string(), "10.0.0.2:443");
    assert!(socket.time_wait && socket.state == TcpState::TIME_WAIT);
    assert_eq!(socket.expires_ms, 15_000);
    let line = "  0: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A \
                00000000:00000000 00:00000000 00000000  1000        0 777 1 x";
    let socket = proc_net::parse(line, Protocol::Tcp, 1).unwrap();
    assert_eq!(socket.flow.local.to_string(), "127.0.0.1:8080");
    assert_eq!(socket.inode, 777);
    for bad in ["", "garbage", "1: 0100007F:9C41", "1: 0100007F 0:0 01 0 0:0 0 0 0 0"] {
        assert_eq!(proc_net::parse(bad, Protocol::Tcp, 1), None);
    }
}

fn find(dump: &Dump, local: SocketAddr, remote: Option<SocketAddr>) -> Option<&DiagSocket> {
    dump.sockets.iter().find(|socket| {
        socket.flow.local == Endpoint::from(local)
            && socket.flow.remote == remote.map(Endpoint::from)
    })
}

/// Accepts one connection and returns the client's and the server's side.
fn connected(listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Closes the client first, so that its port is left in TIME_WAIT.
fn time_wait(listener: &TcpListener) -> (SocketAddr, SocketAddr) {
    let (client, mut server) = connected(listener);
    let ends = (client.local_addr().unwrap(), client.peer_addr().unwrap());
    drop(client);
    // The client's FIN, then close this side too.
    assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
    drop(server);
    ends
}

#[test]
fn every_state_that_loopback_can_show_is_in_the_dump() {
    in_fresh_namespace(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listening = listener.local_addr().unwrap();
        let (client, server) = connected(&listener);
        let (half_open, close_wait) = connected(&listener);
        half_open.shutdown(std::net::Shutdown::Write).unwrap();
        let (tw_local, tw_remote) = time_wait(&listener);
        let half = (half_open.local_addr().unwrap(), half_open.peer_addr().unwrap());
        // The acknowledgement of a FIN can be delayed.
        let found = (0..100)
            .map(|_| {
                std::thread::sleep(std::time::Duration::from_millis(20));
                dump(&Request::default()).unwrap()
            })
            .find(|found| find(found, half.0, Some(half.1)).unwrap().state == TcpState::FIN_WAIT2)
            .expect("FIN_WAIT2 within two seconds");
        assert_eq!(found.origin, Origin::Netlink);
        assert_eq!(found.malformed, 0);
        let state = |local, remote| find(&found, local, remote).unwrap().state;
        let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        assert_eq!(state(listening, None), TcpState::LISTEN);
        assert_eq!(state(local, Some(remote)), TcpState::ESTABLISHED);
        assert_eq!(state(server.local_addr().unwrap(), Some(local)), TcpState::ESTABLISHED);
        let waiting = find(&found, close_wait.local_addr().unwrap(), Some(half.0)).unwrap();
        assert_eq!(waiting.state.name(), "CLOSE_WAIT");
        let entry = find(&found, tw_local, Some(tw_remote)).unwrap();
        assert!(entry.time_wait && entry.state == TcpState::TIME_WAIT, "{entry:?}");
        assert!((50_000..=62_000).contains(&entry.expires_ms), "{}", entry.expires_ms);
        assert_eq!(entry.inode, 0);
    });
}

#[test]
fn a_time_wait_entry_keeps_the_cookie_that_its_socket_was_asked_for() {
    in_fresh_namespace(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (client, mut server) = connected(&listener);
        let (local, remote) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let before = dump(&Request::default()).unwrap();
        drop(client);
        assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
        drop(server);
        let after = dump(&Request::default()).unwrap();
        let (socket, entry) = (
            find(&before, local, Some(remote)).unwrap(),
            find(&after, local, Some(remote)).unwrap(),
        );
        assert!(!socket.time_wait && entry.time_wait);
        assert_ne!(socket.cookie, 0);
        assert_eq!(socket.cookie, entry.cookie);
    });
}

#[test]
fn ipv6_and_v4_mapped_sockets_come_in_the_same_pass() {
    in_fresh_namespace(|| {
        let v6 = TcpListener::bind("[::1]:0").unwrap();
        let (client6, _server6) = connected(&v6);
        let dual = TcpListener::bind("[::]:0").unwrap();
        let port = dual.local_addr().unwrap().port();
        let mapped = TcpStream::connect((Ipv6Addr::from(0xffff_7f00_0001u128), port)).unwrap();
        let found = dump(&Request::default()).unwrap();
        let six = find(&found, client6.local_addr().unwrap(), client6.peer_addr().ok()).unwrap();
        assert!(six.flow.local.address.is_ipv6());
        let listener = find(&found, dual.local_addr().unwrap(), None).unwrap();
        assert_eq!(listener.v6only, Some(false));
        // `find` compares as on the wire: IPv4.
        let mapped = find(&found, mapped.local_addr().unwrap(), mapped.peer_addr().ok()).unwrap();
        assert!(mapped.flow.local.address.is_ipv4(), "{mapped:?}");
    });
}

/// Whether the kernel lists sockets that are only bound (6.8 and later).
fn kernel_lists_bound() -> bool {
    let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']).map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 8)
}

#[test]
fn sockets_that_are_only_bound_are_listed_where_the_kernel_does() {
    assert_eq!(lists_bound_sockets(), Some(kernel_lists_bound()));
    if !kernel_lists_bound() {
        println!("skipped: this kernel does not list sockets that are only bound");
        return;
    }
    in_fresh_namespace(|| {
        let open = |family| socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        let (four, six) = (open(AddressFamily::Inet), open(AddressFamily::Inet6));
        setsockopt(&four, ReuseAddr, &true).unwrap();
        use std::os::fd::AsRawFd;
        bind(four.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
        bind(
            six.as_raw_fd(),
            &SockaddrIn6::from("[::1]:0".parse::<std::net::SocketAddrV6>().unwrap()),
        )
        .unwrap();
        let four: SockaddrIn = getsockname(four.as_raw_fd()).unwrap();
        let six: SockaddrIn6 = getsockname(six.as_raw_fd()).unwrap();
        let found = dump(&Request::default()).unwrap();
        for address in
            [SocketAddr::from((four.ip(), four.port())), SocketAddr::from((six.ip(), six.port()))]
        {
            let socket = find(&found, address, None).unwrap();
            assert_eq!(socket.state, TcpState::BOUND_INACTIVE);
            assert_ne!(socket.inode, 0);
        }
    });
}

#[test]
fn udp_sockets_are_listed_bound_and_connected() {
    in_fresh_namespace(|| {
        let (bound, other) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("[::1]:0").unwrap());
        let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
        connected.connect(bound.local_addr().unwrap()).unwrap();
        let request = Request { protocols: vec![Protocol::Udp], ..Request::default() };
        let found = dump(&request).unwrap();
        assert!(found.sockets.iter().all(|socket| socket.flow.protocol == Protocol::Udp));
        for socket in [&bound, &other] {
            let listed = find(&found, socket.local_addr().unwrap(), None).unwrap();
            assert_eq!(listed.state, TcpState::CLOSE);
        }
        let (local, remote) = (connected.local_addr().unwrap(), bound.local_addr().unwrap());
        assert_eq!(find(&found, local, Some(remote)).unwrap().state, TcpState::ESTABLISHED);
    });
}

#[test]
fn state_and_port_are_filtered_in_the_kernel() {
    in_fresh_namespace(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (client, _server) = connected(&listener);
        let (_client2, _server2) = connected(&other);
        let mut seen = Vec::new();
        let request = Request { ports: Some(port..=port), ..Request::default() };
        for_each(&request, |socket| seen.push(socket)).unwrap();
        // The listener and its child.
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(seen.iter().all(|socket| socket.flow.local.port == port));
        let request = Request { states: States::of(&[TcpState::LISTEN]), ..request };
        let found = dump(&request).unwrap();
        assert_eq!(found.sockets.len(), 1, "{:?}", found.sockets);
        drop(client);
    });
}

#[test]
fn the_fallback_shows_what_netlink_shows() {
    in_fresh_namespace(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let v6 = TcpListener::bind("[::1]:0").unwrap();
        let _connections = (connected(&listener), connected(&v6));
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        time_wait(&listener);
        // Only what this test made: without privileges others use the namespace too.
        let ports = [&listener, &v6].map(|one| one.local_addr().unwrap().port());
        let mine = |dump: &Dump| {
            let mut keys: Vec<_> = dump
                .sockets
                .iter()
                .filter(|socket| {
                    let flow = socket.flow;
                    let ends = [Some(flow.local.port), flow.remote.map(|remote| remote.port)];
                    ports.iter().any(|port| ends.contains(&Some(*port)))
                        || flow.local == Endpoint::from(udp.local_addr().unwrap())
                })
                .map(|one| {
                    let remote = one.flow.remote.map(|remote| remote.to_string());
                    (one.flow.local.to_string(), remote, one.state.name(), one.time_wait, one.inode)
                })
                .collect();
            keys.sort();
            keys
        };
        let request = Request::default();
        let netlink = dump(&request).unwrap();
        let mut fallback = Dump { sockets: Vec::new(), ..netlink.clone() };
        for &protocol in &request.protocols {
            proc_net::append(&request, protocol, &mut fallback).unwrap();
        }
        assert_eq!(mine(&fallback), mine(&netlink));
        assert_eq!(mine(&netlink).len(), 8);
    });
}

#[test]
fn the_kernels_own_count_is_near_what_it_lists() {
    in_fresh_namespace(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let _held: Vec<_> = (0..10)
            .map(|_| (std::net::TcpStream::connect(to).unwrap(), listener.accept()))
            .collect();
        assert!(super::estimate_tcp() >= 20, "{}", super::estimate_tcp());
    });
}
