//! In which state the connections are that hold the ports of a full space, and the cause that follows.

use std::io::ErrorKind;

use socket2::SockAddr;
use tests::child::Traffic;
use tests::lines::{Exhausted, Holder};
use tests::net::{Net, SERVER, ephemeral_range, scenario};
use tests::socket::{Held, tcp};

use super::fill::{exhausted, fill};

const PORTS: u16 = 40;
const ALL: u32 = PORTS as u32;

/// A space of so many ports, of which only this call's is told.
fn full(net: &Net, is_left: usize) -> Exhausted {
    assert_eq!(fill().len(), is_left);
    exhausted(net)
}

fn cause(line: &Exhausted) -> &str {
    line.cause.as_ref().map_or("", |cause| cause.kind.as_str())
}

/// The holder of nearly all ports: this program.
fn holder(line: &Exhausted) -> &Holder {
    &line.holders.as_ref().expect("the holders")[0]
}

/// Begins to connect, and does not wait for the end of it.
fn begin_to_connect() -> Held {
    let held = tcp();
    held.socket().set_nonblocking(true).expect("set non-blocking");
    match held.socket().connect(&SockAddr::from(SERVER)) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS), "{error}"),
    }
    held
}

#[test]
fn a_destination_that_does_not_answer_is_unanswered_and_not_in_use() {
    scenario(|net| {
        ephemeral_range(40_000, 40_000 + PORTS - 1);
        // A listener whose queue is full takes no more SYNs (`tcp_conn_request`).
        let server = tcp().bind(SERVER);
        server.socket().listen(0).expect("listen");
        let _waiting: Vec<Held> = (0..PORTS).map(|_| begin_to_connect()).collect();
        let line = full(net, 0);
        let evidence = &line.cause.as_ref().expect("a cause").evidence;
        assert_eq!(cause(&line), "unanswered", "{line:?}");
        let syn_sent = evidence.syn_sent.expect("some in SYN_SENT");
        assert!(syn_sent > ALL / 2, "{line:?}");
        assert_eq!(syn_sent + evidence.established, ALL, "{line:?}");
        assert_eq!(holder(&line).syn_sent, Some(syn_sent), "{line:?}");
    });
}

#[test]
fn connections_that_only_the_peer_has_closed_are_not_closed() {
    scenario(|net| {
        ephemeral_range(40_000, 40_000 + PORTS - 1);
        let server = net.server();
        let mut kept = Vec::new();
        for _ in 0..PORTS {
            kept.push(tcp().connect(SERVER));
            server.accept().close();
        }
        // Each has the peer's FIN.
        kept.iter().for_each(Held::read_to_the_end);
        let line = full(net, 0);
        assert_eq!(cause(&line), "not_closed", "{line:?}");
        assert_eq!(holder(&line).close_wait, Some(ALL), "{line:?}");
        assert_eq!(holder(&line).established, 0, "{line:?}");
    });
}

#[test]
fn connections_whose_peer_does_not_read_are_not_read() {
    scenario(|net| {
        ephemeral_range(40_000, 40_000 + PORTS - 1);
        let server = tcp();
        server.socket().set_recv_buffer_size(4096).expect("a small buffer");
        let server = server.bind(SERVER).listen();
        let mut accepted = Vec::new();
        for _ in 0..PORTS {
            let client = tcp();
            client.socket().set_send_buffer_size(4096).expect("a small buffer");
            let mut client = client.connect(SERVER);
            accepted.push(server.accept());
            client.socket().set_nonblocking(true).expect("set non-blocking");
            let error = loop {
                if let Err(error) = client.socket().send(&[0; 4096]) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
            client.close();
        }
        let line = full(net, 0);
        assert_eq!(cause(&line), "not_read", "{line:?}");
        assert_eq!(holder(&line).fin_wait, Some(ALL), "{line:?}");
    });
}

#[test]
fn connections_that_end_between_two_refusals_are_told_as_they_are_then() {
    scenario(|net| {
        ephemeral_range(40_000, 40_000 + PORTS - 1);
        let server = net.server();
        let kept: Vec<Held> = (0..PORTS).map(|_| tcp().connect(SERVER)).collect();
        let accepted: Vec<Held> = (0..PORTS).map(|_| server.accept()).collect();
        let first = full(net, 0);
        assert_eq!(holder(&first).established, ALL, "{first:?}");
        drop(accepted);
        kept.iter().for_each(Held::read_to_the_end);
        // States are looked up once a second at most.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let later = full(net, 0);
        assert_eq!(holder(&later).close_wait, Some(ALL), "{later:?}");
    });
}

#[test]
fn what_a_process_that_ended_took_is_told_with_who_has_it_open_now() {
    scenario(|net| {
        ephemeral_range(40_000, 40_000 + PORTS - 1);
        let _server = net.server();
        let mut traffic = Traffic::start(&["fork", &SERVER.to_string()]);
        let opener = traffic.pid();
        traffic.taken().expect("a connection");
        assert!(traffic.wait().success());
        let _kept = fill();
        let line = exhausted(net);
        let holders = line.holders.as_ref().expect("the holders");
        let pid = |holder: &Holder| holder.process.as_ref().map(|process| process.pid);
        let inherited = holders.iter().find(|one| pid(one) == Some(opener)).expect("the opener's");
        let open_in = inherited.open_in.as_deref().unwrap_or_default();
        let [child] = open_in else { panic!("open in nobody: {line:?}") };
        assert_ne!(child.pid, opener, "{line:?}");
        assert_eq!(inherited.total, 1, "{line:?}");
        // Others have open what they took.
        let others = holders.iter().filter(|one| pid(one) != Some(opener));
        assert!(others.clone().all(|one| one.open_in.is_none()), "{line:?}");
        assert_eq!(others.map(|one| one.total).sum::<u32>(), ALL - 1, "{line:?}");
        traffic.go_on();
    });
}
