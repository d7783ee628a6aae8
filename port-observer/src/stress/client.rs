//! The client: connects until it is done, and says how far it is.

mod events;
mod lately;
mod socket;

use std::{net::SocketAddr, os::fd::OwnedFd, time::Duration};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags},
        resource::{Resource, setrlimit},
        socket::{setsockopt, sockopt},
    },
};
use slab::Slab;

use self::lately::Lately;
use super::{
    Close, RESERVE,
    parts::{ClientJob, End, Line, Progress, say},
    samples::drain,
};
use crate::kernel::clock::now_boot_ns;

/// How many connections are being made at a time: fewer than any usual accept queue holds.
const WINDOW: usize = 64;
/// How often it is said how far it is, at least.
const EVERY: Duration = Duration::from_millis(100);
/// And after so many connections.
const EVERY_CONNECTIONS: u64 = 1_000;
/// An attempt that takes this long was sent again: the first SYN or its answer was dropped (`TCP_TIMEOUT_INIT`).
const RETRIED: Duration = Duration::from_secs(1);
/// Between attempts that are refused.
const PAUSE: Duration = Duration::from_millis(1);
/// So many failures in a row, of a kind that does not pass by itself, are the end.
const MOST_FAILED: u64 = 100;
/// Longer times count as this.
const LONGEST_NS: u64 = 120_000_000_000;

/// The state of a connection.
#[derive(Debug)]
enum State {
    /// It is being made, since then.
    Connecting(u64),
    /// It stands.
    Open,
}

#[derive(Debug)]
struct Connection {
    fd: OwnedFd,
    state: State,
    pair: u32,
}

struct Client {
    job: ClientJob,
    epoll: Epoll,
    connections: Slab<Connection>,
    pending: usize,
    progress: Progress,
    took: Histogram<u64>,
    /// The next attempt's number.
    attempt: u64,
    /// Pairs of a source and a destination that may have ports left, by number.
    pairs: Vec<u32>,
    began_ns: u64,
    said_ns: u64,
    said_worked: u64,
    /// What came of it of late.
    lately: Lately,
    /// Attempts that the kernel refused at once, since one was not.
    refused_in_a_row: u64,
    /// Those that failed later, since a connection stood, and the error of the last.
    failed_in_a_row: (u64, i32),
}

/// Runs a client: says what it does, keeps what it has until its standard input ends.
///
/// # Errors
/// When the kernel refuses what it needs beside connections, or nobody listens.
pub fn run(job: ClientJob, stop: &dyn Fn() -> bool) -> Result<()> {
    super::place::set_oom_score(1_000);
    let limit = job.nofile;
    setrlimit(Resource::RLIMIT_NOFILE, limit, limit).with_context(|| {
        format!("can't set RLIMIT_NOFILE to {limit}: see fs.nr_open, and the hard limit")
    })?;
    ensure!(!job.destinations.is_empty(), "there is nothing to connect to");
    let began_ns = now_boot_ns()?;
    let mut client = Client {
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("can't wait for connections")?,
        connections: Slab::new(),
        pending: 0,
        progress: Progress::default(),
        took: Histogram::new_with_max(LONGEST_NS, 2).context("can't count times")?,
        attempt: 0,
        pairs: (0..pairs(&job)).collect(),
        began_ns,
        said_ns: 0,
        said_worked: 0,
        lately: Lately::begin(began_ns),
        refused_in_a_row: 0,
        failed_in_a_row: (0, 0),
        job,
    };
    let end = client.connect_until_done(stop)?;
    if let End::Refused { call, errno } = &end {
        client.progress.is_filtered = socket::is_filtered(call, *errno);
    }
    if matches!(end, End::Refused { .. } | End::Duration) {
        client.wait_for_the_rest(stop)?;
    }
    client.take_progress()?;
    say(&Line::Ended { end, progress: client.progress.clone() })?;
    while !stop() {
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

impl Client {
    fn connect_until_done(&mut self, stop: &dyn Fn() -> bool) -> Result<End> {
        loop {
            let now = now_boot_ns()?;
            self.lately.wait(now, self.pending);
            if let Some(end) = self.is_done(now, stop) {
                return Ok(end);
            }
            if let Some(end) = self.attempts(now)? {
                return Ok(end);
            }
            self.take_in(self.patience(now))?;
            let now = now_boot_ns()?;
            let is_due = now - self.said_ns >= ns(EVERY)
                || self.progress.worked - self.said_worked >= EVERY_CONNECTIONS;
            if is_due {
                self.take_progress()?;
                say(&Line::Progress(self.progress.clone()))?;
            }
        }
    }

    /// Lets connections that are being made stand, if they do.
    fn wait_for_the_rest(&mut self, stop: &dyn Fn() -> bool) -> Result<()> {
        let until = now_boot_ns()? + ns(RETRIED + RETRIED / 2);
        while self.pending > 0 && now_boot_ns()? < until && !stop() {
            self.take_in(EVERY / 4)?;
        }
        Ok(())
    }

    /// Whether there is nothing more to do, as far as that can be said before the next attempt.
    fn is_done(&mut self, now: u64, stop: &dyn Fn() -> bool) -> Option<End> {
        let made = self.job.first + self.progress.worked - self.gone();
        if stop() {
            return Some(End::Told);
        }
        if self.job.wanted.is_some_and(|wanted| made >= wanted) {
            return Some(End::Reached);
        }
        if now >= self.job.until_ns {
            return Some(End::Duration);
        }
        let (failed, errno) = self.failed_in_a_row;
        if failed >= MOST_FAILED {
            return Some(End::Refused { call: "connect".to_owned(), errno });
        }
        self.look_back(now)
    }

    /// Connections that were made and do not count, where they are to be kept.
    fn gone(&self) -> u64 {
        if self.job.close == Close::Keep { self.progress.closed } else { 0 }
    }

    /// Whether connections that are to be kept are closed by the server, or attempts get no answer.
    fn look_back(&mut self, now: u64) -> Option<End> {
        let lately = self.lately.next(now, &self.progress)?;
        if self.job.close == Close::Keep && lately.closes() {
            return Some(End::Closed);
        }
        lately.is_slow().then_some(End::Stalled)
    }

    /// Begins what may begin now.
    fn attempts(&mut self, now: u64) -> Result<Option<End>> {
        while self.pending < WINDOW {
            let made = self.job.first + self.progress.worked - self.gone();
            let begun = made + self.pending as u64;
            if self.job.wanted.is_some_and(|wanted| begun >= wanted) {
                break;
            }
            if !self.job.meets_nofile && self.connections.len() as u64 + RESERVE >= self.job.nofile
            {
                // Those that are being made may fail yet.
                return Ok((self.pending == 0).then_some(End::Full));
            }
            let due = self.due_ns();
            if due > now {
                break;
            }
            let since = if self.job.rate.is_some() { due } else { now_boot_ns()? };
            match self.attempt(since) {
                Ok(()) => self.refused_in_a_row = 0,
                Err((call, errno)) => {
                    if let Some(end) = self.is_refused(call, errno) {
                        return Ok(Some(end));
                    }
                    break;
                }
            }
            // Said in time, however fast it goes.
            if self.progress.worked - self.said_worked >= EVERY_CONNECTIONS {
                break;
            }
        }
        Ok(None)
    }

    fn due_ns(&self) -> u64 {
        let Some(rate) = self.job.rate else { return 0 };
        self.began_ns + self.attempt.saturating_mul(1_000_000_000) / u64::from(rate.max(1))
    }

    /// How long nothing can happen but what the kernel tells of.
    fn patience(&self, now: u64) -> Duration {
        let due = self.due_ns().saturating_sub(now);
        if self.refused_in_a_row > 0 {
            return PAUSE;
        }
        if self.pending < WINDOW && self.job.rate.is_none() && self.wants_more() {
            return Duration::ZERO;
        }
        match self.job.rate {
            Some(_) if self.pending < WINDOW => Duration::from_nanos(due).min(EVERY / 4),
            _ => EVERY / 4,
        }
    }

    fn wants_more(&self) -> bool {
        let made = self.job.first + self.progress.worked - self.gone() + self.pending as u64;
        self.job.wanted.is_none_or(|wanted| made < wanted)
    }

    /// A pair's source, if it is bound, and its destination.
    fn pair(&self, pair: u32) -> (Option<SocketAddr>, SocketAddr) {
        let (pair, count) = (pair as usize, self.job.destinations.len());
        (self.job.sources.get(pair / count).copied(), self.job.destinations[pair % count])
    }

    fn attempt(&mut self, since: u64) -> Result<(), (&'static str, i32)> {
        let turn = self.attempt % (self.pairs.len() as u64).max(1);
        let pair = self.pairs.get(turn as usize).copied().unwrap_or(0);
        self.attempt += 1;
        let (from, to) = self.pair(pair);
        let made = socket::begin(&self.job, from, to);
        let (fd, is_standing) = made.map_err(|(call, errno)| {
            *self.progress.refused.entry(errno as i32).or_default() += 1;
            self.is_full(pair, errno);
            (call, errno as i32)
        })?;
        self.pending += 1;
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        let flags = if is_standing { EpollFlags::EPOLLIN } else { EpollFlags::EPOLLOUT };
        let is_watched =
            self.epoll.add(&fd, EpollEvent::new(flags | EpollFlags::EPOLLRDHUP, key as u64));
        entry.insert(Connection { fd, state: State::Connecting(since), pair });
        if let Err(errno) = is_watched {
            self.connections.remove(key);
            self.pending -= 1;
            return Err(("epoll_ctl", errno as i32));
        }
        if is_standing {
            self.stands(key, true);
        }
        Ok(())
    }

    /// A pair that has no port is not tried again, where ports do not come back.
    fn is_full(&mut self, pair: u32, errno: Errno) {
        let is_of_ports = matches!(errno, Errno::EADDRNOTAVAIL | Errno::EADDRINUSE)
            || (self.job.udp && errno == Errno::EAGAIN);
        if self.job.close != Close::Keep || !is_of_ports {
            return;
        }
        // Where bind() chooses ports, and of UDP, a source has none left for any destination.
        let is_of_source =
            self.job.udp || (self.job.bind.chooses_port() && errno == Errno::EADDRINUSE);
        let count = if is_of_source { self.job.destinations.len() as u32 } else { 1 };
        self.pairs.retain(|one| one / count != pair / count);
    }

    /// An attempt was refused at once: whether that is the end.
    fn is_refused(&mut self, call: &'static str, errno: i32) -> Option<End> {
        self.refused_in_a_row += 1;
        let end = End::Refused { call: call.to_owned(), errno };
        let is_of_ports = matches!(errno, libc::EADDRNOTAVAIL | libc::EADDRINUSE | libc::EAGAIN);
        if self.job.close == Close::Keep {
            if is_of_ports && !self.pairs.is_empty() {
                self.refused_in_a_row = 0;
                return None;
            }
            return Some(end);
        }
        // Ports come back, and descriptors of what closes.
        let may_come_back = is_of_ports || errno == libc::EMFILE;
        (!may_come_back && self.refused_in_a_row >= MOST_FAILED).then_some(end)
    }

    /// A connection stands.
    fn stands(&mut self, key: usize, is_watched: bool) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let State::Connecting(since) = connection.state else { return };
        connection.state = State::Open;
        self.pending -= 1;
        self.progress.worked += 1;
        self.failed_in_a_row = (0, 0);
        let now = now_boot_ns().unwrap_or(since);
        let took = now.saturating_sub(since);
        let standing = self.progress.worked - self.progress.closed;
        if standing > self.progress.peak {
            (self.progress.peak, self.progress.peak_ns) = (standing, now);
        }
        self.took.saturating_record(took.max(1));
        self.progress.retried += u64::from(took >= ns(RETRIED));
        match self.job.close {
            Close::Keep | Close::Server => {
                let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP;
                let mut event = EpollEvent::new(flags, key as u64);
                if !is_watched && self.epoll.modify(&connection.fd, &mut event).is_err() {
                    self.connections.remove(key);
                }
            }
            Close::Client => {
                self.connections.remove(key);
            }
            Close::Rst => {
                let linger = libc::linger { l_onoff: 1, l_linger: 0 };
                let _ = setsockopt(&connection.fd, sockopt::Linger, &linger);
                self.connections.remove(key);
            }
        }
    }

    /// Brings what is said up to date.
    fn take_progress(&mut self) -> Result<()> {
        self.said_ns = now_boot_ns()?;
        self.said_worked = self.progress.worked;
        self.progress.at_ns = self.said_ns;
        self.progress.pending = self.pending as u64;
        self.progress.took = drain(&mut self.took);
        Ok(())
    }
}

/// How many pairs of a source and a destination there are.
fn pairs(job: &ClientJob) -> u32 {
    u32::try_from(job.sources.len().max(1) * job.destinations.len()).unwrap_or(u32::MAX)
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
