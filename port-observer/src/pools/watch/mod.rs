//! Pools as events happen: how full they are by the ledger, who takes their ports, and what their owners
//! take elsewhere.

mod repeats;
#[cfg(test)]
mod tests;
mod watched;

use std::sync::Arc;

use self::{
    repeats::{Kind, Repeats},
    watched::Watched,
};
use super::{Holder, Pool};
use crate::{
    event::{Protocol, TcpState, Via},
    ledger::Holdings,
    report::{Body, Level, PoolEvent, PoolLook, PoolReport, PoolUse, Port, Report, Thresholds},
};

/// The pools that are watched.
#[derive(Debug)]
pub struct Watch {
    pools: Vec<Watched>,
    thresholds: Thresholds,
    repeats: Repeats,
    /// All that was held before is known, and how full the pools are was told.
    has_begun: bool,
}

/// A port that was taken.
struct Take<'a> {
    time_ns: u64,
    port: &'a Port,
    /// `None`: it was held when observing began.
    via: Option<Via>,
    /// The kernel chose it.
    is_chosen: bool,
    /// Somebody wants it to be that one: to listen on, or as the source of what is sent.
    is_meant: bool,
}

impl Watch {
    /// Of these pools, by an observer that is in the network namespace `own` and sees what happens in those
    /// of `seen`; none: in all. Which have which names, [`Watch::name`] is told. `own` may be unknown: pools
    /// that are in it are nowhere.
    pub fn new(pools: Vec<Pool>, own: Option<u32>, seen: &[u32], thresholds: Thresholds) -> Self {
        Self {
            pools: pools.into_iter().map(|pool| Watched::new(pool, own, seen)).collect(),
            thresholds,
            repeats: Repeats::default(),
            has_begun: false,
        }
    }

    /// Another observer begins, and nothing is known yet of what is held; as for [`Watch::new`].
    pub fn begin_again(&mut self, own: Option<u32>, seen: &[u32]) {
        let pools = std::mem::take(&mut self.pools).into_iter().map(|watched| watched.pool);
        *self = Self::new(pools.collect(), own, seen, self.thresholds);
    }

    /// Whether there is one in the network namespace of the observer, wherever that is.
    pub fn has_own(&self) -> bool {
        self.pools.iter().any(|watched| !watched.pool.is_elsewhere())
    }

    /// Counts anew what is held of them.
    pub fn count(&mut self, holdings: &Holdings) {
        self.pools.iter_mut().for_each(|watched| watched.count(holdings));
    }

    /// A network namespace has these names from now on.
    pub fn name(&mut self, netns: u32, names: &[String], holdings: &Holdings) {
        for watched in self.pools.iter_mut().filter(|watched| watched.is_in(netns, names)) {
            watched.enter(netns, holdings);
        }
    }

    /// A network namespace is gone.
    pub fn forget(&mut self, netns: u32) {
        self.pools.iter_mut().for_each(|watched| watched.leave(netns));
    }

    /// How full they are. `now_ns`: since boot.
    pub fn uses(&self, now_ns: u64) -> Vec<PoolUse> {
        self.pools.iter().map(|watched| watched.at(now_ns)).collect()
    }

    /// The same, and who has their ports.
    pub fn looks(&self, now_ns: u64, holdings: &Holdings) -> Vec<PoolLook> {
        let look = |watched: &Watched| PoolLook {
            pool: watched.at(now_ns),
            holders: watched.holders(holdings),
        };
        self.pools.iter().map(look).collect()
    }

    /// Takes in a line that was told, and adds what it means for pools. `holdings` are those after it.
    pub fn take_in(&mut self, report: &Report, holdings: &Holdings, out: &mut Vec<Report>) {
        let time_ns = report.time_ns;
        match &report.body {
            Body::Acquire { port, via, requested_port, .. } => {
                let is_chosen = match via {
                    Via::Bind => *requested_port == Some(0),
                    // Where none is known, none was asked for.
                    Via::Connect | Via::Autobind | Via::Listen => {
                        requested_port.is_none_or(|asked| asked == 0)
                    }
                };
                let is_meant = !is_chosen;
                let take = Take { time_ns, port, via: Some(*via), is_chosen, is_meant };
                self.meet(port, holdings);
                self.touch(time_ns, port, holdings, out);
                self.taken(&take, out);
            }
            Body::Existing { port, state } => {
                self.meet(port, holdings);
                self.touch(time_ns, port, holdings, out);
                let is_offered = port.local.is_some_and(|local| {
                    let settings = holdings.settings_of(port.netns);
                    settings.is_none_or(|settings| settings.ports.offers(local.port))
                });
                let is_served = match port.protocol {
                    Protocol::Tcp => *state == TcpState::LISTEN,
                    Protocol::Udp => port.remote.is_none(),
                };
                let is_meant = is_served && !is_offered;
                self.taken(&Take { time_ns, port, via: None, is_chosen: false, is_meant }, out);
            }
            Body::Release { port, .. } | Body::TimeWait { port } => {
                self.touch(time_ns, port, holdings, out);
            }
            Body::Exhausted { port, via, errno, repeated, .. }
            | Body::Conflict { port, via, errno, repeated, .. } => {
                self.refused(time_ns, port, (*via, *errno), *repeated, holdings, out);
            }
            _ => {}
        }
    }

    /// What is due about once a second, once all that is held is known.
    pub fn tick(&mut self, now_ns: u64, holdings: &Holdings, out: &mut Vec<Report>) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.count(holdings);
            for at in 0..self.pools.len() {
                self.cross(now_ns, at, true, out);
                if self.pools[at].is_full() {
                    self.full(now_ns, at, None, 0, holdings, out);
                }
            }
            return;
        }
        for at in 0..self.pools.len() {
            // A listener's children may keep its port when it is gone, and no line tells when they end.
            self.pools[at].look_again(now_ns, holdings);
            self.cross(now_ns, at, false, out);
        }
        self.repeats.due(now_ns, out);
    }

    /// A container's network namespace is where its processes are.
    fn meet(&mut self, port: &Port, holdings: &Holdings) {
        let Some(caller) = &port.caller else { return };
        if caller.process.container.is_none() {
            return;
        }
        let lost = |watched: &&mut Watched| watched.is_lost() && watched.pool.container.is_some();
        for watched in self.pools.iter_mut().filter(lost) {
            if Holder::of(&caller.process).is_in_container(&watched.pool) {
                watched.enter(port.netns, holdings);
            }
        }
    }

    /// Looks at a port again, which may be held or free by now.
    fn touch(&mut self, time_ns: u64, port: &Port, holdings: &Holdings, out: &mut Vec<Report>) {
        let Some(local) = port.local else { return };
        for at in 0..self.pools.len() {
            let watched = &mut self.pools[at];
            if !watched.has(port.netns, port.protocol, local.port) {
                continue;
            }
            let was_full = watched.is_full();
            let has_changed = watched.look_at(time_ns, local.port, holdings);
            if has_changed && self.has_begun {
                self.cross(time_ns, at, false, out);
                if !was_full && self.pools[at].is_full() {
                    self.full(time_ns, at, Some((port, None)), 0, holdings, out);
                }
            }
        }
    }

    /// Tells if a pool has crossed a threshold, or where it is now.
    fn cross(&mut self, time_ns: u64, at: usize, is_first: bool, out: &mut Vec<Report>) {
        let watched = &mut self.pools[at];
        let mut pool = watched.at(time_ns);
        let old = watched.level;
        // An empty one is full, whatever is said of it.
        let level = match watched.is_lost() {
            true => Level::Ok,
            false => self.thresholds.level(pool.used_percent(), old),
        };
        if level == old && !is_first {
            return;
        }
        watched.level = level;
        if level < old {
            // It has just become less, whatever the last minute was like.
            pool.seconds_to_exhaustion = None;
        }
        out.push(told(time_ns, pool, PoolEvent::Threshold { level }));
    }

    /// No unit has room any more. `by`: who took the last port, or with the call was refused one; `more`: for how
    /// many more such calls that stands.
    fn full(
        &mut self,
        time_ns: u64,
        at: usize,
        by: Option<(&Port, Option<(Via, i32)>)>,
        more: u64,
        holdings: &Holdings,
        out: &mut Vec<Report>,
    ) {
        let (port, refused) = by.unzip();
        let watched = &self.pools[at];
        let pid = port.and_then(Port::pid);
        let make = |repeated| {
            let event = PoolEvent::Exhausted {
                port: port.cloned(),
                refused: refused.flatten(),
                holders: watched.holders(holdings),
                repeated,
            };
            PoolReport { pool: watched.at(time_ns), event }
        };
        self.repeats.tell(time_ns, (at, Kind::Exhausted, pid), more, make, out);
    }

    /// A call for a port was refused: of a pool that is full, that is why.
    fn refused(
        &mut self,
        time_ns: u64,
        port: &Port,
        call: (Via, i32),
        repeated: u64,
        holdings: &Holdings,
        out: &mut Vec<Report>,
    ) {
        let Some(local) = port.local else { return };
        for at in 0..self.pools.len() {
            let watched = &mut self.pools[at];
            let is_its_own = match local.port {
                0 => watched.is_all_of(port.netns, port.protocol, holdings),
                port_number => watched.has(port.netns, port.protocol, port_number),
            };
            if is_its_own && watched.is_full() {
                watched.refused = watched.refused.saturating_add(repeated).saturating_add(1);
                self.full(time_ns, at, Some((port, Some(call))), repeated, holdings, out);
            }
        }
    }

    /// Somebody has a port from now on: whose it is, and whether it is where its pools are.
    fn taken(&mut self, take: &Take<'_>, out: &mut Vec<Report>) {
        let Take { time_ns, port, via, is_chosen, is_meant } = *take;
        let (Some(local), Some(caller)) = (port.local, &port.caller) else { return };
        let has = |watched: &Watched| watched.has(port.netns, port.protocol, local.port);
        if !is_meant && !self.pools.iter().any(has) {
            return;
        }
        let holder = Holder::of(&caller.process);
        for (at, watched) in self.pools.iter().enumerate().filter(|(_, watched)| has(watched)) {
            let is_taken = match watched.owner(&holder, port.netns) {
                Some(is_own) => !is_own,
                // Whose it is was not said; the kernel's choice is nobody's wish.
                None => is_chosen,
            };
            if is_taken {
                let make = |repeated| {
                    let event = PoolEvent::Taken { port: port.clone(), via, is_chosen, repeated };
                    PoolReport { pool: watched.at(time_ns), event }
                };
                self.repeats.tell(time_ns, (at, Kind::Taken, port.pid()), 0, make, out);
            }
        }
        if !is_meant {
            return;
        }
        let is_of = |watched: &&Watched| {
            // A process of that name in another network namespace is another's.
            watched.is_there(port.netns)
                && watched.pool.protocols().has(port.protocol)
                && watched.owner(&holder, port.netns) == Some(true)
        };
        let Some(at) = self.pools.iter().position(|watched| is_of(&watched)) else { return };
        if self.pools.iter().filter(is_of).any(|own| own.pool.ports.contains(local.port)) {
            return;
        }
        let is_anothers = |watched: &&Watched| {
            watched.pool.protocols().has(port.protocol) && watched.pool.ports.contains(local.port)
        };
        let belongs_to = self.pools.iter().find(is_anothers).map(|other| Arc::clone(&other.name));
        let watched = &self.pools[at];
        // Whatever is in a container's namespace is its; its other ports are nobody's matter.
        if belongs_to.is_none() && !holder.owns(&watched.pool) {
            return;
        }
        let make = |repeated| {
            let (port, belongs_to) = (port.clone(), belongs_to.clone());
            let event = PoolEvent::WrongRange { port, via, belongs_to, repeated };
            PoolReport { pool: watched.at(time_ns), event }
        };
        self.repeats.tell(time_ns, (at, Kind::WrongRange, port.pid()), 0, make, out);
    }
}

fn told(time_ns: u64, pool: PoolUse, event: PoolEvent) -> Report {
    Report { time_ns, body: Body::Pool(Box::new(PoolReport { pool, event })) }
}
