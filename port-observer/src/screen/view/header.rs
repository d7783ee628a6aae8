//! What stands above all views, and the line of keys below them.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};
use unicode_width::UnicodeWidthStr as _;

use super::{
    look::Look,
    place::{first_fitting, places},
};
use crate::{
    report::{Level, NamespaceUse, Space, used_percent},
    screen::state::{Header, Mode, Replay, State, View, bindings},
    words::{
        escape::escape,
        figures::{age, percent, rate},
        namespaces::numbered,
    },
};

/// How many lines it has, with that of the views.
pub const LINES: u16 = 4;
/// How full is a warning, and how full an alarm, in percent: the defaults of `--warning` and
/// `--critical`.
const LEVELS: (f64, f64) = (70.0, 85.0);

/// What there is of the gauge at least, however long the namespace's name is.
const LEAST_BAR: usize = 5;

/// How full something is, by a percentage.
pub fn level(percent: f64) -> Level {
    match percent {
        _ if percent >= LEVELS.1 => Level::Critical,
        _ if percent >= LEVELS.0 => Level::Warning,
        _ => Level::Ok,
    }
}

/// Draws it; returns where the names of the views are.
pub fn draw(buffer: &mut Buffer, area: Rect, state: &State, look: &Look) -> Vec<Rect> {
    let lines =
        [host(state, look), gauge(state, look, area.width), forecast(state, look, area.width)];
    for (y, line) in (area.y..).zip(lines) {
        buffer.set_line(area.x, y, &line, area.width);
    }
    views(buffer, Rect { y: area.y + LINES - 1, height: 1, ..area }, state, look)
}

fn host(state: &State, look: &Look) -> Line<'static> {
    let Header { host, backend, exact, events_per_second, lost, .. } = &state.picture.header;
    let exact = if *exact { "exact" } else { "not exact" };
    let mut spans = vec![
        Span::styled(escape(host).into_owned(), look.title()),
        Span::raw(format!("  {backend}, {exact}  {:.0} events/s  ", events_per_second)),
    ];
    spans.push(match lost {
        0 => Span::raw("0 lost"),
        lost => Span::styled(format!("{lost} LOST"), look.alarm()),
    });
    match &state.replay {
        None => {
            let time = look.time_of_day(state.picture.time_ns, state.picture.offset_ns);
            spans.push(Span::raw(format!("  {time}")));
            if state.is_paused() {
                spans.push(Span::styled("  PAUSED", look.warning()));
            }
        }
        Some(replay) => {
            let which = match replay {
                Replay { is_read: true, .. } => "READING",
                _ if state.is_paused() => "REPLAY",
                _ => "PLAYING",
            };
            let text = format!("  {which} {}", look.date_and_time(replay.at_ns));
            spans.push(Span::styled(text, look.warning()));
        }
    }
    Line::from(spans)
}

/// A namespace's number, and its names.
pub fn namespace_name(namespace: &NamespaceUse) -> String {
    numbered(namespace.netns, &namespace.names)
}

fn gauge(state: &State, look: &Look, width: u16) -> Line<'static> {
    let Some(namespace) = state.focus() else {
        return Line::from("no network namespace is known yet");
    };
    let which = match state.netns() {
        Some(_) => "netns",
        None if state.picture.namespaces.len() > 1 => "all netns, fullest",
        None => "netns",
    };
    let name = format!("{which} {}", namespace_name(namespace));
    let Some(ports) = &namespace.ports else {
        return Line::from(format!("{name}: its range is not known"));
    };
    let (capacity, used) = (ports.capacity(), namespace.tcp.ports);
    let percent = used_percent(used, capacity);
    let range = format!("  {}-{}  ", ports.ephemeral.min, ports.ephemeral.max);
    let left = capacity.saturating_sub(used);
    let numbers = format!(" {used} of {capacity} used ({percent:.1}%), {left} free");
    let room = usize::from(width).saturating_sub(range.len() + numbers.len());
    let name = first_fitting([name], room.saturating_sub(LEAST_BAR), look);
    let room = room.saturating_sub(name.width());
    let bar = look.bar(room.min(40), percent / 100.0);
    Line::from(vec![
        Span::raw(name + &range),
        Span::styled(bar, look.level(level(percent))),
        Span::raw(numbers),
    ])
}

fn forecast(state: &State, look: &Look, width: u16) -> Line<'static> {
    let Header { fullest, full, first_full, knows_all, .. } = &state.picture.header;
    if !knows_all {
        return Line::styled("looking for what is held already", look.quiet());
    }
    let line = |text: String, space: &Space, style: Style| {
        let room = usize::from(width).saturating_sub(text.len());
        Line::styled(text + &first_fitting(places(space), room, look), style)
    };
    let level = |space: &Space| look.level(level(space.used_percent()));
    match (fullest, first_full) {
        (Some(first), _) if *full > 0 => {
            let more = if *full > 1 { format!(" and {} more", full - 1) } else { String::new() };
            let text = format!("FULL NOW{more}, none of {} left: ", first.capacity);
            line(text, first, look.alarm())
        }
        (_, Some(next)) => {
            let seconds = next.seconds_to_exhaustion.unwrap_or(f64::INFINITY);
            let growth = rate(next.growth_per_second.unwrap_or(0.0));
            let (age, left) = (age(seconds), next.headroom);
            line(format!("full in {age}, {left} left, growing {growth}: "), next, level(next))
        }
        (Some(first), None) => {
            let (percent, left) = (percent(first), first.headroom);
            line(format!("fullest {percent}, {left} left, no growth: "), first, level(first))
        }
        (None, None) => Line::styled("no call has taken an ephemeral port yet", look.quiet()),
    }
}

fn views(buffer: &mut Buffer, area: Rect, state: &State, look: &Look) -> Vec<Rect> {
    let mut x = area.x;
    let views = state.views().iter().map(|&view| {
        let number = view.number() + 1;
        let count = match view {
            View::Failures if state.picture.failed > 0 => format!(" ({})", state.picture.failed),
            _ => String::new(),
        };
        let is_shown = view == state.view();
        // The mark is for those without colours and reverse video.
        let (open, close) = if is_shown { ("[", "]") } else { (" ", " ") };
        let text = format!("{open}{number} {}{count}{close}", view.name());
        let style = if is_shown { look.selected() } else { look.title() };
        let left = area.right().saturating_sub(x);
        let (end, _) = buffer.set_line(x, area.y, &Line::styled(text, style), left);
        let place = Rect { x, y: area.y, width: end - x, height: 1 };
        x = end + 1;
        place
    });
    views.collect()
}

/// Draws the line of keys, or what is typed.
pub fn footer(buffer: &mut Buffer, area: Rect, state: &State, look: &Look) {
    let line = match (state.mode(), &state.notice) {
        (Mode::Filter(_), _) => Line::from(vec![
            Span::styled("filter: ", look.title()),
            Span::raw(escape(state.filter()).into_owned()),
            Span::styled(" ", look.selected()),
            Span::styled("  Enter keeps it, Esc does not", look.quiet()),
        ]),
        (_, Some(notice)) => Line::styled(escape(notice).into_owned(), look.warning()),
        _ => keys(state, look),
    };
    buffer.set_line(area.x, area.y, &line, area.width);
}

fn keys(state: &State, look: &Look) -> Line<'static> {
    let mut spans = Vec::new();
    if !state.filter().is_empty() {
        let text = format!("filter: {}  ", escape(state.filter()));
        spans.push(Span::styled(text, look.warning()));
    }
    for binding in bindings(state.replay.is_some()).filter(|binding| !binding.short.is_empty()) {
        spans.push(Span::styled(binding.label, look.title()));
        spans.push(Span::raw(format!(" {}  ", binding.short)));
    }
    Line::from(spans)
}
