//! The event lines' types, declared anew: the format is checked as a reader of it sees it. A field
//! that is not here fails the test, and so does one that is missing.

use std::net::IpAddr;

use serde::Deserialize;

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Container {
    pub id: String,
    pub name: Option<String>,
    pub runtime: String,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Process {
    pub pid: u32,
    pub tid: u32,
    pub name: Option<String>,
    pub executable: Option<String>,
    pub command_line: Option<Vec<String>>,
    pub uid: Option<u32>,
    pub start_time: Option<String>,
    pub cgroup: Option<String>,
    pub container: Option<Container>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Range {
    pub netns: u32,
    pub min: u16,
    pub max: u16,
}

/// What every line begins with.
#[derive(Debug, Deserialize)]
pub struct Head {
    pub schema: u32,
    pub seq: u64,
    pub time: String,
    pub r#type: String,
}

#[derive(Debug, Deserialize, PartialEq)]
pub struct Place {
    pub netns: u32,
    pub protocol: String,
    pub local: Option<Endpoint>,
    pub remote: Option<Endpoint>,
    pub process: Option<Process>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    Start {
        host: String,
        kernel: String,
        version: String,
        backend: String,
        exact: bool,
        missing: Vec<String>,
        ephemeral_range: Vec<Range>,
    },
    Acquire {
        via: String,
        requested_port: Option<u16>,
        search_ns: Option<u64>,
        #[serde(flatten)]
        place: Place,
    },
    TimeWait {
        #[serde(flatten)]
        place: Place,
    },
    Release {
        reason: String,
        held_ns: Option<u64>,
        #[serde(flatten)]
        place: Place,
    },
    Exhausted {
        via: String,
        errno: String,
        search_ns: Option<u64>,
        #[serde(flatten)]
        place: Place,
    },
    Conflict {
        via: String,
        errno: String,
        #[serde(flatten)]
        place: Place,
    },
    State {
        old: String,
        new: String,
        #[serde(flatten)]
        place: Place,
    },
    Lost {
        count: u64,
        r#where: String,
        kind: Option<String>,
    },
    Stop {
        events: u64,
        lost: u64,
        duration_seconds: f64,
        acquired: u64,
        released: u64,
        exhausted: u64,
    },
}

const HEAD: &[&str] = &["schema", "seq", "time", "type"];
const PLACE: &[&str] = &["netns", "protocol", "local", "remote", "process"];

/// The fields that a line of a type may have, beside those that every line has.
pub fn fields(of: &str) -> Vec<&'static str> {
    let (place, own): (&[&str], &[&str]) = match of {
        "start" => {
            (&[], &["host", "kernel", "version", "backend", "exact", "missing", "ephemeral_range"])
        }
        "acquire" => (PLACE, &["via", "requested_port", "search_ns"]),
        "time_wait" => (PLACE, &[]),
        "release" => (PLACE, &["reason", "held_ns"]),
        "exhausted" => (PLACE, &["via", "errno", "search_ns"]),
        "conflict" => (PLACE, &["via", "errno"]),
        "state" => (PLACE, &["old", "new"]),
        "lost" => (&[], &["count", "where", "kind"]),
        "stop" => {
            (&[], &["events", "lost", "duration_seconds", "acquired", "released", "exhausted"])
        }
        other => panic!("no such type: {other}"),
    };
    [HEAD, place, own].concat()
}
