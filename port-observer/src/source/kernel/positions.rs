//! How far the ring buffer was written and read.

use std::{
    os::fd::{AsRawFd as _, BorrowedFd},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use memmap2::{MmapOptions, MmapRaw};
use nix::unistd::{SysconfVar, sysconf};

/// The two counters of a ring buffer, each at the beginning of a page (`struct bpf_ringbuf`,
/// kernel/bpf/ringbuf.c).
pub(super) struct Positions {
    pages: MmapRaw,
    page_bytes: usize,
}

impl Positions {
    /// Of the ring buffer with this descriptor.
    ///
    /// # Errors
    /// When the kernel does not share them.
    pub(super) fn of(ring: BorrowedFd<'_>) -> Result<Self> {
        let page_bytes = sysconf(SysconfVar::PAGE_SIZE)?.context("a page has no size")?;
        let page_bytes = usize::try_from(page_bytes)?;
        let pages = MmapOptions::new()
            .len(2 * page_bytes)
            .map_raw_read_only(ring.as_raw_fd())
            .context("can't share the ring buffer's positions with the kernel")?;
        Ok(Self { pages, page_bytes })
    }

    /// Up to where records have been given room. That of some may not be submitted yet.
    pub(super) fn reserved(&self) -> u64 {
        self.load(self.page_bytes)
    }

    /// Whether all records before this position were read.
    pub(super) fn is_read_to(&self, position: u64) -> bool {
        is_at_least(self.load(0), position)
    }

    fn load(&self, offset: usize) -> u64 {
        let place = self.pages.as_mut_ptr().wrapping_add(offset).cast();
        // SAFETY: aligned, within memory that lives as long as this, and written atomically.
        unsafe { AtomicU64::from_ptr(place) }.load(Ordering::Acquire)
    }
}

/// Whether `position` is not before the other. They may wrap around.
fn is_at_least(position: u64, other: u64) -> bool {
    position.wrapping_sub(other) < 1 << 63
}

#[cfg(test)]
mod tests {
    use super::is_at_least;

    #[test]
    fn positions_wrap_around() {
        assert!(is_at_least(8, 8));
        assert!(is_at_least(16, 8));
        assert!(!is_at_least(8, 16));
        assert!(is_at_least(0, u64::MAX - 7));
        assert!(!is_at_least(u64::MAX - 7, 0));
    }
}
