use std::{net::SocketAddr, sync::Arc};

use super::*;
use crate::{
    event::{Event, Flow, Kind as What, Reason, Sharing, SocketEvent, SocketId, Task},
    ledger::{Ledger, Options},
    pools::{Parity, Place, Protocols},
    ports::PortRange,
    process::{Caller, Container, Process},
    words,
};

const OWN: u32 = 7;
const OTHER: u32 = 8;
const SECOND: u64 = 1_000_000_000;

fn pool(name: &str, min: u16, max: u16) -> Pool {
    let place = Place { file: "pools.toml".into(), line: Some(1) };
    Pool::new(name, vec![PortRange { min, max }], place)
}

fn of_process(process: &str, pool: Pool) -> Pool {
    Pool { process: Some(process.to_owned()), ..pool }
}

/// A ledger, and what is watched.
struct Book {
    ledger: Ledger,
    watch: Watch,
    now_ns: u64,
}

impl Book {
    fn new(pools: Vec<Pool>) -> Self {
        let thresholds = Thresholds { warning: 70.0, critical: 85.0 };
        let watch = Watch::new(pools, Some(OWN), &[], thresholds);
        Self { ledger: Ledger::new(Options::default()), watch, now_ns: SECOND }
    }

    /// The same, with how full they are told already.
    fn begun(pools: Vec<Pool>) -> Self {
        let mut book = Self::new(pools);
        book.tick();
        book
    }

    fn tick(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        self.watch.tick(self.now_ns, self.ledger.holdings(), &mut out);
        lines(&out)
    }

    fn tell(&mut self, netns: u32, local: &str, kind: What, process: &Process) -> Vec<String> {
        self.now_ns += 10;
        let (protocol, local) = match local.strip_prefix("udp ") {
            Some(local) => (Protocol::Udp, local),
            None => (Protocol::Tcp, local),
        };
        let local: SocketAddr = local.parse().unwrap();
        let socket = SocketId(u64::from(local.port()) << 1 | u64::from(protocol == Protocol::Udp));
        let flow = Flow { netns, protocol, local: local.into(), remote: None };
        let event = SocketEvent { time_ns: self.now_ns, socket, flow, kind };
        let caller = Caller { process: Arc::new(process.clone()), tid: process.pid };
        let mut reports = Vec::new();
        self.ledger.apply(self.now_ns, Event::Socket(event), Some(caller), &mut reports);
        let mut out = Vec::new();
        for report in &reports {
            self.watch.take_in(report, self.ledger.holdings(), &mut out);
        }
        lines(&out)
    }

    /// A port is asked for and given; 0: any was asked for.
    fn take(&mut self, local: &str, via: Via, asked: u16, process: &Process) -> Vec<String> {
        let task = Task {
            pid: process.pid,
            tid: process.pid,
            name: process.name.clone(),
            uid: 0,
            start_time_ns: 0,
            cgroup_id: 0,
        };
        let kind = What::Acquire {
            via,
            requested_port: Some(asked),
            search_ns: None,
            task: Some(task),
            sharing: Sharing::default(),
        };
        self.tell(OWN, local, kind, process)
    }

    fn bind(&mut self, local: &str, process: &Process) -> Vec<String> {
        let port = local.rsplit(':').next().unwrap().parse().unwrap();
        self.take(local, Via::Bind, port, process)
    }

    fn close(&mut self, local: &str, process: &Process) -> Vec<String> {
        self.tell(OWN, local, What::Release { reason: Reason::Closed }, process)
    }
}

fn lines(reports: &[Report]) -> Vec<String> {
    let line = |report: &Report| match &report.body {
        Body::Pool(of) => {
            format!("{}: {}", report.body.event_type().name(), words::pools::message(of))
        }
        other => panic!("{other:?}"),
    };
    reports.iter().map(line).collect()
}

fn process(pid: u32, name: &str) -> Process {
    Process { pid, name: name.to_owned(), ..Process::default() }
}

fn in_container(pid: u32, name: &str, container: &str) -> Process {
    let container =
        Container { id: "ab".repeat(32), name: Some(container.to_owned()), runtime: "docker" };
    Process { container: Some(Arc::new(container)), ..process(pid, name) }
}

#[test]
fn where_each_pool_is_comes_first_once_all_is_known() {
    let mut book =
        Book::new(vec![of_process("rtp", pool("media", 100, 103)), pool("rest", 200, 209)]);
    let rtp = process(1, "rtp");
    for port in 100..104 {
        assert_eq!(book.bind(&format!("0.0.0.0:{port}"), &rtp), Vec::<String>::new());
    }
    assert_eq!(
        book.tick(),
        [
            "pool_threshold: media (100-103): critical, 4 of 4 ports held, 0 free for units (100% used)",
            "pool_exhausted: No ports available in range 100-103 (media); rtp 1 has 4",
            "pool_threshold: rest (200-209): ok, 0 of 10 ports held, 10 free for units (0% used)",
        ]
    );
    assert_eq!(book.tick(), Vec::<String>::new());
}

#[test]
fn a_pool_of_pairs_is_full_when_no_unit_has_room() {
    let media = Pool { parity: Parity::Pair, ports_per_unit: 4, ..pool("media", 100, 109) };
    let mut book = Book::begun(vec![Pool { protocols: Some(Protocols::Udp), ..media }]);
    let rtp = process(1, "rtp");
    // One port of a pair is the pair; TCP is not its matter.
    for local in ["udp 0.0.0.0:100", "udp 0.0.0.0:101", "udp 0.0.0.0:102", "0.0.0.0:105"] {
        assert_eq!(book.bind(local, &rtp), Vec::<String>::new(), "{local}");
    }
    assert_eq!(book.watch.uses(0)[0].free, 6);
    assert_eq!(book.bind("udp 0.0.0.0:104", &rtp), Vec::<String>::new());
    let told = book.bind("udp 0.0.0.0:107", &rtp);
    assert!(told[0].starts_with("pool_threshold: media (100-109): warning, 5 of 10"), "{told:?}");
    assert_eq!(told[1], "pool_exhausted: No ports available in range 100-109 (media); rtp 1 has 5");
    // Two pairs again.
    let told = book.close("udp 0.0.0.0:107", &rtp);
    assert!(told[0].contains(": ok, 4 of 10 ports held, 4 free"), "{told:?}");
    assert!(!book.watch.uses(0)[0].is_full);
}

#[test]
fn a_refused_call_for_a_port_of_a_full_pool_is_told_with_who_has_it() {
    let mut book = Book::begun(vec![of_process("rtp", pool("media", 100, 101))]);
    let (rtp, thief) = (process(1, "rtp"), process(2, "thief"));
    let conflict = || What::Conflict {
        via: Via::Bind,
        errno: 98,
        task: None,
        repeated: crate::event::Repeated::default(),
    };
    book.bind("0.0.0.0:100", &rtp);
    // There is another one to be had.
    assert_eq!(book.tell(OWN, "0.0.0.0:100", conflict(), &rtp), Vec::<String>::new());
    book.bind("0.0.0.0:101", &thief);
    book.now_ns += 2 * SECOND;
    let told = book.tell(OWN, "0.0.0.0:100", conflict(), &rtp);
    assert_eq!(
        told,
        [
            "pool_exhausted: No ports available in range 100-101 (media): EADDRINUSE Address already in use, \
          bind port 100; rtp 1 has 1; thief 2 has 1, a stranger"
        ]
    );
    // Who tries one after the other is told of once in a second, and counted.
    for _ in 0..3 {
        assert_eq!(book.tell(OWN, "0.0.0.0:101", conflict(), &rtp), Vec::<String>::new());
    }
    assert_eq!(book.watch.uses(0)[0].refused, 4);
    book.now_ns += 2 * SECOND;
    let told = book.tick();
    assert!(told[0].ends_with(", and 2 more such calls in that second"), "{told:?}");
    assert_eq!((told.len(), book.tick().len()), (1, 0));
}

#[test]
fn whoever_is_not_the_owner_is_a_stranger_and_automatic_choice_is_nobodys() {
    let pools = vec![of_process("web", pool("web", 100, 109)), pool("free", 200, 209)];
    let mut book = Book::begun(pools);
    let (web, curl) = (process(1, "web"), process(2, "curl"));
    assert_eq!(book.bind("0.0.0.0:100", &web), Vec::<String>::new());
    // The owner's own connections too.
    assert_eq!(book.take("10.0.0.1:101", Via::Connect, 0, &web), Vec::<String>::new());
    let told = book.bind("0.0.0.0:102", &curl);
    assert_eq!(told, ["pool_taken: curl 2 took tcp port 102 of web (100-109)"]);
    let told = book.take("10.0.0.1:103", Via::Connect, 0, &curl);
    assert_eq!(told, ["pool_taken: curl 2 was given by connect() tcp port 103 of web (100-109)"]);
    // Whose it is was not said.
    assert_eq!(book.bind("0.0.0.0:200", &curl), Vec::<String>::new());
    let told = book.take("10.0.0.1:201", Via::Bind, 0, &curl);
    assert_eq!(
        told,
        ["pool_taken: curl 2 was given by automatic choice tcp port 201 of free (200-209)"]
    );
}

#[test]
fn an_owner_elsewhere_is_told_with_the_pool_that_has_the_port() {
    let udp = |pool: Pool| Pool { protocols: Some(Protocols::Udp), ..pool };
    let pools = vec![
        of_process("one", pool("a", 100, 109)),
        of_process("two", pool("b", 200, 209)),
        of_process("two", udp(pool("c", 300, 309))),
    ];
    let mut book = Book::begun(pools);
    let two = process(2, "two");
    for own in ["0.0.0.0:205", "udp 0.0.0.0:301"] {
        assert_eq!(book.bind(own, &two), Vec::<String>::new(), "{own}");
    }
    assert_eq!(
        book.bind("0.0.0.0:107", &two),
        [
            "pool_taken: two 2 took tcp port 107 of a (100-109)",
            "pool_wrong_range: two 2 took tcp port 107, which belongs to a; its pool is b (200-209)",
        ]
    );
    let told = book.bind("0.0.0.0:8080", &two);
    assert_eq!(told, ["pool_wrong_range: two 2 took tcp port 8080; its pool is b (200-209)"]);
    // One of that name in another network namespace is not the owner.
    let bind = What::Acquire {
        via: Via::Bind,
        requested_port: Some(8081),
        search_ns: None,
        task: None,
        sharing: Sharing::default(),
    };
    assert_eq!(book.tell(OTHER, "0.0.0.0:8081", bind, &two), Vec::<String>::new());
    // What the kernel chose is no wrong range.
    assert_eq!(book.take("10.0.0.1:5000", Via::Connect, 0, &two), Vec::<String>::new());
    assert_eq!(book.take("10.0.0.1:5001", Via::Bind, 0, &two), Vec::<String>::new());
}

#[test]
fn a_container_is_found_by_the_name_of_its_namespace_or_where_its_processes_are() {
    let of = |name: &str, pool: Pool| Pool { container: Some(name.to_owned()), ..pool };
    let pools = vec![of("gluetun", pool("a", 100, 109)), of("gluetun_2", pool("b", 200, 209))];
    let mut book = Book::new(pools);
    let told = book.tick();
    assert!(told[0].contains("not watched"), "{told:?}");
    let holdings = book.ledger.holdings();
    book.watch.name(OTHER, &["gluetun_2".to_owned()], holdings);
    assert_eq!(book.watch.uses(0)[1].netns, Some(OTHER));
    // An engine that joined its namespace is the container's, whatever its own container is called.
    let engine = in_container(5, "engine", "acestream-1");
    let bind = |port: u16| What::Acquire {
        via: Via::Bind,
        requested_port: Some(port),
        search_ns: None,
        task: None,
        sharing: Sharing::default(),
    };
    assert_eq!(book.tell(OTHER, "0.0.0.0:201", bind(201), &engine), Vec::<String>::new());
    let told = book.tell(OTHER, "0.0.0.0:107", bind(107), &engine);
    assert_eq!(
        told,
        [
            "pool_wrong_range: engine 5 took tcp port 107, which belongs to a; its pool is b (200-209)"
        ]
    );
    // Its other ports are nobody's matter.
    assert_eq!(book.tell(OTHER, "0.0.0.0:8000", bind(8000), &engine), Vec::<String>::new());
    let vpn = in_container(6, "openvpn", "gluetun");
    assert_eq!(book.tell(9, "0.0.0.0:103", bind(103), &vpn), Vec::<String>::new());
    assert_eq!(book.watch.uses(0)[0].netns, Some(9));
    assert_eq!(book.watch.uses(0)[0].used, 1);
    book.watch.forget(9);
    assert_eq!((book.watch.uses(0)[0].netns, book.watch.uses(0)[0].used), (None, 0));
}

#[test]
fn what_is_on_another_address_is_not_in_its_way() {
    let mut book =
        Book::begun(vec![Pool { address: Some("10.0.0.1".to_owned()), ..pool("a", 100, 103) }]);
    let web = process(1, "web");
    for (local, used) in
        [("10.0.0.2:100", 0), ("10.0.0.1:101", 1), ("0.0.0.0:102", 2), ("[::]:103", 3)]
    {
        book.bind(local, &web);
        assert_eq!(book.watch.uses(0)[0].used, used, "{local}");
    }
}

#[test]
fn a_pool_that_fills_up_says_when_it_will_be_full() {
    let mut book = Book::begun(vec![pool("a", 1_000, 1_999)]);
    let web = process(1, "web");
    for port in 1_000..1_100 {
        book.now_ns += SECOND / 10;
        book.bind(&format!("0.0.0.0:{port}"), &web);
    }
    let found = &book.watch.uses(book.now_ns)[0];
    let (rate, seconds) = (found.growth_per_second.unwrap(), found.seconds_to_exhaustion.unwrap());
    assert!((rate - 10.0).abs() < 0.5 && (seconds - 90.0).abs() < 5.0, "{found:?}");
}

#[test]
fn lines_of_one_process_are_counted_beyond_a_hundred_a_second() {
    let mut book = Book::begun(vec![of_process("web", pool("a", 1_000, 1_999))]);
    let thief = process(2, "thief");
    let mut told = 0;
    for port in 1_000..1_150 {
        let lines = book.bind(&format!("0.0.0.0:{port}"), &thief);
        told += lines.iter().filter(|line| line.starts_with("pool_taken")).count();
    }
    assert_eq!(told, 100);
    book.now_ns += 2 * SECOND;
    let told = book.tick();
    assert_eq!(
        told,
        [
            "pool_taken: thief 2 took tcp port 1149 of a (1000-1999), and 49 more such ports in that second"
        ]
    );
}
