//! One leg: what it sent, and what came back of it.

use super::{
    GRACE, nanoseconds,
    rtcp::{Block, Rtcp, SenderReport, Wall, encode_sender_report},
    rtp::{Jitter, Rtp, SAMPLES, extended, sampled_ns},
    tally::Tally,
};

/// Packets of which is known when they left: of more than two seconds, and what comes back later is late.
const WINDOW: usize = 128;

/// A leg.
#[derive(Debug)]
pub struct Leg {
    ssrc: u32,
    /// Which timestamp its first sample has.
    first_timestamp: u32,
    /// The number of its first packet, and of the next.
    first: u64,
    next: u64,
    /// The last packets that left, by their number.
    window: Vec<Sent>,
    /// The highest number that has come back.
    highest: Option<u64>,
    jitter: Jitter,
    /// What its peer said last.
    peer: Option<Block>,
}

/// A packet that left.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    number: u64,
    /// Of which interval since the start it is.
    interval: u64,
    at_ns: u64,
    has_come: bool,
}

impl Leg {
    /// A leg that has sent nothing. `random` says where its numbers begin.
    pub fn new(random: u64) -> Self {
        // One cycle ahead: what is nearest to a number is never below 0.
        let first = 1 << 16 | (random & 0xffff);
        Self {
            ssrc: (random >> 32) as u32,
            first_timestamp: (random >> 16) as u32,
            first,
            next: first,
            window: vec![Sent::default(); WINDOW],
            highest: None,
            jitter: Jitter::default(),
            peer: None,
        }
    }

    fn packet(&self, sent: &Sent) -> Rtp {
        Rtp {
            sequence: (sent.number & 0xffff) as u16,
            timestamp: self.timestamp(sent.interval),
            ssrc: self.ssrc,
        }
    }

    fn timestamp(&self, interval: u64) -> u32 {
        let samples = interval.wrapping_mul(SAMPLES as u64);
        self.first_timestamp.wrapping_add((samples & 0xffff_ffff) as u32)
    }

    /// The next packet: that of an interval, counted since the start. It has left only with
    /// [`Leg::has_left`].
    pub fn next(&self, interval: u64) -> Rtp {
        self.packet(&Sent { number: self.next, interval, ..Sent::default() })
    }

    /// The next packet left.
    pub fn has_left(&mut self, interval: u64, now_ns: u64) {
        let sent = Sent { number: self.next, interval, at_ns: now_ns, has_come: false };
        *slot(&mut self.window, sent.number) = sent;
        self.next += 1;
    }

    /// Takes a datagram in that came on the port of RTP.
    pub fn take(&mut self, bytes: &[u8], now_ns: u64, tally: &mut Tally) {
        let Some(packet) = Rtp::decode(bytes).filter(|packet| packet.ssrc == self.ssrc) else {
            tally.foreign += 1;
            return;
        };
        let number = extended(packet.sequence, self.next);
        if number < self.first || number >= self.next {
            tally.foreign += 1;
            return;
        }
        let sent = *slot(&mut self.window, number);
        if sent.number != number {
            tally.late += 1;
            return;
        }
        if !self.packet(&sent).is(bytes) {
            tally.foreign += 1;
            return;
        }
        let age = now_ns.saturating_sub(sent.at_ns);
        if sent.has_come {
            tally.duplicate += 1;
            return;
        }
        slot(&mut self.window, number).has_come = true;
        if age > nanoseconds(GRACE) {
            tally.late += 1;
            return;
        }
        tally.received += 1;
        tally.rtt.add(age);
        if self.highest.is_some_and(|highest| number < highest) {
            tally.reordered += 1;
        }
        self.highest = self.highest.max(Some(number));
        self.jitter.take(now_ns, sampled_ns(sent.interval * SAMPLES as u64));
        tally.jitter.add(self.jitter.ns());
    }

    /// A sender report of what it sent so far.
    pub fn report(&self, now_ns: u64, wall: Wall) -> Vec<u8> {
        let packets = ((self.next - self.first) & 0xffff_ffff) as u32;
        let samples = u128::from(now_ns) * u128::from(super::rtp::CLOCK_RATE) / 1_000_000_000;
        let report = SenderReport {
            ssrc: self.ssrc,
            sent: wall.at(now_ns),
            timestamp: self.first_timestamp.wrapping_add((samples & 0xffff_ffff) as u32),
            packets,
            bytes: packets.wrapping_mul(SAMPLES as u32),
        };
        encode_sender_report(&report, &format!("leg-{:08x}@port-observer", self.ssrc))
    }

    /// Takes a datagram in that came as RTCP.
    pub fn take_report(&mut self, bytes: &[u8], now_ns: u64, wall: Wall, tally: &mut Tally) {
        let block = Rtcp::decode(bytes).and_then(|packet| packet.block);
        let Some(block) = block.filter(|block| block.ssrc == self.ssrc) else {
            tally.foreign += 1;
            return;
        };
        tally.answers += 1;
        if let Some(ns) = block.round_trip_ns(wall.at(now_ns)) {
            tally.report_rtt.add(ns);
        }
        self.peer = Some(block);
    }

    /// How many of its packets its peer missed, as that said last; what it has lost before the first that it
    /// got, it does not know of. `None`: it said nothing.
    pub fn lost_there(&self) -> Option<u64> {
        let block = self.peer.as_ref()?;
        let last = self.next - 1;
        let highest = extended((block.highest & 0xffff) as u16, last);
        let missed = i64::from(block.lost).saturating_add_unsigned(last.saturating_sub(highest));
        Some(u64::try_from(missed).unwrap_or(0).min(self.next - self.first))
    }
}

fn slot(window: &mut [Sent], number: u64) -> &mut Sent {
    &mut window[(number % WINDOW as u64) as usize]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trial::rtcp::encode_receiver_report;

    const MS: u64 = 1_000_000;

    /// Sends so many, 20 ms apart, from an interval on.
    fn send(leg: &mut Leg, from: u64, count: u64, tally: &mut Tally) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for interval in from..from + count {
            packets.push(leg.next(interval).encode().to_vec());
            leg.has_left(interval, interval * 20 * MS);
            tally.sent += 1;
        }
        packets
    }

    #[test]
    fn what_comes_back_is_counted_once_also_where_numbers_wrap_around() {
        let (mut leg, mut tally) = (Leg::new(u64::MAX), Tally::default());
        for round in 0..2 {
            let packets = send(&mut leg, round * 10, 10, &mut tally);
            for (number, packet) in packets.iter().enumerate() {
                let sent = (round * 10 + number as u64) * 20 * MS;
                leg.take(packet, sent + 3 * MS, &mut tally);
            }
        }
        assert_eq!((tally.sent, tally.received, tally.lost()), (20, 20, 0));
        let rtt = tally.rtt.percentiles().unwrap();
        assert!(rtt.p50.abs_diff(3 * MS) < 10_000, "{rtt:?}");
        assert_eq!((tally.jitter.percentiles().unwrap().max, tally.foreign), (1, 0));
    }

    #[test]
    fn what_is_missing_late_double_or_out_of_order_is_told_apart() {
        let (mut leg, mut tally) = (Leg::new(7), Tally::default());
        let packets = send(&mut leg, 0, 5, &mut tally);
        let now = 100 * MS;
        for number in [0, 2, 1, 2] {
            leg.take(&packets[number], now, &mut tally);
        }
        leg.take(&packets[3], 60 * MS + 1_001 * MS, &mut tally);
        assert_eq!((tally.received, tally.reordered, tally.duplicate), (3, 1, 1));
        assert_eq!((tally.late, tally.lost()), (1, 2));
        // Of what left long ago it is not known any more when.
        send(&mut leg, 5, 128, &mut tally);
        leg.take(&packets[4], now, &mut tally);
        assert_eq!((tally.late, tally.received), (2, 3));
    }

    #[test]
    fn what_was_not_sent_so_is_foreign() {
        let (mut leg, mut tally) = (Leg::new(9), Tally::default());
        let first = send(&mut leg, 0, 2, &mut tally).remove(0);
        let mut other = first.clone();
        other[20] ^= 1;
        let of_another = Rtp { ssrc: 1, ..Rtp::decode(&first).unwrap() }.encode();
        let not_yet = leg.next(2).encode();
        let before = Rtp { sequence: 8, ..Rtp::decode(&first).unwrap() }.encode();
        for bytes in [&b""[..], b"garbage", &other, &of_another, &not_yet, &before] {
            leg.take(bytes, 0, &mut tally);
        }
        leg.take_report(b"garbage", 0, Wall::begin(), &mut tally);
        assert_eq!((tally.foreign, tally.received, tally.answers), (7, 0, 0));
    }

    #[test]
    fn reports_are_answered_with_the_round_trip_and_what_was_missed() {
        let (mut leg, mut tally) = (Leg::new(0xffff_0000_fffe), Tally::default());
        assert_eq!(leg.lost_there(), None);
        send(&mut leg, 0, 10, &mut tally);
        let wall = Wall::begin();
        let sent = Rtcp::decode(&leg.report(200 * MS, wall)).unwrap().report.unwrap();
        assert_eq!((sent.packets, sent.bytes), (10, 1_600));
        assert_eq!(sent.timestamp, leg.timestamp(10));
        // The tenth has the number 7; two before it, and the last two, did not arrive.
        let block = Block {
            ssrc: sent.ssrc,
            fraction_lost: 0,
            lost: 2,
            highest: 0x1_0005,
            jitter: 0,
            last_report: sent.sent.middle(),
            delay: 0,
        };
        let answer = encode_receiver_report(1, &block, "e");
        leg.take_report(&answer, 240 * MS, wall, &mut tally);
        let rtt = tally.report_rtt.percentiles().unwrap().max;
        assert!(rtt.abs_diff(40 * MS) < 100_000, "{rtt}");
        assert_eq!((leg.lost_there(), tally.answers), (Some(4), 1));
    }

    proptest! {
        #[test]
        fn whatever_comes_back_no_more_is_received_than_was_sent(
            start: u64, order in prop::collection::vec((0usize..40, 0u64..3_000), 0..200),
        ) {
            let (mut leg, mut tally) = (Leg::new(start), Tally::default());
            let packets = send(&mut leg, 0, 40, &mut tally);
            for (number, at) in &order {
                leg.take(&packets[*number], at * MS, &mut tally);
            }
            prop_assert!(tally.received <= 40 && tally.foreign == 0);
            let all = tally.received + tally.late + tally.duplicate;
            prop_assert_eq!(all, order.len() as u64);
        }
    }
}
