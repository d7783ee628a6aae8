//! The event lines as a reader of the JSON sees them: declared here again, strictly, so that a
//! change of the format is a failing test.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The version of the format.
pub const SCHEMA: u64 = 1;

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// From 1, without gaps.
    pub seq: u64,
    /// When it happened.
    pub time: Timestamp,
    /// The rest of it.
    pub body: Body,
}

impl Line {
    /// Reads a line; unknown fields, `null` and another schema are errors.
    pub fn parse(text: &str) -> Result<Self> {
        Self::from_map(serde_json::from_str(text)?).with_context(|| format!("in the line {text}"))
    }

    fn from_map(mut map: Map<String, Value>) -> Result<Self> {
        ensure!(!has_null(&map), "null is not used");
        let schema = map.remove("schema").and_then(|v| v.as_u64()).context("no schema")?;
        ensure!(schema == SCHEMA, "schema {schema}");
        let seq = map.remove("seq").and_then(|v| v.as_u64()).context("no seq")?;
        let text = map.remove("time").context("no time")?;
        let text = text.as_str().context("time is not a string")?;
        let fraction = text.strip_suffix('Z').and_then(|t| t.split_once('.'));
        ensure!(fraction.is_some_and(|(_, f)| f.len() == 9), "time not in UTC nanoseconds");
        let time = text.parse().context("time")?;
        Ok(Self { seq, time, body: serde_json::from_value(Value::Object(map))? })
    }

    /// The network namespace that the line is about, if it is about one.
    pub fn netns(&self) -> Option<u32> {
        match &self.body {
            Body::Existing(line) => Some(line.netns),
            Body::Acquire(line) => Some(line.netns),
            Body::TimeWait(line) => Some(line.netns),
            Body::Release(line) => Some(line.netns),
            Body::Exhausted(line) => Some(line.netns),
            Body::Conflict(line) => Some(line.netns),
            Body::State(line) => Some(line.netns),
            Body::Start(_)
            | Body::Threshold(_)
            | Body::Summary(_)
            | Body::Lost(_)
            | Body::Stop(_) => None,
        }
    }
}

fn has_null(map: &Map<String, Value>) -> bool {
    fn is_null(value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Array(values) => values.iter().any(is_null),
            Value::Object(map) => has_null(map),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        }
    }
    map.values().any(is_null)
}

/// What a line says, by its `type`.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[allow(missing_docs, reason = "the contract describes each type and field under the same name")]
pub enum Body {
    Start(Start),
    Existing(Existing),
    Acquire(Acquire),
    TimeWait(TimeWait),
    Release(Release),
    Exhausted(Exhausted),
    Conflict(Conflict),
    State(State),
    Threshold(Value),
    Summary(Value),
    Lost(Lost),
    Stop(Stop),
}

macro_rules! shapes {
    ($($name:ident { $($field:ident $(as $key:literal)?: $type:ty),* $(,)? })*) => {$(
        #[doc = concat!("A part of a line: `", stringify!($name), "`.")]
        #[derive(Clone, Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[allow(missing_docs, reason = "the contract describes each field under the same name")]
        pub struct $name { $($(#[serde(rename = $key)])? pub $field: $type),* }
    )*};
}

shapes! {
    Start {
        host: String, kernel: String, version: String, backend: String, exact: bool,
        missing: Vec<String>, ephemeral_range: Vec<EphemeralRange>,
    }
    EphemeralRange { netns: u32, min: u16, max: u16 }
    Existing {
        via: String, state: Option<String>, netns: u32, protocol: String,
        local: Endpoint, remote: Option<Endpoint>, process: Option<Process>,
    }
    Acquire {
        via: String, requested_port: Option<u16>, netns: u32, protocol: String,
        local: Endpoint, remote: Option<Endpoint>, process: Option<Process>,
        search_ns: Option<u64>,
    }
    TimeWait {
        netns: u32, protocol: String,
        local: Endpoint, remote: Option<Endpoint>, process: Option<Process>,
    }
    Release {
        reason: String, held_ns: Option<u64>, netns: u32, protocol: String,
        local: Endpoint, remote: Option<Endpoint>, process: Option<Process>,
    }
    Exhausted {
        via: String, errno: String, netns: u32, protocol: String,
        local: Option<Endpoint>, remote: Option<Endpoint>, process: Option<Process>,
        search_ns: Option<u64>, space: Option<Value>, holders: Option<Value>, cause: Option<Value>,
    }
    Conflict {
        via: String, errno: String, netns: u32, protocol: String,
        local: Endpoint, remote: Option<Endpoint>, process: Option<Process>,
        holders: Option<Value>,
    }
    State {
        old: String, new: String, netns: u32, protocol: String,
        local: Option<Endpoint>, remote: Option<Endpoint>, process: Option<Process>,
    }
    Lost { count: u64, place as "where": String, kind: Option<String> }
    Stop {
        events: u64, lost: u64, duration_seconds: f64,
        acquired: u64, released: u64, exhausted: u64,
    }
    Endpoint { address: IpAddr, port: u16 }
    Process {
        pid: u32, tid: u32, name: String, executable: Option<String>,
        command_line: Option<Vec<String>>, uid: Option<u32>, start_time: Option<Timestamp>,
        cgroup: Option<String>, container: Option<Container>,
    }
    Container { id: String, name: Option<String>, runtime: String }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        Self::new(endpoint.address, endpoint.port)
    }
}

impl Endpoint {
    /// The same as the standard library's type.
    pub fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// Checks what holds for a whole stream, line by line: `start` first, `stop` last, no gap in `seq`.
#[derive(Debug, Default)]
pub struct Order {
    last_seq: u64,
    stopped: bool,
}

impl Order {
    /// Takes the next line.
    pub fn check(&mut self, line: &Line) -> Result<()> {
        let start = matches!(line.body, Body::Start(_));
        ensure!(start == (self.last_seq == 0), "`start` is not the first line, or not alone");
        ensure!(line.seq == self.last_seq + 1, "seq {} after {}", line.seq, self.last_seq);
        if self.stopped {
            bail!("a line after `stop`");
        }
        self.last_seq = line.seq;
        self.stopped = matches!(line.body, Body::Stop(_));
        Ok(())
    }

    /// `stop` was seen.
    pub fn is_complete(&self) -> bool {
        self.stopped
    }
}

#[cfg(test)]
mod tests {
    use super::Line;

    const LINE: &str = r#"{"schema":1,"seq":7,"time":"2025-01-02T03:04:05.000000006Z","type":"lost",
        "count":3,"where":"queue""#;

    #[test]
    fn reads_a_line_as_the_contract_has_it() {
        assert_eq!(Line::parse(&format!("{LINE}}}")).unwrap().seq, 7);
    }

    #[test]
    fn refuses_unknown_fields_and_null() {
        assert!(Line::parse(&format!("{LINE},\"more\":1}}")).is_err());
        assert!(Line::parse(&format!("{LINE},\"kind\":null}}")).is_err());
    }
}
