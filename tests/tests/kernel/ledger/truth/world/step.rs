//! What may be done in a world, at random.

use std::fmt::Debug;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use nix::errno::Errno;
use tests::socket::{Held, local, local6, tcp, udp, udp6};

use super::super::source::Source;
use super::{BUSY, World, canonical, loopback, tcp_for};

/// Nobody listens here.
const NOBODY: u16 = 9;
/// How long a FIN that must have come already may take.
const PATIENCE: Duration = Duration::from_secs(5);

impl World {
    /// One thing, or a few of the same.
    pub(super) fn step(&mut self) {
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

/// Calls listen(), which fails when another listener has the port, or no port is left.
fn listen(held: &Held) -> Result<(), Errno> {
    let errno = |error: io::Error| Errno::from_raw(error.raw_os_error().unwrap_or_default());
    held.socket().listen(1).map_err(errno)
}
