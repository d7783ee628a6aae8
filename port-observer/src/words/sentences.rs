//! What a line says, in words that people use.

use std::fmt::Write;

use super::conflicts;
use super::errno::error;
use super::escape::escape;
use super::figures::{duration, holder_name, outlook, percent};
use super::namespaces::Names;
use super::pools;
use super::refusals::{self, Place};
use crate::event::{LossKind, LossPlace, Protocol, Reason, TcpState, Via};
use crate::process::Caller;
use crate::report::{Body, Holder, Level, Port, Space, Start, Stop};

/// Namespaces whose range the banner shows.
const RANGES_SHOWN: usize = 4;

/// What happened, apart from what has a column of its own. Empty for lines that have no columns.
/// `place`: where the caller is.
pub fn detail(body: &Body, place: Place) -> String {
    match *body {
        Body::Existing { ref port, state } => format!("held already, {}", standing(port, state)),
        Body::Acquire { via, requested_port, search_ns, ref space, .. } => {
            let left = space.as_ref().map_or_else(String::new, |space| {
                format!(", {} of {} left", space.headroom, space.capacity)
            });
            format!("{}{}{left}", call(via, requested_port), search(search_ns))
        }
        Body::TimeWait { .. } => "closed, TIME_WAIT keeps the port".to_owned(),
        Body::Release { reason, held_ns, .. } => match held_ns {
            Some(held) => format!("held {}, {}", duration(held), because(reason)),
            None => because(reason).to_owned(),
        },
        Body::Exhausted { ref port, via, errno, search_ns, repeated, .. } => {
            let more = more(repeated, port);
            format!("{}, {}{}{more}", error(errno), call(via, Some(0)), search(search_ns))
        }
        Body::Conflict { ref port, via, errno, ref holders, repeated } => {
            let asked = port.local.map(|local| local.port);
            let more = more(repeated, port);
            format!("{}, {}{}{more}", error(errno), call(via, asked), taken_by(holders))
        }
        Body::Refused { ref port, via, errno, refusal, repeated } => {
            let asked = port.local.map(|local| local.port);
            let why = refusals::why(refusal, port.local, port.remote, place);
            let more = more(repeated, port);
            format!("{}, {}, {why}{more}", error(errno), call(via, asked))
        }
        Body::Threshold { ref space, level } => {
            let level = if level == Level::Ok { "ok again" } else { level.name() };
            let Space { used, capacity, .. } = space.as_ref();
            let percent = percent(space);
            format!("{level}: {used} of {capacity} used ({percent}){}", outlook(space))
        }
        Body::State { old, new, .. } => format!("{} → {}", old.name(), new.name()),
        Body::Pool(ref of) => pools::message(of),
        Body::Summary(_) | Body::Start(_) | Body::Lost { .. } | Body::Stop(_) => String::new(),
    }
}

/// How many more calls there were like one that was told.
pub fn more_like_it(count: u64, is_differing: bool) -> String {
    if is_differing {
        format!("{count} more like it, with other addresses and ports")
    } else {
        format!("{count} more like it")
    }
}

/// How many more calls a line stands for.
fn more(repeated: u64, port: &Port) -> String {
    let is_differing = port.local.is_none() && port.remote.is_none();
    match repeated {
        0 => String::new(),
        more if is_differing => {
            format!(", and {more} more in that second, with other addresses and ports")
        }
        more => format!(", and {more} more in that second"),
    }
}

/// What kind of socket holds a port.
pub fn standing(port: &Port, state: TcpState) -> &'static str {
    match (port.protocol, state) {
        (Protocol::Udp, TcpState::ESTABLISHED) => "connected",
        (Protocol::Udp, _) | (_, TcpState::BOUND_INACTIVE) => "bound",
        (Protocol::Tcp, state) => state.name(),
    }
}

/// Who has the port that was asked for.
fn taken_by(holders: &[Holder]) -> String {
    let Some(first) = conflicts::first(holders) else { return String::new() };
    let who = conflicts::holder(first);
    match holders.len() - 1 {
        0 => format!(", {who}"),
        more => format!(", {who}, and {more} more"),
    }
}

/// The call and the port that it asked for: 0: any, none: not known.
pub fn call(via: Via, port: Option<u16>) -> String {
    match (via, port) {
        (Via::Bind, None) => "bind".to_owned(),
        (Via::Bind, Some(0)) => "bind any port".to_owned(),
        (Via::Bind, Some(port)) => format!("bind port {port}"),
        (Via::Connect, None | Some(0)) => "connect".to_owned(),
        (Via::Connect, Some(port)) => format!("connect from bound port {port}"),
        (Via::Autobind, _) => "autobind".to_owned(),
        (Via::Listen, None | Some(0)) => "listen without bind".to_owned(),
        (Via::Listen, Some(port)) => format!("listen on port {port}"),
    }
}

fn search(search_ns: Option<u64>) -> String {
    search_ns.map_or_else(String::new, |ns| format!(", search {}", duration(ns)))
}

fn because(reason: Reason) -> &'static str {
    match reason {
        Reason::Closed => "closed",
        Reason::TimeWaitExpired => "TIME_WAIT expired",
        Reason::TimeWaitReused => "TIME_WAIT reused",
        Reason::TimeWaitReset => "TIME_WAIT ended early",
        Reason::Reconciled => "found gone, when is not known",
    }
}

/// What was lost, and why.
pub fn lost(count: u64, place: LossPlace, kind: LossKind, caller: Option<&Caller>) -> String {
    let kind = kind.name();
    let events = if count == 1 { "event" } else { "events" };
    let place = match place {
        LossPlace::Ledger => {
            let ports = if count == 1 { "port is" } else { "ports are" };
            return format!(
                "the ledger is full (see --max-holdings): {count} {ports} not accounted"
            );
        }
        LossPlace::KernelBuffer => "no room in the kernel (see --buffer-size)",
        LossPlace::KernelProgram => "skipped in the kernel, an estimate",
        LossPlace::Decode => "a record made no sense",
        LossPlace::Queue => "a queue was full",
        LossPlace::Output => "not printed, for the reader did not take the lines before them",
    };
    let whose = caller
        .map_or_else(String::new, |caller| format!(" of {}", holder_name(Some(&caller.process))));
    format!("{count} {kind} {events}{whose}: {place}")
}

/// What a backend sees.
pub fn exactness(exact: bool) -> &'static str {
    if exact { "every acquire and release is seen" } else { "not exact" }
}

/// The banner, a line each.
pub fn start(start: &Start, names: &Names) -> Vec<String> {
    let exact = exactness(start.exact);
    let mut lines = vec![format!(
        "port-observer {} on {} (Linux {}), backend {}: {exact}",
        escape(&start.version),
        escape(&start.host),
        escape(&start.kernel),
        escape(start.backend),
    )];
    lines.extend(start.missing.iter().map(|missing| format!("  missing: {}", escape(missing))));
    for range in start.ephemeral_range.iter().take(RANGES_SHOWN) {
        let ports = u32::from(range.max).saturating_sub(range.min.into()) + 1;
        lines.push(format!(
            "  ephemeral range {}-{} ({ports} ports) in netns {}",
            range.min,
            range.max,
            names.of(range.netns),
        ));
    }
    if let Some(more @ 1..) = start.ephemeral_range.len().checked_sub(RANGES_SHOWN) {
        lines.push(format!("  and the ranges of {more} more network namespaces"));
    }
    lines
}

/// The totals, in one line.
pub fn stop(stop: &Stop) -> String {
    let mut line = format!(
        "{} events in {:.1} s: {} acquired, {} released, {} exhausted",
        stop.events, stop.duration_seconds, stop.acquired, stop.released, stop.exhausted,
    );
    match stop.lost {
        0 => line.push_str(", none lost"),
        // Writing to a String does not fail.
        lost => drop(write!(line, ", {lost} LOST")),
    }
    line
}
