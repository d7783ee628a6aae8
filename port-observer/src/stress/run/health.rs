//! How the server is at the limit, and once all connections are closed.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::fd::{AsRawFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};

use super::Run;
use crate::stress::{Close, Health, listener};

/// How long a first byte may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the server may take to be as before.
const RECOVERY: Duration = Duration::from_secs(10);
/// Where it is tried from: the first that is outside of the range.
const PROBE_PORTS: [u16; 3] = [7681, 998, 65_534];
/// What most servers answer to, if only with an error.
const QUESTION: &[u8] = b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n";

impl Run {
    /// Tries the server, closes all connections, and tries it until it answers.
    pub(super) fn health(&mut self) -> Health {
        let first_byte = self.first_byte();
        let mut health = Health {
            alive: !self.server_pids().is_empty(),
            accepting: first_byte.is_some(),
            first_byte_seconds: first_byte.map(|time| time.as_secs_f64()),
            recovered_seconds: None,
        };
        if !health.alive {
            return health;
        }
        let began = Instant::now();
        for client in &mut self.clients {
            client.stop();
        }
        while began.elapsed() < RECOVERY {
            let mut listeners = listener::listeners().into_iter();
            let is_empty = listeners.any(|one| one.port == self.server_port && one.queue.0 == 0);
            if is_empty && self.first_byte().is_some() {
                health.recovered_seconds = Some(began.elapsed().as_secs_f64());
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        health
    }

    /// How long a new connection takes to its first byte. `None`: there is none in time, or it is closed
    /// without.
    fn first_byte(&self) -> Option<Duration> {
        let to = *self.destinations.first()?;
        // Of no range: where bind() holds ports, connect() chooses none of them, for any address.
        let range = super::range_here();
        let is_free = |port: &u16| !(range.0..=range.1).contains(port) && *port != self.server_port;
        let port = PROBE_PORTS.into_iter().find(is_free)?;
        let from = SocketAddr::new(self.plan.probe_source(), port);
        let began = Instant::now();
        let stream = connect_from(from, to)?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut stream = stream;
        if self.plan.close != Close::Server {
            stream.write_all(QUESTION).ok()?;
        }
        let mut byte = [0];
        // One that is to close at once has answered by that.
        let is_answer = |length| length == 1 || self.plan.close == Close::Server;
        let answered = stream.read(&mut byte).is_ok_and(is_answer);
        answered.then(|| began.elapsed())
    }
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
