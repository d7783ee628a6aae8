//! How full spaces are.

use ratatui::{buffer::Buffer, layout::Rect, style::Style, text::Span};

use super::{
    Places,
    header::level,
    look::Look,
    place::{first_fitting, places},
    table::{self, Column, Row, Table, WIDE},
};
use crate::{
    report::Space,
    screen::state::{Room, SpaceColumn, SpaceRow, State, View},
    words::figures::{age, duration, holder_name, percent, rate},
};

/// How wide the bar is.
const BAR: usize = 10;
/// The mark of a search that found no port of the first parity.
pub const SECOND_PARITY: &str = "2nd";

/// Draws them.
pub fn draw(
    buffer: &mut Buffer,
    area: Rect,
    state: &State,
    look: &Look,
    on_screen: &mut Places,
) -> Room {
    let (rows, at, sort) = state.spaces();
    let sorted = |column: Column, by: SpaceColumn| column.sorted(sort.by == by, sort.is_reversed);
    let is_double = area.width < WIDE;
    let mut columns = vec![
        sorted(Column::number("USED%", 6), SpaceColumn::Used),
        Column::text("", BAR),
        Column::number("USED", 6),
        sorted(Column::number("LEFT", 6), SpaceColumn::Headroom),
        sorted(Column::number("GROWTH", 9), SpaceColumn::Growth),
        sorted(Column::number("FULL IN", 9), SpaceColumn::TimeLeft),
        sorted(Column::text("SEARCH", 11), SpaceColumn::Search),
    ];
    columns.push(sorted(Column::number("FAILED", 7), SpaceColumn::Failures));
    if !is_double {
        let left = table::left(&columns, area);
        columns.push(Column::text("SPACE", left * 2 / 3));
        columns.push(Column::text("HELD MOST BY", table::left(&columns, area)));
    }
    let table = Table { columns: &columns, count: rows.len(), at, is_double };
    let names_netns = state.netns().is_none() && state.picture.namespaces.len() > 1;
    on_screen.draw_table(View::Destinations, (buffer, area, look), &table, |number| {
        let of = rows[number];
        let netns = names_netns.then(|| state.picture.name_of(of.space.netns));
        let netns = netns.as_deref();
        let mut cells = cells(of, look);
        if is_double {
            return Row::double(cells, below(of, netns), area, look);
        }
        let room = columns[columns.len() - 2].width;
        let place = first_fitting(places_in(&of.space, netns), room, look);
        cells.extend([Span::raw(place), Span::raw(look.text(&largest(of)))]);
        Row::single(cells)
    })
}

/// Where a space is; with its namespace, where there is more than one.
fn places_in(space: &Space, netns: Option<&str>) -> Vec<String> {
    let with = |place: &String| netns.map(|netns| format!("{place}  netns {netns}"));
    let places = places(space);
    places.iter().filter_map(with).chain(places.clone()).collect()
}

/// The second line of a row; the last text is the shortest.
fn below(of: &SpaceRow, netns: Option<&str>) -> Vec<String> {
    let largest = largest(of);
    let held = if largest.is_empty() { largest } else { format!("  most {largest}") };
    let places = places_in(&of.space, netns);
    let texts = places.iter().map(|place| format!("{place}{held}"));
    texts.chain(places.last().cloned()).collect()
}

/// The largest holder.
fn largest(of: &SpaceRow) -> String {
    of.largest.as_ref().map_or_else(String::new, |holder| {
        format!("{}: {}", holder_name(holder.process.as_deref()), holder.total())
    })
}

/// How long the kernel searches, and whether it finds ports of the second parity alone.
pub fn search(of: &SpaceRow) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an average of nanoseconds"
    )]
    let time = of.search_ns.map(|ns| duration(ns as u64));
    match (time, of.is_second_parity) {
        (Some(time), true) => format!("{time} {SECOND_PARITY}"),
        (Some(time), false) => time,
        (None, true) => SECOND_PARITY.to_owned(),
        (None, false) => "-".to_owned(),
    }
}

/// When a space will be full.
pub fn full_in(space: &Space) -> String {
    when_full(space.headroom == 0, space.seconds_to_exhaustion)
}

/// When something will be full, or that it is.
pub fn when_full(is_full: bool, seconds_to_exhaustion: Option<f64>) -> String {
    match (is_full, seconds_to_exhaustion) {
        (true, _) => "FULL".to_owned(),
        (_, Some(..1.0)) => "< 1 s".to_owned(),
        (_, Some(seconds)) if seconds.is_finite() => age(seconds),
        _ => "-".to_owned(),
    }
}

fn cells(of: &SpaceRow, look: &Look) -> Vec<Span<'static>> {
    let space = &of.space;
    let level = look.level(level(space.used_percent()));
    let growth = space.growth_per_second.filter(|growth| growth.is_finite());
    let failed = if of.failures > 0 { look.alarm() } else { Style::new() };
    let searched = if of.is_second_parity { look.warning() } else { Style::new() };
    vec![
        Span::styled(percent(space), level),
        Span::styled(look.bar(BAR, space.used_percent() / 100.0), level),
        Span::raw(space.used.to_string()),
        Span::styled(space.headroom.to_string(), level),
        Span::raw(growth.map_or_else(|| "-".to_owned(), rate)),
        Span::styled(full_in(space), level),
        Span::styled(look.text(&search(of)), searched),
        Span::styled(of.failures.to_string(), failed),
    ]
}
