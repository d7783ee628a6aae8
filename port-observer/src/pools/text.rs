//! The verdict, and what is held, as text.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

use super::{Pool, Severity, State, Verdict, kernel::who_is, state::Share};
use crate::words::escape::escape;

/// The pools as a table, the problems, and how many there are; without the last line's end.
pub fn render(verdict: &Verdict) -> String {
    let head = ["POOL", "RANGE", "PROTOCOL", "PORTS", "NEEDED", "SOURCE"];
    let rows: Vec<Vec<String>> = verdict.pools.iter().map(|pool| row(pool).into()).collect();
    let lines = table(&head, &rows);
    let mut text = String::new();
    if !verdict.pools.is_empty() {
        text = lines.join("\n") + "\n\n";
    }
    for problem in verdict.problems.sorted() {
        let place = problem.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
        let (severity, code) = (problem.severity.name(), problem.code.name());
        let _ =
            writeln!(text, "{}{severity}: {} [{code}]", escape(&place), escape(&problem.message));
        if let Some(fix) = &problem.fix {
            let _ = writeln!(text, "    fix: {}", escape(fix));
        }
    }
    if verdict.problems.omitted() > 0 {
        let _ = writeln!(text, "and {} more problems", verdict.problems.omitted());
    }
    text.push_str(&summary(verdict));
    text
}

fn summary(verdict: &Verdict) -> String {
    let number = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    let errors = verdict.problems.count(Severity::Error);
    let warnings = verdict.problems.count(Severity::Warning);
    let pools = number(verdict.pools.len(), "pool");
    format!("{pools}, {}, {}", number(errors, "error"), number(warnings, "warning"))
}

fn row(pool: &Pool) -> [String; 6] {
    [
        escape(&pool.name).into_owned(),
        pool.shown(),
        pool.protocols.map_or("any", |protocols| protocols.name()).to_owned(),
        pool.ports.count().to_string(),
        pool.needed().map_or_else(|| "-".to_owned(), |needed| needed.to_string()),
        escape(&pool.place.to_string()).into_owned(),
    ]
}

/// Holders of a pool that are named.
const MOST_HOLDERS: usize = 20;

/// The pools as a table, each with who has ports of it, and where its owner has others; without the last
/// line's end.
pub fn render_states(states: &[State<'_>]) -> String {
    let mut head = vec!["POOL", "RANGE", "PROTOCOL", "PORTS", "USED", "FREE"];
    if states.iter().any(|state| state.leased.is_some()) {
        head.push("LEASED");
    }
    let rows: Vec<_> = states.iter().map(row_now).collect();
    let mut lines = table(&head, &rows).into_iter();
    let mut text = lines.next().unwrap_or_default();
    for (line, state) in lines.zip(states) {
        text.push('\n');
        text.push_str(&line);
        for detail in details(state) {
            text.push_str("\n    ");
            text.push_str(&escape(&detail));
        }
    }
    text
}

fn row_now(state: &State<'_>) -> Vec<String> {
    let number = |count: Option<u32>| count.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let [name, range, protocol, ports, ..] = row(state.pool);
    let used = state.used.as_ref().ok().map(super::ports::PortSet::count);
    let mut row = vec![name, range, protocol, ports, number(used), number(state.free())];
    row.extend(state.leased.as_ref().map(|leased| leased.count().to_string()));
    row
}

fn details(state: &State<'_>) -> Vec<String> {
    let share = |share: &Share<'_>| {
        let stranger = if state.is_stranger(share) == Some(true) { "stranger: " } else { "" };
        let (who, protocol) = (who_is(share.holder), share.protocol.name());
        format!("{stranger}{who}: {protocol} {} {}", share.ports.told(), share.how)
    };
    let mut details: Vec<String> = state.holders.iter().take(MOST_HOLDERS).map(share).collect();
    if let more @ 1.. = state.holders.len().saturating_sub(MOST_HOLDERS) {
        details.push(format!("and {more} more"));
    }
    for one in state.outside.iter().take(MOST_HOLDERS) {
        let (who, protocol, ports) = (who_is(Some(one.holder)), one.protocol.name(), &one.ports);
        let whose = match one.of {
            Some(pool) => format!(", which belongs to {}", pool.name),
            None => String::new(),
        };
        details.push(format!("outside: {who}: {protocol} {} {}{whose}", ports.told(), one.how));
    }
    if let more @ 1.. = state.outside.len().saturating_sub(MOST_HOLDERS) {
        details.push(format!("outside: and {more} more"));
    }
    if let Err(reason) = state.used {
        details.push(format!("not known: {reason}"));
    }
    details.extend(state.missing.iter().map(|sentence| format!("not seen: {sentence}")));
    details
}

/// The head and the rows, in columns: as many as the head has.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let head: Vec<String> = head.iter().map(|&name| name.to_owned()).collect();
    let all = || [&head].into_iter().chain(rows);
    let width =
        |column: usize| all().filter_map(|row| row.get(column)).map(|cell| cell.width()).max();
    let widths: Vec<usize> =
        (0..head.len()).map(|column| width(column).unwrap_or_default()).collect();
    let line = |row: &Vec<String>| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell}{}  ", " ".repeat(width - cell.width()));
        }
        line.trim_end().to_owned()
    };
    all().map(line).collect()
}
