//! What came of a run, as text.

use std::fmt::Write as _;

use super::{
    Bind, Close, Health, Limit, Milestone, Observed, Outcome, Plan,
    compare::Compared,
    json::{Told, most},
    parts::{End, Progress},
    program::{Program, Use},
    target,
    variations::{HardLimit, Mitigation, Row},
};
use crate::words::{
    errno::error,
    escape::escape,
    figures::{duration, rate},
};

/// A line of progress.
pub fn progress(progress: &Progress, name: &str) -> String {
    let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
    let refused = match progress.failed() {
        0 => String::new(),
        count => format!(", {count} refused"),
    };
    format!("{name}{} connections{refused}", progress.worked)
}

/// The report.
pub fn render(told: &Told<'_>) -> String {
    let mut out = String::new();
    let outcome = told.outcome;
    let _ = writeln!(out, "{}", headline(outcome));
    for reason in reasons(outcome) {
        let _ = writeln!(out, "  {}", escape(reason));
    }
    if let Some(also) = also(outcome) {
        let _ = writeln!(out, "  Also met: {also}");
    }
    let _ = writeln!(out, "\nTried\n  {}", tried(outcome));
    let _ = writeln!(out, "\nMilestones");
    for milestone in &outcome.milestones {
        let _ = writeln!(out, "  {}", reached(milestone));
    }
    for (name, text) in ends(outcome) {
        let _ = writeln!(out, "\n{name}\n  {text}");
    }
    let _ = write!(out, "\nObserver\n  {}", observer(told.observed, outcome.plan.udp));
    if let Some(compared) = &told.compared {
        let _ = write!(out, "\n\nCompared\n  {}", against(compared));
    }
    varied(&mut out, told.variations);
    mitigated(&mut out, told.mitigations);
    good_for(&mut out, told.hard_limits);
    out
}

/// How many connections configurations are good for.
fn good_for(out: &mut String, all: &[HardLimit]) {
    if all.is_empty() {
        return;
    }
    let _ = write!(out, "\n\nConnections{:>47}  LIMIT", "STAND");
    for HardLimit { configuration, connections, limit } in all {
        let _ = write!(out, "\n  {configuration:<46}{connections:>10}  {}", limit.name());
    }
}

/// Against an earlier run.
pub(super) fn against(compared: &Compared) -> String {
    let Compared { with, before, connections_percent, rate_percent, .. } = compared;
    let limit = match compared.other_limit {
        true => format!("; the limit was another: {}", called(before.limit)),
        false => String::new(),
    };
    format!(
        "with {}: {connections_percent:+.1}% connections (of {}), {rate_percent:+.1}% a second (of {}){limit}",
        escape(with),
        before.connections,
        rate(before.rate_per_second)
    )
}

/// Variations, side by side.
fn varied(out: &mut String, rows: &[Row]) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(out, "\n\nVariations{:>35}{:>9}  LIMIT", "WORKED", "REFUSED");
    for row in rows {
        let limit = row.limit.name();
        let _ = write!(out, "\n  {:<32}{:>9}{:>9}  {limit}", row.name, row.worked, row.refused);
    }
}

/// What could help, the one that brought most first.
fn mitigated(out: &mut String, all: &[Mitigation]) {
    if all.is_empty() {
        return;
    }
    let _ = write!(out, "\n\nTried against it, for 10 s at most{:>9}{:>9}", "BEFORE", "AFTER");
    for one in all {
        let said = if one.proved { "" } else { "  does not help" };
        let _ = write!(out, "\n  {:<33}{:>8}{:>9}{said}", one.change, one.before, one.after);
        if let Some(command) = one.command.as_ref().filter(|_| one.proved) {
            let _ = write!(out, "  {command}");
        }
    }
}

pub(super) fn headline(outcome: &Outcome) -> String {
    let count = outcome.connections;
    let refused: u64 = outcome.refused.values().sum();
    let error = || most(&outcome.refused).map(error).unwrap_or_default();
    let refused = match refused {
        0 => String::new(),
        count => format!("; {count} refused: {}", error()),
    };
    let limit = called(outcome.verdict.limit);
    let is_none = matches!(outcome.verdict.limit, Limit::Requested | Limit::Duration);
    if outcome.plan.program.is_some() {
        let limit = if is_none { "No limit met".to_owned() } else { format!("Limit: {limit}") };
        return format!("{limit}. {count} connections at a time at most{refused}.");
    }
    let time = format!("{:.2} s ({})", outcome.seconds, rate(outcome.rate()));
    let verb = if outcome.plan.is_churn() { "opened and closed" } else { "stand" };
    match outcome.verdict.limit {
        Limit::Requested => format!("All {count} connections {verb} after {time}."),
        Limit::Duration => format!("No limit met: {count} connections {verb} after {time}."),
        _ => format!("Limit: {limit}. {count} connections {verb} after {time}{refused}."),
    }
}

/// Why it is said.
pub(super) fn reasons(outcome: &Outcome) -> impl Iterator<Item = &str> {
    // Where none was met, the first says what the headline does.
    let is_none = outcome.plan.program.is_none()
        && matches!(outcome.verdict.limit, Limit::Requested | Limit::Duration);
    outcome.verdict.reasons.iter().skip(usize::from(is_none)).map(String::as_str)
}

/// Other limits that were met, if any.
pub(super) fn also(outcome: &Outcome) -> Option<String> {
    let also: Vec<String> = outcome.verdict.also.iter().map(|one| called(*one)).collect();
    (!also.is_empty()).then(|| also.join(", "))
}

/// How long something took, where that is known.
pub(super) fn time(seconds: Option<f64>) -> Option<String> {
    seconds.map(|seconds| duration((seconds * 1e9) as u64))
}

/// A limit as people call it.
pub fn called(limit: Limit) -> String {
    let name = match limit {
        Limit::EphemeralPorts => "ephemeral ports",
        Limit::FileDescriptors => "file descriptors (RLIMIT_NOFILE)",
        Limit::FileMax => "open files of the host (fs.file-max)",
        Limit::Memory => "memory",
        Limit::TcpMemory => "memory of TCP (tcp_mem)",
        Limit::Conntrack => "connection tracking (nf_conntrack_max)",
        Limit::AcceptQueue => "the accept queue",
        Limit::TimeWaitBuckets => "TIME_WAIT entries (tcp_max_tw_buckets)",
        Limit::CgroupPids => "processes of a control group (pids.max)",
        Limit::CgroupMemory => "memory of a control group (memory.max)",
        Limit::Threads => "threads",
        Limit::Seccomp => "a filter of system calls (seccomp)",
        Limit::Server => "the server",
        Limit::Runtime => "the program's own table",
        Limit::Requested => "none: all that was asked for",
        Limit::Duration => "none: the time was over",
        Limit::Unknown => "not known",
    };
    name.to_owned()
}

pub(super) fn tried(outcome: &Outcome) -> String {
    let plan: &Plan = &outcome.plan;
    let (min, max) = outcome.range;
    let server = plan
        .server
        .as_ref()
        .map_or_else(String::new, |command| format!("\n  Server: {}", escape(command)));
    let own = "of this network namespace";
    let outside = "outside of this network namespace";
    let to = plan.target.map(|to| {
        let whose = if target::is_here(to) { own } else { outside };
        format!("{to}, {whose}")
    });
    match &plan.program {
        Some(Program::Command(words)) => {
            return format!("{}; range {min}-{max}{server}", escape(&words.join(" ")));
        }
        Some(Program::Running(pid)) => return format!("process {pid}; range {min}-{max}"),
        None => {}
    }
    let how = match plan.close {
        Close::Keep if plan.udp => "connected UDP sockets that are kept",
        Close::Client if plan.udp => "connected UDP sockets that are closed at once",
        Close::Keep => "connections that are kept",
        Close::Client => "connections that the client closes at once",
        Close::Server => "connections that the server closes at once",
        Close::Rst => "connections that the client resets at once",
    };
    let bind = match plan.bind {
        Bind::None => "",
        Bind::Before => ", bound to a port before connect()",
        Bind::NoPort => ", bound to an address (IP_BIND_ADDRESS_NO_PORT)",
        Bind::Reuseaddr => ", bound to a port before connect() with SO_REUSEADDR",
    };
    let at = plan.rate.map_or_else(String::new, |rate| format!(", {rate}/s at most"));
    if let Some(to) = to {
        return format!("{how}{bind}{at}; to {to}; range {min}-{max}");
    }
    format!(
        "{how}{bind}{at}; from {} to {}, range {min}-{max}{server}",
        counted(plan.sources, "address", "addresses"),
        counted(plan.destinations, "destination", "destinations")
    )
}

fn counted(count: u16, one: &str, more: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {more}") }
}

fn reached(milestone: &Milestone) -> String {
    let Milestone { connections, seconds, rate_per_second, .. } = milestone;
    let (Some(seconds), Some(per_second)) = (seconds, rate_per_second) else {
        return format!("{connections:>6}  not reached");
    };
    let mut line = format!("{connections:>6}  {seconds:>7.2} s  {:>8}", rate(*per_second));
    for (name, value) in [
        ("connect p50", milestone.connect_p50_seconds),
        ("p99", milestone.connect_p99_seconds),
        ("search p50", milestone.search_p50_seconds),
    ] {
        if let Some(time) = time(value) {
            let _ = write!(line, "  {name} {time}");
        }
    }
    line
}

/// Both ends, and what is seen of them.
pub(super) fn ends(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let who = if outcome.plan.program.is_some() { "Program" } else { "Client" };
    let mut ends = vec![(who, client(outcome))];
    if outcome.plan.program.is_none() || outcome.plan.server.is_some() {
        ends.push(("Server", server(outcome)));
    }
    ends
}

fn client(outcome: &Outcome) -> String {
    let (open, limit) = outcome.evidence.client.descriptors;
    let processes = match outcome.clients {
        1 => "1 process".to_owned(),
        count => format!("{count} processes"),
    };
    if let Some(Use { sockets, connections, both_ends }) = outcome.evidence.program {
        let ended = match &outcome.end {
            End::Exited { how, .. } => format!("; ended: {how}"),
            _ => String::new(),
        };
        let both_ends = match both_ends {
            0 => String::new(),
            count => format!(" (both ends of {count})"),
        };
        return format!(
            "{} ({processes}): {sockets} sockets of {connections} connections{both_ends}, \
             {open} of {limit} descriptors{ended}",
            escape(&outcome.evidence.client.name)
        );
    }
    let again = match outcome.retried {
        0 => String::new(),
        count => format!("; {count} took a second or more (SYN sent again)"),
    };
    format!("{processes}, {open} of {limit} descriptors{again}")
}

fn server(outcome: &Outcome) -> String {
    let end = &outcome.evidence.server;
    let name = match outcome.plan.target {
        Some(target) => target.to_string(),
        None => format!(
            "{} ({})",
            escape(&end.name),
            counted(u16::try_from(end.processes).unwrap_or(u16::MAX), "process", "processes")
        ),
    };
    let listening = &outcome.evidence.listening;
    let health = outcome.health.as_ref().map_or_else(String::new, |health| {
        format!(": {}", healthy(health, outcome.plan.target.is_some()))
    });
    if outcome.plan.target.is_some() && !listening.is_there {
        return format!("{name}{health}");
    }
    let (open, limit) = end.descriptors;
    let accepted = match outcome.plan.is_churn() {
        true => String::new(),
        false => format!("{} accepted, ", listening.accepted),
    };
    let descriptors = match outcome.plan.target {
        Some(_) => String::new(),
        None => format!("; {open} of {limit} descriptors"),
    };
    if outcome.plan.udp {
        return format!("{name}{health}{descriptors}");
    }
    format!(
        "{name}{health}\n  {accepted}accept queue {} (backlog {}), {} overflows{descriptors}",
        listening.queue, listening.queue_max, listening.overflows,
    )
}

fn healthy(health: &Health, is_target: bool) -> String {
    let state = match (health.alive, health.accepting) {
        (false, _) if is_target => "does not take a new connection".to_owned(),
        (false, _) => "ended".to_owned(),
        (true, false) => "alive, does not take a new connection".to_owned(),
        (true, true) => match health.first_byte_seconds {
            Some(first) => {
                format!("alive, answers a new connection in {}", duration((first * 1e9) as u64))
            }
            None => "alive, takes a new connection and sends nothing within 2 s".to_owned(),
        },
    };
    let after = match health.recovered_seconds {
        Some(seconds) => {
            format!("once all were closed, back to normal in {}", duration((seconds * 1e9) as u64))
        }
        None if health.alive => "once all were closed, not back to normal within 10 s".to_owned(),
        None => String::new(),
    };
    if after.is_empty() { state } else { format!("{state}; {after}") }
}

pub(super) fn observer(observed: Result<&Observed, &str>, is_udp: bool) -> String {
    match observed {
        Err(why) => format!("none: {}", escape(why)),
        Ok(seen) => {
            let full = seen.full.map_or_else(String::new, |(used, capacity)| {
                format!("; when the first was refused, {used} of {capacity} ports were used")
            });
            let mut of_udp = seen.not_seen.iter().filter(|what| is_udp && what.contains("UDP"));
            let not_seen = match of_udp.next() {
                Some(first) => of_udp
                    .fold(format!("; it does not see all: {first}"), |all, one| all + "; " + one),
                None => String::new(),
            };
            format!(
                "{}: {} ports taken by connect(), {} calls without one, {} events lost{full}{not_seen}",
                seen.backend, seen.acquired, seen.exhausted, seen.lost
            )
        }
    }
}
