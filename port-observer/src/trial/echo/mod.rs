//! The peer: sends RTP packets back as they are, and answers sender reports with what it received.
//!
//! It can't be made to send more than it gets: an answer is never longer than what it answers, each number of
//! a stream is sent back once (so that two of them do not go on sending each other one packet), a receiver
//! report is answered with nothing, and what is no RTP or RTCP of version 2 is ignored. Whom an answer goes
//! to is what the packet says, so on an address that strangers reach it would send to others what they ask
//! it to, one for one: listen there behind a firewall.

mod server;

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

pub use self::server::{Served, Server};
use super::{
    nanoseconds, random,
    rtcp::{Block, Ntp, Rtcp, encode_receiver_report, units},
    rtp::{CLOCK_RATE, Jitter, Rtp, extended, sampled_ns},
};

/// Where it listens, when nothing else is asked for.
pub const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7680);

/// Streams that are known at once.
const MOST_STREAMS: usize = 65_536;
/// One that nothing came of for so long makes room for another.
const IDLE: Duration = Duration::from_secs(30);
/// So far behind the highest number of a stream one may come.
const BEHIND: u64 = 64;

/// What came, and what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// RTP packets received.
    pub rtp: u64,
    /// Of those, how many were sent back.
    pub rtp_answered: u64,
    /// Sender reports received.
    pub reports: u64,
    /// Of those, how many were answered.
    pub reports_answered: u64,
    /// RTP packets that had come before, or came too late; they are not sent back.
    pub repeated: u64,
    /// Datagrams that are neither RTP nor a sender report.
    pub ignored: u64,
    /// Packets of streams for which there was no room.
    pub turned_away: u64,
    /// Answers that the kernel refused to send.
    pub unsent: u64,
    /// Streams that were seen.
    pub streams: u64,
}

/// Everything that the peer knows.
#[derive(Debug)]
pub struct Streams {
    ssrc: u32,
    known: HashMap<(IpAddr, u32), Stream>,
    most: usize,
    swept_ns: u64,
    pub(super) counts: Counts,
}

/// A stream, by the address and SSRC of who sends it.
#[derive(Debug, Default)]
struct Stream {
    received: Option<Received>,
    /// When something came of it last.
    came_ns: u64,
}

/// What was received of a stream.
#[derive(Debug)]
struct Received {
    /// The first number, and the highest.
    first: u64,
    highest: u64,
    /// Which of the last numbers have come: the lowest bit is the highest number.
    recent: u64,
    count: u64,
    jitter: Jitter,
    /// How many were expected and received at the last report.
    at_report: (u64, u64),
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            ssrc: (random() >> 32) as u32,
            known: HashMap::new(),
            most: MOST_STREAMS,
            swept_ns: 0,
            counts: Counts::default(),
        }
    }
}

impl Streams {
    /// Whether an RTP packet is to be sent back.
    pub fn take_rtp(&mut self, from: IpAddr, bytes: &[u8], now_ns: u64) -> bool {
        let Some(packet) = Rtp::decode(bytes) else {
            self.counts.ignored += 1;
            return false;
        };
        self.counts.rtp += 1;
        let Some(stream) = self.stream(from, packet.ssrc, now_ns) else { return false };
        let is_new = match &mut stream.received {
            Some(received) => received.take(packet, now_ns),
            none => {
                *none = Some(Received::new(packet, now_ns));
                true
            }
        };
        let counts = &mut self.counts;
        *(if is_new { &mut counts.rtp_answered } else { &mut counts.repeated }) += 1;
        is_new
    }

    /// The answer to a compound RTCP packet, if it is a sender report.
    pub fn take_rtcp(&mut self, from: IpAddr, bytes: &[u8], now_ns: u64) -> Option<Vec<u8>> {
        let Some(report) = Rtcp::decode(bytes).and_then(|packet| packet.report) else {
            self.counts.ignored += 1;
            return None;
        };
        self.counts.reports += 1;
        let ssrc = self.ssrc;
        let stream = self.stream(from, report.ssrc, now_ns)?;
        // It is answered at once.
        let block = stream.block(report.ssrc, report.sent, units(0));
        let answer = encode_receiver_report(ssrc, &block, "echo");
        let is_short = answer.len() <= bytes.len();
        self.counts.reports_answered += u64::from(is_short);
        is_short.then_some(answer)
    }

    /// The stream, which may be new; `None`: there is no room for it.
    fn stream(&mut self, from: IpAddr, ssrc: u32, now_ns: u64) -> Option<&mut Stream> {
        let key = (from.to_canonical(), ssrc);
        if self.known.len() >= self.most && !self.known.contains_key(&key) {
            self.sweep(now_ns);
            if self.known.len() >= self.most {
                self.counts.turned_away += 1;
                return None;
            }
        }
        let stream = self.known.entry(key).or_insert_with(|| {
            self.counts.streams += 1;
            Stream::default()
        });
        stream.came_ns = now_ns;
        Some(stream)
    }

    /// Forgets streams that have ended, once a second.
    fn sweep(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.swept_ns) >= nanoseconds(Duration::from_secs(1)) {
            self.swept_ns = now_ns;
            let idle = nanoseconds(IDLE);
            self.known.retain(|_, stream| now_ns.saturating_sub(stream.came_ns) < idle);
        }
    }
}

impl Stream {
    /// What is said of it (RFC 3550, A.3).
    fn block(&mut self, ssrc: u32, sent: Ntp, delay: u32) -> Block {
        let none = Block {
            ssrc,
            fraction_lost: 0,
            lost: 0,
            highest: 0,
            jitter: 0,
            last_report: sent.middle(),
            delay,
        };
        let Some(received) = &mut self.received else { return none };
        let expected = received.highest - received.first + 1;
        let (expected_before, count_before) = received.at_report;
        received.at_report = (expected, received.count);
        let (more, came) = (expected - expected_before, received.count - count_before);
        let missed = more.saturating_sub(came);
        let lost = expected.saturating_sub(received.count);
        Block {
            fraction_lost: u8::try_from((missed << 8).checked_div(more).unwrap_or(0))
                .unwrap_or(255),
            lost: i32::try_from(lost).unwrap_or(i32::MAX),
            highest: (received.highest.wrapping_sub(1 << 16) & 0xffff_ffff) as u32,
            jitter: u32::try_from(received.jitter.ns().saturating_mul(CLOCK_RATE) / 1_000_000_000)
                .unwrap_or(u32::MAX),
            ..none
        }
    }
}

impl Received {
    fn new(packet: Rtp, now_ns: u64) -> Self {
        // One cycle ahead: what is nearest to a number is never below 0.
        let first = 1 << 16 | u64::from(packet.sequence);
        let mut jitter = Jitter::default();
        jitter.take(now_ns, sampled_ns(packet.timestamp.into()));
        Self { first, highest: first, recent: 1, count: 1, jitter, at_report: (0, 0) }
    }

    /// Whether the packet has not come before, and may still come.
    fn take(&mut self, packet: Rtp, now_ns: u64) -> bool {
        let number = extended(packet.sequence, self.highest);
        if number > self.highest {
            let ahead = u32::try_from(number - self.highest).unwrap_or(u32::MAX);
            self.recent = self.recent.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = number;
        } else {
            let behind = self.highest - number;
            // What came before the first would make less expected than there was.
            if behind >= BEHIND || self.recent >> behind & 1 == 1 || number < self.first {
                return false;
            }
            self.recent |= 1 << behind;
        }
        self.count += 1;
        self.jitter.take(now_ns, sampled_ns(packet.timestamp.into()));
        true
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::trial::{
        rtcp::{SenderReport, encode_sender_report},
        rtp::SAMPLES,
    };

    const FROM: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const MS: u64 = 1_000_000;

    fn packet(number: u16) -> [u8; 172] {
        let timestamp = u32::from(number).wrapping_mul(SAMPLES as u32);
        Rtp { sequence: number, timestamp, ssrc: 5 }.encode()
    }

    fn report(streams: &mut Streams, name: &str) -> Option<Block> {
        let sent = Ntp(0x1234_5678_9abc_def0);
        let report = SenderReport { ssrc: 5, sent, timestamp: 0, packets: 0, bytes: 0 };
        let bytes = encode_sender_report(&report, name);
        let answer = streams.take_rtcp(FROM, &bytes, 0)?;
        assert!(answer.len() <= bytes.len());
        // Another of its kind says nothing to that.
        assert_eq!(Streams::default().take_rtcp(FROM, &answer, 0), None);
        Rtcp::decode(&answer).unwrap().block
    }

    #[test]
    fn a_number_of_a_stream_is_sent_back_once() {
        let mut streams = Streams::default();
        let mut take = |number: u16| streams.take_rtp(FROM, &packet(number), 0);
        for (number, is_new) in [
            (65_500, true),
            (65_500, false),
            (65_502, true),
            (65_501, true),
            (65_501, false),
            (65_499, false),
            (10, true),
            (65_502, false),
            (65_530, true),
            (65_530, false),
            (500, true),
            (437, true),
            (436, false),
        ] {
            assert_eq!(take(number), is_new, "{number}");
        }
        let counts = streams.counts;
        assert_eq!((counts.rtp, counts.rtp_answered, counts.repeated), (13, 7, 6));
        assert_eq!(counts.streams, 1);
    }

    #[test]
    fn reports_are_answered_with_what_was_received() {
        let mut streams = Streams::default();
        let block = report(&mut streams, "leg-00000000").unwrap();
        assert_eq!((block.highest, block.last_report), (0, 0x5678_9abc));
        for number in [65_534u16, 65_535, 0, 2] {
            // 20 ms apart, and as much late each time as samples make: 2 ms.
            let turn = u64::from(number.wrapping_sub(65_534));
            streams.take_rtp(FROM, &packet(number), turn * 20 * MS);
        }
        let block = report(&mut streams, "leg-00000000").unwrap();
        assert_eq!((block.ssrc, block.lost, block.fraction_lost), (5, 1, 51));
        assert_eq!(block.highest, 0x1_0002);
        assert_eq!(report(&mut streams, "leg-00000000").unwrap().fraction_lost, 0);
        // The answer would be longer.
        assert_eq!(report(&mut streams, ""), None);
        assert_eq!((streams.counts.reports, streams.counts.reports_answered), (4, 3));
    }

    #[test]
    fn streams_are_bounded_and_one_that_has_ended_makes_room() {
        let mut streams = Streams { most: 2, ..Streams::default() };
        let mut take = |ssrc: u32, now_ns| {
            let packet = Rtp { sequence: 1, timestamp: 0, ssrc };
            streams.take_rtp(FROM, &packet.encode(), now_ns)
        };
        let second = 1_000 * MS;
        assert!(take(1, 0) && take(2, 20 * second) && !take(3, 29 * second));
        assert!(take(3, 31 * second));
        assert!(!take(1, 31 * second));
        assert_eq!((streams.counts.turned_away, streams.known.len()), (2, 2));
    }

    proptest! {
        #[test]
        fn garbage_is_ignored_and_counted(
            all in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..50),
        ) {
            let mut streams = Streams::default();
            for bytes in &all {
                streams.take_rtp(FROM, bytes, 0);
                if let Some(answer) = streams.take_rtcp(FROM, bytes, 0) {
                    prop_assert!(answer.len() <= bytes.len());
                }
            }
            let counts = streams.counts;
            let taken = counts.rtp + counts.reports + counts.ignored;
            prop_assert_eq!(taken, 2 * all.len() as u64);
        }
    }
}
