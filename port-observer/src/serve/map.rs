//! `/map`: the ephemeral range of one network namespace, in cells of as many ports each.

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::StatusCode,
    response::Response,
};
use serde::{Deserialize, Serialize};

use super::{
    answer::{self, Fault},
    question::Question,
    routes::Shared,
};
use crate::event::Protocol;

/// How many cells there are at most, if nothing else is asked for.
const USUAL_CELLS: u32 = 512;
/// How many may be asked for.
const MOST_CELLS: u32 = 2_048;

/// The answer. All texts of others in it are escaped.
#[derive(Debug, Serialize)]
pub struct RangeMap {
    /// When, RFC 3339.
    pub time: String,
    /// Of which network namespace.
    pub netns: u32,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// How many ports a cell has; the last may have fewer.
    pub ports_per_cell: u32,
    /// The cells, ascending: together, they are the ephemeral range.
    pub cells: Vec<Cell>,
}

/// Ports that follow each other. Each is counted once, also if several sockets are on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// The first port.
    pub min: u16,
    /// The last.
    pub max: u16,
    /// Nobody is on it.
    pub free: u32,
    /// A connection is on it, and nothing is bound there.
    pub connected: u32,
    /// TIME_WAIT entries alone are on it.
    pub time_wait: u32,
    /// A socket is bound there or listens, whoever else is on it.
    pub bound: u32,
    /// In `ip_local_reserved_ports`, whoever is on it.
    pub reserved: u32,
    /// Who is on them, the most ports first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<CellHolder>,
    /// Ports of others than these.
    pub others: u32,
}

/// Processes of one name in one container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CellHolder {
    /// Absent: not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The process, where there is only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its name, or the beginning of its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// How many ports.
    pub ports: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    netns: Option<String>,
    protocol: Option<String>,
    cells: Option<u32>,
}

#[derive(Serialize)]
struct Answer<'a> {
    schema: u32,
    #[serde(flatten)]
    map: &'a RangeMap,
}

/// The map of a namespace, by default that of `serve`.
pub(super) async fn map(
    State(shared): State<Shared>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Fault> {
    let Query(asked) = query.map_err(|error| Fault::bad_request(&error.body_text()))?;
    let protocol = asked.protocol.as_deref().map_or(Ok(Protocol::Tcp), protocol)?;
    let cells = asked.cells.unwrap_or(USUAL_CELLS);
    if !(1..=MOST_CELLS).contains(&cells) {
        return Err(Fault::bad_request(&format!("cells={cells}: 1 to {MOST_CELLS}")));
    }
    let unknown = |netns: &str| {
        let advice = format!(
            "netns={netns}: no network namespace of this name or number is watched here, or its \
             ephemeral range is not known yet"
        );
        Fault::new(StatusCode::NOT_FOUND, &advice)
    };
    let named = |name: &String| {
        let known = shared.journal.namespace(name);
        known.or_else(|| name.parse().ok()).ok_or_else(|| unknown(name))
    };
    let netns = asked.netns.as_ref().map(named).transpose()?;
    let question = |answer| Question::Map { netns, protocol, cells, answer };
    let found = shared.ask(question).await?;
    let map = found.ok_or_else(|| unknown(asked.netns.as_deref().unwrap_or("(that of serve)")))?;
    let told = Answer { schema: 1, map: &map };
    let json = serde_json::to_vec(&told).map_err(|error| Fault::internal(&error))?;
    Ok(answer::json(json))
}

fn protocol(name: &str) -> Result<Protocol, Fault> {
    let mut all = [Protocol::Tcp, Protocol::Udp].into_iter();
    let found = all.find(|protocol| protocol.name() == name);
    found.ok_or_else(|| Fault::bad_request(&format!("protocol={name}: there are tcp, udp")))
}
