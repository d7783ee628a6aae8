//! What came of a run, as JSON.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{
    Limit, Milestone, Observed, Outcome, Refusals,
    compare::Compared,
    outcome::Verdict,
    parts::End,
    program::Program,
    variations::{HardLimit, Mitigation, Row},
};
use crate::words::{errno::ErrorName, escape::json_line};

/// Everything that is told.
#[derive(Clone, Debug)]
pub struct Told<'a> {
    /// RFC 3339, of the start.
    pub time: String,
    /// The host's name.
    pub host: String,
    /// `uname -r`
    pub kernel: String,
    /// What came of it.
    pub outcome: &'a Outcome,
    /// What was seen from outside; else why nothing was.
    pub observed: Result<&'a Observed, &'a str>,
    /// What came of variations, where they were tried.
    pub variations: &'a [Row],
    /// What came of changes that could help, the one that brought most first.
    pub mitigations: &'a [Mitigation],
    /// How many connections configurations are good for, this one first.
    pub hard_limits: &'a [HardLimit],
    /// Against an earlier one.
    pub compared: Option<Compared>,
}

/// The answer.
#[derive(Serialize)]
pub(super) struct Shown<'a> {
    schema: u32,
    time: &'a str,
    host: &'a str,
    kernel: &'a str,
    configuration: Value,
    milestones: &'a [Milestone],
    breaking_point: Breaking<'a>,
    client: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<Value>,
    observer: Value,
    #[serde(skip_serializing_if = "<[Row]>::is_empty")]
    variations: &'a [Row],
    #[serde(skip_serializing_if = "<[Mitigation]>::is_empty")]
    mitigations: &'a [Mitigation],
    #[serde(skip_serializing_if = "<[HardLimit]>::is_empty")]
    hard_limits: &'a [HardLimit],
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<&'a Compared>,
}

#[derive(Serialize)]
struct Breaking<'a> {
    connections: u64,
    seconds: f64,
    rate_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno: Option<String>,
    limit: Limit,
    also: &'a [Limit],
    reasons: &'a [String],
    evidence: Value,
}

/// One object.
///
/// # Errors
/// None that is known.
pub fn render(told: &Told<'_>) -> serde_json::Result<String> {
    json_line(&shown(told))
}

/// The answer, to be serialized.
pub(super) fn shown<'a>(told: &'a Told<'_>) -> Shown<'a> {
    let Told { outcome, .. } = told;
    let Verdict { limit, also, reasons } = &outcome.verdict;
    Shown {
        schema: 1,
        time: &told.time,
        host: &told.host,
        kernel: &told.kernel,
        configuration: configuration(outcome),
        milestones: &outcome.milestones,
        breaking_point: Breaking {
            connections: outcome.connections,
            seconds: outcome.seconds,
            rate_per_second: outcome.rate(),
            errno: most(&outcome.refused).map(|errno| ErrorName(errno).to_string()),
            limit: *limit,
            also,
            reasons,
            evidence: evidence(outcome),
        },
        client: client(outcome),
        server: (outcome.plan.program.is_none() || outcome.plan.server.is_some())
            .then(|| server(outcome)),
        observer: match told.observed {
            Ok(seen) => with_present(json!({
                "backend": seen.backend,
                "acquired": seen.acquired,
                "exhausted": seen.exhausted,
                "lost": seen.lost,
                "full_space": seen.full.map(|(used, capacity)| {
                    json!({ "used": used, "capacity": capacity })
                }),
            })),
            Err(why) => json!({ "missing": why }),
        },
        variations: told.variations,
        mitigations: told.mitigations,
        hard_limits: told.hard_limits,
        compared: told.compared.as_ref(),
    }
}

/// The error of the most attempts.
pub fn most(refused: &Refusals) -> Option<i32> {
    refused.iter().max_by_key(|(_, count)| **count).map(|(&errno, _)| errno)
}

/// Without what is not known: `null` is not used.
fn with_present(value: Value) -> Value {
    let Value::Object(fields) = value else { return value };
    Value::Object(fields.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>())
}

pub(super) fn configuration(outcome: &Outcome) -> Value {
    let plan = &outcome.plan;
    let setting = |name: &str| {
        let found = plan.settings.iter().find(|(one, _)| one.ends_with(name))?;
        found.1.parse::<u64>().ok()
    };
    with_present(json!({
        "connections": plan.connections,
        "ephemeral_range": { "min": outcome.range.0, "max": outcome.range.1 },
        "sources": plan.sources,
        "destinations": plan.destinations,
        "nofile": plan.nofile,
        "close": plan.close,
        "tw_reuse": plan.tw_reuse.map(u64::from).or_else(|| setting("tcp_tw_reuse")),
        "bind": plan.bind,
        "rate_per_second": plan.rate,
        "duration_seconds": plan.duration.as_secs_f64(),
        "ipv6": plan.ipv6,
        "protocol": if plan.udp { "udp" } else { "tcp" },
        "server": plan.server,
        "to": plan.target,
        "command": match &plan.program {
            Some(Program::Command(words)) => Some(words),
            _ => None,
        },
        "watch": match plan.program {
            Some(Program::Running(pid)) => Some(pid),
            _ => None,
        },
    }))
}

fn client(outcome: &Outcome) -> Value {
    let end = &outcome.evidence.client;
    let refused: Map<String, Value> = outcome
        .refused
        .iter()
        .map(|(&errno, &count)| (ErrorName(errno).to_string(), count.into()))
        .collect();
    let program = outcome.evidence.program;
    with_present(json!({
        "name": program.map(|_| &end.name),
        "sockets": program.map(|has| has.sockets),
        "connections": program.map(|has| has.connections),
        "both_ends": program.map(|has| has.both_ends),
        "ended": match &outcome.end {
            End::Exited { how, .. } => Some(how),
            _ => None,
        },
        "processes": outcome.clients,
        "descriptors": { "used": end.descriptors.0, "limit": end.descriptors.1, "all": end.all_descriptors },
        "worked": outcome.connections,
        "refused": outcome.refused.values().sum::<u64>(),
        "errors": refused,
        "retransmitted": outcome.retried,
    }))
}

fn server(outcome: &Outcome) -> Value {
    let (end, health) = (&outcome.evidence.server, outcome.health.as_ref());
    let listening = &outcome.evidence.listening;
    with_present(json!({
        "address": outcome.plan.target,
        "name": (!end.name.is_empty()).then_some(&end.name),
        "processes": outcome.plan.target.is_none().then_some(end.processes),
        "alive": health.map(|health| health.alive),
        "accepting": health.map(|health| health.accepting),
        "first_byte_seconds": health.and_then(|health| health.first_byte_seconds),
        "recovered_seconds": health.and_then(|health| health.recovered_seconds),
        "connections": (!outcome.plan.udp).then_some(listening.accepted),
        "descriptors": outcome.plan.target.is_none().then(|| {
            json!({ "used": end.descriptors.0, "limit": end.descriptors.1, "all": end.all_descriptors })
        }),
        "accept_queue": (!outcome.plan.udp)
            .then(|| json!({ "used": listening.queue, "backlog": listening.queue_max })),
        "listen_overflows": listening.overflows,
        "listen_drops": listening.drops,
        "table": end.table.as_ref().map(|(name, size)| json!({ "name": name, "size": size })),
    }))
}

pub(super) fn evidence(outcome: &Outcome) -> Value {
    let seen = &outcome.evidence;
    with_present(json!({
        "ports": seen.ports,
        "ports_used": seen.ports_used,
        "spaces": seen.pairs,
        "spaces_full": seen.pairs_full,
        "time_wait": seen.time_wait,
        "time_wait_overflows": seen.time_wait_overflows,
        "time_wait_max": seen.time_wait_max,
        "tcp_memory_pages": seen.tcp_memory_pages,
        "tcp_memory_max_pages": seen.tcp_memory_max,
        "tcp_memory_failures": seen.tcp_memory_failures,
        "files": seen.files.0,
        "file_max": seen.files.1,
        "threads": seen.threads.0,
        "threads_max": seen.threads.1,
        "cgroup_pids_refused": seen.server.group.pids_refused.max(seen.client.group.pids_refused),
        "cgroup_memory_refused": seen.server.group.memory_refused.max(seen.client.group.memory_refused),
        "conntrack": seen.conntrack.map(|(count, max)| json!({ "count": count, "max": max })),
        "conntrack_drops": seen.conntrack_drops,
        "oom_kills": seen.oom_kills,
        "memory_available_bytes": seen.memory.0,
        "memory_bytes": seen.memory.1,
    }))
}
