//! Rows under titles, with a cursor.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
};
use unicode_width::UnicodeWidthStr as _;

use super::{look::Look, place::first_fitting};
use crate::words::width::cut;

/// Before each row, where the cursor's mark stands.
pub const MARGIN: usize = 2;
/// From this width on two spaces are between columns.
const ROOMY: u16 = 100;
/// From this width on a row of destinations or failures is one line.
pub const WIDE: u16 = 140;

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Above it.
    pub title: &'static str,
    /// In characters.
    pub width: usize,
    /// Numbers stand on the right.
    pub is_right: bool,
    /// Rows are sorted by it; in the other direction than usual.
    pub sorted: Option<bool>,
}

impl Column {
    /// Of numbers.
    pub fn number(title: &'static str, width: usize) -> Self {
        Self { title, width, is_right: true, sorted: None }
    }

    /// Of text.
    pub fn text(title: &'static str, width: usize) -> Self {
        Self { title, width, is_right: false, sorted: None }
    }

    /// Rows are sorted by it, if this is so.
    pub fn sorted(mut self, is_it: bool, is_reversed: bool) -> Self {
        self.sorted = is_it.then_some(is_reversed);
        self
    }
}

fn gap(area: Rect) -> usize {
    if area.width < ROOMY { 1 } else { 2 }
}

/// How much room there is for one more column.
pub fn left(columns: &[Column], area: Rect) -> usize {
    let used: usize = columns.iter().map(|column| column.width + gap(area)).sum();
    usize::from(area.width).saturating_sub(MARGIN + used)
}

/// A row: its cells, and what stands in a line below them, if anything.
pub struct Row<'a> {
    /// One a column.
    pub cells: Vec<Span<'a>>,
    /// Below.
    pub below: Option<Line<'a>>,
}

impl<'a> Row<'a> {
    /// Of one line.
    pub fn single(cells: Vec<Span<'a>>) -> Self {
        Self { cells, below: None }
    }

    /// With the first of these texts below it that has room, or else as much as has of the last.
    pub fn double(
        cells: Vec<Span<'a>>,
        texts: impl IntoIterator<Item = String>,
        area: Rect,
        look: &Look,
    ) -> Self {
        let room = usize::from(area.width).saturating_sub(2 * MARGIN);
        let below = format!("  {}", first_fitting(texts, room, look));
        Self { cells, below: Some(Line::from(below)) }
    }
}

/// A table on its place.
pub struct Table<'a> {
    /// The columns.
    pub columns: &'a [Column],
    /// How many rows there are.
    pub count: usize,
    /// Which one the cursor is on.
    pub at: usize,
    /// Whether each row has a second line.
    pub is_double: bool,
}

impl Table<'_> {
    /// How many rows have room in this area, below the titles.
    pub fn room(&self, area: Rect) -> usize {
        let lines = usize::from(area.height.saturating_sub(1));
        lines / if self.is_double { 2 } else { 1 }
    }

    /// Draws it from the row `offset` on, which is moved so that the cursor is in sight.
    pub fn draw<'a>(
        &self,
        buffer: &mut Buffer,
        area: Rect,
        look: &Look,
        offset: &mut usize,
        row: impl Fn(usize) -> Row<'a>,
    ) {
        let room = self.room(area).max(1);
        *offset = (*offset).min(self.count.saturating_sub(room)).min(self.at);
        *offset = (*offset).max((self.at + 1).saturating_sub(room));
        let titles = self.columns.iter().map(|column| {
            let mark = match column.sorted {
                Some(false) => "v",
                Some(true) => "^",
                None => "",
            };
            Span::styled(format!("{}{mark}", column.title), look.title())
        });
        let gap = gap(area);
        let titles = self.line(titles.collect(), "", gap, look);
        buffer.set_line(area.x, area.y, &titles, area.width);
        let height = if self.is_double { 2 } else { 1 };
        for (place, number) in (*offset..self.count.min(*offset + room)).enumerate() {
            let Ok(y) = u16::try_from(1 + place * height) else { break };
            let Row { cells, below } = row(number);
            let is_on = number == self.at;
            let mark = if is_on { ">" } else { "" };
            let y = area.y + y;
            buffer.set_line(area.x, y, &self.line(cells, mark, gap, look), area.width);
            if let Some(below) = below.filter(|_| self.is_double) {
                let margin = Span::raw(" ".repeat(MARGIN));
                let line = Line::from_iter(std::iter::once(margin).chain(below.spans));
                buffer.set_line(area.x, y + 1, &line, area.width);
            }
            if is_on {
                let lines = Rect { y, height: u16::try_from(height).unwrap_or(1), ..area };
                buffer.set_style(lines.intersection(area), look.selected());
            }
        }
    }

    fn line<'a>(&self, cells: Vec<Span<'a>>, mark: &str, gap: usize, look: &Look) -> Line<'a> {
        let mut spans = vec![Span::raw(format!("{mark:MARGIN$}"))];
        for (at, (column, cell)) in self.columns.iter().zip(cells).enumerate() {
            let text = look.text(&cut(&cell.content, Some(column.width)));
            let pad = column.width.saturating_sub(text.width());
            let (before, after) = if column.is_right { (pad, 0) } else { (0, pad) };
            let gap = if at + 1 < self.columns.len() { gap } else { 0 };
            spans.push(Span::raw(" ".repeat(before)));
            spans.push(Span::styled(text, cell.style));
            spans.push(Span::raw(" ".repeat(after + gap)));
        }
        Line::from(spans)
    }
}
