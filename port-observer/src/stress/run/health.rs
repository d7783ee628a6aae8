//! How the server is at the limit, and once all connections are closed.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsRawFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};

use super::Run;
use crate::stress::{Close, Health, listener, target};

/// How long a first byte may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the server may take to be as before.
const RECOVERY: Duration = Duration::from_secs(10);
/// How often it is looked whether a connection is accepted.
const LOOK: Duration = Duration::from_millis(50);
/// Where it is tried from: the first that is outside of the range.
const PROBE_PORTS: [u16; 3] = [7681, 998, 65_534];
/// What most servers answer to, if only with an error.
const QUESTION: &[u8] = b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n";

/// What came of a new connection, and how long after connect() was called.
#[derive(Clone, Copy, Debug, Default)]
struct Answer {
    accepted: Option<Duration>,
    first_byte: Option<Duration>,
}

impl Answer {
    /// When it was plain that the server takes connections.
    fn accepting(self) -> Option<Duration> {
        self.accepted.into_iter().chain(self.first_byte).min()
    }
}

impl Run {
    /// Tries the server, closes all connections, and tries it until it takes one.
    pub(super) fn health(&mut self, alive: bool) -> Health {
        // Of a target only what it answers is known.
        let is_target = self.plan.target.is_some();
        let mut health = Health { alive, ..Health::default() };
        if !alive && !is_target {
            return health;
        }
        let answer = self.try_server();
        health.accepting = answer.accepting().is_some();
        health.first_byte_seconds = answer.first_byte.map(|time| time.as_secs_f64());
        health.alive |= health.accepting;
        if !health.alive {
            return health;
        }
        let began = Instant::now();
        for client in &mut self.clients {
            client.stop();
        }
        while began.elapsed() < RECOVERY {
            let mut listeners = listener::listeners().into_iter();
            let is_empty = self.plan.udp
                || !self.has_queue()
                || listeners.any(|one| one.port == self.server_port && one.queue.0 == 0);
            let tried = began.elapsed();
            if is_empty && let Some(time) = self.try_server().accepting() {
                health.recovered_seconds = Some((tried + time).as_secs_f64());
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        health
    }

    /// Whether the server's queue can be seen: not that of a target elsewhere.
    fn has_queue(&self) -> bool {
        self.plan.target.is_none_or(target::is_here)
    }

    /// Makes a connection and asks for something. One that is closed without an answer is none.
    fn try_server(&self) -> Answer {
        self.answer().unwrap_or_default()
    }

    fn answer(&self) -> Option<Answer> {
        let to = *self.destinations.first()?;
        // Of no range: where bind() holds ports, connect() chooses none of them, for any address.
        let range = super::range_here();
        let is_free = |port: &u16| !(range.0..=range.1).contains(port) && *port != self.server_port;
        let port = PROBE_PORTS.into_iter().find(is_free)?;
        let from = match self.plan.target {
            Some(target) if target.is_ipv6() => (Ipv6Addr::UNSPECIFIED, 0).into(),
            Some(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            None => SocketAddr::new(self.plan.probe_source(), port),
        };
        if self.plan.udp {
            return Some(Answer { accepted: None, first_byte: datagram(from, to) });
        }
        let began = Instant::now();
        let mut stream = connect_from(from, to)?;
        let from = stream.local_addr().ok()?;
        stream.set_read_timeout(Some(LOOK)).ok()?;
        let is_to_close = self.plan.close == Close::Server;
        if !is_to_close {
            stream.write_all(QUESTION).ok()?;
        }
        let mut answer = Answer::default();
        while began.elapsed() < PATIENCE {
            match stream.read(&mut [0]) {
                Ok(1) => answer.first_byte = Some(began.elapsed()),
                // One that is to close at once has answered by that.
                Ok(_) if is_to_close => answer.first_byte = Some(began.elapsed()),
                Ok(_) => return None,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if answer.accepted.is_none() && listener::is_accepted(to.port(), from) {
                        answer.accepted = Some(began.elapsed());
                    }
                    continue;
                }
                Err(_) => return None,
            }
            break;
        }
        Some(answer)
    }
}

/// How long an answer to a datagram takes.
fn datagram(from: SocketAddr, to: SocketAddr) -> Option<Duration> {
    let socket = UdpSocket::bind(from).ok()?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    let began = Instant::now();
    socket.send_to(QUESTION, to).ok()?;
    // Of a server that is bound to no address it comes from the one that routes there.
    socket.recv_from(&mut [0; 1]).ok().map(|_| began.elapsed())
}

/// A connection from an address of its own, which has all its ports.
fn connect_from(from: SocketAddr, to: SocketAddr) -> Option<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd: OwnedFd = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).ok()?;
    setsockopt(&fd, sockopt::ReuseAddr, &true).ok()?;
    // Closed with a reset: the next finds no TIME_WAIT in its way.
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&fd, sockopt::Linger, &linger).ok()?;
    // connect() waits no longer than what is sent may.
    let timeout = nix::sys::time::TimeVal::new(PATIENCE.as_secs().cast_signed(), 0);
    setsockopt(&fd, sockopt::SendTimeout, &timeout).ok()?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(from)).ok()?;
    connect(fd.as_raw_fd(), &SockaddrStorage::from(to)).ok()?;
    Some(TcpStream::from(fd))
}
