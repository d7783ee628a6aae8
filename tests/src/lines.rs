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
        let body: Body = serde_json::from_value(Value::Object(map))?;
        body.check()?;
        Ok(Self { seq, time, body })
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
            Body::Refused(line) => Some(line.netns),
            Body::State(line) => Some(line.netns),
            Body::PoolThreshold(line)
            | Body::PoolExhausted(line)
            | Body::PoolWrongRange(line)
            | Body::PoolTaken(line) => line.netns,
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
    Refused(Refused),
    State(State),
    Threshold(Threshold),
    PoolThreshold(Pool),
    PoolExhausted(Pool),
    PoolWrongRange(Pool),
    PoolTaken(Pool),
    Summary(Summary),
    Lost(Lost),
    Stop(Stop),
}

impl Body {
    /// What the types alone don't say: which optional fields go with which, and sums.
    fn check(&self) -> Result<()> {
        let (spaces, holders): (Vec<&Space>, &[Holder]) = match self {
            Self::Existing(line) => {
                ensure!(line.via == "existing", "via {} of existing", line.via);
                return Ok(());
            }
            Self::Acquire(line) => (line.space.iter().collect(), &[]),
            Self::Exhausted(line) => {
                ensure!(line.space.is_some() == line.holders.is_some(), "half a story");
                ensure!(line.cause.is_none() || line.space.is_some(), "a cause without a space");
                (line.space.iter().collect(), line.holders.as_deref().unwrap_or_default())
            }
            Self::Conflict(line) => (Vec::new(), line.holders.as_deref().unwrap_or_default()),
            Self::Threshold(line) => {
                ensure!(["ok", "warning", "critical"].contains(&line.level.as_str()), "level");
                (vec![&line.space], &[])
            }
            Self::Summary(line) => (line.spaces.iter().collect(), &[]),
            Self::PoolThreshold(line)
            | Self::PoolExhausted(line)
            | Self::PoolWrongRange(line)
            | Self::PoolTaken(line) => return line.check(self),
            Self::Start(_)
            | Self::TimeWait(_)
            | Self::Release(_)
            | Self::Refused(_)
            | Self::State(_)
            | Self::Lost(_)
            | Self::Stop(_) => return Ok(()),
        };
        spaces.into_iter().try_for_each(Space::check)?;
        for holder in holders {
            let is_conflict = matches!(self, Self::Conflict(_));
            ensure!(holder.how.is_none() || is_conflict, "how a holder has its port");
            let Holder { established, time_wait, bound, other, total, .. } = holder;
            let Holder { syn_sent, close_wait, fin_wait, listening, .. } = holder;
            let states = [syn_sent, close_wait, fin_wait, listening];
            let states: u32 = states.into_iter().flatten().sum();
            ensure!(
                established + time_wait + bound + other + states == *total,
                "total of a holder"
            );
        }
        ensure!(holders.is_sorted_by_key(|holder| std::cmp::Reverse(holder.total)), "order");
        Ok(())
    }
}

impl Pool {
    fn check(&self, of: &Body) -> Result<()> {
        let holders = self.holders.as_deref().unwrap_or_default();
        ensure!(holders.is_sorted_by_key(|holder| std::cmp::Reverse(holder.ports)), "order");
        let counts = [self.ports, self.used, self.free];
        ensure!(counts.iter().all(|count| count.is_some() == self.used.is_some()), "half a state");
        ensure!(self.used <= self.ports && self.free <= self.ports, "more than there is");
        ensure!(self.level.is_some() == matches!(of, Body::PoolThreshold(_)), "the level");
        let is_about_a_port = matches!(of, Body::PoolWrongRange(_) | Body::PoolTaken(_));
        ensure!(!is_about_a_port || self.local.is_some(), "the port");
        ensure!(!self.message.is_empty(), "the message");
        Ok(())
    }
}

impl Space {
    fn check(&self) -> Result<()> {
        let ends = (self.source.is_some(), self.destination.is_some(), self.address.is_some());
        match self.kind.as_str() {
            "connect" => ensure!(ends == (true, true, false), "the ends of a space of connect()"),
            "bind" => ensure!(ends == (false, false, true), "the address of a space of bind()"),
            kind => bail!("a space of kind {kind}"),
        }
        ensure!(self.used_percent.is_finite(), "used_percent");
        Ok(())
    }
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
        via: String, state: String, netns: u32, protocol: String,
        local: Endpoint, remote: Option<Endpoint>, process: Option<Process>,
    }
    Acquire {
        via: String, requested_port: Option<u16>, netns: u32, protocol: String,
        local: Endpoint, remote: Option<Endpoint>, process: Option<Process>,
        search_ns: Option<u64>, space: Option<Space>,
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
        search_ns: Option<u64>, space: Option<Space>, holders: Option<Vec<Holder>>,
        cause: Option<Cause>, repeated: Option<u64>,
    }
    Conflict {
        via: String, errno: String, netns: u32, protocol: String,
        local: Option<Endpoint>, remote: Option<Endpoint>, process: Option<Process>,
        holders: Option<Vec<Holder>>, remedy: Option<Vec<String>>, repeated: Option<u64>,
    }
    Refused {
        via: String, errno: String, reason: String, netns: u32, protocol: String,
        local: Option<Endpoint>, remote: Option<Endpoint>, process: Option<Process>,
        remedy: Option<Vec<String>>, repeated: Option<u64>,
    }
    Threshold { space: Space, level: String }
    Pool {
        pool: String, range: String, message: String, level: Option<String>,
        ports: Option<u32>, used: Option<u32>, free: Option<u32>, used_percent: Option<f64>,
        growth_per_second: Option<f64>, seconds_to_exhaustion: Option<f64>,
        netns: Option<u32>, protocol: Option<String>, via: Option<String>, errno: Option<String>,
        local: Option<Endpoint>, remote: Option<Endpoint>, belongs_to: Option<String>,
        process: Option<Process>, holders: Option<Vec<PoolHolder>>, fix: Option<String>,
        repeated: Option<u64>,
    }
    PoolHolder { process: Option<Process>, ports: u32, stranger: Option<bool> }
    Space {
        kind: String, netns: u32, protocol: String,
        source: Option<IpAddr>, destination: Option<Endpoint>, address: Option<IpAddr>,
        own_range: Option<Range>,
        capacity: u32, used: u32, headroom: u32, used_percent: f64,
        growth_per_second: Option<f64>, seconds_to_exhaustion: Option<f64>,
    }
    Holder {
        process: Option<Process>, open_in: Option<Vec<Process>>,
        how: Option<String>, local: Option<Endpoint>, remote: Option<Endpoint>,
        established: u32, syn_sent: Option<u32>, close_wait: Option<u32>, fin_wait: Option<u32>,
        time_wait: u32, bound: u32, listening: Option<u32>, other: u32, total: u32,
    }
    Cause { kind: String, evidence: Evidence }
    Evidence {
        capacity: u32, time_wait: u32, established: u32, syn_sent: Option<u32>,
        close_wait: Option<u32>, closing: Option<u32>, other: Option<u32>, bound: u32,
        closed_per_second: Option<f64>, median_age_seconds: Option<f64>,
        growth_per_second: Option<f64>,
    }
    Summary {
        namespaces: Vec<Namespace>, spaces: Vec<Space>, processes: Vec<ProcessUse>,
    }
    Namespace {
        netns: u32, names: Vec<String>, ephemeral_range: Option<Range>,
        reserved_ports: Option<u32>, capacity: Option<u32>,
        tcp: NamespaceTcp, udp: NamespaceUdp,
    }
    Range { min: u16, max: u16 }
    NamespaceTcp {
        used_ports: u32, connections: u32, time_wait: u32, listening: u32, bound: u32,
        bind_held_ports: Option<u32>,
    }
    NamespaceUdp { used_ports: u32 }
    ProcessUse { process: Option<Process>, tcp: ProcessTcp, udp: ProcessUdp }
    ProcessTcp {
        ports: u32, established: u32, syn_sent: Option<u32>, close_wait: Option<u32>,
        fin_wait: Option<u32>, time_wait: u32, listening: u32, bound: u32, other: u32,
        bind_held_ports: Option<u32>,
    }
    ProcessUdp { ports: u32 }
    State {
        old: String, new: String, netns: u32, protocol: String,
        local: Option<Endpoint>, remote: Option<Endpoint>, process: Option<Process>,
    }
    Lost { count: u64, place as "where": String, kind: Option<String>, process: Option<Process> }
    Stop {
        events: u64, lost: u64, duration_seconds: f64,
        acquired: u64, released: u64, exhausted: u64,
    }
    Endpoint { address: IpAddr, port: u16 }
    Process {
        pid: u32, tid: Option<u32>, name: String, exec_name: Option<String>,
        executable: Option<String>,
        command_line: Option<Vec<String>>, uid: Option<u32>, start_time: Option<Timestamp>,
        cgroup: Option<String>, container: Option<Container>, truncated: Option<Vec<String>>,
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

    fn threshold(space: &str) -> String {
        format!(
            r#"{{"schema":1,"seq":7,"time":"2025-01-02T03:04:05.000000006Z","type":"threshold",
            "level":"warning","space":{{"netns":1,"protocol":"tcp","capacity":100,"used":70,
            "headroom":30,"used_percent":70.0,{space}}}}}"#
        )
    }

    #[test]
    fn refuses_a_space_whose_ends_are_not_those_of_its_kind() {
        let ends = r#""source":"::1","destination":{"address":"::1","port":443}"#;
        let address = r#""address":"::1""#;
        let parse = |kind: &str, ends: &str| {
            Line::parse(&threshold(&format!(r#""kind":"{kind}",{ends}"#))).is_ok()
        };
        assert!(parse("connect", ends) && parse("bind", address));
        assert!(!parse("connect", address) && !parse("bind", ends) && !parse("listen", address));
    }

    #[test]
    fn refuses_holders_that_do_not_add_up_or_are_not_largest_first() {
        let conflict = |holders: &str| {
            Line::parse(&format!(
                r#"{{"schema":1,"seq":7,"time":"2025-01-02T03:04:05.000000006Z","type":"conflict",
                "via":"bind","errno":"EADDRINUSE","netns":1,"protocol":"tcp",
                "local":{{"address":"::1","port":80}},"holders":[{holders}]}}"#
            ))
            .is_ok()
        };
        let holder = |bound: u32, total: u32| {
            format!(
                r#"{{"established":0,"time_wait":1,"bound":{bound},"other":0,"total":{total}}}"#
            )
        };
        assert!(conflict("") && conflict(&[holder(2, 3), holder(1, 2)].join(",")));
        assert!(!conflict(&holder(2, 2)));
        assert!(!conflict(&[holder(1, 2), holder(2, 3)].join(",")));
    }
}
