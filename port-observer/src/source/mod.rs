//! Everything that yields events, and knows nobody who takes them.

mod kernel;
mod observer;
pub mod owners;
pub mod poll;
mod polling;
pub mod settings;
mod start;

use anyhow::Result;

pub use self::observer::{Looks, Observer, Options, is_blocking_sticky};
pub use crate::probe::BindHeld;

use crate::event::{Ask, Event, Listing};

/// Something that yields what happens on a host, in order.
pub trait Source: Sized {
    /// Returns when it is time for [`Source::next`].
    ///
    /// # Errors
    /// When the kernel refuses the wait.
    fn ready(&mut self) -> impl Future<Output = Result<()>>;

    /// Adds what happened since: about `most` events at most, and what else is due.
    ///
    /// # Errors
    /// When the kernel's counters or lists can't be read; what was added by then has happened.
    fn next(&mut self, most: usize, out: &mut Vec<Event>) -> Result<()>;

    /// Takes note of what the ledger wants to know. What is wanted at once is the answer, if it can be had
    /// within what looking may cost; all else comes as events.
    fn ask(&mut self, ask: Ask) -> Option<Listing>;

    /// Ends, and adds what is left.
    ///
    /// # Errors
    /// As for [`Source::next`].
    fn finish(self, out: &mut Vec<Event>) -> Result<()>;
}
