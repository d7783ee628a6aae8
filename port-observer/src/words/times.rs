//! Dates and times of day.

use jiff::{Timestamp, tz::TimeZone};

/// A time in nanoseconds since 1970, in a time zone; `format` as of strftime(). What lies out of the
/// range of dates is 1970.
pub fn local(time_ns: i128, zone: &TimeZone, format: &str) -> String {
    let time = Timestamp::from_nanosecond(time_ns).unwrap_or(Timestamp::UNIX_EPOCH);
    time.to_zoned(zone.clone()).strftime(format).to_string()
}
