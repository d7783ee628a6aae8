//! Reports of what the ledger concludes: spaces, holders, causes, summaries.

use std::net::IpAddr;
use std::sync::Arc;

use port_observer::event::{Protocol, Refusal, TcpState, Via};
use port_observer::ports::{PortRange, Ports, ReservedPorts};
use port_observer::process::Process;
use port_observer::report::{
    Body, Cause, CauseKind, Closing, Counts, Evidence, Failure, Growth, Holder, Level,
    NamespaceUse, Port, ProcessUse, Report, Space, SpaceKind, Story, Summary, TcpUse,
};

use super::samples::{NETNS, acquire, at, curl, endpoint, port};

/// Of connect() from 10.0.0.2 to 10.0.0.1:443, in a range of 100 ports.
pub fn connect_space(used: u32) -> Space {
    Space {
        kind: SpaceKind::Connect { source: address("10.0.0.2"), destination: endpoint(TO) },
        netns: NETNS,
        protocol: Protocol::Tcp,
        capacity: 100,
        used,
        headroom: 100 - used,
        growth_per_second: None,
        own_range: None,
        seconds_to_exhaustion: None,
    }
}

const TO: &str = "10.0.0.1:443";

/// Of bind() of UDP to any address, with a forecast.
pub fn bind_space() -> Space {
    Space {
        kind: SpaceKind::Bind { address: address("0.0.0.0") },
        protocol: Protocol::Udp,
        capacity: 28_232,
        used: 25_411,
        headroom: 2821,
        growth_per_second: Some(23.456_789),
        own_range: None,
        seconds_to_exhaustion: Some(120.264_001),
        ..connect_space(0)
    }
}

pub fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A process without a container.
pub fn named(pid: u32, name: &str) -> Process {
    Process { pid, name: name.to_owned(), uid: Some(33), ..Process::default() }
}

/// `[established, time_wait, bound, other]` of a process.
pub fn holder(process: Option<Process>, counts: [u32; 4]) -> Holder {
    let [established, time_wait, bound, other] = counts;
    let counts = Counts { established, time_wait, bound, other, ..Counts::default() };
    Holder::new(process.map(Arc::new), counts)
}

pub fn cause(kind: CauseKind) -> Cause {
    let evidence = Evidence {
        capacity: 100,
        time_wait: 97,
        reusable: 90,
        established: 3,
        bound: 0,
        median_age_seconds: Some(2.5),
        growth: Some(Growth { used_per_second: 0.0, closed_per_second: 40.123_456 }),
        ..Evidence::default()
    };
    Cause { kind, evidence }
}

/// A space of 100 ports that short connections have used up.
pub fn story() -> Story {
    Story {
        space: Space { growth_per_second: Some(0.0), ..connect_space(100) },
        holders: vec![
            holder(Some(curl()), [2, 90, 0, 0]),
            holder(Some(named(77, "php-fpm")), [1, 4, 0, 0]),
            holder(None, [0, 3, 0, 0]),
        ]
        .into(),
        cause: Some(cause(CauseKind::Churn)),
    }
}

/// connect() was refused a port.
pub fn exhausted(milliseconds: u64, story: Option<Story>) -> Report {
    let port = Port { local: None, ..port("10.0.0.2:1", Some(TO), Some(curl())) };
    let story = story.map(Box::new);
    let body = Body::Exhausted {
        port,
        via: Via::Connect,
        errno: 99,
        search_ns: Some(1_416_000),
        story,
        repeated: 0,
    };
    at(milliseconds, body)
}

pub fn conflict(holders: Vec<Holder>) -> Report {
    let port = port("127.0.0.1:8080", None, Some(curl()));
    at(61_237, Body::Conflict { port, via: Via::Bind, errno: 98, holders, repeated: 0 })
}

/// A call that had no address: bind(), or connect() to `remote`.
pub fn refused(local: &str, remote: Option<&str>, refusal: Refusal) -> Report {
    let port = port(local, remote, Some(curl()));
    let via = if remote.is_some() { Via::Connect } else { Via::Bind };
    at(61_239, Body::Refused { port, via, errno: 99, refusal, repeated: 0 })
}

pub fn threshold(milliseconds: u64, level: Level, space: Space) -> Report {
    at(milliseconds, Body::Threshold { space: Box::new(space), level })
}

pub fn existing(local: &str, remote: Option<&str>, protocol: Protocol, state: TcpState) -> Report {
    let process = (state != TcpState::TIME_WAIT).then(curl);
    let port = Port { protocol, ..port(local, remote, process) };
    at(1, Body::Existing { port, state })
}

pub fn summary() -> Summary {
    let range = PortRange { min: 40_000, max: 40_109 };
    let reserved = PortRange { min: 40_100, max: 40_200 };
    let tcp = |counts: [u32; 6]| {
        let [ports, established, time_wait, listening, bound, other] = counts;
        let counts =
            Counts { established, time_wait, listening, bound, other, ..Counts::default() };
        TcpUse { ports, counts, bind_held: 0 }
    };
    Summary {
        namespaces: vec![
            NamespaceUse {
                netns: NETNS,
                names: Vec::new(),
                ports: Some(Ports {
                    ephemeral: range,
                    reserved: ReservedPorts::new(vec![reserved]),
                }),
                tcp: tcp([98, 3, 97, 1, 0, 2]),
                udp_used_ports: 4,
            },
            NamespaceUse {
                netns: 4_026_532_177,
                names: vec!["blue".to_owned(), "vpn".to_owned()],
                ports: None,
                tcp: TcpUse::default(),
                udp_used_ports: 0,
            },
        ],
        spaces: vec![
            Space {
                growth_per_second: Some(1.25),
                own_range: None,
                seconds_to_exhaustion: Some(2.4),
                ..connect_space(97)
            },
            bind_space(),
            Space { netns: 4_026_532_177, ..connect_space(12) },
        ],
        processes: vec![
            ProcessUse {
                process: Some(Arc::new(curl())),
                tcp: tcp([94, 2, 92, 0, 0, 0]),
                udp_ports: 4,
            },
            ProcessUse {
                process: Some(Arc::new(named(77, "php-fpm"))),
                tcp: tcp([6, 1, 4, 1, 0, 0]),
                udp_ports: 0,
            },
            ProcessUse { process: None, tcp: tcp([3, 0, 3, 0, 0, 0]), udp_ports: 0 },
        ],
    }
}

pub fn closing() -> Closing {
    let failure = Failure {
        process: Some(Arc::new(curl())),
        via: Via::Connect,
        errno: 99,
        requested_port: 0,
        local: Some(address("10.0.0.2")),
        remote: Some(endpoint(TO)),
        count: 1234,
        cause: Some(CauseKind::Churn),
    };
    let bind = Failure {
        process: Some(Arc::new(named(77, "php-fpm"))),
        via: Via::Bind,
        errno: 98,
        requested_port: 8080,
        local: Some(address("::")),
        remote: None,
        count: 1,
        cause: None,
    };
    let unknown = Failure { process: None, local: None, count: 1, cause: None, ..failure.clone() };
    Closing { summary: summary(), failures: vec![failure, bind, unknown] }
}

/// Every type of line that the ledger concludes.
pub fn ledger() -> Vec<Report> {
    let flow = || port("10.0.0.2:40001", Some(TO), Some(curl()));
    let Body::Acquire { port, via, requested_port, search_ns, .. } = acquire(flow()).body else {
        panic!("not an acquire")
    };
    let space = Some(Box::new(connect_space(63)));
    let udp_state = TcpState::CLOSE;
    vec![
        existing("10.0.0.2:40007", Some(TO), Protocol::Tcp, TcpState::ESTABLISHED),
        existing("10.0.0.2:40008", Some(TO), Protocol::Tcp, TcpState::TIME_WAIT),
        existing("0.0.0.0:8080", None, Protocol::Tcp, TcpState::LISTEN),
        existing("127.0.0.1:40009", None, Protocol::Tcp, TcpState::BOUND_INACTIVE),
        existing("0.0.0.0:53124", None, Protocol::Udp, udp_state),
        at(2, Body::Acquire { port, via, requested_port, search_ns, space }),
        threshold(
            3,
            Level::Warning,
            Space {
                growth_per_second: Some(0.5),
                own_range: None,
                seconds_to_exhaustion: Some(60.0),
                ..connect_space(70)
            },
        ),
        threshold(4, Level::Critical, bind_space()),
        threshold(5, Level::Ok, connect_space(60)),
        exhausted(61_236, Some(story())),
        exhausted(61_237, None),
        conflict(vec![holder(Some(named(77, "php-fpm")), [0, 0, 1, 0])]),
        at(61_238, Body::Summary(Box::new(summary()))),
        refused("203.0.113.5:80", None, Refusal::AddressNotLocal),
        refused("[::]:0", Some("[::1]:80"), Refusal::NoSourceAddress),
    ]
}
