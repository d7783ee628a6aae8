//! A recording: everything that the ledger takes in, in a SQLite file, so that the state of any
//! moment can be worked out again. `docs/recording.md` describes the file.

mod entry;
mod insert;
mod recorder;
mod retention;
pub mod schema;
mod writer;

pub use entry::{Entry, Input};
pub use recorder::{Options, Recorder, RunStart};
