//! Calls that failed.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{
    Places,
    look::Look,
    place::{first_fitting, places},
    table::{self, Column, Row, Table, WIDE},
};
use crate::{
    probe::Backend,
    report::Port,
    screen::state::{FailedCall, FailureColumn, Room, State, View},
    words::{errno::ErrorName, figures::holder, sentences::call},
};

/// Draws them.
pub fn draw(
    buffer: &mut Buffer,
    area: Rect,
    state: &State,
    look: &Look,
    on_screen: &mut Places,
) -> Room {
    let (rows, at, sort) = state.failures();
    let sorted = |column: Column, by: FailureColumn| column.sorted(sort.by == by, sort.is_reversed);
    let is_double = area.width < WIDE;
    let mut columns = vec![
        sorted(Column::text("TIME", 8), FailureColumn::Time),
        sorted(Column::number("COUNT", 6), FailureColumn::Count),
        Column::number("PID", 7),
        Column::text("PROCESS", 15),
        Column::text("ERROR", 13),
        Column::text("CAUSE", 12),
    ];
    if !is_double {
        columns.push(Column::text("CALL", table::left(&columns, area)));
    }
    let table = Table { columns: &columns, count: rows.len(), at, is_double };
    let offset_ns = state.picture.offset_ns;
    let room = on_screen.draw_table(View::Failures, (&mut *buffer, area, look), &table, |number| {
        let of = rows[number];
        let mut cells = cells(of, offset_ns, look);
        if is_double {
            return Row::double(cells, asked(of), area, look);
        }
        let room = columns.last().map_or(0, |column| column.width);
        cells.push(Span::raw(first_fitting(asked(of), room, look)));
        Row::single(cells)
    });
    if rows.is_empty() {
        let since = state.picture.since.saturating_mul(1_000_000_000);
        let header = &state.picture.header;
        let text = match state.picture.failed {
            // Not seen is not the same as none.
            0 if header.backend == Backend::Poll.name() => {
                "poll does not see failed calls: `port-observer doctor` says what is needed".into()
            }
            0 => format!("no call was refused a port since {}", look.time_of_day(since, offset_ns)),
            _ => "none that the filter lets through".to_owned(),
        };
        let at = Rect { y: area.y + 1, height: area.height.saturating_sub(1).min(1), ..area };
        if at.height > 0 {
            buffer.set_line(at.x + 2, at.y, &Line::styled(text, look.quiet()), at.width);
        }
    }
    room
}

fn cells(of: &FailedCall, offset_ns: i64, look: &Look) -> Vec<Span<'static>> {
    let process = of.port.caller.as_ref().map(|caller| &*caller.process);
    let (pid, name) = holder(process);
    vec![
        Span::raw(look.time_of_day(of.time_ns, offset_ns)),
        Span::raw(of.count.to_string()),
        Span::raw(pid),
        Span::raw(look.text(&name)),
        Span::styled(ErrorName(of.errno).to_string(), look.alarm()),
        Span::raw(cause(of)),
    ]
}

/// Why, in a word.
fn cause(of: &FailedCall) -> String {
    let cause = of.story.as_ref().and_then(|story| story.cause.as_ref());
    match cause {
        Some(cause) => cause.kind.name().replace('_', " "),
        None if of.refusal.is_some() => "address".to_owned(),
        None if of.in_the_way.is_empty() => "-".to_owned(),
        None => "taken".to_owned(),
    }
}

/// What was called, and for which ports; the last is the shortest.
pub fn asked(of: &FailedCall) -> Vec<String> {
    let FailedCall { port, via, story, .. } = of;
    let Port { local, remote, .. } = port;
    if let Some(story) = story {
        let call = call(*via, Some(0));
        return places(&story.space).map(|place| format!("{call} {place}")).to_vec();
    }
    let call = call(*via, local.map(|local| local.port));
    let to = remote.map_or_else(String::new, |remote| format!(" → {remote}"));
    let from = local.map_or_else(String::new, |local| format!(" {}", local.address));
    vec![format!("{call}{from}{to}"), format!("{call}{to}")]
}
