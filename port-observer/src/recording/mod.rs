//! A recording: everything that the ledger takes in, in a SQLite file, so that the state of any
//! moment can be worked out again. `docs/recording.md` describes the file.

mod entry;
mod failures;
mod insert;
mod moment;
mod reader;
mod recorder;
mod retention;
mod rows;
pub mod schema;
mod writer;

pub use entry::{Entry, Input};
pub use failures::failures;
pub use moment::Moment;
pub use reader::{Item, Reader, Run};
pub use recorder::{Options, Recorder, RunStart};
