//! Declared pools of ports, told of after each line that changes them.

use anyhow::Result;

use super::Stream;
use crate::{
    event::Event,
    pools::watch::Watch,
    report::{PoolLook, PoolUse, Report, Sink},
};

impl<S: Sink> Stream<S> {
    /// Tells of these pools too from now on, or of others instead. `names`: of network namespaces, beside
    /// those that the ledger knows.
    pub fn watch_pools(&mut self, mut watch: Watch, names: &[(u32, Vec<String>)]) {
        let holdings = self.ledger.holdings();
        let known = holdings.all_settings().map(|settings| (settings.netns, &settings.names));
        for (netns, names) in known.chain(names.iter().map(|(netns, names)| (*netns, names))) {
            watch.name(netns, names, holdings);
        }
        watch.count(holdings);
        self.pools = Some(Box::new(watch));
    }

    /// How full the pools are.
    ///
    /// # Errors
    /// When the kernel refuses the clock.
    pub fn pool_uses(&self) -> Result<Vec<PoolUse>> {
        let Some(pools) = &self.pools else { return Ok(Vec::new()) };
        Ok(pools.uses(self.time.now_ns()?))
    }

    /// The same at a moment, in nanoseconds since boot, and who has their ports.
    pub fn pool_looks(&self, now_ns: u64) -> Vec<PoolLook> {
        self.pools
            .as_ref()
            .map_or_else(Vec::new, |pools| pools.looks(now_ns, self.ledger.holdings()))
    }

    /// A network namespace has other names, or is gone: after the ledger knows.
    pub(super) fn name_pools(&mut self, event: &Event) {
        let Some(pools) = &mut self.pools else { return };
        match event {
            Event::Namespace(settings) => {
                pools.name(settings.netns, &settings.names, self.ledger.holdings());
            }
            Event::NamespaceGone(netns) => pools.forget(*netns),
            _ => {}
        }
    }

    /// What a line that was told means for pools.
    pub(super) fn tell_pools(&mut self, report: &Report) -> Result<()> {
        let Some(pools) = &mut self.pools else { return Ok(()) };
        let mut told = Vec::new();
        pools.take_in(report, self.ledger.holdings(), &mut told);
        told.iter().try_for_each(|report| self.print(report))
    }

    /// What is due once a second.
    pub(super) fn tick_pools(&mut self, now_ns: u64) -> Result<()> {
        let Some(pools) = &mut self.pools else { return Ok(()) };
        if !self.ledger.knows_all() {
            return Ok(());
        }
        let mut told = Vec::new();
        pools.tick(now_ns, self.ledger.holdings(), &mut told);
        told.iter().try_for_each(|report| self.print(report))
    }
}
