//! Why a space is full, how full it is on the way, and what there is no room to account.

use std::thread;
use std::time::{Duration, Instant};

use tests::lines::{Body, Exhausted, Line};
use tests::net::{Net, SERVER, Server, ephemeral_range, in_namespace, scenario, sysctl};
use tests::observer::Observer;
use tests::socket::{ANY, Held, local, tcp};

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
