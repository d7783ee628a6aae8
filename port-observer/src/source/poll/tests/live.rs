//! Against this machine's own sockets.

use std::{
    io::Read,
    net::{TcpListener, TcpStream, UdpSocket},
};

use super::{
    super::{Poll, Scope},
    release,
};
use crate::{
    event::{Endpoint, Event, Kind, Protocol, Reason, Sharing, SocketEvent, TcpState, Via},
    kernel::testing::in_fresh_namespace,
};

fn of_port(events: &[Event], port: u16) -> Vec<&SocketEvent> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Socket(event) if event.flow.local.port == port => Some(event),
            _ => None,
        })
        .collect()
}

#[test]
fn a_connection_is_followed_from_connect_to_time_wait_with_its_process() {
    in_fresh_namespace(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server_port = listener.local_addr().unwrap().port();
        let mut poll = Poll::new(Scope::Own, &[]);
        let existing = poll.baseline().unwrap();
        let held = existing.iter().find(|one| one.flow.local.port == server_port).unwrap();
        assert_eq!(held.state, TcpState::LISTEN);
        assert_eq!(held.task.as_ref().unwrap().pid, std::process::id());

        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut server = listener.accept().unwrap().0;
        let port = client.local_addr().unwrap().port();
        let events = poll.round().unwrap();
        let [taken] = of_port(&events, port)[..] else { panic!("{events:?}") };
        let Kind::Acquire { via: Via::Connect, requested_port: None, task: Some(task), .. } =
            &taken.kind
        else {
            panic!("{taken:?}")
        };
        assert_eq!(task.pid, std::process::id());
        assert_eq!(taken.flow.remote.unwrap().port, server_port);
        let [child] = of_port(&events, server_port)[..] else { panic!("{events:?}") };
        assert_eq!(
            child.kind,
            Kind::Inherit { listener: held.socket.unwrap(), sharing: Sharing::default() }
        );

        drop(client);
        assert_eq!(server.read(&mut [0; 1]).unwrap(), 0);
        drop(server);
        let events = poll.round().unwrap();
        let [end] = of_port(&events, port)[..] else { panic!("{events:?}") };
        assert_eq!(end.socket, taken.socket);
        assert!(matches!(end.kind, Kind::TimeWait { .. }), "{end:?}");
        let [child_end] = of_port(&events, server_port)[..] else { panic!("{events:?}") };
        assert_eq!(child_end.kind, release(Reason::Closed));
        assert_eq!(of_port(&poll.round().unwrap(), port), Vec::<&SocketEvent>::new());
    });
}

#[test]
fn udp_and_listening_sockets_are_taken_and_given_back() {
    in_fresh_namespace(|| {
        let mut poll = Poll::new(Scope::Own, &[]);
        poll.baseline().unwrap();
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let ports = [udp.local_addr().unwrap().port(), tcp.local_addr().unwrap().port()];
        let events = poll.round().unwrap();
        for port in ports {
            let [taken] = of_port(&events, port)[..] else { panic!("{events:?}") };
            assert!(matches!(taken.kind, Kind::Acquire { via: Via::Bind, .. }), "{taken:?}");
        }
        drop((udp, tcp));
        let events = poll.round().unwrap();
        for port in ports {
            let [given] = of_port(&events, port)[..] else { panic!("{events:?}") };
            assert_eq!(given.kind, release(Reason::Closed));
        }
    });
}

/// A process that is ended with its value.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process in a network namespace of its own. `None` without the privilege.
fn process_in_namespace() -> Option<Running> {
    let mut command = std::process::Command::new("sleep");
    command.arg("60");
    // SAFETY: unshare is a plain system call, which may follow fork.
    unsafe {
        std::os::unix::process::CommandExt::pre_exec(&mut command, || {
            Ok(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?)
        });
    }
    command.spawn().ok().map(Running)
}

#[test]
fn all_namespaces_of_processes_are_looked_into_and_their_end_is_seen() {
    let Some(process) = process_in_namespace() else {
        println!("skipped: no privilege to make a network namespace");
        return;
    };
    let path = format!("/proc/{}/ns/net", process.0.id());
    let namespace = crate::kernel::netns::resolve(&path).unwrap();
    let mut poll = Poll::new(Scope::All, &[Protocol::Tcp]);
    poll.baseline().unwrap();
    let listener = namespace.run(|| Ok(TcpListener::bind("127.0.0.1:0")?)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let inside = |events: &[Event]| {
        let events = of_port(events, port).into_iter();
        events.filter(|event| event.flow.netns == namespace.inode).cloned().collect::<Vec<_>>()
    };
    let [taken] = &inside(&poll.round().unwrap())[..] else { panic!("no acquire") };
    assert!(matches!(&taken.kind, Kind::Acquire { task: Some(_), .. }), "{taken:?}");
    drop((process, listener));
    let [gone] = &inside(&poll.round().unwrap())[..] else { panic!("no release") };
    assert_eq!((gone.socket, &gone.kind), (taken.socket, &release(Reason::Reconciled)));
}

#[test]
fn only_the_namespaces_that_are_asked_for_are_looked_into() {
    let Some(process) = process_in_namespace() else {
        println!("skipped: no privilege to make a network namespace");
        return;
    };
    let path = format!("/proc/{}/ns/net", process.0.id());
    let namespace = crate::kernel::netns::resolve(&path).unwrap();
    let listener = namespace.run(|| Ok(TcpListener::bind("127.0.0.1:0")?)).unwrap();
    let mut poll = Poll::new(Scope::Only(vec![namespace.inode]), &[]);
    let existing = poll.baseline().unwrap();
    assert_eq!(existing.len(), 1, "{existing:?}");
    assert_eq!(existing[0].flow.local, listener.local_addr().unwrap().into());
    assert_eq!(existing[0].flow.netns, namespace.inode);
}

#[test]
fn the_first_round_tells_what_is_there_already() {
    in_fresh_namespace(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        let events = Poll::new(Scope::Own, &[]).round().unwrap();
        let existing = |local: &Endpoint, state| {
            events.iter().any(|event| {
                matches!(event, Event::Existing(one) if one.flow.local == *local && one.state == state)
            })
        };
        let client = client.local_addr().unwrap().into();
        let listener = listener.local_addr().unwrap().into();
        let server: Endpoint = server.local_addr().unwrap().into();
        assert!(existing(&client, TcpState::ESTABLISHED), "{events:?}");
        assert!(existing(&listener, TcpState::LISTEN), "{events:?}");
        assert!(existing(&server, TcpState::ESTABLISHED), "{events:?}");
    });
}
