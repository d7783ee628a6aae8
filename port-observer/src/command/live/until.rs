//! Until when is observed.

use anyhow::Result;

use crate::{child::Child, command::end_signals::EndSignals};

/// Until when is observed.
pub(super) enum Until {
    /// Until a signal says so.
    Told(EndSignals),
    /// Until the command ends, which signals are passed on to.
    Ended(Child),
}

impl Until {
    /// The command's process, if there is one.
    pub(super) fn command(&mut self) -> Option<&mut Child> {
        match self {
            Self::Told(_) => None,
            Self::Ended(child) => Some(child),
        }
    }

    /// Returns when that has come.
    ///
    /// # Errors
    /// When the kernel refuses to wait for the command.
    pub(super) async fn next(&mut self) -> Result<()> {
        match self {
            Self::Told(signals) => signals.next().await,
            Self::Ended(child) => drop(child.ended().await?),
        }
        Ok(())
    }
}
