//! The answer as one JSON object.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Answer, Busiest, Consumer, Finding, Status, TOP, Terms, Threshold, hexadecimal};
use crate::event::{Protocol, TcpState};
use crate::report::{Sources, used_percent};
use crate::words::escape::json_line;

/// The names are those of the check that others made before.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Object<'a> {
    status: &'static str,
    #[serde(flatten)]
    worst: Option<Worst<'a>>,
    message: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    namespaces: Vec<Namespace<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    failures: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Worst<'a> {
    port_min: u16,
    port_max: u16,
    total_ports: u32,
    used_ports: u32,
    used_percent: u32,
    health_score: u32,
    warning_threshold: Limit,
    critical_threshold: Limit,
    top_consumers: Vec<Address>,
    top_processes: Vec<Process<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    busiest_destination: Option<Destination>,
    connections: u32,
    states: BTreeMap<String, u32>,
    protocol: &'static str,
    namespace: &'a str,
    reserved_ports: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    bind_held_ports: Option<u32>,
    missing: &'a [String],
    sources: Sources,
}

/// A number where it is one, else a plugin's range as text.
#[derive(Serialize)]
#[serde(untagged)]
enum Limit {
    Whole(u32),
    Number(f64),
    Range(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Address {
    local_addr: String,
    address: String,
    count: u32,
}

#[derive(Serialize)]
struct Process<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    name: &'a str,
    count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Destination {
    source: String,
    destination: String,
    used: u32,
    capacity: u32,
    used_percent: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Namespace<'a> {
    namespace: &'a str,
    status: &'static str,
    total_ports: u32,
    used_ports: u32,
    used_percent: u32,
}

/// One line of JSON, without its end.
///
/// # Errors
/// Never in practice: all values have a form in JSON.
pub fn render(answer: &Answer) -> serde_json::Result<String> {
    let Answer { terms, findings, failures } = answer;
    let several = findings.len() + failures.len() > 1;
    json_line(&Object {
        status: answer.status().name(),
        worst: findings.first().map(|worst| Worst::new(worst, terms)),
        message: &answer.message(),
        namespaces: findings.iter().filter(|_| several).map(Namespace::new).collect(),
        failures,
    })
}

/// Of what could not even be begun.
///
/// # Errors
/// As [`render`].
pub fn unknown(reason: &str) -> serde_json::Result<String> {
    let status = Status::Unknown.name();
    json_line(&Object {
        status,
        worst: None,
        message: reason,
        namespaces: Vec::new(),
        failures: &[],
    })
}

/// An object's line with one more member.
///
/// # Errors
/// As [`render`].
pub fn with_member(line: &str, name: &str, value: &impl Serialize) -> serde_json::Result<String> {
    let line = line.strip_suffix('}').unwrap_or(line);
    Ok(format!("{line},\"{name}\":{}}}", json_line(value)?))
}

/// Rounded down: 84.9% are not 85.
fn whole(percent: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a percentage, 0 to 100"
    )]
    let whole = percent.floor() as u32;
    whole
}

impl Limit {
    fn new(threshold: Threshold) -> Self {
        match threshold {
            Threshold::Percent(percent) if percent.fract() == 0.0 => Self::Whole(whole(percent)),
            Threshold::Percent(percent) => Self::Number(percent),
            range @ Threshold::Range { .. } => Self::Range(range.to_string()),
        }
    }
}

impl<'a> Worst<'a> {
    fn new(of: &'a Finding, terms: &Terms) -> Self {
        let used_percent = whole(of.used_percent());
        let total = of.total();
        let addresses = of.tally.top_addresses(TOP).into_iter();
        let processes = of.processes.iter();
        Self {
            port_min: of.range.min,
            port_max: of.range.max,
            total_ports: total,
            used_ports: of.tally.used(),
            used_percent,
            health_score: 100u32.saturating_sub(used_percent),
            warning_threshold: Limit::new(terms.warning),
            critical_threshold: Limit::new(terms.critical),
            top_consumers: addresses
                .map(|(address, count)| Address {
                    local_addr: hexadecimal(address),
                    address: address.to_string(),
                    count,
                })
                .collect(),
            top_processes: processes
                .map(|Consumer { pid, name, count }| Process { pid: *pid, name, count: *count })
                .collect(),
            busiest_destination: of.busiest().map(|busiest| Destination::new(busiest, total)),
            connections: of.tally.sockets(),
            states: states(of, terms.protocol),
            protocol: terms.protocol.name(),
            namespace: &of.namespace,
            reserved_ports: of.reserved,
            bind_held_ports: of
                .unknown_binds
                .is_none()
                .then(|| of.tally.bind_held())
                .filter(|_| terms.protocol == Protocol::Tcp),
            missing: &of.missing,
            sources: of.sources,
        }
    }
}

/// By the kernel's names, in small letters; `bound` is not there where it is not reported.
fn states(of: &Finding, protocol: Protocol) -> BTreeMap<String, u32> {
    let numbers: &[u8] = match protocol {
        Protocol::Tcp => &[1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 13],
        Protocol::Udp => &[1, 7],
    };
    let states = numbers.iter().filter_map(|&number| TcpState::try_from(number).ok());
    states
        .filter(|state| of.lists_bound || *state != TcpState::BOUND_INACTIVE)
        .map(|state| {
            let name = match state {
                TcpState::BOUND_INACTIVE => "bound".to_owned(),
                state => state.name().to_lowercase(),
            };
            (name, of.tally.in_state(state))
        })
        .collect()
}

impl Destination {
    fn new(busiest: Busiest, capacity: u32) -> Self {
        let Busiest { source, destination, used } = busiest;
        let used_percent = whole(used_percent(used, capacity));
        let (source, destination) = (source.to_string(), destination.to_string());
        Self { source, destination, used, capacity, used_percent }
    }
}

impl<'a> Namespace<'a> {
    fn new(of: &'a Finding) -> Self {
        Self {
            namespace: &of.namespace,
            status: of.status.name(),
            total_ports: of.total(),
            used_ports: of.tally.used(),
            used_percent: whole(of.used_percent()),
        }
    }
}
