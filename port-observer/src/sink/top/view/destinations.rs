//! How full spaces are.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::Style,
    text::{Line, Span},
};

use super::{
    Places,
    header::level,
    look::Look,
    table::{self, Column, Row, Table},
};
use crate::{
    report::Space,
    sink::{
        table::{
            figures::{age, ends, holder_name, percent, rate},
            words::duration,
        },
        top::state::{Room, SpaceColumn, SpaceRow, State, View},
    },
};

/// From this width on a row is one line.
const WIDE: u16 = 140;
/// The mark of a search that found no port of the first parity.
pub const SECOND_PARITY: &str = "2nd";

/// Draws them.
pub fn draw(
    buffer: &mut Buffer,
    area: Rect,
    state: &State,
    look: Look,
    places: &mut Places,
) -> Room {
    let (rows, at, sort) = state.spaces();
    let sorted = |column: Column, by: SpaceColumn| column.sorted(sort.by == by, sort.is_reversed);
    let is_double = area.width < WIDE;
    let mut columns = vec![
        sorted(Column::number("USED%", 6), SpaceColumn::Used),
        Column::text("", if is_double { 10 } else { 20 }),
        Column::number("USED", 6),
        sorted(Column::number("LEFT", 6), SpaceColumn::Headroom),
        sorted(Column::number("GROWTH", 9), SpaceColumn::Growth),
        sorted(Column::number("FULL IN", 9), SpaceColumn::TimeLeft),
        sorted(Column::text("SEARCH", 11), SpaceColumn::Search),
    ];
    if is_double {
        columns.push(sorted(Column::number("FAILED", 7), SpaceColumn::Failures));
    } else {
        columns.push(sorted(Column::number("FAILED", 7), SpaceColumn::Failures));
        let left = usize::from(area.width).saturating_sub(table::width(&columns) + 4);
        columns.push(Column::text("SPACE", left * 3 / 5));
        columns.push(Column::text("HELD MOST BY", left * 2 / 5));
    }
    let table = Table { columns: &columns, count: rows.len(), at, is_double };
    let offset = &mut places.offsets[View::Destinations.number()];
    let netns = state.netns();
    table.draw(buffer, area, look, offset, |number| {
        row(rows[number], netns, columns[1].width, is_double, look)
    });
    places.of_table(area, View::Destinations, is_double);
    Room { rows: table.room(area), ..Room::default() }
}

/// Where a space is; its namespace too, where more than one is shown.
fn place(space: &Space, netns: Option<u32>) -> String {
    match netns {
        Some(_) => ends(space),
        None => format!("{}  netns {}", ends(space), space.netns),
    }
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
    match (space.headroom, space.seconds_to_exhaustion) {
        (0, _) => "FULL".to_owned(),
        (_, Some(..1.0)) => "< 1 s".to_owned(),
        (_, Some(seconds)) if seconds.is_finite() => age(seconds),
        _ => "-".to_owned(),
    }
}

fn row(of: &SpaceRow, netns: Option<u32>, bar: usize, is_double: bool, look: Look) -> Row<'static> {
    let space = &of.space;
    let level = look.level(level(space.used_percent()));
    let growth = space.growth_per_second.filter(|growth| growth.is_finite());
    let failed = if of.failures > 0 { look.alarm() } else { Style::new() };
    let searched = if of.is_second_parity { look.warning() } else { Style::new() };
    let mut cells = vec![
        Span::styled(percent(space), level),
        Span::styled(look.bar(bar, space.used_percent() / 100.0), level),
        Span::raw(space.used.to_string()),
        Span::styled(space.headroom.to_string(), level),
        Span::raw(growth.map_or_else(|| "-".to_owned(), rate)),
        Span::styled(full_in(space), level),
        Span::styled(look.text(&search(of)), searched),
        Span::styled(of.failures.to_string(), failed),
    ];
    let (place, largest) = (look.text(&place(space, netns)), look.text(&largest(of)));
    if is_double {
        let held = if largest.is_empty() { largest } else { format!("  most {largest}") };
        return Row { cells, below: Some(Line::from(format!("  {place}{held}"))) };
    }
    cells.extend([Span::raw(place), Span::raw(largest)]);
    Row { cells, below: None }
}
