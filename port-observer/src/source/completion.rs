//! What the tracepoint backend can't see, found by socket diagnostics once a second: the end of
//! TIME_WAIT, UDP ports that were taken without bind(), and their end where no program tells it.

mod udp;

use std::collections::HashSet;

use foldhash::{HashMap, HashMapExt as _};

use crate::{
    event::{
        Event, Existing, Flow, Kind, Protocol, Reason, SocketEvent, SocketId, TIME_WAIT_NS, Task,
        TcpState,
    },
    kernel::{
        diag::{DiagSocket, Request, States, dump, for_each},
        netns::Namespace,
    },
};

pub use self::udp::UdpHolder;
use self::udp::{Listed, UdpPorts};

/// How often TIME_WAIT entries are listed before the list is taken as it is.
const ATTEMPTS: usize = 3;

/// Compares what is known with what the kernel lists.
#[derive(Debug, Default)]
pub struct Completion {
    /// TIME_WAIT entries that the peer's FIN has not come for, and since when.
    awaiting: HashMap<Flow, u64>,
    udp: UdpPorts,
}

/// What to list.
#[derive(Clone, Copy, Debug)]
pub struct Lists {
    /// TCP's TIME_WAIT entries, of which there are about so many; 0: not at all.
    pub time_waits: usize,
    /// UDP sockets.
    pub udp: bool,
}

/// One look at the kernel's lists.
pub struct Round {
    /// When, nanoseconds since boot: before the look.
    pub time_ns: u64,
    /// The namespaces that were looked at.
    pub namespaces: HashSet<u32>,
    /// 4-tuples in TIME_WAIT, and whether the peer's FIN is still awaited, if they were looked at.
    pub time_waits: Option<HashMap<Flow, bool>>,
    /// UDP sockets with a port, if they were looked at.
    pub udp: Option<Vec<DiagSocket>>,
}

impl Round {
    /// Lists what the namespaces hold.
    pub fn look<'a>(
        time_ns: u64,
        namespaces: impl Iterator<Item = &'a Namespace>,
        lists: Lists,
    ) -> Self {
        let mut round = Self {
            time_ns,
            namespaces: HashSet::new(),
            time_waits: (lists.time_waits > 0).then(|| HashMap::with_capacity(lists.time_waits)),
            udp: lists.udp.then(Vec::new),
        };
        for namespace in namespaces {
            if let Err(error) = round.add(namespace) {
                log::debug!("namespace {} is left out of this round: {error:#}", namespace.inode);
            }
        }
        round
    }

    fn listed(&self) -> Option<Listed<'_>> {
        let sockets = self.udp.as_deref()?;
        Some(Listed { time_ns: self.time_ns, namespaces: &self.namespaces, sockets })
    }

    fn add(&mut self, namespace: &Namespace) -> anyhow::Result<()> {
        if let Some(time_waits) = &mut self.time_waits {
            namespace.run(|| add_time_waits(time_waits))?;
        }
        if let Some(udp) = &mut self.udp {
            let request =
                Request { protocols: vec![Protocol::Udp], states: States::ALL, ports: None };
            udp.extend(namespace.run(|| dump(&request))?.sockets);
        }
        self.namespaces.insert(namespace.inode);
        Ok(())
    }
}

/// There may be very many, so no other list is made of them.
fn add_time_waits(time_waits: &mut HashMap<Flow, bool>) -> anyhow::Result<()> {
    let states = States::of(&[TcpState::TIME_WAIT, TcpState::FIN_WAIT2]);
    let request = Request { protocols: vec![Protocol::Tcp], states, ports: None };
    let mut add = |socket: DiagSocket| {
        if socket.time_wait {
            time_waits.insert(socket.flow, socket.state == TcpState::FIN_WAIT2);
        }
    };
    for _ in 0..ATTEMPTS {
        match for_each(&request, &mut add) {
            // It changed under the kernel's hands: what any of the walks shows is there.
            Ok(summary) if summary.interrupted => {}
            Ok(_) => return Ok(()),
            Err(_) => {
                // Without netlink, /proc/net.
                dump(&request)?.sockets.into_iter().for_each(add);
                return Ok(());
            }
        }
    }
    Ok(())
}

impl Completion {
    /// Takes note of an event on its way to the ledger. The end of a port that only diagnostics
    /// showed is made the end of what was told of it.
    pub fn pass(&mut self, event: &mut Event) {
        let Event::Socket(event) = event else { return };
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
    #[must_use]
    pub fn pass_existing(
        &mut self,
        existing: &mut Existing,
        holders: impl Iterator<Item = UdpHolder>,
    ) -> bool {
        if existing.state == TcpState::TIME_WAIT {
            existing.socket = None;
            if existing.reuse.is_some_and(|reuse| reuse.fin_wait2) {
                self.awaiting.insert(existing.flow, existing.time_ns);
            }
        }
        existing.flow.protocol != Protocol::Udp || self.udp.pass_existing(existing, holders)
    }

    /// What a round shows beyond what is in the ledger: TIME_WAIT entries, with the time of their
    /// begin, and the holders of UDP ports. `owners` finds the processes that have sockets open, by inode number.
    pub fn compare(
        &mut self,
        round: &Round,
        time_waits: impl Iterator<Item = (Flow, u64)>,
        holders: &[UdpHolder],
        owners: impl FnOnce(&HashSet<u32>) -> HashMap<u32, Task>,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        let time_ns = round.time_ns;
        let mut tell = |socket, flow, kind| {
            events.push(Event::Socket(SocketEvent { time_ns, socket, flow, kind }));
        };
        if let Some(listed) = &round.time_waits {
            self.compare_time_waits(round, listed, time_waits, &mut tell);
        }
        if let Some(listed) = round.listed() {
            self.udp.compare(&listed, holders, owners, tell);
        }
        events
    }

    fn compare_time_waits(
        &mut self,
        round: &Round,
        listed: &HashMap<Flow, bool>,
        time_waits: impl Iterator<Item = (Flow, u64)>,
        mut tell: impl FnMut(SocketId, Flow, Kind),
    ) {
        let time_ns = round.time_ns;
        for (flow, since_ns) in time_waits {
            let is_listed = listed.contains_key(&flow) || since_ns >= time_ns;
            let age_ns = time_ns.saturating_sub(since_ns);
            // A namespace that can't be looked into, or is gone: the entry has ended by itself.
            let is_over = !round.namespaces.contains(&flow.netns) && age_ns > 2 * TIME_WAIT_NS;
            if is_over || (round.namespaces.contains(&flow.netns) && !is_listed) {
                let expired = age_ns >= TIME_WAIT_NS && !is_over;
                let reason = if expired { Reason::TimeWaitExpired } else { Reason::Reconciled };
                // Its own identity is not known: the 4-tuple names it.
                tell(SocketId(0), flow, Kind::Release { reason });
            }
        }
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
