//! The end of a command's output: the reader gets what was written for it, and can't hold the command up.

use anyhow::{Context as _, Result};

use super::end_signals::EndSignals;
use crate::queued_writer::QueuedWriter;

/// Waits until the reader of standard output has taken all, for as long as it goes on reading. Another
/// signal ends the wait. What it did not take is dropped, and said.
///
/// # Errors
/// When it can't be written.
pub(super) async fn finish(queue: Option<QueuedWriter>) -> Result<()> {
    let Some(queue) = queue else { return Ok(()) };
    let mut signals = EndSignals::catch()?;
    let lines = queue.finish(signals.next()).await.context("can't write to standard output")?;
    if lines > 0 {
        log::warn!("the reader of standard output stalled: it did not get the last {lines} lines");
    }
    Ok(())
}

/// Waits until the reader of standard output has taken all, however long that takes, or a signal comes.
pub(super) async fn wait(queue: Option<&QueuedWriter>, signals: &mut EndSignals) {
    let Some(queue) = queue else { return };
    tokio::select! {
        () = signals.next() => {}
        () = queue.room(1) => {}
    }
}
