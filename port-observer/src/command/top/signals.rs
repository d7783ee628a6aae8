//! The signals that a full screen must not be surprised by.

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// To end.
    End,
    /// To stop, by a `kill`: Ctrl-Z is a key.
    Stop,
    /// To go on.
    Continue,
}

/// Those that are waited for.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    quit: Signal,
    stop: Signal,
    go_on: Signal,
}

impl Signals {
    /// From now on they do what [`Signals::next`] says, and no more.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn catch() -> Result<Self> {
        let catch = |kind| signal(kind).context("can't wait for signals");
        Ok(Self {
            interrupt: catch(SignalKind::interrupt())?,
            terminate: catch(SignalKind::terminate())?,
            hang_up: catch(SignalKind::hangup())?,
            quit: catch(SignalKind::quit())?,
            stop: catch(SignalKind::from_raw(libc::SIGTSTP))?,
            go_on: catch(SignalKind::from_raw(libc::SIGCONT))?,
        })
    }

    /// The next one.
    pub async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::End,
            _ = self.terminate.recv() => Told::End,
            _ = self.hang_up.recv() => Told::End,
            _ = self.quit.recv() => Told::End,
            _ = self.stop.recv() => Told::Stop,
            _ = self.go_on.recv() => Told::Continue,
        }
    }
}
