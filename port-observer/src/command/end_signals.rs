//! The signals that end a command.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::signals::HangUp;

/// SIGINT, SIGTERM, and SIGHUP unless whoever started this process had it ignored.
pub(super) struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: HangUp,
}

impl EndSignals {
    /// From now on they do what [`EndSignals::next`] is awaited for, and no more.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn catch() -> Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("can't wait for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("can't wait for SIGTERM")?,
            hang_up: HangUp::catch()?,
        })
    }

    /// Returns when the next of them has come since they are caught.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = self.hang_up.recv() => {}
        }
    }
}
