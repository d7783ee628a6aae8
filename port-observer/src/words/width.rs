//! Text that has to fit.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// As much of the text as has room; `…` says that there was more.
pub fn cut(text: &str, width: Option<usize>) -> String {
    match width {
        Some(width) if text.width() > width => {
            let mut room = width.saturating_sub(1);
            let fits = |c: &char| {
                let width = c.width().unwrap_or(0);
                let fits = width <= room;
                room -= if fits { width } else { 0 };
                fits
            };
            text.chars().take_while(fits).chain(['…']).collect()
        }
        _ => text.to_owned(),
    }
}
