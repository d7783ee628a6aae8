//! How the state is drawn, and what of it is where on the screen.

mod destinations;
mod detail;
mod failures;
mod header;
mod look;
mod place;
mod pools;
mod ports;
mod processes;
mod table;

pub use look::{Look, PortState};

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::{Position, Rect},
    text::Line,
};

use self::table::{Row, Table};
use super::state::{Key, Mode, Room, State, View};

/// Columns and lines of the smallest terminal.
const LEAST: (u16, u16) = (40, 10);

/// What of the last frame the next one, and the mouse, are to know.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The first row that is shown, by view.
    offsets: [usize; 5],
    /// The names of the views.
    views: Vec<Rect>,
    /// The rows, and how many lines each has.
    rows: Rect,
    height: u16,
    /// The row at the top.
    first: usize,
    /// They are cells, many a line.
    is_map: bool,
}

impl Places {
    /// Draws the table of a view, whose rows are here from now on.
    fn draw_table<'a>(
        &mut self,
        view: View,
        (buffer, area, look): (&mut Buffer, Rect, &Look),
        table: &Table<'_>,
        row: impl Fn(usize) -> Row<'a>,
    ) -> Room {
        let offset = &mut self.offsets[view.number()];
        table.draw(buffer, area, look, offset, row);
        self.of_list(area, self.offsets[view.number()]);
        self.height = if table.is_double { 2 } else { 1 };
        Room { rows: table.room(area), ..Room::default() }
    }

    /// The rows of a list are here.
    fn of_list(&mut self, area: Rect, first: usize) {
        self.rows = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
        (self.height, self.first, self.is_map) = (1, first, false);
    }

    /// The cells of a map are here.
    fn of_map(&mut self, area: Rect) {
        self.rows = area;
        (self.height, self.first, self.is_map) = (1, 0, true);
    }

    /// What a click at this place of the screen is on.
    pub fn key(&self, x: u16, y: u16) -> Option<Key> {
        let at = Position { x, y };
        if let Some(view) = self.views.iter().position(|area| area.contains(at)) {
            return Some(Key::View(view));
        }
        if !self.rows.contains(at) {
            return None;
        }
        let row = usize::from((y - self.rows.y) / self.height.max(1));
        if self.is_map {
            let column = usize::from(x - self.rows.x);
            return Some(Key::Row(row * usize::from(self.rows.width) + column));
        }
        Some(Key::Row(self.first + row))
    }
}

/// Draws the state; returns what there is room for.
pub fn draw(frame: &mut Frame, state: &State, look: &Look, places: &mut Places) -> Room {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        // Whatever was where the mouse finds it is not there.
        *places = Places { offsets: places.offsets, ..Places::default() };
        // A terminal may say that it has columns and no lines.
        if area.is_empty() {
            return Room::default();
        }
        let text = format!("too small: {} × {} are needed", LEAST.0, LEAST.1);
        buffer.set_line(area.x, area.y, &Line::from(look.text(&text)), area.width);
        return Room::default();
    }
    let head = Rect { height: header::LINES, ..area };
    let foot = Rect { y: area.bottom() - 1, height: 1, ..area };
    let height = area.height - head.height - foot.height;
    let body = Rect { y: head.bottom(), height, ..area };
    places.views = header::draw(buffer, head, state, look);
    header::footer(buffer, foot, state, look);
    match *state.mode() {
        Mode::Help(from) => return detail::help(buffer, body, state, look, from),
        Mode::Detail(_, from) => return detail::draw(buffer, body, state, look, from),
        Mode::Namespaces(at) => return detail::namespaces(buffer, body, state, look, places, at),
        Mode::View | Mode::Filter(_) => {}
    }
    match state.view() {
        View::Processes => processes::draw(buffer, body, state, look, places),
        View::Destinations => destinations::draw(buffer, body, state, look, places),
        View::Failures => failures::draw(buffer, body, state, look, places),
        View::Ports => ports::draw(buffer, body, state, look, places),
        View::Pools => pools::draw(buffer, body, state, look, places),
    }
}
