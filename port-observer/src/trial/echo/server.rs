//! The peer's two sockets.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{Counts, Streams};
use crate::{
    pools::PortSet,
    trial::{nanoseconds, rtp, socket},
};

/// Longer datagrams are no packet of a call: no path that calls take has a larger MTU.
const MOST_BYTES: usize = 2_048;
/// How often it is looked whether it is to end.
const LOOK: u16 = 50;
/// Datagrams of one socket in a row.
const BATCH: usize = 256;

/// The peer, listening.
#[derive(Debug)]
pub struct Server {
    rtp: UdpSocket,
    rtcp: UdpSocket,
}

/// What it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served {
    /// What came.
    pub counts: Counts,
    /// How many datagrams the kernel dropped before they were read; `None`: it does not say.
    pub dropped: Option<u64>,
}

impl Server {
    /// Listens for RTP on this port, and for RTCP on the next. Port 0: two that are free, the highest.
    ///
    /// # Errors
    /// When one of them can't be had.
    pub fn listen(at: SocketAddr) -> Result<Self> {
        if at.port() == 0 {
            return Self::outside(at.ip(), &PortSet::default());
        }
        let [_, next] = socket::both(at).context("the port of RTCP would be 65536")?;
        let bind = |at: SocketAddr| {
            socket::bind(at.ip(), at.port()).with_context(|| format!("can't listen on {at} (udp)"))
        };
        Ok(Self::of(bind(at)?, bind(next)?))
    }

    /// Listens on two ports that are in none of these pools.
    ///
    /// # Errors
    /// When no two are free.
    pub fn outside(address: IpAddr, pools: &PortSet) -> Result<Self> {
        let found = socket::bind_outside(address, pools).ok_or_else(|| {
            anyhow!(
                "no two ports of {address} are left outside of all pools for the peer: run `pools echo` \
                 elsewhere, and name it with --to"
            )
        })?;
        Ok(Self::of(found.0, found.1))
    }

    fn of(rtp: UdpSocket, rtcp: UdpSocket) -> Self {
        [&rtp, &rtcp].into_iter().for_each(socket::enlarge);
        Self { rtp, rtcp }
    }

    /// Where it listens for RTP.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.rtp.local_addr()
    }

    /// Answers until it is told to stop, or so long.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn run(&self, stop: &AtomicBool, duration: Option<Duration>) -> Result<Served> {
        let began = Instant::now();
        let mut streams = Streams::default();
        let is_over = || duration.is_some_and(|duration| began.elapsed() >= duration);
        while !stop.load(Ordering::Relaxed) && !is_over() {
            let mut ready = [&self.rtp, &self.rtcp]
                .map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
            match poll(&mut ready, PollTimeout::from(LOOK)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("can't wait for packets"),
            }
            // Reports first: they are few, and their answers tell times.
            answer(&self.rtcp, true, &mut streams, began);
            answer(&self.rtp, false, &mut streams, began);
        }
        let dropped = [&self.rtp, &self.rtcp].map(|one| socket::dropped(one.as_raw_fd()));
        let dropped = dropped.into_iter().try_fold(0, |sum, one| Some(sum + one?));
        Ok(Served { counts: streams.counts, dropped })
    }
}

/// Answers what has come. Errors are of packets before, which ICMP tells, and end nothing.
fn answer(socket: &UdpSocket, is_rtcp: bool, streams: &mut Streams, began: Instant) {
    let mut bytes = [0; MOST_BYTES];
    for _ in 0..BATCH {
        let (length, from) = match socket.recv_from(&mut bytes) {
            Ok(came) => came,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => continue,
        };
        let now = nanoseconds(began.elapsed());
        let datagram = &bytes[..length];
        let answer = if length == MOST_BYTES {
            streams.counts.ignored += 1;
            None
        } else if is_rtcp || rtp::is_rtcp(datagram) {
            streams.take_rtcp(from.ip(), datagram, now).map(|bytes| socket.send_to(&bytes, from))
        } else {
            streams.take_rtp(from.ip(), datagram, now).then(|| socket.send_to(datagram, from))
        };
        streams.counts.unsent += u64::from(matches!(answer, Some(Err(_))));
    }
}
