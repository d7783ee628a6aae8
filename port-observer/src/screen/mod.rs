//! The full screen: what it is about (`state`), how it is drawn (`view`), what it asks the ledger
//! (`ask`), and the terminal that it is drawn on (`terminal`).

mod ask;
mod sixteen;
pub mod state;
mod terminal;
pub mod view;

pub use ask::{detail, picture};
pub use terminal::Screen;
