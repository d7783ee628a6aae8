//! A recording: everything that the ledger takes in, in a SQLite file, so that the state of any
//! moment can be worked out again. `docs/recording.md` describes the file.

mod claim;
mod disk;
mod entry;
mod failures;
mod faults;
mod insert;
mod item;
mod known;
mod memory;
mod moment;
mod numbers;
mod open;
mod path;
mod reader;
mod recorder;
mod retention;
mod row;
mod rows;
mod say;
pub mod schema;
mod segments;
mod sqlite;
mod tables;
mod target;
mod text;
mod writer;

pub use entry::{Entry, Input};
pub use failures::failures;
pub use item::{Item, Run};
pub use moment::Moment;
pub use reader::Reader;
pub use recorder::{Options, Recorder, RunStart};
