//! The view of declared pools.

use ratatui::{buffer::Buffer, layout::Rect, style::Style, text::Span};

use super::{
    Places,
    destinations::when_full,
    header::level,
    look::Look,
    table::{self, Column, Row, Table, WIDE},
};
use crate::{
    report::{PoolHolder, PoolLook, PoolUse},
    screen::state::{PoolColumn, Room, State, View},
    words::{
        escape::escape,
        figures::{holder_name, rate},
    },
};

/// How wide the bar is.
const BAR: usize = 10;

/// Draws them.
pub fn draw(
    buffer: &mut Buffer,
    area: Rect,
    state: &State,
    look: &Look,
    on_screen: &mut Places,
) -> Room {
    let (rows, at, sort) = state.pools();
    let sorted = |column: Column, by: PoolColumn| column.sorted(sort.by == by, sort.is_reversed);
    let is_double = area.width < WIDE;
    let mut columns = vec![
        sorted(Column::number("USED%", 6), PoolColumn::Used),
        Column::text("", BAR),
        Column::number("USED", 6),
        sorted(Column::number("FREE", 6), PoolColumn::Free),
        Column::number("GROWTH", 9),
        sorted(Column::number("FULL IN", 9), PoolColumn::TimeLeft),
        sorted(Column::number("REFUSED", 7), PoolColumn::Refused),
    ];
    let left = table::left(&columns, area);
    let name = if is_double { left } else { left / 3 };
    columns.push(sorted(Column::text("POOL", name), PoolColumn::Name));
    if !is_double {
        columns.push(Column::text("RANGE", left / 4));
        columns.push(Column::text("HELD MOST BY", table::left(&columns, area)));
    }
    let table = Table { columns: &columns, count: rows.len(), at, is_double };
    on_screen.draw_table(View::Pools, (buffer, area, look), &table, |number| {
        let (_, of) = rows[number];
        let mut cells = cells(&of.pool, look);
        let held = of.holders.first().map_or_else(String::new, held);
        if is_double {
            let with = |held: &str| match held {
                "" => of.pool.range.to_string(),
                held => format!("{}  most {held}", of.pool.range),
            };
            return Row::double(cells, [with(&held), with("")], area, look);
        }
        cells.extend([Span::raw(of.pool.range.to_string()), Span::raw(look.text(&held))]);
        Row::single(cells)
    })
}

/// Who has how many, and whether that is a stranger.
fn held(holder: &PoolHolder) -> String {
    let stranger = if holder.is_stranger == Some(true) { " (stranger)" } else { "" };
    format!("{}: {}{stranger}", holder_name(holder.process.as_deref()), holder.ports)
}

fn cells(pool: &PoolUse, look: &Look) -> Vec<Span<'static>> {
    let refused = if pool.refused > 0 { look.alarm() } else { Style::new() };
    let name = Span::raw(look.text(&escape(&pool.name)));
    if pool.netns.is_none() {
        let unknown =
            ["-", "", "-", "-", "-", "not there"].map(|text| Span::styled(text, look.quiet()));
        let refused = Span::styled(pool.refused.to_string(), refused);
        return unknown.into_iter().chain([refused, name]).collect();
    }
    let style = if pool.is_full { look.alarm() } else { look.level(level(pool.used_percent())) };
    let growth = pool.growth_per_second.filter(|growth| growth.is_finite());
    vec![
        Span::styled(format!("{:.1}%", pool.used_percent()), style),
        Span::styled(look.bar(BAR, pool.used_percent() / 100.0), style),
        Span::raw(pool.used.to_string()),
        Span::styled(pool.free.to_string(), style),
        Span::raw(growth.map_or_else(|| "-".to_owned(), rate)),
        Span::styled(when_full(pool.is_full, pool.seconds_to_exhaustion), style),
        Span::styled(pool.refused.to_string(), refused),
        name,
    ]
}

/// What is known of a pool: lines, each with how far it is indented.
pub fn closely(of: &PoolLook) -> Vec<(usize, String)> {
    let PoolLook { pool, holders } = of;
    let mut lines = vec![
        (0, format!("pool {}: {}", escape(&pool.name), pool.range)),
        (1, crate::words::pools::usage(pool)),
    ];
    if pool.is_full {
        lines.push((1, format!("No ports available in range {}: no unit has room", pool.range)));
    }
    if pool.refused > 0 {
        lines.push((1, format!("calls refused while it was full: {}", pool.refused)));
    }
    lines.push((0, "held by".to_owned()));
    if holders.is_empty() {
        lines.push((1, "nobody".to_owned()));
    }
    lines.extend(holders.iter().map(|holder| (1, held(holder))));
    lines
}
