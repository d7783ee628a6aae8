//! What happens to declared pools of ports, in words.

use super::{
    errno::error,
    escape::escape,
    figures::{duration, holder_name},
    sentences::call,
};
use crate::{
    event::Via,
    report::{PoolEvent, PoolHolder, PoolReport, PoolUse, Port},
};

/// Holders that are named.
const MOST_HOLDERS: usize = 3;

/// What happened, a sentence that stands alone.
pub fn message(of: &PoolReport) -> String {
    let PoolReport { pool, event } = of;
    let (name, range) = (escape(&pool.name), &pool.range);
    match event {
        PoolEvent::Threshold { .. } if pool.netns.is_none() => {
            format!("{name} ({range}): {}", usage(pool))
        }
        PoolEvent::Threshold { level } => {
            format!("{name} ({range}): {}, {}", level.name(), usage(pool))
        }
        PoolEvent::Exhausted { port, refused, holders, repeated } => {
            let asked = refused.map_or_else(String::new, |(via, errno)| {
                let port = port.as_ref().and_then(|port| port.local).map(|local| local.port);
                format!(": {}, {}", error(errno), call(via, port))
            });
            let more = more(*repeated, "calls");
            format!("No ports available in range {range} ({name}){asked}{}{more}", held_by(holders))
        }
        PoolEvent::WrongRange { port, via, belongs_to, repeated } => {
            let whose = belongs_to
                .as_ref()
                .map_or_else(String::new, |other| format!(", which belongs to {}", escape(other)));
            let (who, how, port) = (who(port), took(*via, port, false), number(port));
            let more = more(*repeated, "ports");
            format!("{who} {how} {port}{whose}; its pool is {name} ({range}){more}")
        }
        PoolEvent::Taken { port, via, is_chosen, repeated } => {
            let (who, how, port) = (who(port), took(*via, port, *is_chosen), number(port));
            let more = more(*repeated, "ports");
            format!("{who} {how} {port} of {name} ({range}){more}")
        }
    }
}

/// What would change it, where that can be said.
pub fn fix(of: &PoolReport) -> Option<String> {
    match &of.event {
        PoolEvent::Taken { is_chosen: true, .. } => Some(format!(
            "keep automatic choice out of the pool: add {} to net.ipv4.ip_local_reserved_ports \
             (`port-observer pools check` shows the line)",
            of.pool.range.replace(", ", ",")
        )),
        PoolEvent::Taken { port, .. } => {
            let name = port.caller.as_ref().map(|caller| escape(&caller.process.name));
            Some(format!(
                "give {} another port, or if the pool is its, say so where the pool is declared \
                 (process, container)",
                name.unwrap_or("it".into())
            ))
        }
        PoolEvent::WrongRange { .. } => Some(format!(
            "configure it for {}, or declare the other ports as a pool of its own",
            of.pool.range
        )),
        PoolEvent::Exhausted { holders, .. }
            if holders.iter().any(|holder| holder.is_stranger == Some(true)) =>
        {
            Some("end or move the strangers in it, or widen the range".to_owned())
        }
        PoolEvent::Exhausted { .. } => Some(
            "widen the range, or allow fewer units; where units have ended and ports are still held, \
             their holder leaks them"
                .to_owned(),
        ),
        PoolEvent::Threshold { .. } => None,
    }
}

/// How full a pool is.
pub fn usage(pool: &PoolUse) -> String {
    if pool.netns.is_none() {
        return "not watched: no network namespace or container of that name is known".to_owned();
    }
    let PoolUse { ports, used, free, .. } = pool;
    let percent = pool.used_percent();
    let soon = pool.seconds_to_exhaustion.map_or_else(String::new, |seconds| {
        format!(", full in about {} at this rate", duration(nanoseconds(seconds)))
    });
    format!("{used} of {ports} ports held, {free} free for units ({percent:.0}% used){soon}")
}

/// Seconds as the nanoseconds that [`duration`] takes; of what lasts too long, the most there are.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast of a float saturates"
)]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

fn held_by(holders: &[PoolHolder]) -> String {
    if holders.is_empty() {
        return String::new();
    }
    let one = |holder: &PoolHolder| {
        let stranger = if holder.is_stranger == Some(true) { ", a stranger" } else { "" };
        let who = match &holder.process {
            None => "a process not known".to_owned(),
            process => holder_name(process.as_deref()),
        };
        format!("{who} has {}{stranger}", holder.ports)
    };
    let told: Vec<String> = holders.iter().take(MOST_HOLDERS).map(one).collect();
    let more = match holders.len().saturating_sub(MOST_HOLDERS) {
        0 => String::new(),
        more => format!("; and {more} more processes"),
    };
    format!("; {}{more}", told.join("; "))
}

fn who(port: &Port) -> String {
    holder_name(port.caller.as_ref().map(|caller| &*caller.process))
}

fn number(port: &Port) -> String {
    let number = port.local.map_or_else(|| "?".to_owned(), |local| local.port.to_string());
    format!("{} port {number}", port.protocol.name())
}

fn took(via: Option<Via>, port: &Port, is_chosen: bool) -> &'static str {
    match (via, is_chosen, port.remote) {
        (None, ..) => "has",
        (Some(Via::Connect), ..) => "was given by connect()",
        (Some(_), true, _) => "was given by automatic choice",
        (Some(_), false, _) => "took",
    }
}

fn more(repeated: u64, what: &str) -> String {
    match repeated {
        0 => String::new(),
        more => format!(", and {more} more such {what} in that second"),
    }
}
