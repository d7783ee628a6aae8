//! Recordings of traffic that was never there: clients that connect, close and leave TIME_WAIT behind,
//! on a host whose ports run out when they do too much. The same each time.

use std::{
    cmp::Reverse, collections::BinaryHeap, net::IpAddr, path::Path, sync::Arc, thread,
    time::Duration,
};

use anyhow::Result;
use port_observer::{
    event::{
        Endpoint, Event, Flow, Kind, NamespaceSettings, Protocol, Reason, Repeated, Reuse, Sharing,
        SocketEvent, SocketId, Via,
    },
    ledger::Checkpoint,
    ports::{PortRange, Ports, ReservedPorts},
    process::{Caller, Process},
    recording::{Entry, Options, Recorder},
    report::{EphemeralRange, Start},
};

const SECOND: u64 = 1_000_000_000;
/// 2026-01-02T03:04:05Z, a day after boot.
const OFFSET_NS: i64 = (1_767_323_045 - 86_400) * 1_000_000_000;
const BEGAN_NS: u64 = 86_400 * SECOND;
const TIME_WAIT_NS: u64 = 60 * SECOND;
const NETNS: u32 = 4_026_531_840;
/// How many entries may wait for the writer.
const QUEUED: usize = 100_000;

/// A process that connects.
pub struct Client {
    /// Who.
    pub process: Process,
    /// To which port of the server.
    pub to: u16,
    /// How often.
    pub per_second: f64,
    /// How often in a burst.
    pub in_burst: f64,
    /// How long it keeps each connection.
    pub keeps: Duration,
}

/// What is recorded.
pub struct Host {
    /// The ephemeral range.
    pub range: PortRange,
    /// Who connects.
    pub clients: Vec<Client>,
    /// How many seconds apart bursts begin.
    pub burst_every: u64,
    /// How many seconds each takes.
    pub burst_for: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Second,
    Connect { client: usize },
    Close { client: usize, port: u16, socket: u64 },
    Expire { client: usize, port: u16, socket: u64 },
}

impl Host {
    /// Records until there are this many events. Returns how many calls were refused.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn record(&self, path: &Path, events: u64) -> Result<u64> {
        let options =
            Options { path: path.to_owned(), keep: None, max_size: 64 << 30, group: None };
        let mut run = Run::begin(self, Recorder::open(options, false)?);
        let mut due = BinaryHeap::from([Reverse((BEGAN_NS, Due::Second))]);
        for client in 0..self.clients.len() {
            due.push(Reverse((BEGAN_NS + client as u64 * 1_000, Due::Connect { client })));
        }
        while run.events < events
            && let Some(Reverse((time_ns, what))) = due.pop()
        {
            let next = run.happens(time_ns, what);
            due.extend(next.into_iter().flatten().map(Reverse));
        }
        let Run { mut recorder, refused, now_ns, .. } = run;
        recorder.stop(now_ns, Duration::from_nanos(now_ns - BEGAN_NS));
        recorder.finish()?;
        Ok(refused)
    }

    fn pause_ns(&self, client: &Client, time_ns: u64) -> u64 {
        let second = (time_ns - BEGAN_NS) / SECOND;
        let is_burst = second % self.burst_every >= self.burst_every - self.burst_for;
        let per_second = if is_burst { client.in_burst } else { client.per_second };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rates are small and positive"
        )]
        let pause_ns = (1e9 / per_second) as u64;
        pause_ns
    }
}

struct Run<'a> {
    host: &'a Host,
    recorder: Recorder,
    callers: Vec<Caller>,
    /// By port of the server.
    free: std::collections::BTreeMap<u16, Vec<u16>>,
    socket: u64,
    events: u64,
    refused: u64,
    now_ns: u64,
}

impl<'a> Run<'a> {
    fn begin(host: &'a Host, mut recorder: Recorder) -> Self {
        let PortRange { min, max } = host.range;
        let start = Start {
            host: "web-1".to_owned(),
            kernel: "6.1.0".to_owned(),
            version: "0.1.0".into(),
            backend: "fexit",
            exact: true,
            missing: Vec::new(),
            ephemeral_range: vec![EphemeralRange { netns: NETNS, min, max }],
            netns: Some(NETNS),
        };
        recorder.start(BEGAN_NS, OFFSET_NS, &start);
        let settings = NamespaceSettings {
            netns: NETNS,
            names: Vec::new(),
            ports: Ports { ephemeral: host.range, reserved: ReservedPorts::default() },
            tw_reuse: 0,
            tw_reuse_delay_ms: 1_000,
        };
        for event in [
            Event::Namespace(Box::new(settings)),
            Event::ScanBegins,
            Event::ScanEnded { skipped: Vec::new() },
        ] {
            recorder.push(Entry::of(BEGAN_NS, &event).expect("an entry"));
        }
        let caller = |client: &Client| Caller {
            tid: client.process.pid,
            process: Arc::new(client.process.clone()),
        };
        let all: Vec<u16> = (min..=max).rev().collect();
        Self {
            host,
            recorder,
            callers: host.clients.iter().map(caller).collect(),
            free: host.clients.iter().map(|client| (client.to, all.clone())).collect(),
            socket: 0xffff_8880_0000_0000,
            events: 0,
            refused: 0,
            now_ns: BEGAN_NS,
        }
    }

    /// What comes of it later.
    fn happens(&mut self, time_ns: u64, what: Due) -> [Option<(u64, Due)>; 2] {
        self.now_ns = time_ns;
        match what {
            Due::Second => {
                self.recorder.push(Entry::tick(time_ns));
                self.hand_over();
                [Some((time_ns + SECOND, Due::Second)), None]
            }
            Due::Connect { client } => {
                let Client { to, keeps, .. } = self.host.clients[client];
                let pause_ns = self.host.pause_ns(&self.host.clients[client], time_ns);
                let again = Some((time_ns + pause_ns, Due::Connect { client }));
                self.socket += 2_048;
                let socket = self.socket;
                let via = Via::Connect;
                let Some(port) = self.free.get_mut(&to).and_then(Vec::pop) else {
                    let kind = Kind::Exhausted {
                        own_range: None,
                        via,
                        errno: 99,
                        search_ns: Some(1_400_000),
                        task: None,
                        repeated: Repeated::default(),
                    };
                    self.push(client, 0, socket, kind);
                    self.refused += 1;
                    return [again, None];
                };
                let kind = Kind::Acquire {
                    via,
                    requested_port: Some(0),
                    search_ns: Some(2_000),
                    task: None,
                    sharing: Sharing { connect_bind: true, ..Sharing::default() },
                };
                self.push(client, port, socket, kind);
                let kept_ns = u64::try_from(keeps.as_nanos()).expect("a short time");
                [again, Some((time_ns + kept_ns, Due::Close { client, port, socket }))]
            }
            Due::Close { client, port, socket } => {
                let successor = Some(SocketId(socket + 1_024));
                let reuse = Reuse { fin_wait2: false, timestamps: true };
                self.push(client, port, socket, Kind::TimeWait { successor, done: true, reuse });
                let socket = socket + 1_024;
                [Some((time_ns + TIME_WAIT_NS, Due::Expire { client, port, socket })), None]
            }
            Due::Expire { client, port, socket } => {
                self.push(client, port, socket, Kind::Release { reason: Reason::TimeWaitExpired });
                let to = self.host.clients[client].to;
                self.free.get_mut(&to).expect("its ports").push(port);
                [None, None]
            }
        }
    }

    fn push(&mut self, client: usize, port: u16, socket: u64, kind: Kind) {
        let address: IpAddr = [10, 0, 0, 2].into();
        let server: IpAddr = [10, 0, 0, 1].into();
        let flow = Flow {
            netns: NETNS,
            protocol: Protocol::Tcp,
            local: Endpoint { address, port },
            remote: Some(Endpoint { address: server, port: self.host.clients[client].to }),
        };
        let time_ns = self.now_ns;
        let event = Event::Socket(SocketEvent { time_ns, socket: SocketId(socket), flow, kind });
        let mut entry = Entry::of(time_ns, &event).expect("an entry");
        entry.set_caller(Some(self.callers[client].clone()), &[]);
        self.recorder.push(entry);
        self.events += 1;
    }

    fn hand_over(&mut self) {
        self.recorder.flush();
        if self.recorder.wants_checkpoint() {
            self.recorder.checkpoint(self.now_ns, OFFSET_NS, Checkpoint::default());
        }
        while self.recorder.queued() > QUEUED {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
