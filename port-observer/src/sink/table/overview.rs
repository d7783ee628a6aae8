//! Summaries and what is shown at the end: who holds the most, what is fullest, what failed.

use super::block::{self, Align};
use crate::report::{Closing, Counts, Failure, NamespaceUse, ProcessUse, Space, Summary, TcpUse};
use crate::words::errno::ErrorName;
use crate::words::figures::{age, ends, failed_call, holder, percent, rate};
use crate::words::namespaces::{Names, listed};

/// Under the line that it belongs to.
const INDENT: usize = 2;
/// Failures that are shown at the end.
const FAILURES_SHOWN: usize = 10;

const NUMBER: Align = Align::Right;
const RARE: Align = Align::RightIfAny;
const TEXT: Align = Align::Left;

/// What the lines are made for.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    /// The width of the screen, if there is one.
    pub(super) screen: Option<usize>,
    /// The network namespace that need not be named; none: no namespace is.
    pub(super) home_netns: Option<u32>,
    /// What namespaces are called.
    pub(super) names: &'a Names,
}

/// A summary's lines, which belong below one that says that it is one.
pub(super) fn summary(summary: &Summary, view: View<'_>) -> Vec<String> {
    let Summary { namespaces, spaces, processes: of } = summary;
    [namespaces_block(namespaces, view), spaces_block(spaces, view), processes_block(of, view)]
        .concat()
}

/// A title and its lines.
pub(super) type Section = (String, Vec<String>);

/// What is said at the end, by section.
pub(super) fn closing(closing: &Closing, view: View<'_>) -> [Section; 3] {
    let Closing { summary, failures } = closing;
    let [holders, spaces] = holders_and_spaces(summary, view);
    [holders, spaces, section("Failures", failures_block(failures, view))]
}

/// What there is at one moment, by section.
pub(super) fn sections(summary: &Summary, view: View<'_>) -> [Section; 3] {
    let [holders, spaces] = holders_and_spaces(summary, view);
    let namespaces = namespaces_block(&summary.namespaces, view);
    [section("Network namespaces", namespaces), holders, spaces]
}

fn holders_and_spaces(summary: &Summary, view: View<'_>) -> [Section; 2] {
    [
        section("Largest holders", processes_block(&summary.processes, view)),
        section("Fullest destinations", spaces_block(&summary.spaces, view)),
    ]
}

fn section(title: &str, lines: Vec<String>) -> Section {
    let title = if lines.is_empty() { format!("{title}: none") } else { title.to_owned() };
    (title, lines)
}

fn namespaces_block(namespaces: &[NamespaceUse], view: View<'_>) -> Vec<String> {
    if namespaces.is_empty() {
        return Vec::new();
    }
    let titles = [
        ("TCP", NUMBER),
        ("UDP", NUMBER),
        ("OF", NUMBER),
        ("ESTAB", NUMBER),
        ("SYN_SENT", RARE),
        ("CLOSE_WAIT", RARE),
        ("FIN_WAIT", RARE),
        ("TIME_WAIT", NUMBER),
        ("LISTEN", NUMBER),
        ("BOUND", NUMBER),
        ("OTHER", NUMBER),
        ("BIND_HELD", RARE),
        ("NAMESPACE", TEXT),
    ];
    let row = |of: &NamespaceUse| {
        let [tcp, rest @ ..] = tcp_cells(&of.tcp);
        let [established, syn_sent, close_wait, fin_wait, time_wait, listening, bound, other, held] =
            rest;
        let capacity = of.ports.as_ref().map(|ports| ports.capacity().to_string());
        let mut name = of.netns.to_string();
        if !of.names.is_empty() {
            name.push(' ');
            name.push_str(&listed(&of.names));
        }
        let udp = of.udp_used_ports.to_string();
        let capacity = capacity.unwrap_or_else(unknown);
        [
            tcp,
            udp,
            capacity,
            established,
            syn_sent,
            close_wait,
            fin_wait,
            time_wait,
            listening,
            bound,
            other,
            held,
            name,
        ]
    };
    block::lines(titles, &namespaces.iter().map(row).collect::<Vec<_>>(), INDENT, view.screen)
}

fn spaces_block(spaces: &[Space], view: View<'_>) -> Vec<String> {
    if spaces.is_empty() {
        return Vec::new();
    }
    let titles = [
        ("USED", NUMBER),
        ("OF", NUMBER),
        ("USED%", NUMBER),
        ("LEFT", NUMBER),
        ("GROWTH", NUMBER),
        ("FULL IN", NUMBER),
        ("SPACE", TEXT),
    ];
    let netns = |space: &Space| match view.home_netns {
        Some(home) if home != space.netns => format!(", netns {}", view.names.of(space.netns)),
        _ => String::new(),
    };
    let row = |space: &Space| {
        let finite = |number: Option<f64>| number.filter(|number| number.is_finite());
        [
            space.used.to_string(),
            space.capacity.to_string(),
            percent(space),
            space.headroom.to_string(),
            finite(space.growth_per_second).map_or_else(unknown, rate),
            match space.headroom {
                0 => "full".to_owned(),
                _ => finite(space.seconds_to_exhaustion).map_or_else(unknown, age),
            },
            ends(space) + &netns(space),
        ]
    };
    block::lines(titles, &spaces.iter().map(row).collect::<Vec<_>>(), INDENT, view.screen)
}

fn processes_block(processes: &[ProcessUse], view: View<'_>) -> Vec<String> {
    if processes.is_empty() {
        return Vec::new();
    }
    let titles = [
        ("TCP", NUMBER),
        ("UDP", NUMBER),
        ("ESTAB", NUMBER),
        ("SYN_SENT", RARE),
        ("CLOSE_WAIT", RARE),
        ("FIN_WAIT", RARE),
        ("TIME_WAIT", NUMBER),
        ("LISTEN", NUMBER),
        ("BOUND", NUMBER),
        ("OTHER", NUMBER),
        ("BIND_HELD", RARE),
        ("PID", NUMBER),
        ("PROCESS", TEXT),
    ];
    let row = |of: &ProcessUse| {
        let [tcp, rest @ ..] = tcp_cells(&of.tcp);
        let [established, syn_sent, close_wait, fin_wait, time_wait, listening, bound, other, held] =
            rest;
        let (pid, name) = holder(of.process.as_deref());
        let udp = of.udp_ports.to_string();
        [
            tcp,
            udp,
            established,
            syn_sent,
            close_wait,
            fin_wait,
            time_wait,
            listening,
            bound,
            other,
            held,
            pid,
            name,
        ]
    };
    block::lines(titles, &processes.iter().map(row).collect::<Vec<_>>(), INDENT, view.screen)
}

fn failures_block(failures: &[Failure], view: View<'_>) -> Vec<String> {
    if failures.is_empty() {
        return Vec::new();
    }
    let titles =
        [("COUNT", NUMBER), ("PID", NUMBER), ("PROCESS", TEXT), ("ERROR", TEXT), ("CALL", TEXT)];
    let row = |failure: &Failure| {
        let (pid, name) = holder(failure.process.as_deref());
        let count = failure.count.to_string();
        [count, pid, name, ErrorName(failure.errno).to_string(), failed_call(failure)]
    };
    let rows: Vec<_> = failures.iter().take(FAILURES_SHOWN).map(row).collect();
    let mut lines = block::lines(titles, &rows, INDENT, view.screen);
    if let Some(more @ 1..) = failures.len().checked_sub(FAILURES_SHOWN) {
        lines.push(format!("  and {more} more"));
    }
    lines
}

fn tcp_cells(tcp: &TcpUse) -> [String; 10] {
    let Counts { established, syn_sent, close_wait, fin_wait, time_wait, listening, bound, other } =
        tcp.counts;
    let TcpUse { ports, bind_held, .. } = *tcp;
    [
        ports,
        established,
        syn_sent,
        close_wait,
        fin_wait,
        time_wait,
        listening,
        bound,
        other,
        bind_held,
    ]
    .map(|count| count.to_string())
}

fn unknown() -> String {
    "-".to_owned()
}
