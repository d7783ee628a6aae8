//! Times of day, from nanoseconds since boot. Most lines share their second with the one before,
//! so a second's text is made once.

use jiff::Timestamp;
use jiff::tz::TimeZone;

const NS_PER_SECOND: i128 = 1_000_000_000;

/// Splits nanoseconds since boot into seconds of the epoch and nanoseconds. Times out of the
/// range of dates (which no clock shows) become its nearest end.
fn split(time_ns: u64, offset_ns: i64) -> (i64, u32) {
    let time = i128::from(time_ns) + i128::from(offset_ns);
    let second = i64::try_from(time.div_euclid(NS_PER_SECOND)).unwrap_or(i64::MAX);
    // Below 10^9, so it fits.
    (second, u32::try_from(time.rem_euclid(NS_PER_SECOND)).unwrap_or(0))
}

fn timestamp(second: i64) -> Timestamp {
    let nearest = if second < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(second).unwrap_or(nearest)
}

/// RFC 3339 in UTC with nine digits of the second: `2026-01-02T03:04:05.000000006Z`.
#[derive(Debug, Default)]
pub struct UtcClock {
    offset_ns: i64,
    second: Option<i64>,
    text: String,
}

impl UtcClock {
    /// Sets realtime less boottime, in nanoseconds.
    pub fn set_offset(&mut self, offset_ns: i64) {
        self.offset_ns = offset_ns;
    }

    /// The text of a time since boot, in nanoseconds.
    pub fn format(&mut self, time_ns: u64) -> &str {
        let (second, nanosecond) = split(time_ns, self.offset_ns);
        if self.second != Some(second) {
            self.second = Some(second);
            self.text = timestamp(second).strftime("%Y-%m-%dT%H:%M:%S.").to_string();
        }
        const START: usize = "2026-01-02T03:04:05.".len();
        self.text.truncate(START);
        push_digits(&mut self.text, nanosecond, 9);
        self.text.push('Z');
        &self.text
    }
}

/// The local time of day: `03:04:05.006`.
#[derive(Debug)]
pub(super) struct LocalClock {
    zone: TimeZone,
    offset_ns: i64,
    second: Option<i64>,
    text: String,
}

impl LocalClock {
    pub(super) fn new(zone: TimeZone) -> Self {
        Self { zone, offset_ns: 0, second: None, text: String::new() }
    }

    pub(super) fn set_offset(&mut self, offset_ns: i64) {
        self.offset_ns = offset_ns;
    }

    pub(super) fn format(&mut self, time_ns: u64) -> &str {
        let (second, nanosecond) = split(time_ns, self.offset_ns);
        if self.second != Some(second) {
            self.second = Some(second);
            let local = timestamp(second).to_zoned(self.zone.clone());
            self.text = local.strftime("%H:%M:%S.").to_string();
        }
        const START: usize = "03:04:05.".len();
        self.text.truncate(START);
        push_digits(&mut self.text, nanosecond / 1_000_000, 3);
        &self.text
    }
}

/// Appends the value in exactly so many digits, nine at most.
fn push_digits(text: &mut String, mut value: u32, digits: usize) {
    let mut ascii = [b'0'; 9];
    for place in ascii.iter_mut().take(digits).rev() {
        // A digit, so it fits.
        *place += (value % 10) as u8;
        value /= 10;
    }
    text.extend(ascii.iter().take(digits).map(|digit| char::from(*digit)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-02T03:04:05Z
    const SECOND: i64 = 1_767_323_045;

    #[test]
    fn utc_has_exactly_nine_digits_of_the_second() {
        let mut clock = UtcClock::default();
        clock.set_offset(SECOND * 1_000_000_000);
        assert_eq!(clock.format(0), "2026-01-02T03:04:05.000000000Z");
        assert_eq!(clock.format(6), "2026-01-02T03:04:05.000000006Z");
        assert_eq!(clock.format(999_999_999), "2026-01-02T03:04:05.999999999Z");
        assert_eq!(clock.format(1_000_000_000), "2026-01-02T03:04:06.000000000Z");
        assert_eq!(clock.format(0), "2026-01-02T03:04:05.000000000Z");
    }

    #[test]
    fn a_changed_offset_counts_from_the_next_time_on() {
        let mut clock = UtcClock::default();
        assert_eq!(clock.format(5), "1970-01-01T00:00:00.000000005Z");
        clock.set_offset(-10);
        assert_eq!(clock.format(5), "1969-12-31T23:59:59.999999995Z");
    }

    #[test]
    fn times_that_no_clock_shows_do_not_panic() {
        let mut clock = UtcClock::default();
        for (time, offset) in [(u64::MAX, i64::MAX), (0, i64::MIN), (u64::MAX, i64::MIN)] {
            clock.set_offset(offset);
            assert_eq!(clock.format(time).len(), "2026-01-02T03:04:05.000000000Z".len());
        }
    }

    #[test]
    fn local_time_is_that_of_the_zone() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let mut clock = LocalClock::new(zone);
        clock.set_offset(SECOND * 1_000_000_000);
        assert_eq!(clock.format(6_999_999), "05:04:05.006");
        assert_eq!(clock.format(1_000_000_000), "05:04:06.000");
    }
}
