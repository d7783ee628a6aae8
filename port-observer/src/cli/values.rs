//! Values of options, from text.

use std::{path::PathBuf, time::Duration};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::SignedDuration;
use nix::unistd::{Gid, Group, Uid, User};

use crate::event::Protocol;
use crate::leases::MOST_BYTES;
use crate::probe::Backend;
use crate::report::EventType;
use crate::screen::state::View;

/// The least room for events, in bytes.
const BUFFER_MIN: u64 = 64 << 10;
/// What 36,000 connections a second, as many as a processor can make, fill in a second.
pub(super) const BUFFER_SIZE: &str = "8MiB";
/// The most, in bytes.
const BUFFER_MAX: u64 = 1 << 30;

/// The least room for a recording, in bytes.
const FILE_MIN: u64 = 8 << 20;
/// The most, in bytes.
const FILE_MAX: u64 = 1 << 40;

/// The shortest time between two summaries.
const SUMMARY_EVERY_MIN: Duration = Duration::from_millis(100);

/// One of a closed set, each member known by its name.
fn one_of<T: Copy + Send + Sync + 'static, const N: usize>(
    all: [T; N],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(all.map(name)).try_map(move |text| {
        all.into_iter().find(|value| name(*value) == text).ok_or_else(|| format!("unknown: {text}"))
    })
}

/// A backend, or `None` for the best that loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendChoice(pub Option<Backend>);

impl BackendChoice {
    /// As the option takes it.
    pub fn name(self) -> &'static str {
        self.0.map_or("auto", Backend::name)
    }
}

pub(super) fn backend() -> impl TypedValueParser<Value = BackendChoice> {
    let [a, b, c, d] = Backend::ALL.map(|backend| BackendChoice(Some(backend)));
    one_of([BackendChoice(None), a, b, c, d], BackendChoice::name)
}

pub(super) fn event_type() -> impl TypedValueParser<Value = EventType> {
    one_of(EventType::ALL, EventType::name)
}

/// What two thresholds have to be to each other.
///
/// # Errors
/// What is wrong.
pub(super) fn thresholds(warning: f64, critical: f64) -> Result<(), String> {
    if warning >= critical {
        return Err(format!("--warning ({warning}) must be below --critical ({critical})"));
    }
    Ok(())
}

pub(super) fn view() -> impl TypedValueParser<Value = View> {
    one_of(View::ALL, View::name)
}

pub(super) fn protocol() -> impl TypedValueParser<Value = Protocol> {
    one_of([Protocol::Tcp, Protocol::Udp], Protocol::name)
}

/// `90s`, `5m`, `1h30m`.
///
/// # Errors
/// How it is to be written.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write it as 90s, 5m or 1h30m".to_owned();
    let duration: SignedDuration = text.parse().map_err(|_| wrong())?;
    match Duration::try_from(duration) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(wrong()),
    }
}

/// What somebody or something is called: short, and not empty.
///
/// # Errors
/// Why it is not.
pub fn short_name(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("it is empty".to_owned()),
        1..=MOST_BYTES => Ok(text.to_owned()),
        _ => Err(format!("it is longer than {MOST_BYTES} bytes")),
    }
}

/// A file that node_exporter's textfile collector reads: it passes others over.
pub(super) fn textfile(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension() {
        Some(extension) if extension == "prom" => Ok(path),
        _ => Err("its name has to end in .prom: node_exporter reads no other".to_owned()),
    }
}

/// As a duration, but not so short that summaries would be all that is done.
pub(super) fn summary_every(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        every if every >= SUMMARY_EVERY_MIN => Ok(every),
        _ => Err("the shortest is 100ms".to_owned()),
    }
}

/// More than 0 and at most 100, with or without a `%`.
pub(super) fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    match number.parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent),
        _ => Err("write a number above 0 and up to 100".to_owned()),
    }
}

/// Bytes, with or without a unit, rounded up to a power of two: what the kernel's ring buffer
/// takes (`ringbuf_map_alloc()`, kernel/bpf/ringbuf.c).
pub(super) fn buffer_size(text: &str) -> Result<u32, String> {
    Some(bytes(text)?)
        .filter(|bytes| (BUFFER_MIN..=BUFFER_MAX).contains(bytes))
        .and_then(|bytes| u32::try_from(bytes.next_power_of_two()).ok())
        .ok_or_else(|| "it must be from 64KiB to 1GiB".to_owned())
}

/// Bytes, with or without a unit.
pub(super) fn file_size(text: &str) -> Result<u64, String> {
    match bytes(text)? {
        size @ FILE_MIN..=FILE_MAX => Ok(size),
        _ => Err("it must be from 8MiB to 1024GiB".to_owned()),
    }
}

/// A group of this host, by its name, or by its number where it has none.
pub(super) fn group(text: &str) -> Result<Gid, String> {
    match Group::from_name(text) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => text.parse().map(Gid::from_raw).map_err(|_| {
            "there is no such group on this host; `getent group` lists them".to_owned()
        }),
        Err(error) => Err(format!("the groups of this host can't be looked up: {error}")),
    }
}

/// A user of this host, by name or number.
pub(super) fn user(text: &str) -> Result<User, String> {
    let by_number =
        || text.parse().map_or(Ok(None), |number| User::from_uid(Uid::from_raw(number)));
    match User::from_name(text).and_then(|found| found.map_or_else(by_number, |one| Ok(Some(one))))
    {
        Ok(found) => found.ok_or_else(|| {
            "there is no such user on this host; `getent passwd` lists them".to_owned()
        }),
        Err(error) => Err(format!("the users of this host can't be looked up: {error}")),
    }
}

/// A number, with or without a unit; too large is as large as can be.
fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || "write bytes, or a number with KiB, MiB or GiB".to_owned();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" => 0,
        "kib" | "k" => 10,
        "mib" | "m" => 20,
        "gib" | "g" => 30,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    Ok(number.saturating_mul(1 << shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_size_is_rounded_up_to_a_power_of_two() {
        for (text, bytes) in [
            ("65536", 1 << 16),
            ("64KiB", 1 << 16),
            ("64k", 1 << 16),
            ("65537", 1 << 17),
            ("16MiB", 1 << 24),
            ("16 MiB", 1 << 24),
            ("17MiB", 1 << 25),
            ("1GiB", 1 << 30),
            ("1073741823", 1 << 30),
        ] {
            assert_eq!(buffer_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn a_file_has_room_for_what_is_kept_and_ends_somewhere() {
        for (text, bytes) in [("8MiB", 8 << 20), ("2GiB", 2 << 30), ("1024GiB", 1 << 40)] {
            assert_eq!(file_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "7MiB", "1025GiB", "18446744073709551615GiB", "-1", "10m b"] {
            assert!(file_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_group_is_one_of_this_host_or_a_number() {
        assert_eq!(group("root"), Ok(Gid::from_raw(0)));
        assert_eq!(group("54321"), Ok(Gid::from_raw(54_321)));
        for text in ["", "no such group", "-1", "1.5"] {
            assert!(group(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_user_is_one_of_this_host_by_name_or_number() {
        for text in ["root", "0"] {
            assert_eq!(user(text).unwrap().uid, Uid::from_raw(0));
        }
        for text in ["", "no such user", "-1", "4000000000"] {
            assert!(user(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_buffer_size_out_of_bounds_or_without_sense_is_refused() {
        for text in [
            "",
            "0",
            "65535",
            "63KiB",
            "1073741825",
            "2GiB",
            "18446744073709551615GiB",
            "-1",
            "1.5MiB",
            "MiB",
            "16MB",
            "16 MiB 3",
            "99999999999999999999",
        ] {
            assert!(buffer_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_is_read_as_people_write_it() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("1h30m", 5400), ("1h 30m", 5400)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn summaries_come_every_100_milliseconds_at_most() {
        for (text, milliseconds) in [("100ms", 100), ("500ms", 500), ("10s", 10_000)] {
            assert_eq!(summary_every(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["99ms", "0s", "10", ""] {
            assert!(summary_every(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_percentage_is_above_0_and_up_to_100() {
        for (text, value) in [("70", 70.0), ("70%", 70.0), ("0.5", 0.5), ("100", 100.0)] {
            assert_eq!(percent(text), Ok(value), "{text}");
        }
        for text in ["", "%", "0", "-1", "100.1", "inf", "NaN", "70 %", "70%%", "most"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_without_unit_or_below_zero_or_of_nothing_is_refused() {
        for text in ["", "90", "-5s", "0s", "5s ago", "5 parsecs", "1h30"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
