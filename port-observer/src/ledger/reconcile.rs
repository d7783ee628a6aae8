//! What was told against what is listed.
//!
//! Where a backend can't see everything (the end of TIME_WAIT, UDP ports that were taken without
//! bind(), their end), its source lists that once a second, and what happened is concluded here.

mod missed;
mod udp;

use foldhash::{HashMap, HashSet};

use self::udp::{Listed, UdpPorts};
pub(super) use self::{missed::Missed, udp::UdpHolder};
use super::{Holding, Holdings, Ledger};
use crate::event::{
    Ask, Event, Existing, Flow, Kind, Listing, Protocol, Reason, SocketEvent, SocketId,
    TIME_WAIT_NS, TcpState,
};

/// Something that a listing shows to have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concluded {
    /// What. Its task is not known.
    pub event: Event,
    /// The inode number of the socket whose openers tell who it was, 0: none.
    pub inode: u32,
}

impl Ledger {
    /// What is to be known of the kernel now (`CLOCK_BOOTTIME`), if anything.
    pub fn ask(&mut self, now_ns: u64) -> Option<Ask> {
        if self.reconcile.is_some() {
            // Where lists complete what is told, not every end is told.
            return Some(Ask::Lists { time_waits: self.holdings.time_waits().len() });
        }
        let missed = self.missed.count(self.unseen_ends, &self.holdings, now_ns);
        (missed > 0).then_some(Ask::Scan { missed })
    }

    /// Makes of an event what it is, given what listings have shown. Returns `false` for what the next
    /// listing is to tell.
    #[must_use]
    pub fn correct(&mut self, event: &mut Event) -> bool {
        let Some(reconcile) = &mut self.reconcile else { return true };
        match event {
            Event::Socket(event) => {
                reconcile.pass(event);
                // A list was to show its bind, and it was too short for one: of that, no end is told.
                let is_end = matches!(event.kind, Kind::Release { .. });
                let is_udp = event.flow.protocol == Protocol::Udp;
                !(is_end && is_udp) || self.holdings.find(event.socket).is_some()
            }
            Event::Existing(existing) => {
                let flow = existing.flow;
                let holders = self.holdings.on_port(&flow).map(|(_, holding)| udp_holder(holding));
                reconcile.pass_existing(existing, holders)
            }
            Event::Namespace(settings) => {
                reconcile.gone.remove(&settings.netns);
                true
            }
            Event::NamespaceGone(netns) => {
                reconcile.gone.insert(*netns);
                true
            }
            Event::Exec(_)
            | Event::Fork(_)
            | Event::ScanBegins
            | Event::ScanEnded { .. }
            | Event::Listing(_)
            | Event::Lost { .. } => true,
        }
    }

    /// What a listing shows to have happened since the one before it.
    pub fn conclude(&mut self, listing: &Listing) -> Vec<Concluded> {
        let mut concluded = Vec::new();
        if let Some(reconcile) = &mut self.reconcile {
            let udp: Vec<UdpHolder> = self.holdings.udp().map(udp_holder).collect();
            concluded = reconcile.compare(listing, self.holdings.time_waits(), &udp);
            for Concluded { event, .. } in &mut concluded {
                if let Event::Socket(SocketEvent { flow, kind: Kind::Release { reason }, .. }) =
                    event
                    && *reason == Reason::TimeWaitReset
                {
                    *reason = ended_early(&self.holdings, flow);
                }
            }
        }
        self.listed(listing, &mut concluded);
        self.found_on_port(listing, &mut concluded);
        concluded
    }
}

/// Why a TIME_WAIT entry that was listed is no more, before its time.
fn ended_early(holdings: &Holdings, flow: &Flow) -> Reason {
    let is_there = |(_, holding): (_, &Holding)| holding.flow() == *flow && holding.socket.0 != 0;
    let entry = holdings.find_flow(flow).map(|index| holdings.get(index));
    if holdings.on_port(flow).any(is_there) {
        Reason::TimeWaitReused
    } else if entry.is_some_and(|entry| entry.since_ns().is_none()) {
        // When it began is not known.
        Reason::Reconciled
    } else {
        Reason::TimeWaitReset
    }
}

/// What the ledger has of UDP, for comparison with the kernel's list.
fn udp_holder(holding: &Holding) -> UdpHolder {
    UdpHolder {
        socket: holding.socket,
        flow: holding.flow(),
        takes_ipv4: !holding.sharing.ipv6_only,
        since_ns: holding.since_ns(),
    }
}

/// Compares what is known with what the kernel lists.
#[derive(Debug, Default)]
pub(super) struct Reconcile {
    /// TIME_WAIT entries that the peer's FIN has not come for, and since when.
    awaiting: HashMap<Flow, u64>,
    /// When the TIME_WAIT entries of a namespace were last listed.
    listed_ns: HashMap<u32, u64>,
    /// Namespaces that are gone, and everything in them with them, until another has the number.
    gone: HashSet<u32>,
    udp: UdpPorts,
}

impl Reconcile {
    /// Takes note of an event on its way to the ledger. The end of a port that only diagnostics
    /// showed is made the end of what was told of it.
    fn pass(&mut self, event: &mut SocketEvent) {
        if let Kind::TimeWait { reuse, .. } = &event.kind
            && reuse.fin_wait2
        {
            self.awaiting.insert(event.flow, event.time_ns);
        }
        if event.flow.protocol == Protocol::Udp {
            self.udp.pass(event);
        }
    }

    /// Takes note of what a scan found, on its way to the ledger, which knows a TIME_WAIT entry by
    /// its 4-tuple and what only diagnostics showed by another identity. Returns `false` for what the
    /// next comparison is to tell as taken: a UDP port that was not there when observing began, and
    /// that none of the `holders` of the same number has.
    fn pass_existing(
        &mut self,
        existing: &mut Existing,
        holders: impl Iterator<Item = UdpHolder>,
    ) -> bool {
        if existing.state == TcpState::TIME_WAIT
            && existing.reuse.is_some_and(|reuse| reuse.fin_wait2)
        {
            self.awaiting.insert(existing.flow, existing.time_ns);
        }
        existing.flow.protocol != Protocol::Udp || self.udp.pass_existing(existing, holders)
    }

    /// What a listing shows beyond what is in the ledger: TIME_WAIT entries, with the time of their
    /// begin, and the holders of UDP ports.
    fn compare(
        &mut self,
        round: &Listing,
        time_waits: impl Iterator<Item = (Flow, u64)>,
        holders: &[UdpHolder],
    ) -> Vec<Concluded> {
        let mut concluded = Vec::new();
        let time_ns = round.time_ns;
        let mut tell = |socket, flow, kind, inode| {
            let event = Event::Socket(SocketEvent { time_ns, socket, flow, kind });
            concluded.push(Concluded { event, inode });
        };
        if let Some(listed) = &round.time_waits {
            let tell = |socket, flow, kind| tell(socket, flow, kind, 0);
            self.compare_time_waits(round, listed, time_waits, tell);
        }
        if let Some(sockets) = &round.udp {
            let mut namespaces = round.namespaces.clone();
            namespaces.extend(&self.gone);
            let listed = Listed { time_ns, namespaces: &namespaces, sockets };
            self.udp.compare(&listed, holders, tell);
        }
        concluded
    }

    fn compare_time_waits(
        &mut self,
        round: &Listing,
        listed: &HashMap<Flow, bool>,
        time_waits: impl Iterator<Item = (Flow, u64)>,
        mut tell: impl FnMut(SocketId, Flow, Kind),
    ) {
        let time_ns = round.time_ns;
        for (flow, since_ns) in time_waits {
            let is_listed = listed.contains_key(&flow) || since_ns >= time_ns;
            let age_ns = time_ns.saturating_sub(since_ns);
            // A namespace that is gone took the entry along; where it can't be looked into, the entry
            // has ended by itself.
            let is_over = !round.namespaces.contains(&flow.netns)
                && since_ns < time_ns
                && (self.gone.contains(&flow.netns) || age_ns > 2 * TIME_WAIT_NS);
            if is_over || (round.namespaces.contains(&flow.netns) && !is_listed) {
                let expired = age_ns >= TIME_WAIT_NS && !is_over;
                // One that was never listed may never have been, and how long FIN_WAIT2 lasts is a setting.
                let was_listed =
                    self.listed_ns.get(&flow.netns).is_some_and(|last_ns| since_ns < *last_ns);
                let reason = if expired {
                    Reason::TimeWaitExpired
                } else if is_over || !was_listed || self.awaiting.contains_key(&flow) {
                    Reason::Reconciled
                } else {
                    Reason::TimeWaitReset
                };
                // Its own identity is not known: the 4-tuple names it.
                tell(SocketId(0), flow, Kind::Release { reason });
            }
        }
        self.listed_ns.retain(|netns, _| round.namespaces.contains(netns));
        self.listed_ns.extend(round.namespaces.iter().map(|netns| (*netns, time_ns)));
        self.awaiting.retain(|flow, since_ns| match listed.get(flow) {
            Some(true) => true,
            Some(false) => {
                tell(SocketId(0), *flow, Kind::FinReceived);
                false
            }
            None => *since_ns >= time_ns,
        });
    }
}

#[cfg(test)]
mod tests;
