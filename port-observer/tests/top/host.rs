//! A host whose events go the way that they go in the program: through the ledger to the screen.

use std::{collections::HashMap, sync::Arc};

use port_observer::{
    event::{
        Endpoint, Event, Flow, Kind, LossKind, LossPlace, NamespaceSettings, Protocol, Reason,
        Repeated, Reuse, Sharing, SocketEvent, SocketId, Task, Via,
    },
    ledger::{Ledger, Options},
    ports::{PortRange, Ports, ReservedPorts},
    process::{Caller, Container, Process},
    report::{Body, PoolHolder, PoolLook, PoolUse, Report, Sink as _, Start},
    screen::{
        self,
        state::{Activity, State, View},
    },
};

pub const NETNS: u32 = 4_026_531_840;
pub const OTHER_NETNS: u32 = 4_026_532_177;
/// Realtime less boottime: boot was at 2026-01-02T03:04:05Z.
const OFFSET_NS: i64 = 1_767_323_045_000_000_000;
const SECOND: u64 = 1_000_000_000;

/// Processes by number, as they were named.
#[derive(Default)]
struct Names(HashMap<u32, Arc<Process>>);

impl Names {
    fn resolve(&mut self, task: &Task) -> Arc<Process> {
        let new = || {
            Arc::new(Process {
                pid: task.pid,
                name: task.name.clone(),
                executable: Some(format!("/usr/bin/{}", task.name).into()),
                command_line: vec![task.name.clone(), "--serve".to_owned()].into(),
                uid: Some(33),
                container: (task.name == "web").then(|| {
                    Container {
                        id: "0123456789abcdef".repeat(4),
                        name: Some("shop".to_owned()),
                        runtime: "docker",
                    }
                    .into()
                }),
                ..Process::default()
            })
        };
        Arc::clone(self.0.entry(task.pid).or_insert_with(new))
    }
}

/// A host and the screen that shows it.
pub struct Host {
    ledger: Ledger,
    names: Names,
    activity: Activity,
    pub state: State,
    now_ns: u64,
    socket: u64,
}

impl Host {
    /// With a range of 100 ports, nobody on them.
    pub fn new(view: View) -> Self {
        let mut host = Self {
            ledger: Ledger::new(Options::default()),
            names: Names::default(),
            activity: Activity::default(),
            state: State::new(view, None),
            now_ns: 10 * SECOND,
            socket: 0,
        };
        host.activity.set_offset(OFFSET_NS);
        host.begin("fexit");
        host.namespace(NETNS, &[], 40_000, 40_099);
        host.apply(Event::ScanBegins);
        host.apply(Event::ScanEnded { skipped: Vec::new() });
        host
    }

    /// The first line, of this backend.
    pub fn begin(&mut self, backend: &'static str) {
        let start = Start {
            host: "web-1".to_owned(),
            kernel: "6.18.5".to_owned(),
            version: "0.1.0".into(),
            backend,
            exact: backend == "fexit",
            missing: Vec::new(),
            ephemeral_range: Vec::new(),
            netns: None,
        };
        self.take(&[Report { time_ns: self.now_ns, body: Body::Start(start) }]);
    }

    /// The settings of a namespace; the first ten ports from the eleventh on are reserved.
    pub fn namespace(&mut self, netns: u32, names: &[&str], min: u16, max: u16) {
        let reserved = PortRange { min: min + 10, max: min + 19 };
        self.apply(Event::Namespace(Box::new(NamespaceSettings {
            netns,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ports: Ports {
                ephemeral: PortRange { min, max },
                reserved: ReservedPorts::new(vec![reserved]),
            },
            tw_reuse: 0,
            tw_reuse_delay_ms: 1_000,
        })));
    }

    fn take(&mut self, reports: &[Report]) {
        reports.iter().for_each(|report| self.activity.report(report).unwrap());
    }

    fn apply(&mut self, event: Event) {
        let mut reports = Vec::new();
        let resolve = |task: &Task| Caller { process: self.names.resolve(task), tid: task.tid };
        let caller = event.task().map(resolve);
        self.ledger.apply(self.now_ns, event, caller, &mut reports);
        self.take(&reports);
    }

    fn tell(&mut self, socket: SocketId, flow: Flow, kind: Kind) {
        self.apply(Event::Socket(SocketEvent { time_ns: self.now_ns, socket, flow, kind }));
    }

    /// Time goes by.
    pub fn wait(&mut self, seconds: f64) {
        self.now_ns += (seconds * 1e9) as u64;
        let mut reports = Vec::new();
        self.ledger.tick(self.now_ns, &mut reports);
        self.take(&reports);
    }

    /// connect() chooses a port.
    pub fn connect(&mut self, who: (u32, &str), local: &str, remote: &str) -> (SocketId, Flow) {
        self.connect_in(NETNS, who, local, remote)
    }

    /// The same in another namespace.
    pub fn connect_in(
        &mut self,
        netns: u32,
        who: (u32, &str),
        local: &str,
        remote: &str,
    ) -> (SocketId, Flow) {
        let flow = Flow { netns, ..flow(local, Some(remote)) };
        let sharing = Sharing { connect_bind: true, ..Sharing::default() };
        (self.acquire(Via::Connect, who, flow, sharing), flow)
    }

    /// bind() to a port that was asked for.
    pub fn bind(&mut self, who: (u32, &str), local: &str) -> (SocketId, Flow) {
        let flow = flow(local, None);
        (self.acquire(Via::Bind, who, flow, Sharing::default()), flow)
    }

    fn acquire(&mut self, via: Via, who: (u32, &str), flow: Flow, sharing: Sharing) -> SocketId {
        self.socket += 0x1000;
        let socket = SocketId(self.socket);
        let is_asked_for = via == Via::Bind;
        let kind = Kind::Acquire {
            via,
            requested_port: Some(if is_asked_for { flow.local.port } else { 0 }),
            search_ns: Some(1_500 + u64::from(flow.local.port % 2) * 40_000),
            task: Some(task(who)),
            sharing,
        };
        self.tell(socket, flow, kind);
        socket
    }

    /// The socket listens.
    pub fn listen(&mut self, (socket, flow): (SocketId, Flow)) {
        self.tell(socket, flow, Kind::Listen);
    }

    /// TIME_WAIT succeeds the connection.
    pub fn close(&mut self, (socket, flow): (SocketId, Flow)) -> (SocketId, Flow) {
        let entry = SocketId(socket.0 + 0x800);
        let reuse = Reuse { fin_wait2: false, timestamps: true };
        self.tell(socket, flow, Kind::TimeWait { successor: Some(entry), done: true, reuse });
        (entry, flow)
    }

    /// The port is free.
    pub fn release(&mut self, (socket, flow): (SocketId, Flow)) {
        self.tell(socket, flow, Kind::Release { reason: Reason::Closed });
    }

    /// connect() finds no port.
    pub fn refused(&mut self, who: (u32, &str), source: &str, remote: &str) {
        let flow = flow(&format!("{source}:0"), Some(remote));
        let kind = Kind::Exhausted {
            own_range: None,
            via: Via::Connect,
            errno: 99,
            search_ns: Some(900_000),
            task: Some(task(who)),
            repeated: Repeated::default(),
        };
        self.tell(SocketId(7), flow, kind);
    }

    /// bind() to a port that somebody has.
    pub fn conflict(&mut self, who: (u32, &str), local: &str) {
        let kind = Kind::Conflict {
            via: Via::Bind,
            errno: 98,
            task: Some(task(who)),
            repeated: Repeated::default(),
        };
        self.tell(SocketId(9), flow(local, None), kind);
    }

    /// Events are lost.
    pub fn lose(&mut self, count: u64) {
        self.apply(Event::Lost {
            count,
            place: LossPlace::KernelBuffer,
            kind: LossKind::Acquire,
            task: None,
        });
    }

    /// The screen is asked for one namespace.
    pub fn only(&mut self, netns: u32) {
        self.state = State::new(View::Processes, Some(netns));
    }

    /// What is on the screen is of now.
    pub fn look(&mut self) -> &mut State {
        let question = self.state.question(false);
        let last = std::mem::take(&mut self.state.picture);
        self.state.picture =
            screen::picture(&mut self.ledger, &self.activity, self.now_ns, &question, last);
        &mut self.state
    }
}

fn task((pid, name): (u32, &str)) -> Task {
    Task { pid, tid: pid, name: name.to_owned(), uid: 33, start_time_ns: 0, cgroup_id: 0 }
}

fn flow(local: &str, remote: Option<&str>) -> Flow {
    let endpoint = |text: &str| -> Endpoint {
        text.parse::<std::net::SocketAddr>().unwrap_or_else(|e| panic!("{text}: {e}")).into()
    };
    Flow {
        netns: NETNS,
        protocol: Protocol::Tcp,
        local: endpoint(local),
        remote: remote.map(endpoint),
    }
}

/// Short connections to one place, some to another, a server, and idle binds.
pub fn busy(view: View) -> Host {
    let mut host = Host::new(view);
    host.namespace(OTHER_NETNS, &["blue"], 50_000, 50_999);
    let server = host.bind((80, "nginx"), "0.0.0.0:80");
    host.listen(server);
    for port in [40_021, 40_033] {
        host.bind((90, "idle"), &format!("10.0.0.2:{port}"));
    }
    for step in 0..20u16 {
        let local = format!("10.0.0.2:{}", 40_040 + step * 2);
        let one = host.connect((4242, "curl"), &local, "10.0.0.1:443");
        host.wait(0.5);
        if step % 4 != 0 {
            host.close(one);
        }
    }
    for step in 0..5u16 {
        let local = format!("10.0.0.2:{}", 40_041 + step * 2);
        host.connect((77, "web"), &local, "10.0.0.3:5432");
    }
    host.connect_in(OTHER_NETNS, (88, "job"), "10.1.0.2:50001", "10.1.0.1:80");
    host.wait(0.5);
    host
}

/// All ports towards one place are used, and calls are refused.
pub fn exhausted(view: View) -> Host {
    let mut host = Host::new(view);
    host.bind((90, "idle"), "10.0.0.2:40001");
    let parity = |parity: u16| (40_000..=40_099u16).filter(move |port| port % 2 == parity);
    for port in parity(0).chain(parity(1)) {
        if (40_010..=40_019).contains(&port) || port == 40_001 {
            continue;
        }
        let who = if port % 3 == 0 { (77, "web") } else { (4242, "curl") };
        let one = host.connect(who, &format!("10.0.0.2:{port}"), "10.0.0.1:443");
        host.wait(0.1);
        if port % 10 != 0 {
            host.close(one);
        }
    }
    for _ in 0..3 {
        host.refused((4242, "curl"), "10.0.0.2", "10.0.0.1:443");
        host.wait(0.2);
    }
    host.refused((4300, "cron"), "10.0.0.2", "10.0.0.1:443");
    host.conflict((91, "api-v2"), "10.0.0.2:40001");
    host.lose(12);
    host.wait(0.2);
    host
}

/// Names as long as the kernel has them, with what others put in them.
pub fn long_names(view: View) -> Host {
    let mut host = Host::new(view);
    host.namespace(NETNS, &["a-network-namespace-with-a-name-that-goes-on-and-on"], 40_000, 40_099);
    let names = [
        (4_194_304, "fifteen-letters"),
        (4_194_303, "服务器服务器服"),
        (4_194_302, "\x1b[31mred\n\t"),
        (4_194_301, "a-name-much-longer-than-any-that-the-kernel-would-keep-of-it"),
    ];
    for (step, who) in (0u16..).zip(names) {
        for more in 0..=3 - step {
            let local = format!("192.168.100.100:{}", 40_020 + 10 * step + more);
            host.connect(who, &local, "203.113.113.113:65535");
        }
        host.refused(who, "192.168.100.100", "203.113.113.113:65535");
    }
    host.wait(1.0);
    host
}

/// The same over IPv6.
pub fn ipv6(view: View) -> Host {
    let mut host = Host::new(view);
    let source = "[2001:db8:1111:2222:3333:4444:5555:6666]";
    for step in 0..70u16 {
        let one = host.connect(
            (4242, "curl"),
            &format!("{source}:{}", 40_020 + step),
            "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535",
        );
        host.wait(0.1);
        if step % 2 == 0 {
            host.close(one);
        }
    }
    host.bind((90, "idle"), "[::]:40095");
    host.refused((4242, "curl"), source, "[2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff]:65535");
    host.wait(1.0);
    host
}

/// One that watches pools: a full one, one with a stranger in it, and one that is not there.
pub fn pools(view: View) -> Host {
    let mut host = Host::new(view);
    host.state.show_pools();
    let holder = |pid, name: &str, ports, is_stranger| PoolHolder {
        process: Some(Arc::new(Process { pid, name: name.to_owned(), ..Process::default() })),
        ports,
        is_stranger: Some(is_stranger),
    };
    let pool = |name: &str, range: &str, netns, (ports, used, free): (u32, u32, u32)| PoolUse {
        name: name.into(),
        range: range.into(),
        netns,
        ports,
        used,
        usable: ports,
        free,
        is_full: free == 0,
        growth_per_second: (used > 0).then_some(1.5),
        seconds_to_exhaustion: (free > 0 && used > 0).then_some(f64::from(free) / 1.5),
        refused: u64::from(free == 0) * 12,
    };
    host.state.picture.pools = vec![
        PoolLook {
            pool: pool("web", "19000-19099", Some(7), (100, 40, 60)),
            holders: vec![holder(70, "nginx", 39, false), holder(71, "curl\u{1b}[2J", 1, true)],
        },
        PoolLook {
            pool: pool("media", "21000-21100, 22000-22100", Some(7), (202, 202, 0)),
            holders: vec![holder(80, "rtpengine", 202, false)],
        },
        PoolLook { pool: pool("gone", "23000-23009", None, (10, 0, 10)), holders: Vec::new() },
    ];
    host
}
