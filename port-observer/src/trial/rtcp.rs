//! RTCP packets (RFC 3550, 6): what a leg reports of what it sends, and what its peer answers.
//!
//! What is sent is a compound packet each: a report, then a source description with the CNAME.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest compound packet that is made.
pub const MOST_BYTES: usize = 128;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const DESCRIPTION: u8 = 202;
/// The item of a description that every one has.
const CNAME: u8 = 1;
/// Version 2, no padding, one report block or chunk.
const ONE: u8 = 0x81;
/// Version 2, no padding, none of them.
const NONE: u8 = 0x80;
/// The length of a packet's header with the SSRC of who sends it.
const HEADER: usize = 8;
/// From 1900, when NTP's time begins, to 1970, in seconds (RFC 868).
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// Seconds since 1900 in the upper 32 bits, and fractions in the lower ones (RFC 3550, 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ntp(pub u64);

impl Ntp {
    /// That of a time since 1970.
    pub fn of_unix(time: Duration) -> Self {
        let seconds = time.as_secs().wrapping_add(NTP_TO_UNIX);
        let fraction = (u64::from(time.subsec_nanos()) << 32) / 1_000_000_000;
        Self((seconds << 32) | fraction)
    }

    /// Its middle 32 bits: a time that wraps around after 18 hours, in 1/65536 s.
    pub fn middle(self) -> u32 {
        ((self.0 >> 16) & 0xffff_ffff) as u32
    }
}

/// Wall time that no step of the wall clock reaches: as it was at the start, and what has gone by since.
#[derive(Clone, Copy, Debug)]
pub struct Wall(Duration);

impl Wall {
    /// Begins now.
    pub fn begin() -> Self {
        Self(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// The time so many nanoseconds after its beginning.
    pub fn at(self, ns: u64) -> Ntp {
        Ntp::of_unix(self.0.saturating_add(Duration::from_nanos(ns)))
    }
}

/// A time in 1/65536 s, as reports have it.
pub fn units(ns: u64) -> u32 {
    u32::try_from((u128::from(ns) << 16) / 1_000_000_000).unwrap_or(u32::MAX)
}

/// A sender report's own part (RFC 3550, 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderReport {
    /// Whose it is.
    pub ssrc: u32,
    /// When it was sent.
    pub sent: Ntp,
    /// The same in samples of its stream.
    pub timestamp: u32,
    /// How many packets were sent so far, wrapping around.
    pub packets: u32,
    /// How many bytes of payload.
    pub bytes: u32,
}

/// A report block (RFC 3550, 6.4.1): what a receiver says of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Which stream.
    pub ssrc: u32,
    /// Packets lost since the report before, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost so far; duplicates can make it negative. 24 bits.
    pub lost: i32,
    /// The highest number received, with how often it has wrapped around in the upper half.
    pub highest: u32,
    /// In samples.
    pub jitter: u32,
    /// The middle of the last sender report's time; 0: there was none.
    pub last_report: u32,
    /// From receiving that until this was sent, in 1/65536 s.
    pub delay: u32,
}

impl Block {
    /// The round trip in nanoseconds, of an answer that came at this time: A - LSR - DLSR (RFC 3550, 6.4.1).
    /// `None`: it answers no report.
    pub fn round_trip_ns(&self, came: Ntp) -> Option<u64> {
        if self.last_report == 0 {
            return None;
        }
        let units = came.middle().wrapping_sub(self.last_report).wrapping_sub(self.delay);
        // Rounding may make less than nothing of it.
        let units = u64::try_from(units.cast_signed()).unwrap_or(0);
        Some((units * 1_000_000_000) >> 16)
    }
}

/// What of a compound packet is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtcp {
    /// The sender report that it begins with; `None`: it begins with a receiver report.
    pub report: Option<SenderReport>,
    /// The first report block of the report that it begins with.
    pub block: Option<Block>,
}

/// A sender report, and who it is from.
pub fn encode_sender_report(report: &SenderReport, name: &str) -> Vec<u8> {
    let mut bytes = header(NONE, SENDER_REPORT, 6, report.ssrc);
    bytes.extend(report.sent.0.to_be_bytes());
    for number in [report.timestamp, report.packets, report.bytes] {
        bytes.extend(number.to_be_bytes());
    }
    describe(&mut bytes, report.ssrc, name);
    bytes
}

/// A receiver report of one stream, and who it is from.
pub fn encode_receiver_report(ssrc: u32, block: &Block, name: &str) -> Vec<u8> {
    let mut bytes = header(ONE, RECEIVER_REPORT, 7, ssrc);
    bytes.extend(block.ssrc.to_be_bytes());
    bytes.push(block.fraction_lost);
    bytes.extend(&block.lost.clamp(-0x80_0000, 0x7f_ffff).to_be_bytes()[1..]);
    for number in [block.highest, block.jitter, block.last_report, block.delay] {
        bytes.extend(number.to_be_bytes());
    }
    describe(&mut bytes, ssrc, name);
    bytes
}

/// `words`: the length without the first word.
fn header(first: u8, kind: u8, words: u16, ssrc: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MOST_BYTES);
    bytes.extend([first, kind]);
    bytes.extend(words.to_be_bytes());
    bytes.extend(ssrc.to_be_bytes());
    bytes
}

/// A description with a CNAME (RFC 3550, 6.5): of a name, 60 bytes.
fn describe(bytes: &mut Vec<u8>, ssrc: u32, name: &str) {
    let name = &name.as_bytes()[..name.len().min(60)];
    // The item's type and length, the name, and one to four bytes that end the list.
    let words = (2 + name.len()) / 4 + 1;
    bytes.extend(header(ONE, DESCRIPTION, u16::try_from(1 + words).unwrap_or(0), ssrc));
    bytes.extend([CNAME, u8::try_from(name.len()).unwrap_or(0)]);
    bytes.extend(name);
    bytes.extend(std::iter::repeat_n(0, words * 4 - 2 - name.len()));
}

impl Rtcp {
    /// Reads a compound packet; `None`: one of its packets is not of version 2 or not as long as it says, or
    /// it does not begin with a report (RFC 3550, A.2).
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut first = None;
        let mut rest = bytes;
        while !rest.is_empty() {
            let &[bits, kind, l0, l1, ..] = rest else { return None };
            let length = (usize::from(u16::from_be_bytes([l0, l1])) + 1) * 4;
            let (packet, next) = rest.split_at_checked(length)?;
            if bits >> 6 != 2 || !(192..=223).contains(&kind) {
                return None;
            }
            if first.is_none() {
                // Only the last may be padded.
                if bits & 0x20 != 0 {
                    return None;
                }
                first = Some(Self::of_report(kind, bits & 0x1f, packet)?);
            }
            rest = next;
        }
        first
    }

    fn of_report(kind: u8, blocks: u8, packet: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_be_bytes(*packet.get(at..)?.first_chunk()?));
        let (report, at) = match kind {
            SENDER_REPORT => {
                let sent = u64::from(number(HEADER)?) << 32 | u64::from(number(HEADER + 4)?);
                let report = SenderReport {
                    ssrc: number(4)?,
                    sent: Ntp(sent),
                    timestamp: number(HEADER + 8)?,
                    packets: number(HEADER + 12)?,
                    bytes: number(HEADER + 16)?,
                };
                (Some(report), HEADER + 20)
            }
            RECEIVER_REPORT => {
                number(4)?;
                (None, HEADER)
            }
            _ => return None,
        };
        // All that it says it has.
        packet.get(at..at + usize::from(blocks) * 24)?;
        let block = || {
            let lost = number(at + 4)?;
            Some(Block {
                ssrc: number(at)?,
                fraction_lost: (lost >> 24) as u8,
                lost: (lost << 8).cast_signed() >> 8,
                highest: number(at + 8)?,
                jitter: number(at + 12)?,
                last_report: number(at + 16)?,
                delay: number(at + 20)?,
            })
        };
        Some(Self { report, block: if blocks > 0 { Some(block()?) } else { None } })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REPORT: SenderReport = SenderReport {
        ssrc: 0x0102_0304,
        sent: Ntp(0xb44d_b705_2000_0000),
        timestamp: 160,
        packets: 1,
        bytes: 160,
    };
    const BLOCK: Block = Block {
        ssrc: 0x0102_0304,
        fraction_lost: 128,
        lost: -2,
        highest: 0x1_0005,
        jitter: 8,
        last_report: 0xb705_2000,
        delay: 0x0005_4000,
    };

    #[test]
    fn reports_are_read_as_they_were_written() {
        let bytes = encode_sender_report(&REPORT, "leg-1@verify");
        assert_eq!(bytes[..8], [0x80, 200, 0, 6, 1, 2, 3, 4]);
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(Rtcp::decode(&bytes), Some(Rtcp { report: Some(REPORT), block: None }));
        let bytes = encode_receiver_report(7, &BLOCK, "e");
        assert_eq!(bytes[..8], [0x81, 201, 0, 7, 0, 0, 0, 7]);
        // SDES with one chunk: its SSRC, the CNAME, and the end.
        assert_eq!(bytes[32..], [0x81, 202, 0, 2, 0, 0, 0, 7, 1, 1, b'e', 0]);
        assert_eq!(Rtcp::decode(&bytes), Some(Rtcp { report: None, block: Some(BLOCK) }));
        for length in 0..200 {
            let bytes = encode_sender_report(&REPORT, &"n".repeat(length));
            assert!(Rtcp::decode(&bytes).is_some() && bytes.len() <= MOST_BYTES, "{length}");
        }
    }

    #[test]
    fn the_round_trip_is_that_of_the_rfc_s_example() {
        // RFC 3550, figure 2: 46864.500 arrives, 46853.125 was sent, 5.250 were waited: 6.125 s.
        let block = Block { delay: 0x0005_4000, ..BLOCK };
        let came = Ntp(0xb44d_b710_8000_0000);
        assert_eq!(block.round_trip_ns(came), Some(6_125_000_000));
        assert_eq!(Block { last_report: 0, ..block }.round_trip_ns(came), None);
        let early = Block { last_report: came.middle().wrapping_add(1), delay: 0, ..block };
        assert_eq!(early.round_trip_ns(came), Some(0));
    }

    #[test]
    fn times_are_those_of_ntp() {
        let time = Ntp::of_unix(Duration::from_millis(1_500));
        assert_eq!(time.0, (2_208_988_801 << 32) + (1 << 31));
        assert_eq!((units(1_000_000_000), units(u64::MAX)), (1 << 16, u32::MAX));
        let wall = Wall::begin();
        let gone = wall.at(2_000_000_000).middle().wrapping_sub(wall.at(0).middle());
        assert!((0x1_ffff..=0x2_0001).contains(&gone));
    }

    #[test]
    fn what_is_no_compound_packet_is_refused() {
        let good = encode_receiver_report(7, &BLOCK, "e");
        for length in 0..good.len() {
            // The report alone is one (RFC 5506).
            assert_eq!(Rtcp::decode(&good[..length]).is_some(), length == 32, "{length}");
        }
        for (at, value) in [(0, 0x41), (0, 0x82), (0, 0xa1), (1, 203), (1, 0), (3, 60), (32, 1)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(Rtcp::decode(&bad), None, "{at} {value}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Rtcp::decode(&bytes);
        }

        #[test]
        fn a_packet_with_a_wrong_byte_is_read_or_refused(at in 0usize..44, value: u8) {
            let mut bytes = encode_receiver_report(7, &BLOCK, "e");
            bytes[at] = value;
            let _ = Rtcp::decode(&bytes);
        }

        #[test]
        fn numbers_survive(ssrc: u32, sent: u64, timestamp: u32, packets: u32, bytes: u32) {
            let report = SenderReport { ssrc, sent: Ntp(sent), timestamp, packets, bytes };
            let read = Rtcp::decode(&encode_sender_report(&report, "x")).unwrap();
            prop_assert_eq!(read.report, Some(report));
        }
    }
}
