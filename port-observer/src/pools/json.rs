//! The verdict, and what is held, as JSON.

use serde::Serialize;

use super::{
    Holder, Pool, Problem, State, Verdict,
    ports::PortSet,
    problem::Place,
    state::{Outside, Share},
};
use crate::ports::PortRange;
use crate::words::escape::json_line;

/// One line of JSON, without its end.
///
/// # Errors
/// Never in practice: all values have a form in JSON.
pub fn render(verdict: &Verdict) -> serde_json::Result<String> {
    let problems = verdict.problems.sorted().into_iter().map(Told::of).collect();
    let document = Document {
        pools: verdict.pools.iter().map(Declared::of).collect(),
        problems,
        omitted_problems: (verdict.problems.omitted() > 0).then_some(verdict.problems.omitted()),
    };
    json_line(&document)
}

/// One line of JSON with an object for each pool, without its end.
///
/// # Errors
/// Never in practice: all values have a form in JSON.
pub fn render_states(states: &[State<'_>]) -> serde_json::Result<String> {
    json_line(&states.iter().map(Now::of).collect::<Vec<_>>())
}

#[derive(Serialize)]
struct Document<'a> {
    pools: Vec<Declared<'a>>,
    problems: Vec<Told<'a>>,
    /// There are more than are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    omitted_problems: Option<usize>,
}

#[derive(Serialize)]
struct Range {
    min: u16,
    max: u16,
}

impl From<PortRange> for Range {
    fn from(range: PortRange) -> Self {
        Self { min: range.min, max: range.max }
    }
}

#[derive(Serialize)]
struct Source<'a> {
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

impl<'a> From<&'a Place> for Source<'a> {
    fn from(place: &'a Place) -> Self {
        Self { file: &place.file, line: place.line }
    }
}

#[derive(Serialize)]
struct Declared<'a> {
    name: &'a str,
    /// From the lowest port to the highest.
    range: Range,
    /// Each, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ranges: Vec<Range>,
    protocol: &'static str,
    /// How many it has, without those that are excluded.
    ports: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    needed: Option<u64>,
    source: Source<'a>,
}

impl<'a> Declared<'a> {
    fn of(pool: &'a Pool) -> Self {
        let min = pool.ranges.iter().map(|range| range.min).min().unwrap_or_default();
        let max = pool.ranges.iter().map(|range| range.max).max().unwrap_or_default();
        let ranges = match &*pool.ranges {
            [_] => Vec::new(),
            several => several.iter().map(|range| Range::from(*range)).collect(),
        };
        Self {
            name: &pool.name,
            range: Range { min, max },
            ranges,
            protocol: pool.protocols().name(),
            ports: pool.ports.count(),
            needed: pool.needed(),
            source: (&pool.place).into(),
        }
    }
}

#[derive(Serialize)]
struct Told<'a> {
    severity: &'static str,
    code: &'static str,
    pools: &'a [String],
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'a str>,
}

impl<'a> Told<'a> {
    fn of(problem: &'a Problem) -> Self {
        Self {
            severity: problem.severity.name(),
            code: problem.code.name(),
            pools: &problem.pools,
            message: &problem.message,
            file: problem.place.as_ref().map(|place| &*place.file),
            line: problem.place.as_ref().and_then(|place| place.line),
            fix: problem.fix.as_deref(),
        }
    }
}

/// What is held of a pool. What is not known is left out.
#[derive(Serialize)]
struct Now<'a> {
    #[serde(flatten)]
    declared: Declared<'a>,
    /// How many of its ports are held.
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<u32>,
    /// How many a unit can still take.
    #[serde(skip_serializing_if = "Option::is_none")]
    free: Option<u32>,
    /// How many are leased, where there is a file of leases.
    #[serde(skip_serializing_if = "Option::is_none")]
    leased: Option<u32>,
    holders: Vec<Part<'a>>,
    outside: Vec<Elsewhere<'a>>,
    /// What could not be seen, a sentence each.
    missing: Vec<&'a str>,
}

#[derive(Serialize)]
struct Process<'a> {
    pid: u32,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    executable: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a str>,
}

impl<'a> Process<'a> {
    fn of(holder: &'a Holder) -> Self {
        Self {
            pid: holder.pid,
            name: &holder.name,
            executable: holder.executable.as_deref(),
            container: holder.container.first().map(String::as_str),
        }
    }
}

/// What one process has of a pool.
#[derive(Serialize)]
pub struct Part<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process<'a>>,
    protocol: &'static str,
    how: &'static str,
    ports: u32,
    ranges: Vec<Range>,
    /// Whether it is not the pool's owner, where that can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    stranger: Option<bool>,
}

#[derive(Serialize)]
struct Elsewhere<'a> {
    process: Process<'a>,
    protocol: &'static str,
    how: &'static str,
    ranges: Vec<Range>,
    /// The pool whose they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pool: Option<&'a str>,
}

fn ranges(ports: &PortSet) -> Vec<Range> {
    ports.ranges().map(Range::from).collect()
}

impl<'a> Part<'a> {
    /// That of a share; whether it is a stranger's, where that can be said.
    pub fn of(share: &'a Share<'_>, stranger: Option<bool>) -> Self {
        Self {
            process: share.holder.map(Process::of),
            protocol: share.protocol.name(),
            how: share.how,
            ports: share.ports.count(),
            ranges: ranges(&share.ports),
            stranger,
        }
    }
}

impl<'a> Elsewhere<'a> {
    fn of(outside: &'a Outside<'_>) -> Self {
        Self {
            process: Process::of(outside.holder),
            protocol: outside.protocol.name(),
            how: outside.how,
            ranges: ranges(&outside.ports),
            pool: outside.of.map(|pool| &*pool.name),
        }
    }
}

impl<'a> Now<'a> {
    fn of(state: &'a State<'_>) -> Self {
        let reason = state.used.as_ref().err().copied();
        Self {
            declared: Declared::of(state.pool),
            used: state.used.as_ref().ok().map(PortSet::count),
            free: state.free(),
            leased: state.leased.as_ref().map(PortSet::count),
            holders: state
                .holders
                .iter()
                .map(|share| Part::of(share, state.is_stranger(share)))
                .collect(),
            outside: state.outside.iter().map(Elsewhere::of).collect(),
            missing: reason.into_iter().chain(state.missing.iter().map(String::as_str)).collect(),
        }
    }
}
