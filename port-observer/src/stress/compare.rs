//! A run against an earlier one's answer. Pure.

use serde::{Deserialize, Serialize};

use super::{Limit, Outcome};

/// What is read of an answer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Old {
    time: String,
    breaking_point: Point,
}

/// Where it broke.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// How many connections there were.
    pub connections: u64,
    /// How many a second.
    pub rate_per_second: f64,
    /// The limit.
    pub limit: Limit,
}

/// What is other now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// When it was that it is compared with, as its answer says.
    pub with: String,
    /// What it was then.
    pub before: Point,
    /// Connections now, against those then.
    pub connections_percent: f64,
    /// And connections a second.
    pub rate_percent: f64,
    /// Another limit is met now.
    pub other_limit: bool,
}

impl Old {
    /// Reads an answer.
    ///
    /// # Errors
    /// When it is none of `stress --json`.
    pub fn read(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// Against what came of a run.
    pub fn against(&self, outcome: &Outcome) -> Compared {
        let Self { time, breaking_point: before } = self.clone();
        let percent = |now: f64, then: f64| {
            if then > 0.0 { (now / then - 1.0) * 100.0 } else { 0.0 }
        };
        Compared {
            with: time,
            connections_percent: percent(outcome.connections as f64, before.connections as f64),
            rate_percent: percent(outcome.rate(), before.rate_per_second),
            other_limit: before.limit != outcome.verdict.limit,
            before,
        }
    }
}
