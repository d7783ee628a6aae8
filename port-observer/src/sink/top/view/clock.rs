//! Times of day.

use jiff::{Timestamp, tz::TimeZone};

/// The local time of day, to the second, of a time since boot.
pub fn time_of_day(time_ns: u64, offset_ns: i64) -> String {
    local(i128::from(time_ns) + i128::from(offset_ns), "%H:%M:%S")
}

/// The local date and time, to the second, of a time since 1970.
pub fn date_and_time(time_ns: i64) -> String {
    local(time_ns.into(), "%Y-%m-%d %H:%M:%S")
}

fn local(time_ns: i128, format: &str) -> String {
    let time = Timestamp::from_nanosecond(time_ns).unwrap_or(Timestamp::UNIX_EPOCH);
    time.to_zoned(TimeZone::system()).strftime(format).to_string()
}
