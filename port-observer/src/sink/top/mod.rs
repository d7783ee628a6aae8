//! The full screen: what it is about (`state`), how it is drawn (`view`), what it asks the ledger
//! (`ask`), and the terminal that it is drawn on (`screen`).

mod ask;
mod feed;
mod screen;
mod sixteen;
pub mod state;
pub mod view;

pub use ask::{detail, picture};
pub use feed::Feed;
pub use screen::Screen;
