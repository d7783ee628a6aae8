//! How full a space is: what is counted with every event equals what a look at all holdings gives.

use proptest::prelude::*;

use super::*;
use crate::{
    event::NamespaceSettings,
    ledger::{Census, Holding, Holds, rules},
    ports::{PortRange, Ports, ReservedPorts},
    report::{Holder, Level, Space, SpaceKind},
};

const SECOND: u64 = 1_000_000_000;

pub(super) fn settings(min: u16, max: u16, reserved: u16, tw_reuse: u8) -> Event {
    let reserved = vec![PortRange { min: reserved, max: reserved }];
    Event::Namespace(Box::new(NamespaceSettings {
        netns: NETNS,
        names: Vec::new(),
        ports: Ports { ephemeral: PortRange { min, max }, reserved: ReservedPorts::new(reserved) },
        tw_reuse,
        tw_reuse_delay_ms: 1000,
    }))
}

pub(super) fn connect_space(source: &str, destination: &str) -> SpaceKey {
    let kind =
        SpaceKind::Connect { source: source.parse().unwrap(), destination: endpoint(destination) };
    SpaceKey { netns: NETNS, protocol: Protocol::Tcp, kind }
}

fn bind_space(address: &str) -> SpaceKey {
    let kind = SpaceKind::Bind { address: address.parse().unwrap() };
    SpaceKey { netns: NETNS, protocol: Protocol::Tcp, kind }
}

fn flow(local: &str, remote: Option<&str>) -> Flow {
    let remote = remote.map(endpoint);
    Flow { netns: NETNS, protocol: Protocol::Tcp, local: endpoint(local), remote }
}

/// Counts by a look at every port and all holdings. `bound`: ports where a bind() succeeded since
/// they last had no holder.
fn counted(book: &Book, key: &SpaceKey, bound: &dyn Fn(u16) -> bool) -> u32 {
    let holdings = book.ledger.holdings();
    let settings = holdings.namespaces[&NETNS].settings.as_ref().unwrap();
    let is_used = |port: u16| {
        let on_it: Vec<&Holding> =
            holdings.iter().filter(|holding| holding.flow().local.port == port).collect();
        match key.kind {
            SpaceKind::Bind { address } => on_it.iter().any(|h| rules::overlaps(address, h)),
            SpaceKind::Connect { source, destination } => {
                let is_blocked = if book.ledger.options.sticky {
                    !on_it.is_empty() && bound(port)
                } else {
                    on_it.iter().any(|holding| !holding.sharing.connect_bind)
                };
                let is_old = |holding: &Holding| {
                    holding.holds == Holds::TimeWait
                        && holding.reuse.timestamps
                        && holding.began_ns + SECOND < holdings.now_ns
                        && rules::may_reuse(settings.tw_reuse, source, destination.address)
                };
                let is_there = |holding: &&Holding| {
                    holding.flow().local.address == source
                        && holding.flow().remote == Some(destination)
                        && !is_old(holding)
                };
                is_blocked || on_it.iter().any(is_there)
            }
        }
    };
    let ports = settings.ports.ephemeral.min..=settings.ports.ephemeral.max;
    ports.filter(|port| settings.ports.offers(*port) && is_used(*port)).count() as u32
}

#[derive(Clone, Debug)]
enum Step {
    Connect { port: u16, source: usize, to: usize },
    Bind { port: u16, source: usize },
    Child { port: u16, source: usize, to: usize },
    TimeWait { which: usize, timestamps: bool, unnamed: bool },
    Release { which: usize },
    Settings { min: u16, max: u16, reserved: u16, tw_reuse: u8 },
    Wait { milliseconds: u64 },
}

const SOURCES: [&str; 5] = ["127.0.0.1", "10.0.0.1", "0.0.0.0", "::1", "::"];
const DESTINATIONS: [&str; 4] = ["127.0.0.1:80", "10.0.0.9:80", "10.0.0.9:443", "[::1]:80"];

fn step() -> impl Strategy<Value = Step> {
    let port = 40000..40012u16;
    let to = 0..DESTINATIONS.len();
    prop_oneof![
        4 => (port.clone(), 0..2usize, to.clone())
            .prop_map(|(port, source, to)| Step::Connect { port, source, to }),
        2 => (port.clone(), 0..SOURCES.len()).prop_map(|(port, source)| Step::Bind { port, source }),
        1 => (port, 0..2usize, to).prop_map(|(port, source, to)| Step::Child { port, source, to }),
        3 => (any::<usize>(), any::<bool>(), any::<bool>())
            .prop_map(|(which, timestamps, unnamed)| Step::TimeWait { which, timestamps, unnamed }),
        3 => any::<usize>().prop_map(|which| Step::Release { which }),
        1 => (39998..40004u16, 40006..40014u16, 40000..40012u16, 0..3u8).prop_map(
            |(min, max, reserved, tw_reuse)| Step::Settings { min, max, reserved, tw_reuse }),
        1 => (1..1500u64).prop_map(|milliseconds| Step::Wait { milliseconds }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn counting_along_equals_counting_all(
        steps in proptest::collection::vec(step(), 1..80),
        sticky: bool,
    ) {
        let options = Options { sticky, ..Options::default() };
        let ledger = Ledger::new(options);
        let mut book = Book { ledger, now_ns: 0 };
        book.apply(settings(40000, 40011, 40003, 2));
        let mut next = 0x1000;
        // What is alive: identity, flow, whether it is TIME_WAIT.
        let mut alive: Vec<(SocketId, Flow, bool)> = Vec::new();
        let mut bound: std::collections::HashSet<u16> = Default::default();
        for step in steps {
            next += 16;
            let socket = SocketId(next);
            let is_taken = |flow: &Flow, alive: &[(SocketId, Flow, bool)]| {
                alive.iter().any(|(_, other, _)| other == flow)
            };
            match step {
                Step::Connect { port, source, to } => {
                    let local = format!("{}:{port}", SOURCES[source]);
                    let flow = flow(&local, Some(DESTINATIONS[to]));
                    if !is_taken(&flow, &alive) {
                        book.tell(socket, flow, connect("curl"));
                        alive.push((socket, flow, false));
                    }
                }
                Step::Bind { port, source } => {
                    let address: std::net::IpAddr = SOURCES[source].parse().unwrap();
                    let local = std::net::SocketAddr::new(address, port).to_string();
                    book.tell(socket, flow(&local, None), bind("web"));
                    alive.push((socket, flow(&local, None), false));
                    bound.insert(port);
                }
                Step::Child { port, source, to } => {
                    let local = format!("{}:{port}", SOURCES[source]);
                    let flow = flow(&local, Some(DESTINATIONS[to]));
                    if !is_taken(&flow, &alive) {
                        book.tell(socket, flow, inherit());
                        bound.insert(port);
                        alive.push((socket, flow, false));
                    }
                }
                Step::TimeWait { which, timestamps, unnamed } => {
                    let count = alive.len().max(1);
                    if let Some(one) = alive.get_mut(which % count)
                        && one.1.remote.is_some()
                        && !one.2
                    {
                        let successor = (!unnamed).then_some(socket);
                        let reuse = Reuse { fin_wait2: false, timestamps };
                        let kind = Kind::TimeWait { successor, done: true, reuse };
                        book.tell(one.0, one.1, kind);
                        one.0 = successor.unwrap_or(SocketId(0));
                        one.2 = true;
                    }
                }
                Step::Release { which } => {
                    if !alive.is_empty() {
                        let (socket, flow, _) = alive.swap_remove(which % alive.len());
                        book.tell(socket, flow, CLOSED);
                        let port = flow.local.port;
                        if !alive.iter().any(|(_, other, _)| other.local.port == port) {
                            bound.remove(&port);
                        }
                    }
                }
                Step::Settings { min, max, reserved, tw_reuse } => {
                    book.apply(settings(min, max, reserved, tw_reuse));
                }
                Step::Wait { milliseconds } => {
                    book.now_ns += milliseconds * 1_000_000;
                    let now_ns = book.now_ns;
                    book.ledger.tick(now_ns, &mut Vec::new());
                }
            }
            prop_assert_eq!(book.ledger.holdings().len(), alive.len());
            let connects = SOURCES[..2].iter().flat_map(|source| {
                DESTINATIONS.iter().map(|to| connect_space(source, to))
            });
            let keys: Vec<SpaceKey> =
                connects.chain(SOURCES.iter().map(|address| bind_space(address))).collect();
            for key in &keys {
                let expected = counted(&book, key, &|port| bound.contains(&port));
                prop_assert_eq!(book.ledger.holdings().used(key), Some(expected), "{:?}", key);
            }
            // Somebody holds each of them.
            for Census { space, holders } in book.ledger.census(book.now_ns, 3, &keys) {
                let held: u32 = holders.iter().map(Holder::total).sum();
                prop_assert_eq!(held, space.used, "{:?}", space);
            }
        }
    }
}

fn space_of(book: &Book, key: &SpaceKey) -> Space {
    book.ledger.holdings().space(key).unwrap()
}

#[test]
fn a_space_is_not_known_before_its_namespace_is() {
    let mut book = Book::new();
    book.tell(SOCKET, to_web(40000), connect("curl"));
    let key = connect_space("10.0.0.1", "10.0.0.9:80");
    assert_eq!(book.ledger.holdings().space(&key), None);
    book.apply(settings(40000, 40099, 40050, 2));
    let space = space_of(&book, &key);
    assert_eq!((space.capacity, space.used, space.headroom), (99, 1, 98));
}

#[test]
fn a_udp_port_counts_for_the_address_that_connect_gave_its_socket() {
    let mut book = Book::new();
    book.apply(settings(40000, 40009, 0, 2));
    let udp = |local: &str| Flow { protocol: Protocol::Udp, ..flow(local, None) };
    let used = |book: &Book| {
        let of = |address| SpaceKey { protocol: Protocol::Udp, ..bind_space(address) };
        ["127.0.0.1", "127.0.0.5", "0.0.0.0"].map(|address| space_of(book, &of(address)).used)
    };
    book.tell(SOCKET, udp("0.0.0.0:40000"), acquire(Via::Autobind, Some(task("dig"))));
    assert_eq!(used(&book), [1, 1, 1]);
    assert!(book.tell(SOCKET, udp("127.0.0.1:40000"), Kind::Rehash).is_empty());
    assert_eq!(used(&book), [1, 0, 1]);
    // connect() to AF_UNSPEC.
    book.tell(SOCKET, udp("0.0.0.0:40000"), Kind::Rehash);
    assert_eq!(used(&book), [1, 1, 1]);
    // Of a socket that is not known, or known on another port.
    book.tell(OTHER, udp("127.0.0.1:40001"), Kind::Rehash);
    book.tell(SOCKET, udp("127.0.0.1:40001"), Kind::Rehash);
    assert_eq!(used(&book), [1, 1, 1]);
    let released = book.tell(SOCKET, udp("0.0.0.0:40000"), release(Reason::Closed));
    assert_eq!(released, ["release closed 40000> dig 50ns"]);
    assert_eq!(used(&book), [0, 0, 0]);
}

#[test]
fn the_time_of_exhaustion_follows_from_the_growth() {
    let mut book = Book::new();
    book.apply(settings(40000, 40999, 1, 0));
    for index in 0..200u16 {
        book.now_ns = u64::from(index) * SECOND / 10;
        book.tell(SocketId(u64::from(index) + 1), to_web(40000 + index), connect("curl"));
    }
    let space = space_of(&book, &connect_space("10.0.0.1", "10.0.0.9:80"));
    assert_eq!(space.used, 200);
    let seconds = space.seconds_to_exhaustion.unwrap();
    assert!((seconds - 80.0).abs() < 2.0, "{seconds}");
}

#[test]
fn a_space_that_does_not_grow_has_no_time_of_exhaustion() {
    let mut book = Book::new();
    book.apply(settings(40000, 40099, 1, 0));
    for index in 0..20u16 {
        book.tell(SocketId(u64::from(index) + 1), to_web(40000 + index), connect("curl"));
    }
    book.ledger.tick(90 * SECOND, &mut Vec::new());
    let space = space_of(&book, &connect_space("10.0.0.1", "10.0.0.9:80"));
    assert_eq!(space.growth_per_second, Some(0.0));
    assert_eq!(space.seconds_to_exhaustion, None);
}

fn levels(reports: &[Report]) -> Vec<(Level, u32)> {
    let level = |report: &Report| match &report.body {
        Body::Threshold { space, level } => Some((*level, space.used)),
        _ => None,
    };
    reports.iter().filter_map(level).collect()
}

#[test]
fn thresholds_are_told_once_up_and_once_down() {
    let mut book = Book::new();
    book.apply(settings(40000, 40099, 1, 0));
    let mut out = Vec::new();
    let mut tell = |book: &mut Book, index: u16, kind: Kind| {
        book.now_ns += 1;
        let flow = to_web(40000 + index);
        let socket = SocketId(u64::from(index) + 1);
        let event = SocketEvent { time_ns: book.now_ns, socket, flow, kind };
        let event = Event::Socket(event);
        let caller = caller(&event);
        book.ledger.apply(book.now_ns, event, caller, &mut out);
    };
    (0..100).for_each(|index| tell(&mut book, index, connect("curl")));
    (0..100).for_each(|index| tell(&mut book, index, CLOSED));
    let expected =
        [(Level::Warning, 70), (Level::Critical, 85), (Level::Warning, 79), (Level::Ok, 64)];
    assert_eq!(levels(&out), expected);
    assert_eq!(
        book.ledger.holdings().spaces.iter().count(),
        0,
        "nothing is kept of an empty space"
    );
}

#[test]
fn an_exhausted_call_has_the_whole_story() {
    let mut book = Book::new();
    book.apply(settings(40000, 40009, 1, 0));
    for index in 0..10u16 {
        let name = if index < 7 { "curl" } else { "wget" };
        let mut task = task(name);
        task.pid = u32::from(index < 7) + 1;
        let socket = SocketId(u64::from(index) + 1);
        book.tell(socket, to_web(40000 + index), acquire(Via::Connect, Some(task)));
        if index < 6 {
            let done = Kind::TimeWait { successor: None, done: true, reuse: NO_REUSE };
            book.tell(socket, to_web(40000 + index), done);
        }
    }
    let mut out = Vec::new();
    let kind = Kind::Exhausted {
        own_range: None,
        via: Via::Connect,
        errno: 99,
        search_ns: None,
        task: None,
        repeated: Repeated::default(),
    };
    let event = SocketEvent { time_ns: 99, socket: OTHER, flow: to_web(0), kind };
    let event = Event::Socket(event);
    let caller = caller(&event);
    book.ledger.apply(99, event, caller, &mut out);
    let Body::Exhausted { story: Some(story), .. } = &out[0].body else { panic!("{out:?}") };
    assert_eq!((story.space.headroom, story.space.capacity), (0, 10));
    let holders: Vec<_> = story
        .holders
        .iter()
        .map(|h| {
            (h.process.as_ref().unwrap().name.as_str(), h.counts.established, h.counts.time_wait)
        })
        .collect();
    assert_eq!(holders, [("curl", 1, 6), ("wget", 3, 0)]);
    let cause = story.cause.as_ref().unwrap();
    assert_eq!(
        (cause.kind.name(), cause.evidence.time_wait, cause.evidence.established),
        ("churn", 6, 4)
    );
}

#[test]
fn a_conflict_names_who_has_the_port() {
    let mut book = Book::new();
    book.tell(SOCKET, bound(8080), bind("web"));
    let mut out = Vec::new();
    let kind =
        Kind::Conflict { via: Via::Bind, errno: 98, task: None, repeated: Repeated::default() };
    let event = SocketEvent { time_ns: 99, socket: OTHER, flow: bound(8080), kind };
    let event = Event::Socket(event);
    let caller = caller(&event);
    book.ledger.apply(99, event, caller, &mut out);
    let Body::Conflict { holders, .. } = &out[0].body else { panic!("{out:?}") };
    assert_eq!(holders[0].process.as_ref().unwrap().name, "web");
    assert_eq!((holders.len(), holders[0].counts.bound), (1, 1));
}

#[test]
fn a_full_ledger_says_how_many_ports_it_does_not_account() {
    let mut book = Book::with(Options { max_holdings: 2, ..Options::default() });
    for index in 0..5u16 {
        let socket = SocketId(u64::from(index) + 1);
        let said = book.tell(socket, to_web(40000 + index), connect("curl"));
        assert_eq!(said.len(), 1, "the port is told of all the same");
    }
    let mut out = Vec::new();
    book.ledger.tick(SECOND, &mut out);
    let [Report { body: Body::Lost { count: 3, place: LossPlace::Ledger, .. }, .. }] = &out[..]
    else {
        panic!("{out:?}")
    };
    assert_eq!(book.ledger.totals().lost, 3);
    out.clear();
    book.ledger.tick(2 * SECOND, &mut out);
    assert!(out.is_empty(), "told once: {out:?}");
}
