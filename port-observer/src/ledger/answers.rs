//! What is to be known of the kernel when an answer is due, and is not worth an event for each change:
//! the states of connections, and what is on a port.

use foldhash::HashMap;

use super::{Concluded, Holds, Ledger};
use crate::{
    event::{Ask, Event, Flow, Kind, Listing, Protocol, Repeated, SocketEvent, SocketId, TcpState},
    process::Caller,
};

/// How often the connections of a namespace are listed at most.
const PACE_NS: u64 = 1_000_000_000;

/// So many ports are remembered with what was on them.
const PORTS: usize = 128;

/// A port of a namespace.
type PortKey = (u32, Protocol, u16);

/// Something that was on a port.
#[derive(Clone, Debug)]
pub(super) struct OnPort {
    pub(super) flow: Flow,
    pub(super) state: TcpState,
    /// It can be open in processes, and is in none.
    pub(super) is_nobodys: bool,
    /// Who has it open.
    pub(super) caller: Option<Caller>,
}

/// What was asked for, and what of it is not kept elsewhere.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// When the sockets of a namespace were last asked for.
    states: HashMap<(u32, Protocol), u64>,
    /// When they were last looked at without an answer to give.
    looked: HashMap<u32, u64>,
    /// When a port was last asked for, and what was on it.
    ports: HashMap<PortKey, (u64, Vec<OnPort>)>,
}

impl Answers {
    pub(super) fn forget(&mut self, netns: u32) {
        self.states.retain(|(of, _), _| *of != netns);
        self.looked.remove(&netns);
        self.ports.retain(|key, _| key.0 != netns);
    }

    /// This is on its port at that time.
    pub(super) fn found(&mut self, time_ns: u64, one: OnPort) {
        let (at_ns, found) = self.at(key(&one.flow));
        if *at_ns != time_ns {
            found.clear();
            *at_ns = time_ns;
        }
        found.push(one);
    }

    /// What is on the port of a flow, if that was looked at within the last second.
    pub(super) fn on_port(&self, time_ns: u64, flow: &Flow) -> &[OnPort] {
        let found = self.ports.get(&key(flow)).filter(|(at_ns, _)| !is_due(*at_ns, time_ns));
        found.map_or(&[], |(_, found)| found)
    }

    fn at(&mut self, key: PortKey) -> &mut (u64, Vec<OnPort>) {
        if self.ports.len() >= PORTS && !self.ports.contains_key(&key) {
            self.ports.clear();
        }
        self.ports.entry(key).or_default()
    }
}

fn key(flow: &Flow) -> PortKey {
    (flow.netns, flow.protocol, flow.local.port)
}

/// Whether something may be asked for again.
fn is_due(last_ns: u64, now_ns: u64) -> bool {
    last_ns == 0 || now_ns >= last_ns.saturating_add(PACE_NS)
}

impl Ledger {
    /// What is to be listed before this event is taken in, which an answer is given to.
    pub fn needs(&mut self, event: &Event) -> Option<Ask> {
        let Event::Socket(SocketEvent { time_ns, flow, kind, .. }) = event else { return None };
        let (Kind::Exhausted { repeated, .. } | Kind::Conflict { repeated, .. }) = kind else {
            return None;
        };
        // What was counted is of the past, and answered as it was then.
        if *repeated != Repeated::default() {
            return None;
        }
        let (netns, protocol, time_ns) = (flow.netns, flow.protocol, *time_ns);
        if let Kind::Conflict { .. } = kind {
            let (last_ns, found) = self.answers.at(key(flow));
            if flow.local.port == 0 || !is_due(*last_ns, time_ns) {
                return None;
            }
            *last_ns = time_ns;
            found.clear();
            return Some(Ask::Port { netns, protocol, port: flow.local.port, time_ns });
        }
        let last_ns = self.answers.states.entry((netns, protocol)).or_default();
        if !is_due(*last_ns, time_ns) {
            return None;
        }
        *last_ns = time_ns;
        Some(Ask::States { netns, protocol, time_ns })
    }

    /// What is to be listed so that the states that summaries show are not old: the namespace with
    /// connections that was looked at longest ago, if that is a second ago.
    pub fn stalest(&mut self, now_ns: u64) -> Option<Ask> {
        let looked = &self.answers.looked;
        let last_ns = |netns: &u32| looked.get(netns).copied().unwrap_or_default();
        let namespaces = self.holdings.namespaces.iter();
        let with_some = namespaces.filter(|(_, one)| !one.tcp.buckets.is_empty());
        let netns = with_some.map(|(netns, _)| *netns).min_by_key(last_ns)?;
        if !is_due(last_ns(&netns), now_ns) {
            return None;
        }
        self.answers.looked.insert(netns, now_ns);
        Some(Ask::States { netns, protocol: Protocol::Tcp, time_ns: now_ns })
    }

    /// What was listed on a port, for the call that is refused it.
    pub(super) fn found_on_port(&self, listing: &Listing, out: &mut Vec<Concluded>) {
        for one in listing.on_port.iter().flatten() {
            let is_nobodys = one.inode != 0;
            let kind = Kind::InTheWay { state: one.state, is_nobodys, task: None };
            let (time_ns, socket) = (listing.time_ns, SocketId(0));
            let event = Event::Socket(SocketEvent { time_ns, socket, flow: one.flow, kind });
            out.push(Concluded { event, inode: one.inode });
        }
    }

    /// The sockets that were listed, with their states; those that are as they were known are to be left
    /// out once it is known who has them open, see [`Self::is_news`].
    pub(super) fn listed(&self, listing: &Listing, out: &mut Vec<Concluded>) {
        let Some((protocol, sockets)) = &listing.sockets else { return };
        for netns in &listing.namespaces {
            for holding in self.holdings.on_ports(*netns, *protocol) {
                if holding.holds == Holds::TimeWait || holding.socket == SocketId(0) {
                    continue;
                }
                let flow = holding.flow();
                let found = sockets.get(&flow);
                let state = match holding.holds {
                    Holds::Connected if *protocol == Protocol::Tcp => {
                        found.map_or(TcpState::ESTABLISHED, |found| found.state)
                    }
                    _ => holding.connection,
                };
                let inode = found.map_or(0, |found| found.inode);
                if inode != 0 || state != holding.connection {
                    let time_ns = listing.time_ns;
                    let (socket, kind) = (holding.socket, Kind::Listed { state, task: None });
                    let event = Event::Socket(SocketEvent { time_ns, socket, flow, kind });
                    out.push(Concluded { event, inode });
                }
            }
        }
    }

    /// Whether an event says something that is not known: that of a socket that was listed may not.
    /// `opener`: who has it open, if that was found.
    pub fn is_news(&self, event: &Event, opener: Option<&Caller>) -> bool {
        let Event::Socket(SocketEvent { socket, kind: Kind::Listed { state, .. }, .. }) = event
        else {
            return true;
        };
        self.holdings.find(*socket).is_some_and(|index| {
            let holding = self.holdings.get(index);
            let is_other = |opener: &Caller| {
                let known = self.holdings.open_in(holding).or(holding.process());
                !known.is_some_and(|known| known.is(&opener.process))
            };
            holding.connection != *state || opener.is_some_and(is_other)
        })
    }
}

#[cfg(test)]
mod tests;
