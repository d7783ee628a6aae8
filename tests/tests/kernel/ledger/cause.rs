//! Why a space is full, how full it is on the way, and what there is no room to account.

use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tests::lines::{Body, Exhausted, Line};
use tests::net::{Net, SERVER, Server, ephemeral_range, in_namespace, scenario, sysctl};
use tests::observer::Observer;
use tests::socket::{ANY, Held, local, tcp, udp};

use super::fill::{exhausted, fill};

/// Leaves this many connections in TIME_WAIT.
fn churn(server: &Server, count: usize) {
    for _ in 0..count {
        let mut a = tcp().connect(SERVER);
        let mut child = server.accept();
        a.close();
        child.read_to_the_end();
        child.close();
    }
}

/// The exhausted line tells this cause. Returns it.
fn assert_cause(net: &Net, cause: &str) -> Exhausted {
    let line = exhausted(net);
    assert_eq!(line.cause.as_ref().map(|told| told.kind.as_str()), Some(cause), "{line:?}");
    line
}

#[test]
fn connections_that_come_and_go_fast_are_churn() {
    scenario(|net| {
        ephemeral_range(40_000, 40_199);
        sysctl("ipv4/tcp_tw_reuse", "0");
        let server = net.server();
        churn(&server, 150);
        let held = fill();
        assert_eq!(held.len(), 50);
        let line = assert_cause(net, "churn");
        let evidence = line.cause.expect("the cause").evidence;
        assert_eq!((evidence.capacity, evidence.time_wait, evidence.established), (200, 150, 50));
    });
}

#[test]
fn connections_that_are_opened_steadily_and_kept_are_a_leak() {
    const PORTS: u16 = 260;
    const EACH: Duration = Duration::from_millis(100);
    scenario(|net| {
        ephemeral_range(40_000, 40_000 + PORTS - 1);
        let _server = net.server();
        let began = Instant::now();
        let mut held = Vec::new();
        for number in 0..u32::from(PORTS) {
            thread::sleep((began + EACH * number).saturating_duration_since(Instant::now()));
            held.push(tcp().connect(SERVER));
        }
        assert_eq!(fill().len(), 0);
        let line = assert_cause(net, "leak");
        let evidence = line.cause.expect("the cause").evidence;
        assert_eq!(evidence.established, u32::from(PORTS));
        let growth = evidence.growth_per_second.expect("how it grew");
        assert!((8.0..11.0).contains(&growth), "{growth} instead of 10 per second");
    });
}

#[test]
fn ports_held_by_bind_are_bind_held() {
    scenario(|net| {
        ephemeral_range(40_000, 40_099);
        let _server = net.server();
        let _bound: Vec<Held> = (0..80).map(|_| tcp().bind(ANY)).collect();
        assert_eq!(fill().len(), 20);
        let line = assert_cause(net, "bind_held");
        let evidence = line.cause.expect("the cause").evidence;
        assert_eq!((evidence.bound, evidence.established), (80, 20));
    });
}

#[test]
fn ports_that_bind_takes_before_connect_are_bind_held_whatever_the_range() {
    scenario(|net| {
        ephemeral_range(40_000, 40_019);
        let _servers = [80, 81, 82, 83].map(|port| tcp().bind(local(port)).listen());
        let connect = |number: u16, socket: Held| {
            let mut socket = socket;
            socket.try_bind(local(0))?;
            socket.try_connect(local(80 + number % 4))?;
            Ok::<_, Errno>(socket)
        };
        let mut held: Vec<Held> = (0..20).map(|n| connect(n, tcp()).expect("a port")).collect();
        net.forget();
        assert_eq!(connect(20, tcp()).err(), Some(Errno::EADDRINUSE));
        let line = assert_cause(net, "bind_held");
        let evidence = line.cause.expect("the cause").evidence;
        assert_eq!((evidence.bound, evidence.established), (20, 0));
        assert_eq!(line.holders.expect("holders")[0].established, 20);
        // As the table's remedy has it.
        held.iter_mut().for_each(Held::reset);
        let many = (0..60).filter_map(|n| connect(n, tcp().bind_address_no_port()).ok());
        let many: Vec<Held> = many.collect();
        assert_eq!(many.len(), 60);
        net.forget();
    });
}

#[test]
fn connected_udp_sockets_have_a_port_each_and_are_no_small_range() {
    scenario(|net| {
        ephemeral_range(40_000, 40_009);
        let _held: Vec<Held> = (53..63).map(|port| udp().connect(local(port))).collect();
        // Where automatic binds are found by looking.
        thread::sleep(Duration::from_millis(1100));
        net.forget();
        assert_eq!(udp().try_bind(local(0)), Err(Errno::EADDRINUSE));
        let line = assert_cause(net, "concurrency");
        assert_eq!(line.holders.expect("holders")[0].total, 10);
    });
}

#[test]
fn many_connections_in_use_at_the_same_time_are_concurrency() {
    scenario(|net| {
        ephemeral_range(40_000, 41_999);
        let _server = net.server();
        // They come and go, and come again: more than are closed in the end.
        let mut held = fill();
        assert_eq!(held.len(), 2000);
        net.forget();
        thread::sleep(Duration::from_millis(1100));
        held.drain(..1000).for_each(|mut a| a.reset());
        let more = fill();
        assert_eq!(more.len(), 1000);
        assert_cause(net, "concurrency");
    });
}

#[test]
fn few_ports_are_a_small_range() {
    scenario(|net| {
        ephemeral_range(40_000, 40_009);
        let _server = net.server();
        assert_eq!(fill().len(), 10);
        assert_cause(net, "small_range");
    });
}

/// The levels that were told of, each with how full it was.
fn levels(lines: &[Line]) -> Vec<(String, u32)> {
    let level = |line: &Line| match &line.body {
        Body::Threshold(told) if told.space.kind == "connect" => {
            Some((told.level.clone(), told.space.used))
        }
        _ => None,
    };
    lines.iter().filter_map(level).collect()
}

#[test]
fn a_space_crosses_its_thresholds_up_and_later_down() {
    in_namespace(|inode| {
        ephemeral_range(40_000, 40_099);
        let _server = tcp().bind(SERVER).listen();
        let netns = inode.to_string();
        let arguments = ["--netns", &netns, "--warning", "50", "--critical", "90"];
        let observer = Observer::own(&arguments)?;
        let mut held: Vec<Held> = (0..95).map(|_| tcp().connect(SERVER)).collect();
        // Up and down around a threshold is told of once.
        for _ in 0..3 {
            held.drain(88..).for_each(|mut a| a.reset());
            held.extend((88..95).map(|_| tcp().connect(SERVER)));
        }
        held.drain(..).for_each(|mut a| a.reset());
        let levels = levels(&observer.interrupted().lines);
        let names: Vec<&str> = levels.iter().map(|(level, _)| level.as_str()).collect();
        assert_eq!(names, ["warning", "critical", "warning", "ok"], "{levels:?}");
        let used: Vec<u32> = levels.iter().map(|(_, used)| *used).collect();
        assert_eq!(used[..2], [50, 90], "{levels:?}");
        assert!(used[2] < 88 && used[3] < 50 && used[3] < used[2], "{levels:?}");
        Some(())
    });
}

#[test]
fn what_does_not_fit_into_the_ledger_is_told_and_counted() {
    const ROOM: u16 = 60;
    const PORTS: u16 = 100;
    in_namespace(|inode| {
        let netns = inode.to_string();
        let room = ROOM.to_string();
        let observer = Observer::own(&["--netns", &netns, "--max-holdings", &room])?;
        let held: Vec<Held> = (0..PORTS).map(|n| tcp().bind(local(2000 + n))).collect();
        let ended = observer.interrupted();
        let mut lost = 0;
        let mut acquired = 0;
        for line in &ended.lines {
            match &line.body {
                Body::Lost(line) => {
                    assert_eq!(line.place, "ledger", "{line:?}");
                    lost += line.count;
                }
                Body::Acquire(_) => acquired += 1,
                _ => (),
            }
        }
        assert_eq!((acquired, lost), (held.len(), u64::from(PORTS - ROOM)));
        let Some(Line { body: Body::Stop(stop), .. }) = ended.lines.last() else {
            panic!("{:?}", ended.lines)
        };
        assert_eq!((stop.acquired, stop.lost), (u64::from(PORTS), lost), "{stop:?}");
        Some(())
    });
}

#[test]
fn a_range_of_a_sockets_own_is_the_space_that_was_full() {
    if tcp().own_range(40_000, 40_009).is_none() {
        println!("skipped: this kernel has no IP_LOCAL_PORT_RANGE");
        return;
    }
    scenario(|net| {
        ephemeral_range(40_000, 40_099);
        let _server = net.server();
        let own = |socket: Held, low, high| socket.own_range(low, high).expect("the option");
        let mut held: Vec<Held> =
            (0..20).map(|_| own(tcp(), 40_010, 40_029).connect(SERVER)).collect();
        let mut last = own(tcp(), 40_010, 40_029);
        let last = last.try_connect(SERVER);
        assert_eq!(last.err(), Some(nix::errno::Errno::EADDRNOTAVAIL), "the kernel says so");
        held.extend((0..10).map(|_| own(udp(), 0, 40_009).bind(local(0))));
        assert!(own(udp(), 0, 40_009).try_bind(local(0)).is_err(), "the kernel says so");
        // What the namespace has left is another story.
        let rest = fill();
        assert_eq!(rest.len(), 80);
        let told = |line: &Exhausted| {
            let space = line.space.clone().expect("the space");
            let own = space.own_range.map(|range| (range.min, range.max));
            let kind = line.cause.clone().map(|cause| cause.kind);
            (line.protocol.clone(), own, space.used, space.headroom, space.capacity, kind)
        };
        let lines = net.mark();
        let told: Vec<_> = lines
            .iter()
            .filter_map(|line| match &line.body {
                Body::Exhausted(line) => Some(told(line)),
                _ => None,
            })
            .collect();
        let small = Some("small_range".to_owned());
        let of =
            |protocol: &str, own, ports, kind| (protocol.to_owned(), own, ports, 0, ports, kind);
        let in_use = Some("concurrency".to_owned());
        assert_eq!(
            told,
            [
                of("tcp", Some((40_010, 40_029)), 20, small.clone()),
                of("udp", Some((40_000, 40_009)), 10, in_use),
                of("tcp", None, 100, small),
            ],
        );
    });
}
