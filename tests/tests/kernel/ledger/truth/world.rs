//! A namespace in a random state: a range, reserved ports, and sockets in every state.

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use fastrand::Rng;
use nix::errno::Errno;
use tests::net::{Namespace, ephemeral_range, sysctl};
use tests::socket::{Held, local, local6, tcp, tcp6, udp, udp6};

/// Below every range: a listener for each address family on both.
const SERVERS: [u16; 2] = [80, 81];
/// Nobody listens here.
const NOBODY: u16 = 9;
/// Where a full queue makes connect() wait for an answer.
const BUSY: u16 = 90;
/// How long a child that must have come already may take to be accepted.
const ACCEPT: Duration = Duration::from_secs(1);
/// How long a FIN that must have come already may take.
const PATIENCE: Duration = Duration::from_secs(5);
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
    range: (u16, u16),
    listeners: Vec<Held>,
    sockets: Vec<Held>,
    children: Vec<(Ends, Held)>,
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
        let world = Self {
            seed,
            namespace: Namespace::make(),
            random: Rng::with_seed(seed),
            is_odd: false,
            range: (0, 0),
            listeners: Vec::new(),
            sockets: Vec::new(),
            children: Vec::new(),
            log: Vec::new(),
        };
        world.namespace.keep();
        world
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

    /// Notes what is about to be done.
    pub fn note(&mut self, what: String) {
        self.log.push(what);
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

    /// One thing, or a few of the same.
    fn step(&mut self) {
        let many = self.random.u8(1..6);
        match self.random.u8(0..20) {
            0..3 => self.bind(),
            3 => self.bind_and_listen(),
            4..9 => {
                let (source, to) = (self.source(), self.destination());
                (0..many).for_each(|_| self.connect(source, to));
            }
            9..15 => (0..many).for_each(|_| self.end_one()),
            15 => self.refused(),
            16..18 => self.udp(),
            18 => self.waits_for_an_answer(),
            _ => self.listen_without_bind(),
        }
    }

    fn outcome(&mut self, what: impl Debug, held: Held, result: Result<(), Errno>) {
        let end = match result {
            Ok(()) => held.local.to_string(),
            Err(error) => error.to_string(),
        };
        self.note(format!("{what:?}: {end}"));
        // The rest is closed: its port, if it had one, was taken for a moment.
        if result.is_ok() {
            self.sockets.push(held);
        }
    }

    fn address(&mut self) -> IpAddr {
        match self.random.u8(0..10) {
            n @ 1..=3 => loopback(n),
            0 => Ipv4Addr::UNSPECIFIED.into(),
            4 => Ipv6Addr::LOCALHOST.into(),
            5 => Ipv6Addr::UNSPECIFIED.into(),
            _ => loopback(1),
        }
    }

    fn share(&mut self, held: Held) -> (Held, &'static str) {
        match self.random.u8(0..10) {
            0..3 => (held.reuse_address(), "SO_REUSEADDR "),
            3..5 => (held.reuse_port(), "SO_REUSEPORT "),
            5 => (held.reuse_address().reuse_port(), "SO_REUSEADDR SO_REUSEPORT "),
            _ => (held, ""),
        }
    }

    /// Any port or a fixed one, now and then with IPV6_V6ONLY.
    fn bound(&mut self) -> (String, Held, Result<(), Errno>) {
        let address = self.address();
        let port = if self.random.bool() { self.port() } else { 0 };
        let (mut held, flags) = self.share(tcp_for(address));
        let only = address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && self.random.bool();
        if only {
            held.socket().set_only_v6(true).expect("set IPV6_V6ONLY");
        }
        let at = SocketAddr::new(address, port);
        let result = held.try_bind(at);
        (format!("bind {flags}{at}{}", if only { " v6only" } else { "" }), held, result)
    }

    fn bind(&mut self) {
        let (what, held, result) = self.bound();
        self.outcome(format_args!("{what}"), held, result);
    }

    fn bind_and_listen(&mut self) {
        let (what, held, result) = self.bound();
        let result = result.and_then(|()| listen(&held));
        self.outcome(format_args!("{what}, listen"), held, result);
    }

    fn listen_without_bind(&mut self) {
        let held = tcp();
        let result = listen(&held);
        self.outcome("listen", held, result);
    }

    fn source(&mut self) -> Source {
        let address = loopback(self.random.u8(1..=3));
        match self.random.u8(0..12) {
            0..6 => Source::Any,
            6..9 => Source::Late(address),
            9 => Source::Bound(SocketAddr::new(address, 0)),
            10 => Source::Bound(SocketAddr::new(address, self.port())),
            _ => Source::Mapped,
        }
    }

    /// Connects, and accepts at once, later or never.
    fn connect(&mut self, source: Source, to: SocketAddr) {
        let (mut held, result) = source.socket(to);
        let result = result.and_then(|()| held.try_connect(source.to(to)));
        let connected = result.is_ok();
        self.outcome(format_args!("connect {source:?} to {to}"), held, result);
        if connected && self.random.bool() {
            self.accept(self.sockets.len() - 1);
        }
    }

    /// Accepts until the child of this socket is among the accepted ones.
    fn accept(&mut self, index: usize) -> Option<usize> {
        let client = canonical(self.sockets[index].local);
        let to = canonical(self.sockets[index].remote?);
        let is_its = |at: SocketAddr| {
            at.port() == to.port() && (at.ip().is_unspecified() || at.ip() == to.ip())
        };
        let listener = self.listeners.iter().position(|listener| {
            listener.local.is_ipv4() == to.is_ipv4() && is_its(listener.local)
        })?;
        loop {
            let found = self.children.iter().position(|(ends, _)| *ends == (client, to));
            if found.is_some() {
                return found;
            }
            let child = self.listeners[listener].accept_next()?;
            // One that was reset before it was accepted has no peer, and its client has no port.
            let ends = child
                .socket()
                .peer_addr()
                .and_then(|peer| Ok((peer.as_socket(), child.socket().local_addr()?.as_socket())));
            if let Ok((Some(client), Some(to))) = ends {
                child.socket().set_read_timeout(Some(PATIENCE)).expect("set SO_RCVTIMEO");
                self.children.push(((canonical(client), canonical(to)), child));
            }
        }
    }

    /// Ends one socket, in one of the ways that there are.
    fn end_one(&mut self) {
        if self.sockets.len() < 2 {
            return;
        }
        // Not the first: it keeps the busy port.
        let index = self.random.usize(1..self.sockets.len());
        let is_tcp = self.sockets[index].protocol == "tcp";
        let child = if is_tcp { self.accept(index) } else { None };
        let mut held = self.sockets.swap_remove(index);
        let name = format!("{} to {:?}", held.local, held.remote);
        let Some(child) = child else {
            self.note(format!("close {name}"));
            return held.close();
        };
        let (_, mut child) = self.children.swap_remove(child);
        let how = self.random.u8(0..9);
        let what = match how {
            0..4 => {
                held.close();
                child.read_to_the_end();
                child.close();
                "closes before its peer"
            }
            4..6 => {
                child.close();
                held.socket().set_read_timeout(Some(PATIENCE)).expect("set SO_RCVTIMEO");
                held.read_to_the_end();
                held.close();
                "closes after its peer"
            }
            6 => {
                held.reset();
                "resets"
            }
            7 => {
                child.reset();
                "is reset"
            }
            _ => {
                held.close();
                self.sockets.push(child);
                "closes, its peer does not"
            }
        };
        self.note(format!("{name} {what}"));
    }

    fn refused(&mut self) {
        let mut held = tcp();
        let bound = self.random.bool();
        let result = if bound { held.try_bind(local(0)) } else { Ok(()) };
        let result = result.and_then(|()| held.try_connect(local(NOBODY)));
        self.note(format!("connect to nobody, bound before: {bound}: {result:?}"));
        // Open and without a port.
        self.sockets.push(held);
    }

    fn udp(&mut self) {
        let address = self.address();
        let mut held = if address.is_ipv4() { udp() } else { udp6() };
        let to = if address.is_ipv4() { local(NOBODY) } else { local6(NOBODY) };
        let (what, result) = match self.random.u8(0..4) {
            0 => ("connect", held.try_connect(to)),
            1 => ("send", held.try_send_to(to)),
            2 => ("bind any", held.try_bind(SocketAddr::new(address, 0))),
            _ => {
                let at = SocketAddr::new(address, self.port());
                ("bind fixed", held.try_bind(at))
            }
        };
        self.outcome(format_args!("udp {what} {address}"), held, result);
    }

    /// A SYN that nobody answers: the queue is full.
    fn waits_for_an_answer(&mut self) {
        let mut held = tcp();
        held.socket().set_nonblocking(true).expect("set O_NONBLOCK");
        let result = held.try_connect(local(BUSY));
        self.note(format!("connect to the full queue: {result:?}"));
        self.sockets.push(held);
    }
}

/// How a socket comes by its source address and port.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// connect() chooses both.
    Any,
    /// bind() with IP_BIND_ADDRESS_NO_PORT gives the address, connect() the port.
    Late(IpAddr),
    /// bind() gives both.
    Bound(SocketAddr),
    /// As any, over an IPv6 socket to a v4-mapped address.
    Mapped,
}

impl Source {
    /// A socket to connect to this destination with. To IPv6, only `Any` makes sense.
    pub fn socket(self, to: SocketAddr) -> (Held, Result<(), Errno>) {
        match self {
            _ if to.is_ipv6() => (tcp6(), Ok(())),
            Self::Any => (tcp(), Ok(())),
            Self::Mapped => (tcp6(), Ok(())),
            Self::Late(address) => {
                let mut held = tcp().bind_address_no_port();
                let result = held.try_bind(SocketAddr::new(address, 0));
                (held, result)
            }
            Self::Bound(at) => {
                let mut held = tcp();
                let result = held.try_bind(at);
                (held, result)
            }
        }
    }

    /// The destination as the socket takes it.
    pub fn to(self, to: SocketAddr) -> SocketAddr {
        match (self, to.ip()) {
            (Self::Mapped, IpAddr::V4(address)) => {
                SocketAddr::new(address.to_ipv6_mapped().into(), to.port())
            }
            _ => to,
        }
    }
}

/// Calls listen(), which fails when another listener has the port, or no port is left.
fn listen(held: &Held) -> Result<(), Errno> {
    let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or_default());
    held.socket().listen(1).map_err(errno)
}

/// A TCP socket for this kind of address.
pub fn tcp_for(address: IpAddr) -> Held {
    if address.is_ipv4() { tcp() } else { tcp6() }
}

/// A v4-mapped address as the IPv4 address that it is on the wire.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
