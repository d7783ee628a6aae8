//! What the time is: the kernel's, or that of a recording.

use std::time::Duration;

use anyhow::Result;

use super::Stream;
use crate::{kernel::clock, report::Sink};

/// A wall clock that was moved by more than this is followed; less is the clocks' own jitter.
pub(super) const CLOCK_STEP_NS: u64 = 10_000_000;

/// Where a stream has its time from.
#[derive(Clone, Copy, Debug)]
pub enum Time {
    /// The kernel's clocks.
    Kernel,
    /// A moment of a recording.
    Recorded {
        /// Nanoseconds since boot (`CLOCK_BOOTTIME`).
        now_ns: u64,
        /// Realtime less boottime.
        offset_ns: i64,
    },
}

impl Time {
    /// Now, in nanoseconds since boot.
    ///
    /// # Errors
    /// When the kernel refuses the clock.
    pub fn now_ns(self) -> Result<u64> {
        match self {
            Self::Kernel => clock::now_boot_ns(),
            Self::Recorded { now_ns, .. } => Ok(now_ns),
        }
    }

    /// Realtime less boottime, in nanoseconds.
    ///
    /// # Errors
    /// When the kernel refuses the clocks.
    pub fn offset_ns(self) -> Result<i64> {
        match self {
            Self::Kernel => clock::offset_ns(),
            Self::Recorded { offset_ns, .. } => Ok(offset_ns),
        }
    }
}

impl<S: Sink> Stream<S> {
    /// Ends after this long.
    pub fn end_after(&mut self, duration: Option<Duration>) {
        self.duration = duration;
    }

    /// How long to go on, `None`: until told to stop.
    pub fn time_left(&self) -> Option<Duration> {
        self.duration.map(|duration| duration.saturating_sub(self.started.elapsed()))
    }

    /// How long it has observed. Detaching, which comes after, can take seconds of its own.
    pub fn observed(&self) -> Duration {
        self.started.elapsed()
    }
}
