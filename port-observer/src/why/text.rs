//! The answer for a person in an incident: what, who, what helps, what does not.

use std::fmt::Write as _;

use super::{Answer, Blocked, Call, Holder, Question, Remedy, Verdict};
use crate::words::escape::escape;

/// So many processes of a name are shown.
const PROCESSES: usize = 8;
/// So many names are shown.
const NAMES: usize = 6;

/// The answer, without a line end.
pub fn render(answer: &Answer) -> String {
    let verdict = match answer.verdict {
        Verdict::Free => "yes",
        Verdict::Unknown => "not known",
        Verdict::Exhausted | Verdict::Taken | Verdict::NotLocal => "no",
    };
    let mut text = format!("{}: {verdict}, {}", call(&answer.question), answer.summary);
    // Of a call that succeeds, what others have is not the answer.
    if answer.verdict != Verdict::Free && !answer.blocked.is_empty() {
        text.push_str("\n\nWhat blocks it\n");
        let lines: Vec<String> = answer.blocked.iter().map(blocked).collect();
        text.push_str(&lines.join("\n"));
    }
    if !answer.remedies.is_empty() {
        text.push_str("\n\nWhat helps, and how many ports it brings for this call\n");
        let lines: Vec<String> = answer.remedies.iter().map(remedy).collect();
        text.push_str(&lines.join("\n"));
    }
    if !answer.would_not_help.is_empty() {
        text.push_str("\n\nWhat would not help");
        for one in &answer.would_not_help {
            let _ = write!(text, "\n  {}: {}", one.change, one.reason);
        }
    }
    if !answer.missing.is_empty() {
        text.push_str("\n\nNot known");
        for one in &answer.missing {
            let _ = write!(text, "\n  {}", escape(one));
        }
    }
    text
}

fn call(question: &Question) -> String {
    let netns = question
        .netns_name
        .as_ref()
        .map_or_else(String::new, |name| format!(", network namespace {}", escape(name)));
    let protocol = question.protocol.name();
    match question.call {
        Call::Connect { source, destination, .. } => {
            format!("connect() from {source} to {destination} ({protocol}{netns})")
        }
        Call::Bind { local } => format!("bind() to {local} ({protocol}{netns})"),
    }
}

fn blocked(one: &Blocked) -> String {
    let mut text = format!("{:>7}  {}", one.ports, one.reason);
    for holder in one.holders.iter().take(NAMES) {
        let _ = write!(text, "\n{:>9}{}", "", who(holder));
    }
    if one.holders.len() > NAMES {
        let others = &one.holders[NAMES..];
        let ports: u32 = others.iter().map(|holder| holder.ports).sum();
        let _ = write!(text, "\n{:>9}{} more names: {ports}", "", others.len());
    }
    text
}

fn who(holder: &Holder) -> String {
    let name = match &holder.name {
        Some(name) if name.is_empty() => "-".into(),
        Some(name) => escape(name),
        None => "not known whose".into(),
    };
    let likely = if holder.likely { " (likely)" } else { "" };
    let mut text = format!("{name}{likely}: {}", holder.ports);
    let shown = holder.processes.iter().take(PROCESSES);
    let each: Vec<String> = shown
        .map(|(pid, ports)| match ports {
            0 => pid.to_string(),
            _ if holder.processes.len() == 1 => pid.to_string(),
            ports => format!("{pid} ({ports})"),
        })
        .collect();
    if !each.is_empty() {
        let word = if holder.processes.len() == 1 { "pid" } else { "pids" };
        let _ = write!(text, ", {word} {}", each.join(", "));
    }
    if holder.processes.len() > PROCESSES {
        let _ = write!(text, " and {} more", holder.processes.len() - PROCESSES);
    }
    text
}

fn remedy(one: &Remedy) -> String {
    let likely = if one.likely { " (likely)" } else { "" };
    let mut text = format!("{:>7}  {}{likely}", format!("+{}", one.gain), one.text);
    if let Some(command) = &one.command {
        let _ = write!(text, "\n{:>11}{command}", "");
    }
    text
}
