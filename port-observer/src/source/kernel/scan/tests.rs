//! Owners, and the iterators on real sockets.

use std::{
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, getsockname, setsockopt, socket,
    sockopt,
};

use super::*;
use crate::{
    event::Endpoint,
    kernel::testing::in_fresh_namespace,
    probe::{self, Backend},
};

fn task(pid: u32, start_time_ns: u64) -> Task {
    Task { pid, tid: pid, name: "p".to_owned(), uid: 0, start_time_ns, cgroup_id: 0 }
}

#[test]
fn of_several_processes_with_a_socket_the_first_to_start_is_told() {
    let orders = [[(1, 30), (2, 10), (3, 20)], [(2, 10), (3, 20), (1, 30)]];
    for order in orders {
        let mut owners = Owners::default();
        for (pid, start) in order {
            owners.add(SocketId(7), &task(pid, start));
        }
        assert_eq!(owners.of(SocketId(7)).unwrap().pid, 2);
        assert_eq!(owners.of(SocketId(8)), None);
    }
}

#[test]
fn a_number_in_use_again_is_another_process() {
    let mut owners = Owners::default();
    owners.add(SocketId(7), &task(1, 10));
    owners.add(SocketId(8), &task(1, 20));
    assert_eq!(owners.of(SocketId(8)).unwrap().start_time_ns, 20);
}

/// All that a scan of the calling thread's namespace finds, when this happens between its look at open
/// files and that at lists; `None` where the kernel or the privileges don't allow it.
fn scan(meanwhile: impl FnOnce()) -> Option<Vec<Existing>> {
    let namespace = Namespace::own().unwrap();
    let options = probe::Options {
        buffer_size: 1 << 16,
        netns: vec![namespace.inode],
        ..probe::Options::default()
    };
    let (mut attached, _observed) = probe::attach(Backend::Tracepoint, &options).ok()?;
    let mut iterators = Iterators::of(&mut attached.ebpf)?;
    let mut scan = Scan::new(&mut iterators, vec![namespace], &[]).unwrap();
    let mut all = Vec::new();
    // All files.
    while !scan.open.is_empty() {
        all.extend(scan.chunk(&mut iterators).unwrap().unwrap());
    }
    meanwhile();
    while let Some(chunk) = scan.chunk(&mut iterators).unwrap() {
        all.extend(chunk);
    }
    Some(all)
}

/// A TCP socket that is only bound to this port, 0: any, and its address.
fn bound(port: u16) -> (OwnedFd, Endpoint) {
    let bound =
        socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(bound.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port)).unwrap();
    let address = getsockname::<SockaddrIn>(bound.as_raw_fd()).unwrap();
    (bound, Endpoint::new(address.ip().into(), address.port()))
}

#[test]
fn every_socket_that_holds_a_port_is_found_once_with_its_state_and_process() {
    in_fresh_namespace(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server: Endpoint = listener.local_addr().unwrap().into();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let accepted = listener.accept().unwrap().0;
        let closed = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let other_end = listener.accept().unwrap().0;
        let closed_address: Endpoint = closed.local_addr().unwrap().into();
        drop(closed);
        drop(other_end);
        let (_only_bound, bound_address) = bound(0);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let Some(found) = scan(|| ()) else {
            println!("skipped: the kernel's programs can't be loaded here");
            return;
        };
        let here = std::process::id();
        let mut seen: Vec<_> = found
            .iter()
            .map(|one| {
                (one.flow.local, one.flow.remote, one.state, one.task.as_ref().map(|t| t.pid))
            })
            .collect();
        let client: Endpoint = client.local_addr().unwrap().into();
        let mut expected = vec![
            (server, None, TcpState::LISTEN, Some(here)),
            (server, Some(client), TcpState::ESTABLISHED, Some(here)),
            (client, Some(server), TcpState::ESTABLISHED, Some(here)),
            (closed_address, Some(server), TcpState::TIME_WAIT, None),
            (bound_address, None, TcpState::BOUND_INACTIVE, Some(here)),
            (udp.local_addr().unwrap().into(), None, TcpState::CLOSE, Some(here)),
        ];
        let key = |one: &(Endpoint, Option<Endpoint>, TcpState, _)| (one.0, one.1, one.2.number());
        seen.sort_by_key(key);
        expected.sort_by_key(key);
        assert_eq!(seen, expected);
        drop(accepted);
        let one = |state| found.iter().find(|one| one.state == state).unwrap();
        let entry = one(TcpState::TIME_WAIT);
        assert_eq!(entry.reuse.map(|reuse| reuse.timestamps), Some(true));
        // bind() took these ports for itself.
        assert_eq!(one(TcpState::BOUND_INACTIVE).blocked, Some(true));
        assert_eq!(one(TcpState::LISTEN).blocked, Some(true));
        assert_eq!((entry.blocked, one(TcpState::CLOSE).blocked), (Some(false), None));
    });
}

#[test]
fn a_socket_that_keeps_its_port_when_its_connection_ends_is_found_in_between() {
    in_fresh_namespace(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server: Endpoint = listener.local_addr().unwrap().into();
        let (client, at) = bound(4000);
        connect(client.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, server.port)).unwrap();
        let accepted = listener.accept().unwrap().0;
        let reset = || {
            let now = libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(&accepted, sockopt::Linger, &now).unwrap();
            drop(accepted);
            let mut client = TcpStream::from(client.try_clone().unwrap());
            client.read(&mut [0]).expect_err("reset");
        };
        let Some(found) = scan(reset) else {
            println!("skipped: the kernel's programs can't be loaded here");
            return;
        };
        let of_client: Vec<_> = found.iter().filter(|one| one.flow.local == at).collect();
        let [of_client] = of_client[..] else { panic!("{of_client:?}") };
        assert_eq!(of_client.task.as_ref().map(|task| task.pid), Some(std::process::id()));
    });
}
