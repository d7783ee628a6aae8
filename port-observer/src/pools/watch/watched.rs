//! One pool that is watched: where it is, and which of its ports are held.

use std::{net::IpAddr, sync::Arc};

use foldhash::{HashMap, HashSet};

use super::super::{Holder, Parity, Pool};
use crate::{
    event::Protocol,
    ledger::{HeldBucket, History, Holdings},
    report::{Level, PoolHolder, PoolUse},
};

/// Sockets on one port that are looked at for one on the pool's address; with more, one is taken to be.
const MOST_SOCKETS: usize = 1_024;
/// Holders of a pool that are told.
const MOST_HOLDERS: usize = 10;

/// A pool that is watched.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) pool: Pool,
    pub(super) name: Arc<str>,
    range: Arc<str>,
    /// The address that it is on; `None`: any.
    address: Option<IpAddr>,
    /// The namespace that the observer is in, if that is known.
    own: Option<u32>,
    /// Those where what happens is seen; none: all.
    seen: Vec<u32>,
    netns: Option<u32>,
    /// Its ports that somebody holds.
    used: HashSet<u16>,
    usable: u32,
    /// How many a unit can still have.
    free: u32,
    history: History,
    /// What was told last of how full it is.
    pub(super) level: Level,
    /// Calls for its ports that were refused while it was full.
    pub(super) refused: u64,
}

impl Watched {
    pub(super) fn new(pool: Pool, own: Option<u32>, seen: &[u32]) -> Self {
        let usable = pool.parity.usable(&pool.ports);
        let address = pool.address.as_ref().and_then(|address| address.parse().ok());
        Self {
            name: pool.name.as_str().into(),
            range: pool.shown().into(),
            address: address.map(|a: IpAddr| a.to_canonical()).filter(|a| !a.is_unspecified()),
            own,
            netns: own.filter(|own| !pool.is_elsewhere() && is_seen(seen, *own)),
            seen: seen.to_vec(),
            used: HashSet::default(),
            usable,
            free: usable,
            history: History::default(),
            level: Level::Ok,
            refused: 0,
            pool,
        }
    }

    /// Nothing that is known is called as the pool's namespace or container is.
    pub(super) fn is_lost(&self) -> bool {
        self.netns.is_none()
    }

    /// Whether it is in this network namespace.
    pub(super) fn is_there(&self, netns: u32) -> bool {
        self.netns == Some(netns)
    }

    /// Whether the pool is in a network namespace with these names.
    pub(super) fn is_in(&self, netns: u32, names: &[String]) -> bool {
        if let Some(name) = &self.pool.netns {
            return names.contains(name) || name.parse() == Ok(netns);
        }
        let is_short =
            |container: &str, name: &str| container.len() >= 12 && name.starts_with(container);
        self.pool.container.as_deref().is_some_and(|container| {
            Some(netns) != self.own
                && names.iter().any(|name| name == container || is_short(container, name))
        })
    }

    /// It is in this network namespace from now on.
    pub(super) fn enter(&mut self, netns: u32, holdings: &Holdings) {
        if self.netns != Some(netns) && is_seen(&self.seen, netns) {
            self.netns = Some(netns);
            self.count(holdings);
        }
    }

    /// This network namespace is gone.
    pub(super) fn leave(&mut self, netns: u32) {
        if self.netns == Some(netns) && self.netns != self.own {
            self.netns = None;
            self.used.clear();
            self.free = self.usable;
        }
    }

    /// Whether a port there is one of the pool's.
    pub(super) fn has(&self, netns: u32, protocol: Protocol, port: u16) -> bool {
        self.netns == Some(netns)
            && self.pool.protocols().has(protocol)
            && self.pool.ports.contains(port)
    }

    /// Whether whatever automatic choice gives there is of the pool.
    pub(super) fn is_all_of(&self, netns: u32, protocol: Protocol, holdings: &Holdings) -> bool {
        let is_all = |ports: &crate::ports::Ports| {
            let range = ports.ephemeral;
            let in_pool = |port: u16| !ports.offers(port) || self.pool.ports.contains(port);
            (range.min..=range.max).all(in_pool)
        };
        self.netns == Some(netns)
            && self.pool.protocols().has(protocol)
            && holdings.settings_of(netns).is_some_and(|settings| is_all(&settings.ports))
    }

    /// Whether a process there is the pool's owner; `None`: whose it is was not said.
    pub(super) fn owner(&self, holder: &Holder, netns: u32) -> Option<bool> {
        self.pool.is_owned_by(Some(holder), self.is_containers_own(netns))
    }

    /// Whether a network namespace is the own one of the pool's container, where all are its.
    fn is_containers_own(&self, netns: u32) -> bool {
        self.pool.netns.is_none()
            && self.pool.container.is_some()
            && self.netns == Some(netns)
            && Some(netns) != self.own
    }

    /// Whether no unit has room any more.
    pub(super) fn is_full(&self) -> bool {
        !self.is_lost() && u64::from(self.free) < self.pool.ports_of_a_unit()
    }

    /// Counts anew what is held.
    pub(super) fn count(&mut self, holdings: &Holdings) {
        self.used.clear();
        self.free = self.usable;
        let ports: Vec<u16> =
            self.pool.ports.ranges().flat_map(|range| range.min..=range.max).collect();
        for port in ports {
            let is_used = self.is_held(port, holdings);
            self.set(port, is_used);
        }
    }

    /// Looks at a port; whether that changes something.
    pub(super) fn look_at(&mut self, now_ns: u64, port: u16, holdings: &Holdings) -> bool {
        let is_used = self.is_held(port, holdings);
        if is_used == self.used.contains(&port) {
            return false;
        }
        if self.history.is_due(now_ns) {
            self.history.sample(self.taken());
        }
        self.set(port, is_used);
        true
    }

    /// Looks at all that were held.
    pub(super) fn look_again(&mut self, now_ns: u64, holdings: &Holdings) {
        let gone: Vec<u16> =
            self.used.iter().copied().filter(|port| !self.is_held(*port, holdings)).collect();
        for port in gone {
            self.look_at(now_ns, port, holdings);
        }
    }

    /// As it is now.
    pub(super) fn at(&self, now_ns: u64) -> PoolUse {
        let (growth_per_second, soon) = self.history.outlook(now_ns, self.taken(), self.free);
        PoolUse {
            name: Arc::clone(&self.name),
            range: Arc::clone(&self.range),
            netns: self.netns,
            ports: self.pool.ports.count(),
            used: u32::try_from(self.used.len()).unwrap_or(u32::MAX),
            usable: self.usable,
            free: self.free,
            is_full: self.is_full(),
            growth_per_second,
            seconds_to_exhaustion: soon.filter(|_| !self.is_full()),
            refused: self.refused,
        }
    }

    /// Who has its ports, the largest first.
    pub(super) fn holders(&self, holdings: &Holdings) -> Vec<PoolHolder> {
        let Some(netns) = self.netns else { return Vec::new() };
        // By process, as far as it is known; the name of a thread makes no other one.
        let mut found: HashMap<Option<(u32, u64)>, PoolHolder> = HashMap::default();
        for port in &self.used {
            let mut on = self.buckets(*port, holdings).flat_map(|bucket| bucket.holders());
            let holder = on.find(|one| self.is_on(one.flow().local.address));
            let process = holder.and_then(|one| one.process());
            let key = process.map(|process| (process.pid, process.start_time_ns));
            let of = found.entry(key).or_insert_with(|| {
                let holder = process.map(|process| Holder::of(process));
                let is_own = self.pool.is_owned_by(holder.as_ref(), self.is_containers_own(netns));
                let is_stranger = is_own.map(|is_own| !is_own);
                PoolHolder { process: process.cloned(), ports: 0, is_stranger }
            });
            of.ports += 1;
        }
        let mut holders: Vec<PoolHolder> = found.into_values().collect();
        let pid = |holder: &PoolHolder| holder.process.as_ref().map(|process| process.pid);
        holders.sort_by_key(|holder| (std::cmp::Reverse(holder.ports), pid(holder)));
        holders.truncate(MOST_HOLDERS);
        holders
    }

    /// How many of those that units can have they can't any more.
    fn taken(&self) -> u32 {
        self.usable - self.free
    }

    fn set(&mut self, port: u16, is_used: bool) {
        let before = self.free_at(port);
        if is_used {
            self.used.insert(port);
        } else {
            self.used.remove(&port);
        }
        self.free = self.free + self.free_at(port) - before;
    }

    /// How many a unit can have of this port, or of the pair that it is of.
    fn free_at(&self, port: u16) -> u32 {
        let is_free = |port: u16| self.pool.ports.contains(port) && !self.used.contains(&port);
        match self.pool.parity {
            Parity::Any => u32::from(is_free(port)),
            Parity::Even => u32::from(port.is_multiple_of(2) && is_free(port)),
            Parity::Pair => 2 * u32::from(is_free(port & !1) && is_free(port | 1)),
        }
    }

    fn is_held(&self, port: u16, holdings: &Holdings) -> bool {
        self.buckets(port, holdings).any(|bucket| {
            let mut addresses = bucket.holders().map(|holding| holding.flow().local.address);
            let is_on = |address: IpAddr| self.is_on(address);
            self.address.is_none()
                || addresses.by_ref().take(MOST_SOCKETS).any(is_on)
                || addresses.next().is_some()
        })
    }

    /// Who is on one of its ports, by protocol.
    fn buckets<'a>(
        &self,
        port: u16,
        holdings: &'a Holdings,
    ) -> impl Iterator<Item = HeldBucket<'a>> + use<'a> {
        let (netns, protocols) = (self.netns, self.pool.protocols());
        [Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .filter(move |protocol| protocols.has(*protocol))
            .filter_map(move |protocol| holdings.held_bucket(netns?, protocol, port))
    }

    /// Whether a socket on this address is in the way of the pool.
    fn is_on(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.address.is_none_or(|own| own == address) || address.is_unspecified()
    }
}

fn is_seen(seen: &[u32], netns: u32) -> bool {
    seen.is_empty() || seen.contains(&netns)
}
