//! The answer as one JSON object.

use std::net::IpAddr;

use serde::Serialize;

use super::{Answer, Call, Holder};
use crate::{
    sink::json::{Endpoint, Space},
    words::escape::json_line,
};

#[derive(Serialize)]
struct Object<'a> {
    schema: u32,
    time: &'a str,
    verdict: &'static str,
    summary: &'a str,
    call: CallFields,
    #[serde(skip_serializing_if = "Option::is_none")]
    space: Option<Space<'a>>,
    blocked: Vec<Blocked<'a>>,
    remedies: Vec<Remedy<'a>>,
    would_not_help: Vec<Unhelpful<'a>>,
    missing: &'a [String],
}

#[derive(Serialize)]
struct CallFields {
    via: &'static str,
    netns: u32,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<Endpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<Endpoint>,
}

#[derive(Serialize)]
struct Blocked<'a> {
    how: &'static str,
    ports: u32,
    holders: Vec<HolderFields<'a>>,
    reason: &'a str,
}

#[derive(Serialize)]
struct HolderFields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    pids: Vec<u32>,
    ports: u32,
    /// As `pids`; not there where it is not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports_each: Vec<u32>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    likely: bool,
}

#[derive(Serialize)]
struct Remedy<'a> {
    change: &'static str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    gain: u32,
    likely: bool,
}

#[derive(Serialize)]
struct Unhelpful<'a> {
    change: &'static str,
    reason: &'a str,
}

impl<'a> From<&'a Holder> for HolderFields<'a> {
    fn from(holder: &'a Holder) -> Self {
        let each: Vec<u32> = holder.processes.iter().map(|(_, ports)| *ports).collect();
        let is_known = each.iter().all(|ports| *ports > 0);
        Self {
            name: holder.name.as_deref(),
            pids: holder.processes.iter().map(|(pid, _)| *pid).collect(),
            ports: holder.ports,
            ports_each: if is_known { each } else { Vec::new() },
            likely: holder.likely,
        }
    }
}

/// The object, without a line end. `time`: RFC 3339, UTC.
///
/// # Errors
/// None that is known.
pub fn render(answer: &Answer, time: &str) -> serde_json::Result<String> {
    let question = &answer.question;
    let (via, source, destination, local) = match question.call {
        Call::Connect { source, destination, .. } => {
            ("connect", Some(source), Some(Endpoint::new(destination)), None)
        }
        Call::Bind { local } => ("bind", None, None, Some(Endpoint::new(local))),
    };
    let protocol = question.protocol.name();
    let call = CallFields { via, netns: question.netns, protocol, source, destination, local };
    let object = Object {
        schema: 1,
        time,
        verdict: answer.verdict.name(),
        summary: &answer.summary,
        call,
        space: answer.space.as_ref().map(Space),
        blocked: answer
            .blocked
            .iter()
            .map(|one| Blocked {
                how: one.how.name(),
                ports: one.ports,
                holders: one.holders.iter().map(HolderFields::from).collect(),
                reason: &one.reason,
            })
            .collect(),
        remedies: answer
            .remedies
            .iter()
            .map(|one| Remedy {
                change: one.change,
                text: &one.text,
                command: one.command.as_deref(),
                gain: one.gain,
                likely: one.likely,
            })
            .collect(),
        would_not_help: answer
            .would_not_help
            .iter()
            .map(|one| Unhelpful { change: one.change, reason: &one.reason })
            .collect(),
        missing: &answer.missing,
    };
    json_line(&object)
}
