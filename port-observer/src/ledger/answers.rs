//! What is to be known of the kernel when an answer is due, and is not worth an event for each change:
//! the states of connections.

use foldhash::HashMap;

use super::{Concluded, Holds, Ledger};
use crate::event::{
    Ask, Event, Kind, Listing, Protocol, Repeated, SocketEvent, SocketId, TcpState,
};

/// How often the connections of a namespace are listed at most.
const PACE_NS: u64 = 1_000_000_000;

/// When namespaces were last asked about.
#[derive(Debug, Default)]
pub(super) struct Answers(HashMap<u32, u64>);

impl Answers {
    pub(super) fn forget(&mut self, netns: u32) {
        self.0.remove(&netns);
    }
}

impl Ledger {
    /// What is to be listed before this event is taken in, which an answer is given to.
    pub fn needs(&mut self, event: &Event) -> Option<Ask> {
        let Event::Socket(SocketEvent { time_ns, flow, kind, .. }) = event else { return None };
        let (Kind::Exhausted { repeated, .. } | Kind::Conflict { repeated, .. }) = kind else {
            return None;
        };
        // What was counted is of the past, and answered as it was then.
        if flow.protocol != Protocol::Tcp || *repeated != Repeated::default() {
            return None;
        }
        let last_ns = self.answers.0.get(&flow.netns);
        if last_ns.is_some_and(|last_ns| *time_ns < last_ns.saturating_add(PACE_NS)) {
            return None;
        }
        self.answers.0.insert(flow.netns, *time_ns);
        Some(Ask::States { netns: flow.netns, time_ns: *time_ns })
    }

    /// The connections whose state is another than was known.
    pub(super) fn changed_states(&self, listing: &Listing, out: &mut Vec<Concluded>) {
        let Some(states) = &listing.states else { return };
        for netns in &listing.namespaces {
            for holding in self.holdings.on_ports(*netns, Protocol::Tcp) {
                if holding.holds != Holds::Connected || holding.socket == SocketId(0) {
                    continue;
                }
                let flow = holding.flow();
                let state = states.get(&flow).copied().unwrap_or(TcpState::ESTABLISHED);
                if state != holding.connection {
                    let time_ns = listing.time_ns;
                    let (socket, kind) = (holding.socket, Kind::Listed { state });
                    let event = Event::Socket(SocketEvent { time_ns, socket, flow, kind });
                    out.push(Concluded { event, inode: 0 });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use foldhash::HashMap;

    use super::*;
    use crate::{
        event::{Endpoint, Flow, NamespaceSettings, Sharing, Via},
        ledger::Options,
        ports::{PortRange, Ports, ReservedPorts},
        process::Caller,
        report::{Body, CauseKind, Report},
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
        let states: HashMap<Flow, TcpState> =
            states.iter().map(|(port, state)| (flow(*port), *state)).collect();
        let listing = Listing {
            time_ns: 2 * SECOND,
            namespaces: [1].into(),
            states: Some(states),
            ..Listing::default()
        };
        for Concluded { event, .. } in ledger.conclude(&listing) {
            assert!(apply(ledger, event).is_empty());
        }
    }

    #[test]
    fn states_are_asked_for_once_a_second_when_a_call_was_refused() {
        let mut ledger = full();
        let asked = Some(Ask::States { netns: 1, time_ns: 2 * SECOND });
        assert_eq!(ledger.needs(&refused(2 * SECOND)), asked);
        assert_eq!(ledger.needs(&refused(3 * SECOND - 1)), None);
        assert!(ledger.needs(&refused(3 * SECOND)).is_some());
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
