//! What the tracepoint backend can't see, found by socket diagnostics once a second: the end of
//! TIME_WAIT, UDP ports that were taken without bind(), and their end where no program tells it.

use std::collections::HashSet;

use foldhash::{HashMap, HashMapExt as _};

use crate::{
    event::{
        Endpoint, Event, Existing, Flow, Kind, Protocol, Reason, Sharing, SocketEvent, SocketId,
        Task, TcpState, Via,
    },
    kernel::{
        diag::{DiagSocket, Request, States, dump, for_each},
        netns::Namespace,
    },
};

/// How often TIME_WAIT entries are listed before the list is taken as it is.
const ATTEMPTS: usize = 3;
/// How long the kernel keeps TIME_WAIT: `TCP_TIMEWAIT_LEN` (include/net/tcp.h), 60 s.
const TIME_WAIT_NS: u64 = 60_000_000_000;

/// How long after its end was told a socket may still be listed: `cgroup/sock_release` runs before the
/// kernel lets go of the port (`inet_release`, net/ipv4/af_inet.c).
const SETTLING_NS: u64 = 50_000_000;

/// A namespace and a UDP port. Without the address: connect() gives a wildcard socket one, and no
/// port that was taken without bind() overlaps with another.
type UdpPort = (u32, u16);

/// Compares what is known with what the kernel lists.
#[derive(Debug, Default)]
pub struct Completion {
    /// UDP ports that only diagnostics showed.
    found: HashMap<UdpPort, (SocketId, Endpoint)>,
    /// UDP ports were compared: what a scan finds from now on was taken since.
    has_begun: bool,
    /// TIME_WAIT entries that the peer's FIN has not come for, and since when.
    awaiting: HashMap<Flow, u64>,
    /// UDP ports that a program told of, and when last: a list may be older than that.
    touched: HashMap<UdpPort, u64>,
}

/// A UDP socket that is known to hold a port, and since when, if that is known.
pub type UdpHolder = (SocketId, Flow, Option<u64>);

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
    /// 4-tuples in TIME_WAIT, and whether the peer's FIN is still awaited.
    pub time_waits: HashMap<Flow, bool>,
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
            time_waits: HashMap::with_capacity(lists.time_waits),
            udp: lists.udp.then(Vec::new),
        };
        for namespace in namespaces {
            if let Err(error) = round.add(namespace, lists) {
                log::debug!("namespace {} is left out of this round: {error:#}", namespace.inode);
            }
        }
        round
    }

    fn add(&mut self, namespace: &Namespace, lists: Lists) -> anyhow::Result<()> {
        if lists.time_waits > 0 {
            namespace.run(|| self.add_time_waits())?;
        }
        if let Some(udp) = &mut self.udp {
            let request =
                Request { protocols: vec![Protocol::Udp], states: States::ALL, ports: None };
            udp.extend(namespace.run(|| dump(&request))?.sockets);
        }
        self.namespaces.insert(namespace.inode);
        Ok(())
    }

    /// There may be very many, so no other list is made of them.
    fn add_time_waits(&mut self) -> anyhow::Result<()> {
        let states = States::of(&[TcpState::TIME_WAIT, TcpState::FIN_WAIT2]);
        let request = Request { protocols: vec![Protocol::Tcp], states, ports: None };
        let mut add = |socket: DiagSocket| {
            if socket.time_wait {
                self.time_waits.insert(socket.flow, socket.state == TcpState::FIN_WAIT2);
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
}

impl Completion {
    /// Takes note of an event on its way to the ledger. The end of a port that only diagnostics
    /// showed is made the end of what was told of it.
    pub fn pass(&mut self, event: &mut Event) {
        let Event::Socket(SocketEvent { time_ns, socket, flow, kind }) = event else { return };
        if let Kind::TimeWait { reuse, .. } = kind
            && reuse.fin_wait2
        {
            self.awaiting.insert(*flow, *time_ns);
        }
        if flow.protocol != Protocol::Udp {
            return;
        }
        let port = port(flow);
        self.touched.insert(port, *time_ns);
        if let Kind::Release { .. } = kind
            && let Some((found, local)) = self.found.remove(&port)
        {
            *socket = found;
            flow.local = local;
        }
    }

    /// Takes note of what a scan found, on its way to the ledger, which knows a TIME_WAIT entry by
    /// its 4-tuple and what only diagnostics showed by another identity. Returns `false` for what the
    /// next comparison is to tell as taken: a port that was not there when observing began.
    #[must_use]
    pub fn pass_existing(&mut self, existing: &mut Existing, is_held: bool) -> bool {
        if existing.state == TcpState::TIME_WAIT {
            existing.socket = None;
            if existing.reuse.is_some_and(|reuse| reuse.fin_wait2) {
                self.awaiting.insert(existing.flow, existing.time_ns);
            }
        }
        if existing.flow.protocol == Protocol::Udp {
            let port = port(&existing.flow);
            match self.found.get(&port) {
                Some((found, _)) => existing.socket = Some(*found),
                None => return is_held || !self.has_begun,
            }
        }
        true
    }

    /// The inode numbers of sockets that [`Completion::compare`] will find, to look up who has
    /// them open.
    pub fn unknown(&self, round: &Round, held: &[UdpHolder]) -> HashSet<u32> {
        let ports = ports(held);
        let listed = round.udp.iter().flatten();
        listed
            .filter(|socket| !self.knows(round, &ports, port(&socket.flow)))
            .map(|socket| socket.inode)
            .collect()
    }

    /// Whether there is nothing to conclude from this port in the list.
    fn knows(&self, round: &Round, held: &HashSet<UdpPort>, port: UdpPort) -> bool {
        held.contains(&port) || self.found.contains_key(&port) || self.is_settling(round, port)
    }

    /// Whether the list may be older than what was told.
    fn is_settling(&self, round: &Round, port: UdpPort) -> bool {
        let told_ns = self.touched.get(&port);
        told_ns.is_some_and(|told_ns| told_ns.saturating_add(SETTLING_NS) >= round.time_ns)
    }

    /// What a round shows beyond what is in the ledger: TIME_WAIT entries, with the time of their
    /// begin, and `held` UDP ports. `owner` finds the process that has a socket open.
    pub fn compare(
        &mut self,
        round: &Round,
        time_waits: impl Iterator<Item = (Flow, u64)>,
        held: &[UdpHolder],
        mut owner: impl FnMut(&DiagSocket) -> Option<Task>,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        let time_ns = round.time_ns;
        let mut tell = |socket, flow, kind| {
            events.push(Event::Socket(SocketEvent { time_ns, socket, flow, kind }));
        };
        for (flow, since_ns) in time_waits {
            let is_listed = round.time_waits.contains_key(&flow) || since_ns >= time_ns;
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
        self.awaiting.retain(|flow, since_ns| match round.time_waits.get(flow) {
            Some(true) => true,
            Some(false) => {
                tell(SocketId(0), *flow, Kind::FinReceived);
                false
            }
            None => *since_ns >= time_ns,
        });
        let Some(udp) = &round.udp else { return events };
        let ports = ports(held);
        let mut listed: HashSet<UdpPort> = HashSet::new();
        for socket in udp {
            let port = port(&socket.flow);
            listed.insert(port);
            if self.knows(round, &ports, port) {
                continue;
            }
            let id = SocketId(socket.cookie);
            self.found.insert(port, (id, socket.flow.local));
            let task = owner(socket);
            let kind = Kind::Acquire {
                sharing: Sharing::default(),
                via: Via::Autobind,
                requested_port: Some(0),
                search_ns: None,
                task,
            };
            tell(id, socket.flow, kind);
        }
        let is_gone = |port: &UdpPort| round.namespaces.contains(&port.0) && !listed.contains(port);
        self.found.retain(|port, _| !is_gone(port));
        for &(socket, flow, since_ns) in held {
            // Disconnected, or its release was lost.
            let port = port(&flow);
            if is_gone(&port) && since_ns < Some(time_ns) && !self.is_settling(round, port) {
                tell(socket, flow, Kind::Release { reason: Reason::Reconciled });
            }
        }
        self.touched.retain(|_, told_ns| told_ns.saturating_add(SETTLING_NS) >= time_ns);
        self.has_begun = true;
        events
    }
}

fn port(flow: &Flow) -> UdpPort {
    (flow.netns, flow.local.port)
}

fn ports(held: &[UdpHolder]) -> HashSet<UdpPort> {
    held.iter().map(|(_, flow, _)| port(flow)).collect()
}

#[cfg(test)]
mod tests;
