//! Small aligned tables: numbers first, the text that may be long last.

use unicode_width::UnicodeWidthStr;

use crate::words::width::cut;

/// Between two columns.
const GAP: usize = 2;
/// Text before the last column is cut to this.
const TEXT_WIDTH: usize = 15;

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    /// Numbers.
    Right,
    /// Numbers of a column that is left out where all are 0.
    RightIfAny,
    /// Text.
    Left,
}

/// Lines of the titles and the rows, indented, none wider than the screen if it has room for all
/// columns but the last. The last column is text: as it is or, where that has no room, wrapped, or on
/// lines of its own when one word alone has none.
pub(super) fn lines<const N: usize>(
    titles: [(&str, Align); N],
    rows: &[[String; N]],
    indent: usize,
    screen: Option<usize>,
) -> Vec<String> {
    let cells = |row: &[String; N]| -> [String; N] {
        std::array::from_fn(|at| {
            let is_text = titles[at].1 == Align::Left && at + 1 < N;
            cut(&row[at], is_text.then_some(TEXT_WIDTH))
        })
    };
    let rows: Vec<[String; N]> = rows.iter().map(cells).collect();
    let widths: [usize; N] = std::array::from_fn(|at| {
        let cells = rows.iter().map(|row| row[at].width());
        cells.chain([titles[at].0.width()]).max().unwrap_or(0)
    });
    let is_shown =
        |at: usize| titles[at].1 != Align::RightIfAny || rows.iter().any(|row| row[at] != "0");
    let shown: Vec<usize> = (0..N - 1).filter(|at| is_shown(*at)).collect();
    let start = indent + shown.iter().map(|at| widths[*at] + GAP).sum::<usize>();
    let mut lines = Vec::with_capacity(rows.len() + 1);
    for row in std::iter::once(&titles.map(|(title, _)| title.to_owned())).chain(&rows) {
        let mut line = " ".repeat(indent);
        for &at in &shown {
            let cell = &row[at];
            let pad = " ".repeat(widths[at] - cell.width());
            let gap = " ".repeat(GAP);
            match titles[at].1 {
                Align::Right | Align::RightIfAny => line.extend([pad.as_str(), cell, &gap]),
                Align::Left => line.extend([cell, pad.as_str(), &gap]),
            }
        }
        let text = row.last().map_or("", String::as_str);
        push_text(&mut lines, line, text, start, indent, screen);
    }
    lines
}

fn push_text(
    lines: &mut Vec<String>,
    mut line: String,
    text: &str,
    start: usize,
    indent: usize,
    screen: Option<usize>,
) {
    let room = screen.map_or(usize::MAX, |screen| screen.saturating_sub(start).max(1));
    let longest_word = text.split(' ').map(UnicodeWidthStr::width).max().unwrap_or(0);
    if text.width() <= room {
        line.push_str(text);
        lines.push(line.trim_end().to_owned());
        return;
    }
    let (below, room) = if longest_word <= room {
        (start, room)
    } else {
        lines.push(line.trim_end().to_owned());
        line = " ".repeat(indent + GAP);
        let below = indent + GAP;
        (below, screen.map_or(usize::MAX, |screen| screen.saturating_sub(below).max(1)))
    };
    for wrapped in textwrap::wrap(text, room) {
        line.push_str(&wrapped);
        lines.push(std::mem::replace(&mut line, " ".repeat(below)).trim_end().to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str, screen: Option<usize>) -> Vec<String> {
        let titles = [("COUNT", Align::Right), ("NAME", Align::Left), ("TO", Align::Left)];
        let row = |count: &str, name: &str| [count.to_owned(), name.to_owned(), text.to_owned()];
        lines(titles, &[row("7", "a"), row("123456", "a-name-too-long-for-its-column")], 2, screen)
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        assert_eq!(
            block("x", None),
            [
                "   COUNT  NAME             TO",
                "       7  a                x",
                "  123456  a-name-too-lon…  x",
            ]
        );
    }

    #[test]
    fn a_column_without_a_count_is_left_out() {
        let titles = [("A", Align::RightIfAny), ("B", Align::Right), ("C", Align::Left)];
        let row = |a: &str| [a.to_owned(), "0".to_owned(), "x".to_owned()];
        assert_eq!(lines(titles, &[row("0"), row("0")], 0, None), ["B  C", "0  x", "0  x"]);
        let some = lines(titles, &[row("0"), row("12")], 0, None);
        assert_eq!(some, [" A  B  C", " 0  0  x", "12  0  x"]);
    }

    #[test]
    fn text_without_room_is_wrapped_or_stands_below() {
        assert_eq!(
            block("10.0.0.2 → 10.0.0.1:443", Some(42))[1..3],
            ["       7  a                10.0.0.2 →", "                           10.0.0.1:443"]
        );
        assert_eq!(
            block("[2001:db8:1111:2222::1]:443", Some(42))[1..3],
            ["       7  a", "    [2001:db8:1111:2222::1]:443"]
        );
    }

    #[test]
    fn no_line_is_wider_than_the_screen() {
        for screen in 40..100 {
            for line in block("[2001:db8::1] → [2001:db8:1111:2222::1]:443", Some(screen)) {
                assert!(line.width() <= screen, "{screen}: {line}");
            }
        }
    }
}
