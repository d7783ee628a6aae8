//! Where a space is, in as much room as there is.

use unicode_width::UnicodeWidthStr as _;

use super::look::Look;
use crate::{
    report::{Space, SpaceKind},
    words::{figures::ends, width::cut},
};

/// The first of these texts that has room, or else as much as has of the last.
pub fn first_fitting(texts: impl IntoIterator<Item = String>, width: usize, look: &Look) -> String {
    let mut last = String::new();
    for text in texts {
        let text = look.text(&text);
        if text.width() <= width {
            return text;
        }
        last = text;
    }
    look.text(&cut(&last, Some(width)))
}

/// Both ends, and the destination alone, which says more than the source.
pub fn places(space: &Space) -> [String; 2] {
    let short = match space.kind {
        SpaceKind::Connect { destination, .. } => format!("→ {destination}"),
        SpaceKind::Bind { .. } => ends(space),
    };
    [ends(space), short]
}
