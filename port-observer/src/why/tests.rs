mod of_bind;
mod of_connect;

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use super::{Answer, Call, Facts, Question, TimeWait, answer, json, text};
use crate::{
    event::{
        Endpoint, Event, Existing, Flow, NamespaceSettings, Protocol, Reuse, Sharing, SocketId,
        TcpState,
    },
    ledger::{Ledger, Options},
    ports::{PortRange, Ports, ReservedPorts},
    process::{Caller, Process},
};

const NETNS: u32 = 7;
const NOW_NS: u64 = 1_000_000_000_000;

fn process(name: &str, pid: u32) -> Arc<Process> {
    Arc::new(Process { pid, name: name.to_owned(), ..Process::default() })
}

fn endpoint(text: &str) -> Endpoint {
    text.parse::<std::net::SocketAddr>().unwrap().into()
}

/// A listing that is made up.
struct Listing {
    ledger: Ledger,
    time_waits: HashMap<u16, TimeWait>,
    callers: Vec<Arc<Process>>,
    knows_binds: bool,
    lists_bound: bool,
    may_bind_low: bool,
    sockets: u64,
}

impl Listing {
    /// Ten ports, 40000 to 40009.
    fn of_ten_ports() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut NamespaceSettings)) -> Self {
        let mut settings = NamespaceSettings {
            netns: NETNS,
            names: Vec::new(),
            ports: Ports {
                ephemeral: PortRange { min: 40000, max: 40009 },
                reserved: ReservedPorts::default(),
            },
            tw_reuse: 0,
            tw_reuse_delay_ms: 1000,
        };
        change(&mut settings);
        let mut ledger = Ledger::new(Options::default());
        let mut out = Vec::new();
        ledger.apply(NOW_NS, Event::Namespace(Box::new(settings)), None, &mut out);
        ledger.apply(NOW_NS, Event::ScanBegins, None, &mut out);
        Self {
            ledger,
            time_waits: HashMap::new(),
            callers: Vec::new(),
            knows_binds: true,
            lists_bound: true,
            may_bind_low: true,
            sockets: 0,
        }
    }

    /// A socket; `blocked`: bind() took its port, `None`: not known.
    fn socket(
        &mut self,
        state: TcpState,
        (local, remote): (&str, Option<&str>),
        blocked: Option<bool>,
        who: Option<(&str, u32)>,
    ) -> &mut Self {
        self.sockets += 1;
        let is_time_wait = state == TcpState::TIME_WAIT;
        let local = endpoint(local);
        let found = Existing {
            time_ns: NOW_NS,
            socket: Some(SocketId(self.sockets)),
            flow: Flow {
                netns: NETNS,
                protocol: Protocol::Tcp,
                local,
                remote: remote.map(endpoint),
            },
            state,
            reuse: is_time_wait.then_some(Reuse { fin_wait2: false, timestamps: true }),
            sharing: Sharing { connect_bind: blocked == Some(false), ipv6_only: false, device: 0 },
            blocked,
            task: None,
        };
        let caller = who.map(|(name, pid)| Caller { process: process(name, pid), tid: pid });
        let event = Event::Existing(Box::new(found));
        self.ledger.apply(NOW_NS, event, caller, &mut Vec::new());
        self
    }

    /// Ports from 127.0.0.1 to a destination, whose state, holder and bind() these are.
    fn many(
        &mut self,
        ports: std::ops::Range<u16>,
        to: &str,
        state: TcpState,
        blocked: bool,
        who: Option<(&str, u32)>,
    ) -> &mut Self {
        for port in ports {
            let local = format!("127.0.0.1:{port}");
            self.socket(state, (&local, Some(to)), Some(blocked), who);
            if state == TcpState::TIME_WAIT {
                let entry = TimeWait { expires_ms: 40_000, fin_wait2: false };
                self.time_waits.insert(port, entry);
            }
        }
        self
    }

    fn why(&self, call: Call) -> Answer {
        self.ask(Protocol::Tcp, call)
    }

    fn ask(&self, protocol: Protocol, call: Call) -> Answer {
        let question = Question {
            netns: NETNS,
            netns_name: Some("blue".to_owned()),
            enter: "ip netns exec blue ".to_owned(),
            protocol,
            call,
        };
        let facts = Facts {
            holdings: self.ledger.holdings(),
            time_waits: self.time_waits.clone(),
            callers: self.callers.clone(),
            knows_binds: self.knows_binds,
            lists_bound: self.lists_bound,
            unprivileged_from: 1024,
            may_bind_low: self.may_bind_low,
            missing: Vec::new(),
        };
        answer(question, &facts)
    }

    fn connect(&self, to: &str) -> Answer {
        let destination = endpoint(to);
        let source: IpAddr = "127.0.0.1".parse().unwrap();
        self.why(Call::Connect { source, destination, is_bound: false })
    }

    fn bind(&self, local: &str) -> Answer {
        self.why(Call::Bind { local: endpoint(local) })
    }
}

/// `change +gain` of each remedy.
fn gains(answer: &Answer) -> Vec<(&'static str, u32)> {
    answer.remedies.iter().map(|one| (one.change, one.gain)).collect()
}

fn useless(answer: &Answer) -> Vec<&'static str> {
    answer.would_not_help.iter().map(|one| one.change).collect()
}

/// `how ports: name pid (ports) …` of all that blocks.
fn blocked(answer: &Answer) -> Vec<String> {
    answer
        .blocked
        .iter()
        .map(|one| {
            let holders: Vec<String> = one
                .holders
                .iter()
                .map(|holder| {
                    let name = holder.name.as_deref().unwrap_or("?");
                    let likely = if holder.likely { "?" } else { "" };
                    format!("{name}{likely} {} {:?}", holder.ports, holder.processes)
                })
                .collect();
            format!("{} {}: {}", one.how.name(), one.ports, holders.join(", "))
        })
        .collect()
}

#[test]
fn the_verdict_is_the_exit_code() {
    use super::Verdict::{Exhausted, Free, NotLocal, Taken, Unknown};
    let codes = [Free, Exhausted, Taken, NotLocal, Unknown].map(|one| one.exit_code());
    assert_eq!(codes, [0, 1, 1, 1, 3]);
}

#[test]
fn names_can_not_drive_a_terminal() {
    let mut listing = Listing::of_ten_ports();
    let evil = "\u{1b}[2J\u{202e}\n";
    listing.many(40000..40010, "10.0.0.9:81", TcpState::ESTABLISHED, true, Some((evil, 5)));
    let answer = listing.connect("10.0.0.9:80");
    let json = json::render(&answer, "2026-01-02T03:04:05.000000000Z").unwrap();
    for shown in [text::render(&answer), json] {
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown}");
    }
}
