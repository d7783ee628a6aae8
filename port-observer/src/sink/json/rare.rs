//! The event lines that are not the bulk of a stream, as the JSON has them.

use std::num::NonZero;

use serde::Serialize;
use serde_json::value::RawValue;

use super::pool::Pool;
use super::space::{Cause, Holders, Space};
use super::summary::Summary;
use super::types::Place;
use crate::report::{self, EphemeralRange};
use crate::words::errno::ErrorName;

/// What happens now and then.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Rare<'a> {
    Start(Start<'a>),
    Acquire {
        via: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        requested_port: Option<u16>,
        #[serde(flatten)]
        place: Place<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        search_ns: Option<u64>,
        space: Space<'a>,
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
        #[serde(skip_serializing_if = "Option::is_none")]
        repeated: Option<NonZero<u64>>,
    },
    Conflict {
        via: &'static str,
        errno: ErrorName,
        #[serde(flatten)]
        place: Place<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        holders: Option<Holders<'a>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        remedy: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        repeated: Option<NonZero<u64>>,
    },
    Refused {
        via: &'static str,
        errno: ErrorName,
        reason: &'static str,
        #[serde(flatten)]
        place: Place<'a>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        remedy: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        repeated: Option<NonZero<u64>>,
    },
    Threshold {
        space: Space<'a>,
        level: &'static str,
    },
    PoolThreshold(Pool<'a>),
    PoolExhausted(Pool<'a>),
    PoolWrongRange(Pool<'a>),
    PoolTaken(Pool<'a>),
    Summary(Summary<'a>),
    Lost {
        count: u64,
        #[serde(rename = "where")]
        place: &'static str,
        #[serde(skip_serializing_if = "str::is_empty")]
        kind: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        process: Option<&'a RawValue>,
    },
    Stop(Stop),
}

#[derive(Serialize)]
pub(super) struct Start<'a> {
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
pub(super) struct Stop {
    events: u64,
    lost: u64,
    duration_seconds: f64,
    acquired: u64,
    released: u64,
    exhausted: u64,
}

impl<'a> Start<'a> {
    pub(super) fn new(start: &'a report::Start) -> Self {
        let range =
            |range: &EphemeralRange| Range { netns: range.netns, min: range.min, max: range.max };
        Self {
            host: &start.host,
            kernel: &start.kernel,
            version: &start.version,
            backend: start.backend,
            exact: start.exact,
            missing: &start.missing,
            ephemeral_range: start.ephemeral_range.iter().map(range).collect(),
        }
    }
}

impl Stop {
    pub(super) fn new(stop: &report::Stop) -> Self {
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
