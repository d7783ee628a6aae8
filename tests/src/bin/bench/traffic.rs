//! Connections over loopback, one after the other on one thread, which plays client and server: so
//! nothing waits for a scheduler, and all that a connection costs runs on this thread.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_gettime};
use socket2::{Domain, SockAddr, Socket, Type};
use tests::net::{ephemeral_range, sysctl};

use crate::statistics::percentile;

/// Below the range that ports are chosen from.
const PORT: u16 = 1000;
/// TIME_WAIT entries that the namespace may hold.
const TIME_WAITS: u32 = 1_000_000;

/// How many times longer traffic may take on a machine that does other things too.
const BUSY: u32 = 5;

/// Makes room for many connections in the calling thread's namespace.
pub fn prepare_namespace() {
    ephemeral_range(1024, 65535);
    sysctl("ipv4/tcp_max_tw_buckets", &TIME_WAITS.to_string());
    // Or connections in TIME_WAIT are taken over after a second on loopback.
    sysctl("ipv4/tcp_tw_reuse", "0");
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// The client resets it: nothing stays behind.
    Reset,
    /// The client closes it first: it stays in TIME_WAIT on the client's side.
    TimeWait,
}

/// A listener on every address of loopback.
pub struct Server(Socket);

/// How much traffic.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    /// For so much processor time, or a few times as much on a busy machine.
    For(Duration),
    /// So many connections.
    Connections(usize),
}

/// What a piece of traffic took.
pub struct Slice {
    /// How many connections.
    pub connections: usize,
    /// From the first to the last, in seconds.
    pub seconds: f64,
    /// Processor time of this thread, in seconds. It holds the softirq work that the kernel does
    /// on this thread: with loopback that is the whole of it.
    pub cpu_seconds: f64,
    /// Nanoseconds that each connect() took.
    pub connect_ns: Vec<f64>,
}

impl Slice {
    /// Connections a second.
    pub fn rate(&self) -> f64 {
        self.connections as f64 / self.seconds
    }

    /// Processor time of a connection, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        self.cpu_seconds * 1e6 / self.connections as f64
    }

    /// A percentile of connect(), in microseconds.
    pub fn connect_us(&mut self, share: f64) -> f64 {
        percentile(&mut self.connect_ns, share) / 1000.0
    }
}

impl Server {
    /// Listens in the calling thread's namespace.
    pub fn listen() -> Result<Self> {
        Self::listen_on(PORT)
    }

    /// The same on another port.
    pub fn listen_on(port: u16) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).context("make a listener")?;
        socket.set_reuse_address(true)?;
        let at = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        socket.bind(&at.into()).with_context(|| format!("bind {at}"))?;
        socket.listen(128).context("listen")?;
        Ok(Self(socket))
    }

    /// Its address under 127.0.0.0/8: each has all ports of the range to itself.
    fn address(&self, destination: u8) -> Result<SockAddr> {
        let port = self.0.local_addr()?.as_socket().context("an internet address")?.port();
        Ok(SocketAddr::from((Ipv4Addr::new(127, 0, 1, destination), port)).into())
    }

    /// Makes connections to one destination.
    pub fn traffic(&self, amount: Amount, close: Close, destination: u8) -> Result<Slice> {
        let to = self.address(destination)?;
        let mut connect_ns = Vec::with_capacity(100_000);
        let cpu = thread_cpu()?;
        let began = Instant::now();
        loop {
            let enough = match amount {
                Amount::Connections(count) => connect_ns.len() >= count,
                // The clock of a thread is a system call, so it is not asked each time.
                Amount::For(_) if !connect_ns.len().is_multiple_of(64) => false,
                Amount::For(time) => thread_cpu()? - cpu >= time || began.elapsed() > time * BUSY,
            };
            if enough {
                break;
            }
            connect_ns.push(self.connection(&to, close)?);
        }
        let seconds = began.elapsed().as_secs_f64();
        let cpu_seconds = (thread_cpu()? - cpu).as_secs_f64();
        Ok(Slice { connections: connect_ns.len(), seconds, cpu_seconds, connect_ns })
    }

    /// One connection; returns what connect() took, in nanoseconds.
    fn connection(&self, to: &SockAddr, close: Close) -> Result<f64> {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).context("make a socket")?;
        let before = Instant::now();
        client.connect(to).context("connect")?;
        let took = before.elapsed();
        let (child, _) = self.0.accept().context("accept")?;
        if close == Close::Reset {
            client.set_linger(Some(Duration::ZERO)).context("set SO_LINGER")?;
        }
        drop(client);
        drop(child);
        Ok(took.as_nanos() as f64)
    }

    /// One connection that is reset; returns when connect() was called, and the port it got.
    pub fn ping(&self) -> Result<(Instant, u16)> {
        let to = self.address(1)?;
        let client = Socket::new(Domain::IPV4, Type::STREAM, None).context("make a socket")?;
        let before = Instant::now();
        client.connect(&to).context("connect")?;
        let port = client.local_addr()?.as_socket().context("an internet address")?.port();
        let (child, _) = self.0.accept().context("accept")?;
        client.set_linger(Some(Duration::ZERO)).context("set SO_LINGER")?;
        drop(client);
        drop(child);
        Ok((before, port))
    }
}

fn thread_cpu() -> Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).context("the thread's clock")?;
    Ok(time.into())
}
