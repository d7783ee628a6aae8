//! The ports whose releases the programs tell, whoever holds them.

use std::{
    os::fd::{AsFd as _, AsRawFd as _},
    sync::atomic::{AtomicU8, Ordering},
};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use memmap2::{MmapMut, MmapOptions};

const MAP: &str = "OBSERVED";
const PORTS: usize = 65_536;

/// A byte per port, which the programs set too and nobody clears. In memory that is shared with them:
/// calls for a map of this size take long enough to be preempted, and meanwhile the kernel skips every
/// kprobe on that processor (`bpf_disable_instrumentation`, include/linux/bpf.h).
pub struct Observed {
    memory: MmapMut,
    /// The programs that are loaded later need it open.
    _map: MapData,
}

impl Observed {
    /// Takes the map out of the loaded object.
    ///
    /// # Errors
    /// When it is not there, or the kernel does not share its memory.
    pub fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let map =
            ebpf.take_map(MAP).with_context(|| format!("the eBPF object has no map {MAP}"))?;
        let Map::Array(map) = map else { bail!("the map {MAP} of the eBPF object is no array") };
        // SAFETY: what others write there meanwhile is single bytes, and so is what is read here.
        let memory = unsafe { MmapOptions::new().len(PORTS).map_mut(map.fd().as_fd().as_raw_fd()) }
            .context("can't share the table of observed ports with the kernel")?;
        Ok(Self { memory, _map: map })
    }

    /// Adds ports; whether any of them was new. Who holds a new one already is for a scan to tell.
    pub fn add(&mut self, ports: impl Iterator<Item = u16>) -> bool {
        let mut is_new = false;
        for port in ports {
            // SAFETY: there is a byte for each port, and the memory lives as long as this.
            let byte =
                unsafe { AtomicU8::from_ptr(self.memory.as_mut_ptr().add(usize::from(port))) };
            is_new |= byte.swap(1, Ordering::Relaxed) == 0;
        }
        is_new
    }
}
