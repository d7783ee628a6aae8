//! Cells to lines of text.

use anstyle::Style;
use unicode_width::UnicodeWidthStr;

use super::layout::{Column, INDENT, Layout};
use crate::words::width::cut;

/// The titles, and how many lines they take.
pub(super) fn header(layout: &Layout, style: Style) -> (String, usize) {
    row_of(layout, &Column::ALL.map(Column::title), |_| style)
}

/// One event: its text and how many lines it takes.
pub(super) fn row(layout: &Layout, cells: &[&str; 9], event: Style) -> (String, usize) {
    row_of(layout, cells, |column| if column == Column::Event { event } else { Style::new() })
}

fn row_of(layout: &Layout, cells: &[&str; 9], style: impl Fn(Column) -> Style) -> (String, usize) {
    let mut text = String::with_capacity(256);
    // Spaces that are due before the next cell; so none are left at the end of a line.
    let mut due = 0;
    let mut more = Vec::new();
    for (column, cell) in Column::ALL.into_iter().zip(cells) {
        let Some((start, width)) = layout.place(column) else { continue };
        let cell = if column == Column::Detail {
            let mut lines = wrap(cell, width).into_iter();
            let first = lines.next().unwrap_or_default();
            more.extend(lines.map(|line| (start, line)));
            first
        } else {
            cut(cell, width.filter(|_| layout.screen.is_some()))
        };
        let pad = width.unwrap_or(0).saturating_sub(cell.width());
        let before = if column == Column::Pid { pad } else { 0 };
        if !cell.is_empty() {
            push_spaces(&mut text, due + before);
            due = 0;
            let style = style(column);
            // Writing to a String does not fail.
            let _ = std::fmt::Write::write_fmt(&mut text, format_args!("{style}{cell}{style:#}"));
        }
        due += pad - before + layout.gap;
        if cell.is_empty() {
            due += before;
        }
    }
    text.push('\n');

    let below = Column::ALL.into_iter().zip(cells);
    let below: Vec<&str> = below
        .filter(|(column, cell)| is_below(layout, *column) && !cell.is_empty())
        .map(|(_, cell)| *cell)
        .collect();
    if !below.is_empty() {
        let room = layout.screen.map(|screen| screen.saturating_sub(INDENT).max(1));
        more.extend(wrap(&below.join("  "), room).into_iter().map(|line| (INDENT, line)));
    }
    let lines = 1 + more.len();
    for (indent, line) in more {
        push_spaces(&mut text, indent);
        text.push_str(&line);
        text.push('\n');
    }
    (text, lines)
}

/// Text that belongs to the row above: indented, and further where it is wrapped.
pub(super) fn below(text: &str, indent: usize, screen: Option<usize>) -> Vec<String> {
    const MORE: usize = 2;
    let lines = wrap(text, screen.map(|screen| screen.saturating_sub(indent + MORE).max(1)));
    let indented = lines.into_iter().enumerate().map(|(at, line)| {
        let more = if at == 0 { 0 } else { MORE };
        format!("{:1$}{line}", "", indent + more)
    });
    indented.collect()
}

/// A container without a column of its own is part of the detail.
fn is_below(layout: &Layout, column: Column) -> bool {
    column != Column::Container && layout.place(column).is_none()
}

fn push_spaces(text: &mut String, count: usize) {
    text.extend(std::iter::repeat_n(' ', count));
}

fn wrap(text: &str, width: Option<usize>) -> Vec<String> {
    match width {
        Some(width) if text.width() > width => {
            textwrap::wrap(text, width).into_iter().map(String::from).collect()
        }
        _ => vec![text.to_owned()],
    }
}
