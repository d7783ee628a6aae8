//! Reports of each type.

use std::sync::Arc;

use port_observer::event::{Endpoint, LossKind, LossPlace, Protocol, Reason, TcpState, Via};
use port_observer::process::{Caller, Container, Process};
use port_observer::report::{Body, EphemeralRange, Port, Report, Start, Stop};

/// Realtime less boottime: boot was at 2026-01-02T03:04:05Z.
pub const OFFSET_NS: i64 = 1_767_323_045_000_000_000;
pub const NETNS: u32 = 4_026_531_840;

pub fn endpoint(text: &str) -> Endpoint {
    text.parse::<std::net::SocketAddr>().unwrap().into()
}

pub fn curl() -> Process {
    Process {
        pid: 4242,
        name: "curl".to_owned(),
        executable: Some("/usr/bin/curl".into()),
        command_line: vec!["curl".to_owned(), "-s".to_owned(), "http://10.0.0.1".to_owned()].into(),
        uid: Some(1000),
        start_time_ns: 9_500_000_000,
        cgroup: Some("/system.slice/docker-0123.scope".into()),
        container: Some(
            Container {
                id: "0123456789abcdef".repeat(4),
                name: Some("web".to_owned()),
                runtime: "docker",
            }
            .into(),
        ),
        ..Process::default()
    }
}

pub fn port(local: &str, remote: Option<&str>, process: Option<Process>) -> Port {
    Port {
        netns: NETNS,
        protocol: Protocol::Tcp,
        local: Some(endpoint(local)),
        remote: remote.map(endpoint),
        caller: process.map(|process| Caller { process: Arc::new(process), tid: 4243 }),
    }
}

pub fn at(milliseconds: u64, body: Body) -> Report {
    Report { time_ns: 10_000_000_007 + milliseconds * 1_000_000, body }
}

pub fn acquire(port: Port) -> Report {
    at(
        1,
        Body::Acquire {
            port,
            via: Via::Connect,
            requested_port: Some(0),
            search_ns: Some(12_345),
            space: None,
        },
    )
}

fn start() -> Start {
    Start {
        host: "web-1".to_owned(),
        kernel: "6.18.5".to_owned(),
        version: "0.1.0".into(),
        backend: "tracepoint",
        exact: false,
        missing: vec!["the release of UDP ports, found by comparing".to_owned()],
        ephemeral_range: vec![EphemeralRange { netns: NETNS, min: 32768, max: 60999 }],
        netns: Some(NETNS),
    }
}

/// A stream with every type of line about a port, and a loss, in IPv4. What the ledger concludes
/// has samples of its own.
pub fn stream() -> Vec<Report> {
    let flow = || port("10.0.0.2:40001", Some("10.0.0.1:443"), Some(curl()));
    let unnamed = || port("10.0.0.2:40001", Some("10.0.0.1:443"), None);
    let udp = Port { protocol: Protocol::Udp, ..port("0.0.0.0:53124", None, Some(curl())) };
    let refused = Port { local: None, ..flow() };
    let bound = || port("127.0.0.1:8080", None, Some(curl()));
    let state = |old, new| Body::State {
        port: unnamed(),
        old: TcpState::try_from(old).unwrap(),
        new: TcpState::try_from(new).unwrap(),
    };
    let released = |held_ns, reason| Body::Release { port: flow(), reason, held_ns };
    let lost = Body::Lost {
        count: 12,
        place: LossPlace::KernelBuffer,
        kind: LossKind::Acquire,
        caller: None,
    };
    vec![
        at(0, Body::Start(start())),
        acquire(flow()),
        at(2, state(7, 2)),
        at(3, state(2, 1)),
        at(
            4,
            Body::Acquire {
                port: udp,
                via: Via::Autobind,
                requested_port: None,
                search_ns: None,
                space: None,
            },
        ),
        at(
            5,
            Body::Acquire {
                port: bound(),
                via: Via::Bind,
                requested_port: Some(8080),
                search_ns: None,
                space: None,
            },
        ),
        at(6, Body::TimeWait { port: flow() }),
        at(61_234, released(Some(61_233_000_000), Reason::TimeWaitExpired)),
        at(61_235, released(None, Reason::Reconciled)),
        at(
            61_236,
            Body::Exhausted {
                port: refused,
                via: Via::Connect,
                errno: 99,
                search_ns: Some(1_416_000),
                story: None,
                repeated: 0,
            },
        ),
        at(
            61_237,
            Body::Conflict {
                port: bound(),
                via: Via::Bind,
                errno: 98,
                holders: Vec::new(),
                repeated: 0,
            },
        ),
        at(61_238, lost),
        at(
            61_239,
            Body::Stop(Stop {
                events: 10,
                lost: 12,
                duration_seconds: 61.25,
                acquired: 3,
                released: 2,
                exhausted: 1,
            }),
        ),
    ]
}

/// Addresses of every length, and names as a hostile process may choose them.
pub fn awkward() -> Vec<Report> {
    let named = |name: &str| Process { name: name.to_owned(), ..curl() };
    let contained = |name: &str| {
        let container =
            Container { id: "x".to_owned(), name: Some(name.to_owned()), runtime: "docker" };
        Process { container: Some(container.into()), ..curl() }
    };
    let v4 = |process| port("10.0.0.2:40001", Some("10.0.0.1:443"), Some(process));
    let longest = "[2001:db8:1111:2222:3333:4444:5555:6666]:65535";
    vec![
        acquire(v4(named("a-process-with-a-name-that-does-not-end-where-names-end"))),
        acquire(v4(named("\x1b]0;owned\x07\x1b[2J"))),
        acquire(v4(named("\u{9b}31mred\u{202e}\n"))),
        acquire(v4(named("数据库服务器进程名称"))),
        acquire(v4(named(""))),
        acquire(v4(contained(&"very-long-container-name-".repeat(4)))),
        acquire(v4(contained("evil\x1b[31m\ncontainer"))),
        acquire(port("203.113.100.101:65535", Some("203.113.100.102:65535"), Some(curl()))),
        acquire(port("[2001:db8::1]:40001", Some("[2001:db8::2]:443"), Some(curl()))),
        acquire(port(longest, Some(longest), Some(curl()))),
        acquire(v4(curl())),
        acquire(port("[::ffff:10.0.0.2]:40001", Some("[::ffff:10.0.0.1]:443"), None)),
        acquire(Port { netns: 7, ..v4(curl()) }),
    ]
}
