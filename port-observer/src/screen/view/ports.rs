//! The ports of a range: a map, a cell for a slice of them.

use std::collections::BTreeMap;

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};

use super::{
    Places,
    look::{Look, PortState},
};
use crate::{
    ledger::HeldPort,
    ports::{PortRange, Ports},
    screen::state::{Needle, Room, State, key_of},
    words::figures::holder_name,
};

/// Before the cells of a line: its first port.
const MARGIN: u16 = 6;
/// Lines below the map: the legend, and who is in the cursor's cell.
const BELOW: u16 = 3;
/// How many processes of a cell are named.
const NAMED: usize = 4;

/// Draws it.
pub fn draw(
    buffer: &mut Buffer,
    area: Rect,
    state: &State,
    look: &Look,
    places: &mut Places,
) -> Room {
    let map = &state.picture.ports;
    let Some(ports) = map.ports.as_ref() else {
        let text = "the ephemeral range of this network namespace is not known";
        buffer.set_line(area.x, area.y, &Line::styled(text, look.quiet()), area.width);
        return Room::default();
    };
    let Some((range, cursor)) = state.port() else { return Room::default() };
    let columns = area.width.saturating_sub(MARGIN).max(1);
    let lines = area.height.saturating_sub(BELOW).max(1);
    let cells = u32::from(columns) * u32::from(lines);
    let per_cell = range.count().div_ceil(cells).max(1);
    let area_of_map = Rect { height: lines.min(area.height), ..area };
    let slices = slices(ports, &map.held, per_cell, &state.needle());
    let at = u32::from(cursor - range.min) / per_cell;
    for (number, slice) in (0u32..).zip(&slices) {
        let (x, y) = (number % u32::from(columns), number / u32::from(columns));
        let (Ok(x), Ok(y)) = (u16::try_from(x), u16::try_from(y)) else { break };
        let (x, y) = (area.x + MARGIN + x, area.y + y);
        if x >= area.right() || y >= area_of_map.bottom() {
            continue;
        }
        if x == area.x + MARGIN {
            let first = u32::from(range.min) + number * per_cell;
            buffer.set_string(area.x, y, format!("{first:5}"), look.quiet());
        }
        let (state, letter) = slice.shown();
        let style = look.port(state);
        let style = if number == at { style.patch(look.selected()) } else { style };
        buffer.set_string(x, y, letter.to_string(), style);
    }
    let [counts, held] = who(state, &slices, at, per_cell, look);
    let below = [key(state, per_cell, look), counts, held];
    for (line, y) in below.into_iter().zip(area_of_map.bottom()..area.bottom()) {
        buffer.set_line(area.x, y, &line, area.width);
    }
    places.of_map(Rect { x: area.x + MARGIN, width: columns, ..area_of_map });
    Room {
        rows: lines.into(),
        columns: columns.into(),
        ports_per_cell: per_cell,
        ..Room::default()
    }
}

/// The ports of a cell, by what they are.
#[derive(Clone, Debug, Default)]
struct Slice(BTreeMap<PortState, u32>);

impl Slice {
    /// What most of its ports are of those that are not free, in a letter: a capital if that is at
    /// least half of all.
    fn shown(&self) -> (PortState, char) {
        let all: u32 = self.0.values().sum();
        let taken = self.0.iter().filter(|(state, _)| **state != PortState::Free);
        let Some((state, count)) = taken.max_by_key(|(_, count)| **count) else {
            return (PortState::Free, PortState::Free.letter());
        };
        let letter = state.letter();
        (*state, if *count * 2 >= all { letter.to_ascii_uppercase() } else { letter })
    }
}

fn slices(ports: &Ports, held: &[HeldPort], per_cell: u32, needle: &Needle) -> Vec<Slice> {
    let PortRange { min, max } = ports.ephemeral;
    let count = ports.ephemeral.count().div_ceil(per_cell);
    let mut slices: Vec<Slice> = (0..count).map(|_| Slice::default()).collect();
    let mut held = held.iter().peekable();
    for port in min..=max {
        let found = held.next_if(|held| held.port == port);
        let state = match found {
            _ if ports.reserved.contains(port) => PortState::Reserved,
            None => PortState::Free,
            Some(held) if needle.is_of_port(held) => held.standing.into(),
            Some(_) => PortState::FilteredOut,
        };
        let cell = usize::try_from(u32::from(port - min) / per_cell).unwrap_or(usize::MAX);
        if let Some(slice) = slices.get_mut(cell) {
            *slice.0.entry(state).or_default() += 1;
        }
    }
    slices
}

fn key(state: &State, per_cell: u32, look: &Look) -> Line<'static> {
    let protocol = state.protocol().name().to_uppercase();
    let mut spans = vec![Span::styled(format!("{protocol} {per_cell}/cell"), look.title())];
    for of in PortState::ALL {
        if of == PortState::FilteredOut && state.filter().is_empty() {
            continue;
        }
        spans.push(Span::styled(format!("  {}", of.letter()), look.port(of)));
        spans.push(Span::raw(format!(" {}", of.name())));
    }
    Line::from(spans)
}

/// Who is in the cell that the cursor is on.
fn who(state: &State, slices: &[Slice], at: u32, per_cell: u32, look: &Look) -> [Line<'static>; 2] {
    let Some(cell) = state.cell() else { return Default::default() };
    let slice = usize::try_from(at).ok().and_then(|at| slices.get(at));
    let counts: Vec<String> = slice.map_or_else(Vec::new, |slice| {
        slice.0.iter().map(|(state, count)| format!("{count} {}", state.name())).collect()
    });
    let name = if per_cell == 1 {
        format!("port {}", cell.min)
    } else {
        format!("ports {}-{}", cell.min, cell.max)
    };
    let mut by_process: Vec<(String, u32)> = Vec::new();
    let mut keys = Vec::new();
    for held in state.picture.ports.held.iter().filter(|held| cell.contains(held.port)) {
        let key = key_of(held.process.as_deref());
        match keys.iter().position(|known| *known == key) {
            Some(at) => by_process[at].1 += 1,
            None => {
                keys.push(key);
                by_process.push((holder_name(held.process.as_deref()), 1));
            }
        }
    }
    by_process.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let more = by_process.len().saturating_sub(NAMED);
    let named = by_process.into_iter().take(NAMED);
    let named = named.map(|(name, count)| format!("{name}: {count}"));
    let mut held = named.collect::<Vec<_>>().join(", ");
    if more > 0 {
        held.push_str(&format!(", and {more} more"));
    }
    let held =
        if held.is_empty() { "held by nobody".to_owned() } else { format!("held by {held}") };
    [
        Line::from(vec![
            Span::styled(format!("{name}: "), look.title()),
            Span::raw(counts.join(", ")),
        ]),
        Line::from(look.text(&held)),
    ]
}
