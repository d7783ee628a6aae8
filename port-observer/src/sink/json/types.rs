//! The event lines' types, as the JSON has them.

use std::net::IpAddr;

use nix::errno::Errno;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::event;
use crate::report::{self, Body, Caller, EphemeralRange, Port, Report};
use crate::sink::clock::UtcClock;

/// The version of the format.
const SCHEMA: u32 = 1;

/// One line.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    schema: u32,
    seq: u64,
    time: &'a str,
    #[serde(flatten)]
    event: Event<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event<'a> {
    Start(Start<'a>),
    Acquire {
        via: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        requested_port: Option<u16>,
        #[serde(flatten)]
        place: Place<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        search_ns: Option<u64>,
    },
    TimeWait {
        #[serde(flatten)]
        place: Place<'a>,
    },
    Release {
        reason: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        held_ns: Option<u64>,
        #[serde(flatten)]
        place: Place<'a>,
    },
    Exhausted {
        via: &'static str,
        errno: ErrorName,
        #[serde(flatten)]
        place: Place<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        search_ns: Option<u64>,
    },
    Conflict {
        via: &'static str,
        errno: ErrorName,
        #[serde(flatten)]
        place: Place<'a>,
    },
    State {
        old: &'static str,
        new: &'static str,
        #[serde(flatten)]
        place: Place<'a>,
    },
    Lost {
        count: u64,
        #[serde(rename = "where")]
        place: &'static str,
        #[serde(skip_serializing_if = "str::is_empty")]
        kind: &'static str,
    },
    Stop(Stop),
}

#[derive(Serialize)]
struct Start<'a> {
    host: &'a str,
    kernel: &'a str,
    version: &'a str,
    backend: &'a str,
    exact: bool,
    missing: &'a [String],
    ephemeral_range: Vec<Range>,
}

#[derive(Serialize)]
struct Range {
    netns: u32,
    min: u16,
    max: u16,
}

#[derive(Serialize)]
struct Stop {
    events: u64,
    lost: u64,
    duration_seconds: f64,
    acquired: u64,
    released: u64,
    exhausted: u64,
}

#[derive(Serialize)]
struct Place<'a> {
    netns: u32,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<Endpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<Endpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Endpoint {
    address: IpAddr,
    port: u16,
}

#[derive(Serialize)]
pub(super) struct Process<'a> {
    pid: u32,
    tid: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    command_line: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<Container<'a>>,
}

#[derive(Serialize)]
struct Container<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    runtime: &'a str,
}

/// An errno, by name where it has one.
struct ErrorName(i32);

impl Serialize for ErrorName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match Errno::from_raw(self.0) {
            Errno::UnknownErrno => serializer.collect_str(&format_args!("{}", self.0)),
            errno => serializer.collect_str(&format_args!("{errno:?}")),
        }
    }
}

impl<'a> Line<'a> {
    /// The line of a report, with the object of its process.
    pub(super) fn new(
        seq: u64,
        time: &'a str,
        report: &'a Report,
        process: Option<&'a RawValue>,
    ) -> Self {
        Self { schema: SCHEMA, seq, time, event: Event::new(&report.body, process) }
    }
}

impl<'a> Event<'a> {
    fn new(body: &'a Body, process: Option<&'a RawValue>) -> Self {
        match *body {
            Body::Start(ref start) => Self::Start(Start::new(start)),
            Body::Acquire { ref port, via, requested_port, search_ns, space: _ } => {
                let place = Place::new(port, process);
                Self::Acquire { via: via.name(), requested_port, place, search_ns }
            }
            Body::TimeWait { ref port } => Self::TimeWait { place: Place::new(port, process) },
            Body::Release { ref port, reason, held_ns } => {
                let place = Place::new(port, process);
                Self::Release { reason: reason.name(), held_ns, place }
            }
            Body::Exhausted { ref port, via, errno, search_ns, story: _ } => {
                let place = Place::new(port, process);
                Self::Exhausted { via: via.name(), errno: ErrorName(errno), place, search_ns }
            }
            Body::Conflict { ref port, via, errno, holders: _ } => {
                let place = Place::new(port, process);
                Self::Conflict { via: via.name(), errno: ErrorName(errno), place }
            }
            Body::State { ref port, old, new } => {
                Self::State { old: old.name(), new: new.name(), place: Place::new(port, process) }
            }
            Body::Existing { .. } | Body::Threshold { .. } | Body::Summary(_) => {
                unreachable!("not told yet")
            }
            Body::Lost { count, place, kind } => Self::Lost { count, place: place.name(), kind },
            Body::Stop(ref stop) => Self::Stop(Stop::new(stop)),
        }
    }
}

impl<'a> Start<'a> {
    fn new(start: &'a report::Start) -> Self {
        let range =
            |range: &EphemeralRange| Range { netns: range.netns, min: range.min, max: range.max };
        Self {
            host: &start.host,
            kernel: &start.kernel,
            version: start.version,
            backend: start.backend,
            exact: start.exact,
            missing: &start.missing,
            ephemeral_range: start.ephemeral_range.iter().map(range).collect(),
        }
    }
}

impl Stop {
    fn new(stop: &report::Stop) -> Self {
        Self {
            events: stop.events,
            lost: stop.lost,
            duration_seconds: stop.duration_seconds,
            acquired: stop.acquired,
            released: stop.released,
            exhausted: stop.exhausted,
        }
    }
}

impl<'a> Place<'a> {
    fn new(port: &Port, process: Option<&'a RawValue>) -> Self {
        Self {
            netns: port.netns,
            protocol: port.protocol.name(),
            local: port.local.map(Endpoint::new),
            remote: port.remote.map(Endpoint::new),
            process,
        }
    }
}

impl Endpoint {
    fn new(endpoint: event::Endpoint) -> Self {
        Self { address: endpoint.address, port: endpoint.port }
    }
}

impl<'a> Process<'a> {
    /// The process as a caller. `clock` turns its start into a time of day.
    pub(super) fn new(caller: &'a Caller, clock: &'a mut UtcClock) -> Self {
        let process = caller.process.as_ref();
        let started = process.start_time_ns;
        Self {
            pid: process.pid,
            tid: caller.tid,
            name: &process.name,
            executable: process.executable.as_deref(),
            command_line: &process.command_line,
            uid: process.uid,
            start_time: if started == 0 { None } else { Some(clock.format(started)) },
            cgroup: process.cgroup.as_deref(),
            container: process.container.as_ref().map(|container| Container {
                id: &container.id,
                name: container.name.as_deref(),
                runtime: container.runtime,
            }),
        }
    }
}
