//! The least that is recorded: a first line, and ends of sockets. For tests of this directory and of the
//! library itself.

use port_observer::{
    event::{Endpoint, Event, Flow, Kind, Protocol, Reason, SocketEvent, SocketId},
    recording::Entry,
    report::Start,
};

/// The first line.
pub fn start() -> Start {
    Start {
        host: "host".to_owned(),
        kernel: "6.1.0".to_owned(),
        version: "0.1.0".into(),
        backend: "fexit",
        exact: true,
        missing: Vec::new(),
        ephemeral_range: Vec::new(),
        netns: None,
    }
}

/// The end of the socket of this number, at this time.
pub fn release(number: u64) -> Entry {
    let flow = Flow {
        netns: 1,
        protocol: Protocol::Tcp,
        local: Endpoint::new("10.0.0.2".parse().expect("an address"), 40_000),
        remote: None,
    };
    let kind = Kind::Release { reason: Reason::Closed };
    let event = SocketEvent { time_ns: number, socket: SocketId(number), flow, kind };
    Entry::of(number, &Event::Socket(event)).expect("an event that is recorded")
}
