//! The legs at work: one thread sends for all of them, each at its own time, and takes in what comes back.

use std::{
    io,
    net::UdpSocket,
    os::fd::AsRawFd as _,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        time::{TimeSpec, TimeValLike as _},
    },
};

use super::{
    GRACE,
    calls::LegSockets,
    leg::Leg,
    nanoseconds, random,
    rtcp::Wall,
    rtp::{self, INTERVAL},
    socket,
    tally::Tally,
};

/// Sockets that are told of at once.
const READY: usize = 256;
/// Packets sent in a row.
const BATCH: usize = 64;
/// Longer than a packet of a leg, and than an answer: what fills it is neither.
const MOST_BYTES: usize = 512;
/// How far behind it can be, as the host is busy, and still send everything.
const BEHIND: Duration = Duration::from_millis(500);
/// It is looked that often whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
/// Within this time after the last packet each leg reports once more, in its second half.
const LAST_REPORTS: Duration = Duration::from_millis(500);
/// How often it is told how far it is.
const TELL: Duration = Duration::from_secs(1);

/// When legs send.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// For how long RTP is sent.
    pub duration: Duration,
    /// The time between two reports of a leg.
    pub report_every: Duration,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Since when it runs.
    pub elapsed: Duration,
    /// RTP packets sent.
    pub sent: u64,
    /// Of those, received.
    pub received: u64,
    /// Of those that should be back by now, missing.
    pub lost: u64,
    /// 99% of round trips were not longer, in nanoseconds.
    pub rtt_p99: Option<u64>,
}

/// What came of it.
#[derive(Debug)]
pub struct Ran {
    /// What was counted.
    pub tally: Tally,
    /// How long RTP was sent.
    pub sending: Duration,
    /// Whether all was sent that was to be.
    pub is_complete: bool,
    /// How many packets the peer missed, as it said; `None`: it said nothing.
    pub lost_there: Option<u64>,
    /// How many the kernel dropped that had come to the legs; `None`: it does not say.
    pub dropped: Option<u64>,
}

/// Lets legs send for so long, or until told to stop, and waits for what is on its way.
///
/// # Errors
/// When the kernel refuses to wait.
pub fn run(
    sockets: &[LegSockets],
    plan: &Plan,
    stop: &AtomicBool,
    mut tell: impl FnMut(&Progress),
) -> Result<Ran> {
    let mut running = Running::begin(sockets, plan)?;
    let mut next_look = TELL;
    let mut sent_before = 0;
    while !running.is_over() {
        if stop.load(Ordering::Relaxed) {
            running.end();
        }
        running.wait()?;
        running.take_in()?;
        running.send();
        running.report();
        let elapsed = running.began.elapsed();
        if elapsed >= next_look {
            next_look = elapsed + TELL;
            let (sent, received) = (running.tally.sent, running.tally.received);
            let lost = u64::saturating_sub(sent_before, received);
            sent_before = sent;
            let rtt_p99 = running.tally.rtt.p99();
            tell(&Progress { elapsed, sent, received, lost, rtt_p99 });
        }
    }
    Ok(running.finish())
}

struct Running<'a> {
    sockets: &'a [LegSockets],
    legs: Vec<Leg>,
    epoll: Epoll,
    tally: Tally,
    wall: Wall,
    began: Instant,
    /// Which packet of all legs is the next to leave, and how many are to: leg after leg, evenly within each
    /// interval.
    turn: u64,
    turns: u64,
    /// The same of reports.
    report: u64,
    report_every: u64,
    /// Reports of all legs leave evenly within this time.
    report_within: u64,
    /// When the last packet left.
    ended_ns: Option<u64>,
    /// The legs' last reports that have left.
    last_reports: usize,
    is_complete: bool,
}

impl<'a> Running<'a> {
    fn begin(sockets: &'a [LegSockets], plan: &Plan) -> Result<Self> {
        let epoll =
            Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("can't wait for packets")?;
        for (number, leg) in (0u64..).zip(sockets) {
            let both = [(Some(&leg.rtp), number * 2), (leg.rtcp.as_ref(), number * 2 + 1)];
            for (socket, data) in both {
                let Some(socket) = socket else { continue };
                let event = EpollEvent::new(EpollFlags::EPOLLIN, data);
                epoll.add(socket, event).context("can't wait for packets")?;
            }
        }
        let intervals = nanoseconds(plan.duration) / nanoseconds(INTERVAL);
        let soon = plan.report_every.min(Duration::from_secs(1)).min(plan.duration / 2);
        Ok(Self {
            sockets,
            legs: sockets.iter().map(|_| Leg::new(random())).collect(),
            epoll,
            tally: Tally::default(),
            wall: Wall::begin(),
            began: Instant::now(),
            turn: 0,
            turns: intervals.max(1).saturating_mul(sockets.len() as u64),
            report: 0,
            report_every: nanoseconds(plan.report_every),
            report_within: nanoseconds(soon),
            ended_ns: None,
            last_reports: 0,
            is_complete: true,
        })
    }

    fn now_ns(&self) -> u64 {
        nanoseconds(self.began.elapsed())
    }

    fn count(&self) -> u64 {
        (self.sockets.len() as u64).max(1)
    }

    /// When a packet is due: which interval it is of, and where in that its leg's turn is.
    fn due_ns(&self, turn: u64) -> u64 {
        let (interval, leg) = (turn / self.count(), turn % self.count());
        let every = nanoseconds(INTERVAL);
        interval.saturating_mul(every).saturating_add(leg * every / self.count())
    }

    fn report_due_ns(&self) -> u64 {
        let (round, leg) = (self.report / self.count(), self.report % self.count());
        let within = (leg + 1) * self.report_within / self.count();
        round.saturating_mul(self.report_every).saturating_add(within)
    }

    /// No more packets leave.
    fn end(&mut self) {
        if self.turn < self.turns {
            self.is_complete = false;
            self.turns = self.turn;
        }
    }

    fn is_over(&self) -> bool {
        let Some(ended) = self.ended_ns else { return false };
        let is_all_back = self.tally.lost() == 0 && self.tally.unanswered() == 0;
        let has_reported = self.last_reports >= self.legs.len();
        (has_reported && is_all_back) || self.now_ns() >= ended + nanoseconds(GRACE + LAST_REPORTS)
    }

    /// Waits until something has come, or is due.
    fn wait(&self) -> Result<()> {
        let now = self.now_ns();
        let look = nanoseconds(LOOK);
        let left = match self.ended_ns {
            // The last reports are looked at that often.
            Some(_) => nanoseconds(INTERVAL) / 4,
            None => self.due_ns(self.turn).min(self.report_due_ns()).saturating_sub(now).min(look),
        };
        let timeout = TimeSpec::nanoseconds(left.cast_signed());
        let mut ready = [PollFd::new(std::os::fd::AsFd::as_fd(&self.epoll.0), PollFlags::POLLIN)];
        match ppoll(&mut ready, Some(timeout), None) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("can't wait for packets"),
        }
    }

    /// Takes in what has come.
    fn take_in(&mut self) -> Result<()> {
        let mut events = [EpollEvent::empty(); READY];
        let ready = match self.epoll.wait(&mut events, EpollTimeout::ZERO) {
            Ok(count) => &events[..count],
            Err(Errno::EINTR) => &[],
            Err(error) => return Err(error).context("can't wait for packets"),
        };
        for event in ready {
            let number = (event.data() / 2) as usize;
            let Some(LegSockets { rtp, rtcp }) = self.sockets.get(number) else { continue };
            match rtcp {
                Some(rtcp) if event.data() % 2 == 1 => self.take(number, rtcp, true),
                _ => self.take(number, rtp, false),
            }
        }
        Ok(())
    }

    fn take(&mut self, number: usize, socket: &UdpSocket, is_rtcp: bool) {
        let mut bytes = [0; MOST_BYTES];
        // Where there is more, that is told of again.
        match socket.recv(&mut bytes) {
            Ok(length) => {
                let (now, bytes) = (self.now_ns(), &bytes[..length]);
                let leg = &mut self.legs[number];
                if is_rtcp || rtp::is_rtcp(bytes) {
                    leg.take_report(bytes, now, self.wall, &mut self.tally);
                } else {
                    leg.take(bytes, now, &mut self.tally);
                }
            }
            Err(error) => self.has_failed(&error),
        }
    }

    /// An error that ICMP told of a packet before.
    fn has_failed(&mut self, error: &io::Error) {
        if error.raw_os_error() == Some(libc::ECONNREFUSED) {
            self.tally.unreachable += 1;
        }
    }

    /// Sends what is due.
    fn send(&mut self) {
        for _ in 0..BATCH.max(self.sockets.len() / 8) {
            let now = self.now_ns();
            if self.turn >= self.turns {
                if self.ended_ns.is_none() {
                    self.ended_ns = Some(now);
                }
                return;
            }
            let due = self.due_ns(self.turn);
            if now < due {
                return;
            }
            let (turn, interval) = (self.turn, self.turn / self.count());
            self.turn += 1;
            if now - due > nanoseconds(BEHIND) {
                self.tally.skipped += 1;
                continue;
            }
            self.tally.late_sends += u64::from(now - due > nanoseconds(INTERVAL));
            let number = (turn % self.count()) as usize;
            let packet = self.legs[number].next(interval).encode();
            let (sockets, now) = (self.sockets, self.now_ns());
            match self.put(&sockets[number].rtp, &packet) {
                Ok(()) => {
                    self.tally.sent += 1;
                    self.legs[number].has_left(interval, now);
                }
                Err(error) => {
                    self.tally.refused += 1;
                    self.tally.errno = error.raw_os_error();
                }
            }
        }
    }

    /// Sends; where that tells an error of a packet before, once more.
    fn put(&mut self, socket: &UdpSocket, bytes: &[u8]) -> io::Result<()> {
        let mut sent = socket.send(bytes);
        if let Err(error) = &sent
            && error.raw_os_error() == Some(libc::ECONNREFUSED)
        {
            self.has_failed(error);
            sent = socket.send(bytes);
        }
        sent.map(drop)
    }

    /// Sends the reports that are due: while packets are sent, and once after that, when the last should have
    /// arrived.
    fn report(&mut self) {
        loop {
            let now = self.now_ns();
            let number = if let Some(ended) = self.ended_ns {
                let half = nanoseconds(LAST_REPORTS) / 2;
                let share = self.last_reports as u64 * half / self.count();
                if self.last_reports >= self.legs.len() || now < ended + half + share {
                    return;
                }
                self.last_reports += 1;
                self.last_reports - 1
            } else {
                if now < self.report_due_ns() {
                    return;
                }
                self.report += 1;
                ((self.report - 1) % self.count()) as usize
            };
            let bytes = self.legs[number].report(now, self.wall);
            let LegSockets { rtp, rtcp } = &self.sockets[number];
            // One that can't be sent is not answered.
            let _ = self.put(rtcp.as_ref().unwrap_or(rtp), &bytes);
            self.tally.reports += 1;
        }
    }

    fn finish(self) -> Ran {
        let all = self.sockets.iter().flat_map(|leg| [Some(&leg.rtp), leg.rtcp.as_ref()]).flatten();
        let dropped = all
            .map(|one| socket::dropped(one.as_raw_fd()))
            .try_fold(0u64, |sum, one| Some(sum + one?));
        let heard: Vec<u64> = self.legs.iter().filter_map(Leg::lost_there).collect();
        Ran {
            sending: Duration::from_nanos(self.due_ns(self.turns)),
            is_complete: self.is_complete && self.tally.skipped == 0,
            lost_there: (!heard.is_empty()).then(|| heard.iter().sum()),
            dropped,
            tally: self.tally,
        }
    }
}
