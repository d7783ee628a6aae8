//! A moment that neither a step of the wall clock nor a reboot moves further than it has to.

use std::time::Duration;

use anyhow::Result;

use crate::kernel::clock;

/// A moment by both clocks. Within one boot the one that is never set counts; after a reboot the other is
/// all there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Which boot, as [`clock::boot_id`] has it.
    pub boot: String,
    /// Milliseconds of `CLOCK_BOOTTIME`.
    pub boot_ms: i64,
    /// Milliseconds of `CLOCK_REALTIME`.
    pub wall_ms: i64,
}

impl Moment {
    /// Now.
    ///
    /// # Errors
    /// When the kernel tells no time.
    pub fn now() -> Result<Self> {
        let boot = clock::boot_id()?;
        let boot_ns = i64::try_from(clock::now_boot_ns()?)?;
        let wall_ns = boot_ns.saturating_add(clock::offset_ns()?);
        Ok(Self { boot, boot_ms: boot_ns / 1_000_000, wall_ms: wall_ns / 1_000_000 })
    }

    /// So much later.
    pub fn plus(&self, time: Duration) -> Self {
        let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Self {
            boot: self.boot.clone(),
            boot_ms: self.boot_ms.saturating_add(ms),
            wall_ms: self.wall_ms.saturating_add(ms),
        }
    }

    /// How long after another moment this one is; zero: it is not.
    pub fn after(&self, other: &Self) -> Duration {
        Duration::from_millis(u64::try_from(self.ms_after(other)).unwrap_or(0))
    }

    fn ms_after(&self, other: &Self) -> i64 {
        match self.boot == other.boot {
            true => self.boot_ms.saturating_sub(other.boot_ms),
            false => self.wall_ms.saturating_sub(other.wall_ms),
        }
    }

    /// What the wall clock shows then, in milliseconds since 1970, if it goes on as it goes at another
    /// moment. Where it was not set in between, that is what was noted, whatever readings are rounded to.
    pub fn shown_by(&self, other: &Self) -> i64 {
        const READING_MS: u64 = 100;
        let shown = other.wall_ms.saturating_add(self.ms_after(other));
        if shown.abs_diff(self.wall_ms) < READING_MS { self.wall_ms } else { shown }
    }
}
