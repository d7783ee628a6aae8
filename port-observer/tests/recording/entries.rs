//! Every input of the ledger, through the file and back.

use port_observer::event::{
    Existing, LossKind, LossPlace, NamespaceSettings, Refusal, Repeated, Reuse, TcpState,
};
use port_observer::ledger::{Held, Holds, Role};
use port_observer::ports::{OwnRange, PortRange, Ports, ReservedPorts};
use port_observer::process::Container;

use super::*;

fn settings() -> NamespaceSettings {
    let reserved = ReservedPorts::new(vec![PortRange { min: 40_000, max: 40_009 }]);
    NamespaceSettings {
        netns: 1,
        names: vec!["blue".to_owned()],
        ports: Ports { ephemeral: PortRange { min: 32_768, max: 60_999 }, reserved },
        tw_reuse: 2,
        tw_reuse_delay_ms: 1_000,
    }
}

fn sharing() -> Sharing {
    Sharing { connect_bind: true, ipv6_only: true, device: 3 }
}

fn kinds() -> Vec<Kind> {
    let reuse = Reuse { fin_wait2: true, timestamps: true };
    let other = SocketId(u64::MAX);
    vec![
        Kind::Acquire {
            via: Via::Bind,
            requested_port: None,
            search_ns: None,
            task: None,
            sharing: sharing(),
        },
        Kind::Exhausted {
            own_range: None,
            via: Via::Connect,
            errno: 99,
            search_ns: Some(u64::MAX),
            task: None,
            repeated: Repeated::default(),
        },
        Kind::Exhausted {
            own_range: Some(OwnRange { low: 0, high: u16::MAX }),
            via: Via::Bind,
            errno: 98,
            search_ns: None,
            task: None,
            repeated: Repeated::default(),
        },
        Kind::Conflict { via: Via::Autobind, errno: 98, task: None, repeated: Repeated::default() },
        Kind::Conflict {
            via: Via::Bind,
            errno: 98,
            task: None,
            repeated: Repeated { calls: 1 << 40, differing: true, late: false },
        },
        Kind::Inherit { listener: other, sharing: sharing() },
        Kind::Listen,
        Kind::TimeWait { successor: Some(other), done: true, reuse },
        Kind::TimeWait { successor: None, done: false, reuse: Reuse::default() },
        Kind::FinReceived,
        Kind::Refused {
            via: Via::Connect,
            errno: 99,
            refusal: Refusal::NoSourceAddress,
            task: None,
            repeated: Repeated { calls: 7, differing: true, late: true },
        },
        Kind::Refused {
            via: Via::Bind,
            errno: 99,
            refusal: Refusal::AddressNotLocal,
            task: None,
            repeated: Repeated::default(),
        },
        Kind::Release { reason: Reason::TimeWaitReused },
        Kind::Release { reason: Reason::TimeWaitReset },
        Kind::Again(Box::new(Kind::Release { reason: Reason::Reconciled })),
        Kind::State { old: TcpState::SYN_SENT, new: TcpState::ESTABLISHED },
    ]
}

fn existing(blocked: Option<bool>, reuse: Option<Reuse>) -> Existing {
    Existing {
        time_ns: BEGAN + 1,
        socket: blocked.map(|_| SocketId(7)),
        flow: Flow {
            netns: 2,
            protocol: Protocol::Udp,
            local: Endpoint::new("2001:db8::1".parse().unwrap(), 5_353),
            remote: None,
        },
        state: TcpState::CLOSE,
        reuse,
        sharing: Sharing::default(),
        blocked,
        task: None,
    }
}

/// Its cgroup shows an id, and the runtime knows the name.
fn in_docker() -> Caller {
    let id = "3f4b8c1d2e5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
    let name = Some("gluetun".to_owned());
    let container = Container { id: id.to_owned(), name, runtime: "docker" };
    let process = Process {
        pid: 44,
        cgroup: Some(format!("/system.slice/docker-{id}.scope").into()),
        container: Some(Arc::new(container)),
        ..(*caller().process).clone()
    };
    Caller { process: Arc::new(process), tid: 44 }
}

#[test]
fn every_input_is_read_as_it_was_recorded() {
    let directory = Directory::make();
    let mut written: Vec<Entry> = Vec::new();
    let mut all: Vec<Event> = vec![
        Event::Namespace(Box::new(settings())),
        Event::ScanBegins,
        Event::Existing(Box::new(existing(None, None))),
        Event::Existing(Box::new(existing(Some(false), Some(Reuse::default())))),
        Event::Existing(Box::new(existing(Some(true), None))),
        Event::ScanEnded { skipped: vec![4, 5] },
        Event::Lost {
            count: u64::MAX,
            place: LossPlace::KernelProgram,
            kind: LossKind::TimeWait,
            task: None,
        },
        Event::NamespaceGone(9),
    ];
    all.extend(kinds().into_iter().map(|kind| {
        let (time_ns, socket) = (BEGAN + 2, SocketId(0xffff_8880_0000_1000));
        Event::Socket(SocketEvent { time_ns, socket, flow: flow(40_001), kind })
    }));
    for event in &all {
        written.push(Entry::of(BEGAN + 3, event).unwrap());
    }
    written.push(Entry::tick(BEGAN + 4));
    written.push(Entry::clock(BEGAN + 5, offset_ns() + 3_600_000_000_000));
    written.push(opened(BEGAN + 6, 1, &caller()));
    written.push(opened(BEGAN + 6, 2, &in_docker()));
    let mut recorder = recorder(options(&directory.file()));
    written.iter().for_each(|entry| recorder.push(entry.clone()));
    recorder.stop(BEGAN + 7, std::time::Duration::from_nanos(7));
    recorder.finish().unwrap();

    let items = read(&directory.file());
    assert_eq!(entries(&items), written.iter().collect::<Vec<_>>());
    // And they are the events that they were.
    let events: Vec<Event> = entries(&items).iter().filter_map(|entry| entry.event()).collect();
    assert_eq!(events[..all.len()], all);
    let Some(Item::Begins { run, time_ns: BEGAN, .. }) = items.first() else {
        panic!("{:?}", items.first())
    };
    assert_eq!(format!("{:?}", run.start), format!("{:?}", start()));
    let Some(Item::Ends { observed, .. }) = items.last() else { panic!("{:?}", items.last()) };
    assert_eq!(observed.as_nanos(), 7);
}

#[test]
fn a_new_start_goes_on_in_the_same_file() {
    let directory = Directory::make();
    recorded(&directory.file(), 1_000);
    recorded(&directory.file(), 500);
    let items = read(&directory.file());
    assert_eq!(entries(&items).len(), 1_500);
    let begins = items.iter().filter(|item| matches!(item, Item::Begins { .. })).count();
    let ends = items.iter().filter(|item| matches!(item, Item::Ends { .. })).count();
    assert_eq!((begins, ends), (2, 2));
}

#[test]
fn what_is_held_after_a_gap_is_known_in_full() {
    let directory = Directory::make();
    let held = Held {
        socket: SocketId(0),
        flow: flow(40_000),
        caller: Some(caller()),
        since_ns: Some(BEGAN - 5),
        began_ns: BEGAN - 4,
        role: Role::Child,
        holds: Holds::Connected,
        connection: TcpState::CLOSE_WAIT,
        sharing: sharing(),
        reuse: Reuse { fin_wait2: false, timestamps: true },
        is_bound: true,
    };
    let checkpoint = Checkpoint {
        namespaces: vec![settings()],
        held: vec![held],
        succeeded: vec![(SocketId(u64::MAX - 1), 40_000)],
    };
    // What was too much for the queue is a gap.
    let mut recorder = recorder(options(&directory.file()));
    let mut pushed = 0;
    while !has_lost(&recorder) {
        traffic(100_000, |entry| recorder.push(entry));
        pushed += 100_000;
        assert!(pushed < 100_000_000, "the writer is faster than this test");
    }
    while !recorder.wants_checkpoint() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    recorder.checkpoint(BEGAN + SECOND, offset_ns(), checkpoint.clone());
    recorder.push(closed(BEGAN + 2 * SECOND, 1));
    let lost = recorder.finish().unwrap();
    assert!(lost > 0);

    let items = read(&directory.file());
    let found = items.iter().find_map(|item| match item {
        Item::Holds { time_ns, checkpoint } => Some((*time_ns, checkpoint)),
        _ => None,
    });
    let (time_ns, found) = found.expect("what was held after the gap");
    assert_eq!(time_ns, BEGAN + SECOND);
    assert_eq!(format!("{found:?}"), format!("{checkpoint:?}"));
    // Each of them is there, or counted.
    assert_eq!(entries(&items).len() as u64 - 1 + lost, pushed + 1);
}

/// Nothing is taken in before a checkpoint once something was dropped.
fn has_lost(recorder: &Recorder) -> bool {
    recorder.dropped() > 0
}
