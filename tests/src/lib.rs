//! Traffic and observers for the tests of the whole program.

pub mod child;
pub mod container;
pub mod expect;
pub mod http;
pub mod lines;
pub mod mounts;
pub mod net;
pub mod observer;
pub mod open;
pub mod recording;
pub mod socket;
pub mod system;
pub mod tmux;
