//! What `doctor` prints, from made-up facts.

mod fixes;
mod json;
mod samples;
mod text;
