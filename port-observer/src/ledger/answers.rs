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
    /// When a port was last asked for, and what was on it.
    ports: HashMap<PortKey, (u64, Vec<OnPort>)>,
}

impl Answers {
    pub(super) fn forget(&mut self, netns: u32) {
        self.states.retain(|(of, _), _| *of != netns);
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
mod tests {
    use std::sync::Arc;

    use foldhash::HashMap;

    use super::*;
    use crate::{
        event::{self, Endpoint, ListedState, NamespaceSettings, Reason, Sharing, Via},
        ledger::Options,
        ports::{PortRange, Ports, ReservedPorts},
        process::Process,
        report::{Body, CauseKind, Holder, How, Report},
    };

    const SECOND: u64 = 1_000_000_000;
    const PORTS: u16 = 10;

    fn flow(port: u16) -> Flow {
        let local = Endpoint::new([10, 0, 0, 1].into(), port);
        let remote = Some(Endpoint::new([10, 0, 0, 9].into(), 80));
        Flow { netns: 1, protocol: Protocol::Tcp, local, remote }
    }

    fn refused(time_ns: u64) -> Event {
        let kind = Kind::Exhausted {
            via: Via::Connect,
            errno: 99,
            search_ns: None,
            task: None,
            repeated: Repeated::default(),
        };
        Event::Socket(SocketEvent { time_ns, socket: SocketId(99), flow: flow(0), kind })
    }

    fn taken(time_ns: u64, port: u16) -> Event {
        let kind =
            Kind::Conflict { via: Via::Bind, errno: 98, task: None, repeated: Repeated::default() };
        let flow = Flow { remote: None, ..flow(port) };
        Event::Socket(SocketEvent { time_ns, socket: SocketId(99), flow, kind })
    }

    fn apply(ledger: &mut Ledger, event: Event) -> Vec<Report> {
        let mut out = Vec::new();
        ledger.apply(0, event, None::<Caller>, &mut out);
        out
    }

    fn full() -> Ledger {
        let mut ledger = Ledger::new(Options::default());
        let ephemeral = PortRange { min: 40_000, max: 40_000 + PORTS - 1 };
        let settings = NamespaceSettings {
            netns: 1,
            names: Vec::new(),
            ports: Ports { ephemeral, reserved: ReservedPorts::default() },
            tw_reuse: 0,
            tw_reuse_delay_ms: 1000,
        };
        apply(&mut ledger, Event::Namespace(Box::new(settings)));
        for port in 0..PORTS {
            let kind = Kind::Acquire {
                via: Via::Connect,
                requested_port: Some(0),
                search_ns: None,
                task: None,
                sharing: Sharing { connect_bind: true, ..Sharing::default() },
            };
            let socket = SocketId(100 + u64::from(port));
            let flow = flow(40_000 + port);
            apply(&mut ledger, Event::Socket(SocketEvent { time_ns: SECOND, socket, flow, kind }));
        }
        ledger
    }

    fn listing(ledger: &mut Ledger, states: &[(u16, TcpState)]) {
        let listed = |state: &TcpState| ListedState { state: *state, inode: 0 };
        let sockets: HashMap<Flow, ListedState> =
            states.iter().map(|(port, state)| (flow(*port), listed(state))).collect();
        let listing = Listing {
            time_ns: 2 * SECOND,
            namespaces: [1].into(),
            sockets: Some((Protocol::Tcp, sockets)),
            ..Listing::default()
        };
        for Concluded { event, .. } in ledger.conclude(&listing) {
            assert!(apply(ledger, event).is_empty());
        }
    }

    #[test]
    fn states_are_asked_for_once_a_second_when_a_call_was_refused() {
        let mut ledger = full();
        let (netns, protocol) = (1, Protocol::Tcp);
        let asked = Some(Ask::States { netns, protocol, time_ns: 2 * SECOND });
        assert_eq!(ledger.needs(&refused(2 * SECOND)), asked);
        assert_eq!(ledger.needs(&refused(3 * SECOND - 1)), None);
        assert!(ledger.needs(&refused(3 * SECOND)).is_some());
    }

    #[test]
    fn a_port_is_asked_for_once_a_second_and_few_are_remembered() {
        let mut ledger = Ledger::new(Options::default());
        let port =
            |port, time_ns| Some(Ask::Port { netns: 1, protocol: Protocol::Tcp, port, time_ns });
        assert_eq!(ledger.needs(&taken(2 * SECOND, 80)), port(80, 2 * SECOND));
        assert_eq!(ledger.needs(&taken(3 * SECOND - 1, 80)), None);
        assert_eq!(ledger.needs(&taken(3 * SECOND - 1, 81)), port(81, 3 * SECOND - 1));
        assert_eq!(ledger.needs(&taken(3 * SECOND, 80)), port(80, 3 * SECOND));
        for number in 1..5_000 {
            assert!(ledger.needs(&taken(4 * SECOND, number)).is_some());
            assert!(ledger.answers.ports.len() <= super::PORTS);
        }
    }

    #[test]
    fn what_is_listed_on_a_port_is_in_the_way_for_a_second() {
        let mut ledger = full();
        let holders = |ledger: &mut Ledger, time_ns| {
            let Body::Conflict { holders, .. } =
                apply(ledger, taken(time_ns, 40_000)).remove(0).body
            else {
                panic!("no conflict")
            };
            holders.iter().map(|one| one.way.unwrap().how).collect::<Vec<How>>()
        };
        // As the ledger knows it.
        assert_eq!(holders(&mut ledger, SECOND), [How::Outgoing]);
        let on_port = vec![
            event::OnPort { flow: flow(40_000), state: TcpState::ESTABLISHED, inode: 0 },
            event::OnPort {
                flow: Flow { remote: None, ..flow(40_000) },
                state: TcpState::LISTEN,
                inode: 8,
            },
        ];
        let listing = Listing { time_ns: 2 * SECOND, on_port: Some(on_port), ..Listing::default() };
        for Concluded { event, .. } in ledger.conclude(&listing) {
            apply(&mut ledger, event);
        }
        // Nobody has the listener open, and nobody is known to have taken its port.
        let kernel = [How::Kernel, How::Outgoing];
        let mut found = holders(&mut ledger, 2 * SECOND);
        found.sort_by_key(|how| how.name());
        assert_eq!(found, kernel);
        assert_eq!(holders(&mut ledger, 3 * SECOND), [How::Outgoing]);
    }

    fn process(pid: u32) -> Caller {
        let process = Process { pid, start_time_ns: SECOND, ..Process::default() };
        Caller { process: Arc::new(process), tid: pid }
    }

    #[test]
    fn a_port_that_is_open_in_another_process_is_told_with_that_one_until_it_is_let_go() {
        let mut ledger = full();
        let socket = SocketId(100);
        let kind = Kind::Listed { state: TcpState::ESTABLISHED, task: None };
        let event = |time_ns| {
            Event::Socket(SocketEvent { time_ns, socket, flow: flow(40_000), kind: kind.clone() })
        };
        assert!(ledger.is_news(&event(2 * SECOND), Some(&process(7))));
        ledger.apply(0, event(2 * SECOND), Some(process(7)), &mut Vec::new());
        assert!(!ledger.is_news(&event(2 * SECOND), Some(&process(7))));
        assert!(!ledger.is_news(&event(2 * SECOND), None), "nobody was looked for");
        let open_in = |ledger: &mut Ledger, time_ns| {
            let Body::Exhausted { story: Some(story), .. } =
                apply(ledger, refused(time_ns)).remove(0).body
            else {
                panic!("no story")
            };
            let pid = |one: &Holder| one.open_in.as_ref().map(|process| process.pid);
            story.holders.iter().map(|one| (pid(one), one.total())).collect::<Vec<_>>()
        };
        assert_eq!(open_in(&mut ledger, 2 * SECOND), [(None, 9), (Some(7), 1)]);
        let kind = Kind::Release { reason: Reason::Closed };
        let flow = flow(40_000);
        apply(&mut ledger, Event::Socket(SocketEvent { time_ns: 3 * SECOND, socket, flow, kind }));
        assert_eq!(open_in(&mut ledger, 3 * SECOND), [(None, 9)]);
    }

    #[test]
    fn holders_and_cause_are_of_the_states_that_were_listed() {
        let mut ledger = full();
        let unanswered: Vec<_> = (40_000..40_006).map(|p| (p, TcpState::SYN_SENT)).collect();
        listing(&mut ledger, &unanswered);
        let Body::Exhausted { story: Some(story), .. } =
            apply(&mut ledger, refused(2 * SECOND)).remove(0).body
        else {
            panic!("no story")
        };
        let counts = story.holders[0].counts;
        assert_eq!((counts.syn_sent, counts.established, counts.total()), (6, 4, 10));
        assert_eq!(story.cause.unwrap().kind, CauseKind::Unanswered);
        // They were answered.
        listing(&mut ledger, &[(40_000, TcpState::CLOSE_WAIT)]);
        let Body::Exhausted { story: Some(story), .. } =
            apply(&mut ledger, refused(3 * SECOND)).remove(0).body
        else {
            panic!("no story")
        };
        let counts = story.holders[0].counts;
        assert_eq!((counts.syn_sent, counts.close_wait, counts.established), (0, 1, 9));
    }
}
