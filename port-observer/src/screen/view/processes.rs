//! Who holds ports.

use ratatui::{buffer::Buffer, layout::Rect, style::Style, text::Span};

use super::{
    Places,
    look::Look,
    table::{self, Column, Row, Table},
};
use crate::{
    report::TcpUse,
    screen::state::{BARS, ProcessColumn, ProcessRow, Room, State, View},
    words::figures::{holder, rate},
};

/// The narrowest and the widest that a name may be.
const NAME: (usize, usize) = (15, 40);

/// Where the columns of rare states are, if they are.
const FIRST_RARE: usize = 4;

/// A column of a rare state: its title, and the count.
type RareColumn = (&'static str, fn(&TcpUse) -> u32);

const RARE: [RareColumn; 3] = [
    ("SYN_SENT", |tcp| tcp.counts.syn_sent),
    ("CLOSE_WAIT", |tcp| tcp.counts.close_wait),
    ("FIN_WAIT", |tcp| tcp.counts.fin_wait),
];

/// Which of them have something to show.
#[derive(Clone, Copy)]
struct Rare([bool; RARE.len()]);

impl Rare {
    fn of<'a>(rows: impl Iterator<Item = &'a TcpUse> + Clone) -> Self {
        Self(RARE.map(|(_, count)| rows.clone().any(|tcp| count(tcp) > 0)))
    }

    fn shown(self) -> impl Iterator<Item = RareColumn> {
        RARE.into_iter().zip(self.0).filter_map(|(column, is_shown)| is_shown.then_some(column))
    }
}

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
    let rare = Rare::of(rows.iter().map(|row| &row.used.tcp));
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
    for (at, (title, _)) in rare.shown().enumerate() {
        columns.insert(FIRST_RARE + at, Column::number(title, title.len()));
    }
    columns[1].width += (table::left(&columns, area) / 3).min(NAME.1 - NAME.0);
    let bars = table::left(&columns, area).min(BARS);
    if bars >= 4 {
        columns.push(Column::text("TAKEN", bars));
    }
    let table = Table { columns: &columns, count: rows.len(), at, is_double: false };
    let row = |number: usize| row(rows[number], rare, bars, look);
    places.draw_table(View::Processes, (buffer, area, look), &table, row)
}

fn row(of: &ProcessRow, rare: Rare, bars: usize, look: &Look) -> Row<'static> {
    let (pid, name) = holder(of.used.process.as_deref());
    let tcp = &of.used.tcp;
    let failed = if of.failures > 0 { look.alarm() } else { Style::new() };
    let newest = of.bars.len().saturating_sub(bars);
    let mut cells = vec![
        Span::raw(pid),
        Span::raw(look.text(&name)),
        Span::raw(of.held().to_string()),
        Span::raw(tcp.counts.established.to_string()),
        Span::raw(tcp.counts.time_wait.to_string()),
        Span::raw((tcp.counts.bound + tcp.counts.listening).to_string()),
        Span::raw(rate(of.per_second)),
        Span::styled(of.failures.to_string(), failed),
        Span::raw(look.sparkline(&of.bars[newest..])),
    ];
    for (at, (_, count)) in rare.shown().enumerate() {
        cells.insert(FIRST_RARE + at, Span::raw(count(tcp).to_string()));
    }
    Row::single(cells)
}
