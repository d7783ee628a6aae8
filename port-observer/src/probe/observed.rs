//! The ports whose releases the programs tell, whoever holds them.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData},
};

const MAP: &str = ".bss.observed";

/// A byte per port, which the programs set too and nobody clears.
pub struct Observed(Array<MapData, [u8; 65536]>);

impl Observed {
    /// Takes the map out of the loaded object.
    ///
    /// # Errors
    /// When it is not there.
    pub fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let map =
            ebpf.take_map(MAP).with_context(|| format!("the eBPF object has no map {MAP}"))?;
        Ok(Self(Array::try_from(map)?))
    }

    /// Adds ports; whether any of them was new. Who holds a new one already is for a scan to tell,
    /// which also repeats what a program adds at the same moment.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn add(&mut self, ports: impl Iterator<Item = u16>) -> Result<bool> {
        let mut all = self.0.get(&0, 0).context("can't read which ports are observed")?;
        let mut is_new = false;
        for port in ports {
            let place = &mut all[usize::from(port)];
            is_new |= *place == 0;
            *place = 1;
        }
        if is_new {
            self.0.set(0, all, 0).context("can't have more ports observed")?;
        }
        Ok(is_new)
    }
}
