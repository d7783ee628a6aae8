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

/// Compares what was told with what the kernel lists.
#[derive(Debug, Default)]
pub struct Completion {
    /// UDP ports that a program told of, or that were held when observing began.
    told: HashMap<UdpPort, usize>,
    /// UDP ports that only diagnostics showed.
    found: HashMap<UdpPort, (SocketId, Endpoint)>,
    /// What was held when observing began is known.
    has_begun: bool,
    /// TIME_WAIT entries that the peer's FIN has not come for, and since when.
    awaiting: HashMap<Flow, u64>,
    /// UDP ports that a program told of, and when last: a list may be older than that.
    touched: HashMap<UdpPort, u64>,
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
    /// 4-tuples in TIME_WAIT, and whether the peer's FIN is still awaited.
    pub time_waits: HashMap<Flow, bool>,
    /// UDP sockets with a port.
    pub udp: Vec<DiagSocket>,
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
            udp: Vec::new(),
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
        if lists.udp {
            let request =
                Request { protocols: vec![Protocol::Udp], states: States::ALL, ports: None };
            self.udp.extend(namespace.run(|| dump(&request))?.sockets);
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
        let port = (flow.netns, flow.local.port);
        self.touched.insert(port, *time_ns);
        match kind {
            Kind::Acquire { .. } => *self.told.entry(port).or_default() += 1,
            Kind::Release { .. } => {
                if let Some((found, local)) = self.found.remove(&port) {
                    *socket = found;
                    flow.local = local;
                } else if let Some(count) = self.told.get_mut(&port) {
                    *count -= 1;
                    if *count == 0 {
                        self.told.remove(&port);
                    }
                }
            }
            _ => {}
        }
    }

    /// Takes note of what a scan found, on its way to the ledger, which knows a TIME_WAIT entry by
    /// its 4-tuple and what only diagnostics showed by another identity. Returns `false` for what the
    /// next comparison is to tell as taken: it was not there when observing began.
    #[must_use]
    pub fn pass_existing(&mut self, existing: &mut Existing) -> bool {
        if existing.state == TcpState::TIME_WAIT {
            existing.socket = None;
            if existing.reuse.is_some_and(|reuse| reuse.fin_wait2) {
                self.awaiting.insert(existing.flow, existing.time_ns);
            }
        }
        if existing.flow.protocol == Protocol::Udp {
            let port = (existing.flow.netns, existing.flow.local.port);
            match self.found.get(&port) {
                Some((found, _)) => existing.socket = Some(*found),
                None if self.has_begun && !self.told.contains_key(&port) => return false,
                None => {
                    self.told.entry(port).or_insert(1);
                }
            }
        }
        true
    }

    /// The inode numbers of sockets that [`Completion::compare`] will find, to look up who has
    /// them open.
    pub fn unknown(&self, round: &Round) -> HashSet<u32> {
        let port = |socket: &DiagSocket| (socket.flow.netns, socket.flow.local.port);
        let is_unknown = |socket: &&DiagSocket| self.has_begun && !self.knows(round, port(socket));
        round.udp.iter().filter(is_unknown).map(|socket| socket.inode).collect()
    }

    /// Whether there is nothing to conclude from this port in the list.
    fn knows(&self, round: &Round, port: UdpPort) -> bool {
        let is_settling = |told_ns: &u64| told_ns.saturating_add(SETTLING_NS) >= round.time_ns;
        self.told.contains_key(&port)
            || self.found.contains_key(&port)
            || self.touched.get(&port).is_some_and(is_settling)
    }

    /// What a round shows beyond what was told. `time_waits` are those in the ledger, with the
    /// time of their begin; `owner` finds the process that has a socket open, by inode number.
    pub fn compare(
        &mut self,
        round: &Round,
        time_waits: impl Iterator<Item = (Flow, u64)>,
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
        let mut listed: HashSet<UdpPort> = HashSet::new();
        for socket in &round.udp {
            let port = (socket.flow.netns, socket.flow.local.port);
            listed.insert(port);
            if self.knows(round, port) {
                continue;
            }
            if !self.has_begun {
                self.told.insert(port, 1);
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
        self.touched.retain(|_, told_ns| told_ns.saturating_add(SETTLING_NS) >= time_ns);
        self.has_begun = true;
        self.found.retain(|port, (id, local)| {
            let gone = round.namespaces.contains(&port.0) && !listed.contains(port);
            if gone {
                let flow =
                    Flow { netns: port.0, protocol: Protocol::Udp, local: *local, remote: None };
                tell(*id, flow, Kind::Release { reason: Reason::Reconciled });
            }
            !gone
        });
        events
    }
}

#[cfg(test)]
mod tests;
