//! RTP packets (RFC 3550, 5.1), those of G.711 that a call sends, and numbers that wrap around.

use std::time::Duration;

/// The time between two packets of a leg.
pub const INTERVAL: Duration = Duration::from_millis(20);
/// Samples in each: 20 ms of 8,000 a second (RFC 3551, 4.5.14), a byte each.
pub const SAMPLES: usize = 160;
/// Samples a second, in which timestamps count.
pub const CLOCK_RATE: u64 = 8_000;
/// The length of a packet of a leg.
pub const LENGTH: usize = HEADER + SAMPLES;

/// The fixed header's length.
const HEADER: usize = 12;
/// PCMU (RFC 3551, 6).
const PCMU: u8 = 0;
/// Version 2, no padding, no extension, no contributing sources.
const VERSION_2: u8 = 0x80;
/// Silence in PCMU.
const SILENCE: u8 = 0xff;

/// What of a packet is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtp {
    /// Its number, which wraps around.
    pub sequence: u16,
    /// When its first sample was taken, in samples.
    pub timestamp: u32,
    /// Which stream it is of.
    pub ssrc: u32,
}

/// Whether a datagram that came where RTP and RTCP share a port is RTCP, by its packet type (RFC 5761, 4).
pub fn is_rtcp(bytes: &[u8]) -> bool {
    matches!(bytes, [_, 192..=223, ..])
}

impl Rtp {
    /// The packet, with 20 ms of silence.
    pub fn encode(self) -> [u8; LENGTH] {
        let mut bytes = [SILENCE; LENGTH];
        bytes[0] = VERSION_2;
        bytes[1] = PCMU;
        bytes[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        bytes
    }

    /// Reads a packet of any payload; `None`: it is none of version 2, or shorter than it says (RFC 3550,
    /// A.1).
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let &[first, _, s0, s1, t0, t1, t2, t3, a, b, c, d, ref rest @ ..] = bytes else {
            return None;
        };
        if first >> 6 != 2 || is_rtcp(bytes) {
            return None;
        }
        let (sources, has_extension, has_padding) =
            (usize::from(first & 0x0f), first & 0x10 != 0, first & 0x20 != 0);
        let mut payload = rest.get(sources * 4..)?;
        if has_extension {
            let &[_, _, l0, l1, ref words @ ..] = payload else { return None };
            payload = words.get(usize::from(u16::from_be_bytes([l0, l1])) * 4..)?;
        }
        if has_padding {
            let padding = usize::from(*payload.last()?);
            if padding == 0 || padding > payload.len() {
                return None;
            }
        }
        Some(Self {
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([a, b, c, d]),
        })
    }

    /// Whether a datagram is this very packet.
    pub fn is(self, bytes: &[u8]) -> bool {
        bytes == self.encode()
    }
}

/// The whole number nearest to `near` that ends in these 16 bits; 0 at least.
pub fn extended(sequence: u16, near: u64) -> u64 {
    const CYCLE: u64 = 1 << 16;
    let candidate = (near & !(CYCLE - 1)) | u64::from(sequence);
    if candidate > near + CYCLE / 2 && candidate >= CYCLE {
        candidate - CYCLE
    } else if candidate + CYCLE / 2 < near {
        candidate + CYCLE
    } else {
        candidate
    }
}

/// Interarrival jitter (RFC 3550, 6.4.1 and A.8).
#[derive(Clone, Copy, Debug, Default)]
pub struct Jitter {
    last_transit_ns: Option<i64>,
    ns: f64,
}

impl Jitter {
    /// Takes a packet in: when it came, and when it was due to leave, of whichever two clocks.
    pub fn take(&mut self, came_ns: u64, left_ns: u64) {
        let transit = came_ns.wrapping_sub(left_ns).cast_signed();
        if let Some(last) = self.last_transit_ns.replace(transit) {
            let difference = transit.wrapping_sub(last).unsigned_abs();
            self.ns += (difference as f64 - self.ns) / 16.0;
        }
    }

    /// What it is, in nanoseconds.
    pub fn ns(self) -> u64 {
        self.ns as u64
    }
}

/// When the sample of a timestamp was taken, in nanoseconds.
pub fn sampled_ns(samples: u64) -> u64 {
    samples.saturating_mul(1_000_000_000 / CLOCK_RATE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_packet_is_20_ms_of_pcmu() {
        let packet = Rtp { sequence: 0x0102, timestamp: 0x0304_0506, ssrc: 0x0708_090a };
        let bytes = packet.encode();
        assert_eq!(bytes[..12], [0x80, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert!(bytes.len() == 172 && bytes[12..].iter().all(|byte| *byte == 0xff));
        assert_eq!(Rtp::decode(&bytes), Some(packet));
        assert!(packet.is(&bytes) && !packet.is(&bytes[..171]));
    }

    #[test]
    fn what_is_no_packet_is_refused() {
        let bytes = Rtp { sequence: 1, timestamp: 2, ssrc: 3 }.encode();
        let with = |first: u8, second: u8| [&[first, second], &bytes[2..]].concat();
        assert_eq!(Rtp::decode(&bytes[..11]), None);
        assert!(Rtp::decode(&bytes[..12]).is_some());
        for first in [0x00, 0x40, 0xc0] {
            assert_eq!(Rtp::decode(&with(first, 0)), None, "another version");
        }
        // Of silence, the padding would be 255 bytes long, and the extension 65,535 words.
        assert_eq!(Rtp::decode(&with(0xa0, 0)), None);
        assert_eq!(Rtp::decode(&with(0x90, 0)), None);
        assert!(Rtp::decode(&with(0x8f, 0)).is_some());
        assert_eq!(Rtp::decode(&with(0x8f, 0)[..71]), None);
        assert_eq!(Rtp::decode(&with(0x80, 200)), None, "RTCP");
    }

    #[test]
    fn numbers_that_wrap_around_go_on() {
        for (sequence, near, expected) in [
            (5, 0, 5),
            (65_535, 0, 65_535),
            (0, 65_535, 65_536),
            (65_535, 65_536, 65_535),
            (1, 0x2_ffff, 0x3_0001),
            (0xffff, 0x3_0001, 0x2_ffff),
        ] {
            assert_eq!(extended(sequence, near), expected, "{sequence} {near}");
        }
    }

    #[test]
    fn jitter_is_a_sixteenth_of_each_difference() {
        let mut jitter = Jitter::default();
        jitter.take(1_000, 0);
        assert_eq!(jitter.ns(), 0);
        jitter.take(1_000 + 20_000 + 1_600, 20_000);
        assert_eq!(jitter.ns(), 100);
        for packet in 2..10_000 {
            let late = if packet % 2 == 0 { 0 } else { 1_600 };
            jitter.take(1_000 + packet * 20_000 + late, packet * 20_000);
        }
        assert!((1_590..=1_600).contains(&jitter.ns()), "{jitter:?}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(packet) = Rtp::decode(&bytes) {
                prop_assert!(bytes.len() >= HEADER && bytes[0] >> 6 == 2);
                prop_assert_eq!(&bytes[2..4], packet.sequence.to_be_bytes());
            }
        }

        #[test]
        fn the_nearest_number_is_found(near in 0u64..1 << 40, off in -30_000i64..30_000) {
            let expected = near.saturating_add_signed(off);
            let low = u16::try_from(expected & 0xffff).unwrap();
            prop_assert_eq!(extended(low, near), expected);
        }

        #[test]
        fn jitter_is_never_more_than_the_largest_difference(
            times in prop::collection::vec(0u64..1_000_000_000, 2..50),
        ) {
            let mut jitter = Jitter::default();
            times.iter().for_each(|time| jitter.take(*time, 0));
            prop_assert!(jitter.ns() <= 1_000_000_000);
        }
    }
}
