//! The event lines' types, as the JSON has them.

use std::net::IpAddr;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::event;
use crate::report::Port;
use crate::sink::clock::UtcClock;

/// The version of the format.
pub(super) const SCHEMA: u32 = 1;

/// One line.
#[derive(Serialize)]
pub(super) struct Line<'a, E> {
    schema: u32,
    seq: u64,
    time: &'a str,
    #[serde(flatten)]
    event: E,
}

/// What happens all the time.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Frequent<'a> {
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
    State {
        old: &'static str,
        new: &'static str,
        #[serde(flatten)]
        place: Place<'a>,
    },
}

#[derive(Serialize)]
pub(super) struct Place<'a> {
    netns: u32,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<Endpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<Endpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<&'a RawValue>,
}

/// An address and a port.
#[derive(Serialize)]
pub struct Endpoint {
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
    exec_name: Option<&'a str>,
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
    /// Which of the above are only the beginning of longer values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    truncated: Vec<&'static str>,
}

#[derive(Serialize)]
struct Container<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    runtime: &'a str,
}

impl<'a, E> Line<'a, E> {
    /// The line of an event.
    pub(super) fn new(seq: u64, time: &'a str, event: E) -> Self {
        Self { schema: SCHEMA, seq, time, event }
    }
}

impl<'a> Place<'a> {
    pub(super) fn new(port: &Port, process: Option<&'a RawValue>) -> Self {
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
    /// That of an event.
    pub fn new(endpoint: event::Endpoint) -> Self {
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
            exec_name: process.exec_name.as_deref(),
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
            truncated: process.cut.fields().collect(),
        }
    }

    /// The same without what it was called with.
    pub(super) fn without_command_line(self) -> Self {
        let truncated = self.truncated.into_iter().filter(|field| *field != "command_line");
        Self { command_line: &[], truncated: truncated.collect(), ..self }
    }
}
