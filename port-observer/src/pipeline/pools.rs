//! Declared pools of ports, told of after each line that changes them.

use anyhow::Result;

use super::Stream;
use crate::{
    kernel::netns,
    pools::watch::Watch,
    report::{PoolLook, PoolUse, Report, Sink, Start},
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

    /// Of another run of a recording nothing is known yet. `start`: how it began.
    pub(super) fn begin_pools(&mut self, start: &Start) {
        let Some(pools) = &mut self.pools else { return };
        let is_known = |netns: &u32| start.ephemeral_range.iter().any(|of| of.netns == *netns);
        // Older recordings do not say where they were made: mostly where they are read.
        let own = start.netns.or_else(|| netns::own_inode().ok().filter(is_known));
        if own.is_none() && pools.has_own() {
            log::warn!(
                "the recording does not say in which network namespace it was made: of pools without `netns` \
                 nothing is told; give them one of its inode numbers"
            );
        }
        // Whoever observes all namespaces observes the own one too.
        let observed: Vec<u32> = match own.is_some_and(|own| is_known(&own)) {
            true => self.printer.filter().netns.clone(),
            false => start.ephemeral_range.iter().map(|of| of.netns).collect(),
        };
        pools.begin_again(own, &observed);
    }

    /// What is held now is known from elsewhere than the events before.
    pub(super) fn restore_pools(&mut self) {
        let Some(pools) = &mut self.pools else { return };
        let holdings = self.ledger.holdings();
        for settings in holdings.all_settings() {
            pools.name(settings.netns, &settings.names, holdings);
        }
        pools.count(holdings);
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
    pub(super) fn name_pools(&mut self, netns: u32, is_there: bool) {
        let Some(pools) = &mut self.pools else { return };
        let holdings = self.ledger.holdings();
        match holdings.settings_of(netns).filter(|_| is_there) {
            Some(settings) => pools.name(netns, &settings.names, holdings),
            None => pools.forget(netns),
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
