//! Who holds ports.

use ratatui::{buffer::Buffer, layout::Rect, style::Style, text::Span};

use super::{
    Places,
    look::Look,
    table::{self, Column, Row, Table},
};
use crate::{
    screen::state::{BARS, ProcessColumn, ProcessRow, Room, State, View},
    words::figures::{holder, rate},
};

/// The narrowest and the widest that a name may be.
const NAME: (usize, usize) = (15, 40);

/// Draws them.
pub fn draw(
    buffer: &mut Buffer,
    area: Rect,
    state: &State,
    look: &Look,
    places: &mut Places,
) -> Room {
    let (rows, at, sort) = state.processes();
    let is = |column: ProcessColumn| sort.by == column;
    let reversed = sort.is_reversed;
    let mut columns = vec![
        Column::number("PID", 7),
        Column::text("PROCESS", NAME.0).sorted(is(ProcessColumn::Name), reversed),
        Column::number("PORTS", 6).sorted(is(ProcessColumn::Held), reversed),
        Column::number("ESTAB", 6).sorted(is(ProcessColumn::Established), reversed),
        Column::number("TIME_WAIT", 9).sorted(is(ProcessColumn::TimeWait), reversed),
        Column::number("BOUND", 6).sorted(is(ProcessColumn::Bound), reversed),
        Column::number("NEW/S", 7).sorted(is(ProcessColumn::PerSecond), reversed),
        Column::number("FAILED", 6).sorted(is(ProcessColumn::Failures), reversed),
    ];
    columns[1].width += (table::left(&columns, area) / 3).min(NAME.1 - NAME.0);
    let bars = table::left(&columns, area).min(BARS);
    if bars >= 4 {
        columns.push(Column::text("TAKEN", bars));
    }
    let table = Table { columns: &columns, count: rows.len(), at, is_double: false };
    let offset = &mut places.offsets[View::Processes.number()];
    table.draw(buffer, area, look, offset, |number| row(rows[number], bars, look));
    places.of_table(area, View::Processes, false);
    Room { rows: table.room(area), ..Room::default() }
}

fn row(of: &ProcessRow, bars: usize, look: &Look) -> Row<'static> {
    let (pid, name) = holder(of.used.process.as_deref());
    let tcp = &of.used.tcp;
    let failed = if of.failures > 0 { look.alarm() } else { Style::new() };
    let newest = of.bars.len().saturating_sub(bars);
    let cells = vec![
        Span::raw(pid),
        Span::raw(look.text(&name)),
        Span::raw(of.held().to_string()),
        Span::raw(tcp.established.to_string()),
        Span::raw(tcp.time_wait.to_string()),
        Span::raw((tcp.bound + tcp.listening).to_string()),
        Span::raw(rate(of.per_second)),
        Span::styled(of.failures.to_string(), failed),
        Span::raw(look.sparkline(&of.bars[newest..])),
    ];
    Row { cells, below: None }
}
