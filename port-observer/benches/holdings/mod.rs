//! A ledger with very many holdings.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use port_observer::{
    event::{
        Endpoint, Event, Flow, Kind, NamespaceSettings, Protocol, Sharing, SocketEvent, SocketId,
        Task, Via,
    },
    ledger::{Ledger, Options},
    ports::{PortRange, Ports, ReservedPorts},
    process::{Caller, Process},
    report::Report,
};

const NETNS: u32 = 4_026_531_840;
/// Who take the ports.
const PROCESSES: u32 = 50;
/// How many connections there are.
pub const HOLDINGS: u32 = 100_000;

/// Fifty processes.
pub struct Fifty(Vec<Arc<Process>>);

impl Fifty {
    /// All of them.
    pub fn new() -> Self {
        let process = |pid| Process { pid, name: format!("server-{pid}"), ..Process::default() };
        Self((0..PROCESSES).map(|pid| Arc::new(process(pid))).collect())
    }

    /// Who called.
    pub fn caller(&self, event: &Event) -> Option<Caller> {
        let task = event.task()?;
        let process = Arc::clone(&self.0[task.pid as usize % self.0.len()]);
        Some(Caller { process, tid: task.tid })
    }
}

/// An empty ledger, of a range of nearly all ports.
pub fn ledger() -> Ledger {
    let mut ledger = Ledger::new(Options::default());
    let settings = NamespaceSettings {
        netns: NETNS,
        names: Vec::new(),
        ports: Ports {
            ephemeral: PortRange { min: 1024, max: 65535 },
            reserved: ReservedPorts::default(),
        },
        tw_reuse: 2,
        tw_reuse_delay_ms: 1000,
    };
    ledger.apply(0, Event::Namespace(Box::new(settings)), None, &mut Vec::new());
    ledger
}

/// The flow of the nth holding, spread over so many destinations.
pub fn flow(index: u32, destinations: u32) -> Flow {
    let remote = 0x0a00_0000 + index % destinations;
    let port = 1024 + (index / destinations.max(2) + index) % 64_000;
    Flow {
        netns: NETNS,
        protocol: Protocol::Tcp,
        local: Endpoint::new(IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9)), port as u16),
        remote: Some(Endpoint::new(IpAddr::V4(Ipv4Addr::from_bits(remote)), 443)),
    }
}

/// This happens to a socket.
pub fn event(time_ns: u64, socket: u64, flow: Flow, kind: Kind) -> Event {
    Event::Socket(SocketEvent { time_ns, socket: SocketId(socket), flow, kind })
}

/// connect() of one of the processes.
pub fn connect(index: u32) -> Kind {
    let task = Task {
        pid: index % PROCESSES,
        tid: index,
        name: String::from("server"),
        uid: 0,
        start_time_ns: 1,
        cgroup_id: 1,
    };
    Kind::Acquire {
        via: Via::Connect,
        requested_port: Some(0),
        search_ns: Some(900),
        task: Some(task),
        sharing: Sharing::default(),
    }
}

/// Connects so many times, a microsecond apart; what the ledger says to it is in `out` for `each`,
/// which empties it.
pub fn fill(
    ledger: &mut Ledger,
    destinations: u32,
    each: &mut dyn FnMut(&mut Vec<Report>),
    out: &mut Vec<Report>,
) {
    let fifty = Fifty::new();
    for index in 0..HOLDINGS {
        let time_ns = u64::from(index) * 1_000;
        let id = u64::from(index) + 1;
        let event = event(time_ns, id, flow(index, destinations), connect(index));
        let caller = fifty.caller(&event);
        ledger.apply(0, event, caller, out);
        each(out);
    }
}

/// The median of some.
pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
