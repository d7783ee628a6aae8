//! What happens to declared pools of ports, as the JSON has it.

use std::num::NonZero;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{processes::Objects, space::rounded, types::Endpoint};
use crate::{
    report::{PoolEvent, PoolHolder, PoolReport, PoolUse},
    words::{errno::ErrorName, pools},
};

/// A line about a pool. What is not known is left out.
#[derive(Serialize)]
pub(super) struct Pool<'a> {
    pool: &'a str,
    range: &'a str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<&'static str>,
    #[serde(flatten)]
    state: Option<State>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    protocol: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    via: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<ErrorName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<Endpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<Endpoint>,
    /// The pool that the port is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    belongs_to: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    holders: Vec<Holder<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeated: Option<NonZero<u64>>,
}

/// How full it is, where it is known where it is.
#[derive(Serialize)]
struct State {
    ports: u32,
    used: u32,
    free: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    growth_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_to_exhaustion: Option<f64>,
}

#[derive(Serialize)]
struct Holder<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<&'a RawValue>,
    ports: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    stranger: Option<bool>,
}

impl State {
    fn of(pool: &PoolUse) -> Self {
        Self {
            ports: pool.ports,
            used: pool.used,
            free: pool.free,
            used_percent: rounded(pool.used_percent()),
            growth_per_second: pool.growth_per_second.and_then(rounded),
            seconds_to_exhaustion: pool.seconds_to_exhaustion.and_then(rounded),
        }
    }
}

impl<'a> Pool<'a> {
    /// `objects` are those of the event's holders, in the same order.
    pub(super) fn new(
        of: &'a PoolReport,
        process: Option<&'a RawValue>,
        objects: &'a Objects,
    ) -> Self {
        let PoolReport { pool, event } = of;
        let port = of.port();
        let (level, via, errno, belongs_to) = match event {
            PoolEvent::Threshold { level } => (Some(level.name()), None, None, None),
            PoolEvent::Exhausted { refused, .. } => {
                let (via, errno) = refused.unzip();
                (None, via, errno, None)
            }
            PoolEvent::WrongRange { via, belongs_to, .. } => {
                (None, *via, None, belongs_to.as_deref())
            }
            PoolEvent::Taken { via, .. } => (None, *via, None, None),
        };
        let holder = |(holder, object): (&PoolHolder, &'a Option<std::sync::Arc<RawValue>>)| {
            Holder { process: object.as_deref(), ports: holder.ports, stranger: holder.is_stranger }
        };
        Self {
            pool: &pool.name,
            range: &pool.range,
            message: pools::message(of),
            level,
            state: pool.netns.map(|_| State::of(pool)),
            netns: port.map(|port| port.netns).or(pool.netns),
            protocol: port.map(|port| port.protocol.name()),
            via: via.map(crate::event::Via::name),
            errno: errno.map(ErrorName),
            local: port.and_then(|port| port.local).map(Endpoint::new),
            remote: port.and_then(|port| port.remote).map(Endpoint::new),
            belongs_to,
            process,
            holders: of.holders().iter().zip(objects).map(holder).collect(),
            fix: pools::fix(of),
            repeated: NonZero::new(of.repeated()),
        }
    }
}
