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
    pub tid: Option<u32>,
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

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct OwnRange {
    pub min: u16,
    pub max: u16,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Space {
    pub kind: String,
    pub netns: u32,
    pub protocol: String,
    pub source: Option<IpAddr>,
    pub destination: Option<Endpoint>,
    pub address: Option<IpAddr>,
    pub own_range: Option<OwnRange>,
    pub capacity: u32,
    pub used: u32,
    pub headroom: u32,
    pub used_percent: f64,
    pub growth_per_second: Option<f64>,
    pub seconds_to_exhaustion: Option<f64>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    pub process: Option<Process>,
    pub open_in: Option<Vec<Process>>,
    pub how: Option<String>,
    pub local: Option<Endpoint>,
    pub remote: Option<Endpoint>,
    pub established: u32,
    pub syn_sent: Option<u32>,
    pub close_wait: Option<u32>,
    pub fin_wait: Option<u32>,
    pub time_wait: u32,
    pub bound: u32,
    pub listening: Option<u32>,
    pub other: u32,
    pub total: u32,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Cause {
    pub kind: String,
    pub evidence: Evidence,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    pub capacity: u32,
    pub time_wait: u32,
    pub established: u32,
    pub syn_sent: Option<u32>,
    pub close_wait: Option<u32>,
    pub closing: Option<u32>,
    pub other: Option<u32>,
    pub bound: u32,
    pub closed_per_second: Option<f64>,
    pub median_age_seconds: Option<f64>,
    pub growth_per_second: Option<f64>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Namespace {
    pub netns: u32,
    pub names: Vec<String>,
    pub ephemeral_range: Option<Ephemeral>,
    pub reserved_ports: Option<u32>,
    pub capacity: Option<u32>,
    pub tcp: NamespaceTcp,
    pub udp: NamespaceUdp,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Ephemeral {
    pub min: u16,
    pub max: u16,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct NamespaceTcp {
    pub used_ports: u32,
    pub connections: u32,
    pub time_wait: u32,
    pub listening: u32,
    pub bound: u32,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct NamespaceUdp {
    pub used_ports: u32,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ProcessUse {
    pub process: Option<Process>,
    pub tcp: ProcessTcp,
    pub udp: ProcessUdp,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ProcessTcp {
    pub ports: u32,
    pub established: u32,
    pub time_wait: u32,
    pub listening: u32,
    pub bound: u32,
    pub other: u32,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct ProcessUdp {
    pub ports: u32,
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
    Existing {
        via: String,
        state: String,
        #[serde(flatten)]
        place: Place,
    },
    Acquire {
        via: String,
        requested_port: Option<u16>,
        search_ns: Option<u64>,
        space: Option<Space>,
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
        space: Option<Space>,
        holders: Option<Vec<Holder>>,
        cause: Option<Cause>,
        repeated: Option<u64>,
        #[serde(flatten)]
        place: Place,
    },
    Refused {
        via: String,
        errno: String,
        reason: String,
        remedy: Option<Vec<String>>,
        repeated: Option<u64>,
        #[serde(flatten)]
        place: Place,
    },
    Conflict {
        via: String,
        errno: String,
        holders: Option<Vec<Holder>>,
        remedy: Option<Vec<String>>,
        repeated: Option<u64>,
        #[serde(flatten)]
        place: Place,
    },
    Threshold {
        space: Space,
        level: String,
    },
    Summary {
        namespaces: Vec<Namespace>,
        spaces: Vec<Space>,
        processes: Vec<ProcessUse>,
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
        process: Option<Process>,
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
        "existing" => (PLACE, &["via", "state"]),
        "acquire" => (PLACE, &["via", "requested_port", "search_ns", "space"]),
        "time_wait" => (PLACE, &[]),
        "release" => (PLACE, &["reason", "held_ns"]),
        "exhausted" => {
            (PLACE, &["via", "errno", "search_ns", "space", "holders", "cause", "repeated"])
        }
        "conflict" => (PLACE, &["via", "errno", "holders", "repeated"]),
        "refused" => (PLACE, &["via", "errno", "reason", "remedy", "repeated"]),
        "threshold" => (&[], &["space", "level"]),
        "summary" => (&[], &["namespaces", "spaces", "processes"]),
        "state" => (PLACE, &["old", "new"]),
        "lost" => (&[], &["count", "where", "kind", "process"]),
        "stop" => {
            (&[], &["events", "lost", "duration_seconds", "acquired", "released", "exhausted"])
        }
        other => panic!("no such type: {other}"),
    };
    [HEAD, place, own].concat()
}
