//! Everything that yields events.

pub mod completion;
pub mod counted;
pub mod owners;
pub mod poll;
pub mod ring;
pub mod scan;
pub mod settings;
