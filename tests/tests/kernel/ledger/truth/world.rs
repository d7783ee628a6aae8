//! A namespace in a random state: a range, reserved ports, and sockets in every state.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tests::net::{Namespace, ephemeral_range, sysctl};
use tests::socket::{Held, local, local6, tcp, tcp6};

mod step;

/// Below every range: a listener for each address family on both.
const SERVERS: [u16; 2] = [80, 81];
/// Where a full queue makes connect() wait for an answer.
const BUSY: u16 = 90;
/// How long a child that must have come already may take to be accepted.
const ACCEPT: Duration = Duration::from_secs(1);
/// Lines of the log that a failure shows.
const SHOWN: usize = 400;

/// A namespace and what is in it.
pub struct World {
    /// What it was made from.
    pub seed: u64,
    /// The namespace.
    pub namespace: Namespace,
    /// All choices are its.
    pub random: Rng,
    /// The range has an odd number of ports, of which connect() and bind() leave one out.
    pub is_odd: bool,
    /// The first and the last port that the kernel chooses from.
    pub range: (u16, u16),
    listeners: Vec<Held>,
    sockets: Vec<Held>,
    children: Vec<(Ends, Held)>,
    began: Instant,
    log: Vec<String>,
}

/// The client's address and the server's.
type Ends = (SocketAddr, SocketAddr);

/// `127.0.0.n`
pub fn loopback(n: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, n).into()
}

impl World {
    /// Makes one, with nothing in it yet.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            namespace: Namespace::make(),
            random: Rng::with_seed(seed),
            is_odd: false,
            range: (0, 0),
            listeners: Vec::new(),
            sockets: Vec::new(),
            children: Vec::new(),
            began: Instant::now(),
            log: Vec::new(),
        }
    }

    /// Fills it. The calling thread is in its namespace afterwards.
    pub fn fill(&mut self) {
        self.namespace.enter();
        self.choose_settings();
        self.listen();
        for _ in 0..self.random.u32(20..150) {
            self.step();
        }
        // Some ask from a range that was another one a moment ago.
        if self.random.f32() < 0.15 {
            self.choose_range();
        }
    }

    /// The seed and all that was done.
    pub fn story(&self) -> String {
        let start = self.log.len().saturating_sub(SHOWN);
        format!("seed {}:\n    {}", self.seed, self.log[start..].join("\n    "))
    }

    /// A server's address.
    pub fn destination(&mut self) -> SocketAddr {
        let port = self.pick(&SERVERS);
        let n = self.random.u8(1..=3);
        match self.random.u8(0..10) {
            0..7 => SocketAddr::new(loopback(n), port),
            7..9 => local6(port),
            // A listener within the range has a port that only bind() could share.
            _ => self.listeners.last().map_or(local(port), |listener| listener.local),
        }
    }

    /// Notes what is about to be done, or was, and when: TIME_WAIT lasts a minute.
    pub fn note(&mut self, what: String) {
        self.log.push(format!("{:7.3} s: {what}", self.began.elapsed().as_secs_f64()));
    }

    /// Keeps a socket with all the others, and returns its port.
    pub fn keep(&mut self, held: Held) -> u16 {
        let port = held.port();
        self.sockets.push(held);
        port
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.usize(..of.len())]
    }

    fn set(&mut self, name: &str, value: &str) {
        sysctl(name, value);
        self.note(format!("{name} = {value}"));
    }

    fn choose_settings(&mut self) {
        // Not the kernel's own choice, which may change.
        let reuse = self.pick(&["0", "1", "2"]);
        self.set("ipv4/tcp_tw_reuse", reuse);
        if self.random.f32() < 0.1 {
            self.set("ipv4/tcp_timestamps", "0");
        }
        self.choose_range();
    }

    fn choose_range(&mut self) {
        let min = self.random.u16(20_000..60_000);
        let size = self.random.u16(15..75) * 2 + u16::from(self.random.f32() < 0.1);
        self.range = (min, min + size - 1);
        self.is_odd = size % 2 == 1;
        ephemeral_range(self.range.0, self.range.1);
        self.note(format!("ip_local_port_range = {:?}, {size} ports", self.range));
        let reserved: Vec<String> = (0..self.random.u8(0..4))
            .map(|_| {
                let first = self.port();
                let last = first.saturating_add(self.random.u16(0..6));
                format!("{first}-{last}")
            })
            .collect();
        // Always written: what was reserved of another range goes.
        self.set("ipv4/ip_local_reserved_ports", &(reserved.join(",") + "\n"));
    }

    /// A port of the range.
    fn port(&mut self) -> u16 {
        self.random.u16(self.range.0..=self.range.1)
    }

    fn listen(&mut self) {
        for port in SERVERS {
            let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
            self.listeners.push(tcp().bind(any).listen());
            self.listeners.push(tcp6().bind(local6(port)).listen());
        }
        let busy = tcp().bind(local(BUSY));
        busy.socket().listen(0).expect("listen");
        self.sockets.push(busy);
        if self.random.bool() {
            let at = local(self.port());
            self.note(format!("listens on {at}"));
            self.listeners.push(tcp().bind(at).listen());
        }
        for listener in &self.listeners {
            listener.socket().set_read_timeout(Some(ACCEPT)).expect("set SO_RCVTIMEO");
        }
    }
}

/// A TCP socket for this kind of address.
pub fn tcp_for(address: IpAddr) -> Held {
    if address.is_ipv4() { tcp() } else { tcp6() }
}

/// A v4-mapped address as the IPv4 address that it is on the wire.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
