//! The event lines' types, as the JSON has them.

use std::net::IpAddr;

use nix::errno::Errno;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::processes::Objects;
use super::space::{Cause, Holders, Space};
use super::summary::Summary;
use crate::event;
use crate::report::{self, Body, EphemeralRange, Port, Report};
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
    Existing {
        via: &'static str,
        state: &'static str,
        #[serde(flatten)]
        place: Place<'a>,
    },
    Acquire {
        via: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        requested_port: Option<u16>,
        #[serde(flatten)]
        place: Place<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        search_ns: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        space: Option<Space<'a>>,
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
        #[serde(skip_serializing_if = "Option::is_none")]
        space: Option<Space<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        holders: Option<Holders<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cause: Option<Cause<'a>>,
    },
    Conflict {
        via: &'static str,
        errno: ErrorName,
        #[serde(flatten)]
        place: Place<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        holders: Option<Holders<'a>>,
    },
    Threshold {
        space: Space<'a>,
        level: &'static str,
    },
    Summary(Summary<'a>),
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
pub(super) struct Endpoint {
    address: IpAddr,
    port: u16,
}

#[derive(Serialize)]
pub(super) struct Process<'a> {
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    tid: Option<u32>,
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
    /// The line of a report, with the objects of its process and of its holders.
    pub(super) fn new(
        seq: u64,
        time: &'a str,
        report: &'a Report,
        process: Option<&'a RawValue>,
        holders: &'a Objects,
    ) -> Self {
        Self { schema: SCHEMA, seq, time, event: Event::new(&report.body, process, holders) }
    }
}

impl<'a> Event<'a> {
    fn new(body: &'a Body, process: Option<&'a RawValue>, holders: &'a Objects) -> Self {
        match *body {
            Body::Start(ref start) => Self::Start(Start::new(start)),
            Body::Existing { ref port, state } => {
                let place = Place::new(port, process);
                Self::Existing { via: "existing", state: state.name(), place }
            }
            Body::Acquire { ref port, via, requested_port, search_ns, ref space } => {
                let place = Place::new(port, process);
                let space = space.as_deref().map(Space);
                Self::Acquire { via: via.name(), requested_port, place, search_ns, space }
            }
            Body::TimeWait { ref port } => Self::TimeWait { place: Place::new(port, process) },
            Body::Release { ref port, reason, held_ns } => {
                let place = Place::new(port, process);
                Self::Release { reason: reason.name(), held_ns, place }
            }
            Body::Exhausted { ref port, via, errno, search_ns, ref story } => Self::Exhausted {
                via: via.name(),
                errno: ErrorName(errno),
                place: Place::new(port, process),
                search_ns,
                space: story.as_ref().map(|story| Space(&story.space)),
                holders: story.as_ref().map(|story| Holders::new(&story.holders, holders)),
                cause: story.as_ref().and_then(|story| story.cause.as_ref()).map(Cause),
            },
            Body::Conflict { ref port, via, errno, holders: ref held_by } => Self::Conflict {
                via: via.name(),
                errno: ErrorName(errno),
                place: Place::new(port, process),
                // Somebody has the port, so that none is nobody known.
                holders: (!held_by.is_empty()).then(|| Holders::new(held_by, holders)),
            },
            Body::Threshold { ref space, level } => {
                Self::Threshold { space: Space(space), level: level.name() }
            }
            Body::Summary(ref summary) => Self::Summary(Summary::new(summary, holders)),
            Body::State { ref port, old, new } => {
                Self::State { old: old.name(), new: new.name(), place: Place::new(port, process) }
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
    pub(super) fn new(endpoint: event::Endpoint) -> Self {
        Self { address: endpoint.address, port: endpoint.port }
    }
}

impl<'a> Process<'a> {
    /// The process, as one of its threads if that is known. `clock` turns its start into a time of
    /// day.
    pub(super) fn new(
        process: &'a crate::process::Process,
        tid: Option<u32>,
        clock: &'a mut UtcClock,
    ) -> Self {
        let started = process.start_time_ns;
        Self {
            pid: process.pid,
            tid,
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
