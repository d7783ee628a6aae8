//! Spaces, holders, rates and times, in words.

use std::fmt::Write;

use super::escape::escape;
use crate::event::{Endpoint, Protocol};
use crate::process::{Container, Process};
use crate::report::{Failure, Holder, Space, SpaceKind};

/// A process's number and its name with that of its container, if any.
pub fn holder(process: Option<&Process>) -> (String, String) {
    let Some(process) = process else { return ("-".to_owned(), "not known".to_owned()) };
    let mut name = if process.name.is_empty() { "-".into() } else { escape(&process.name) };
    if let Some(container) = &process.container {
        name = format!("{name} ({})", escape(container_name(container))).into();
    }
    (process.pid.to_string(), name.into_owned())
}

/// The same in running text.
pub fn holder_name(process: Option<&Process>) -> String {
    match process {
        None => "a process not known".to_owned(),
        Some(process) if process.name.is_empty() => format!("process {}", process.pid),
        Some(process) => format!("{} {}", escape(&process.name), process.pid),
    }
}

/// Who took ports, and who has them open now, if that is another.
pub fn holder_names(holder: &Holder) -> String {
    let took = holder_name(holder.process.as_deref());
    match holder.open_in.as_deref() {
        Some(open_in) => format!("{took}, open now in {}", holder_name(Some(open_in))),
        None => took,
    }
}

/// The same of several processes of one name, of which this is one.
pub fn group_name(process: Option<&Process>, processes: u32) -> String {
    match process {
        Some(process) if processes > 1 => {
            format!("{} ({processes} processes)", escape(&process.name))
        }
        _ => holder_name(process),
    }
}

/// The name that a container has for people. A text of others.
pub fn container_name(container: &Container) -> &str {
    container.name.as_deref().unwrap_or_else(|| short(&container.id))
}

/// What container runtimes print of an identifier. A unit's name is shown whole.
pub fn short(id: &str) -> &str {
    let is_hash = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_hash { &id[..12] } else { id }
}

/// Between which ends a space is.
pub fn ends(space: &Space) -> String {
    let protocol = match space.protocol {
        Protocol::Tcp => "",
        Protocol::Udp => "udp ",
    };
    let own = space.own_range.map_or_else(String::new, |range| {
        format!(" in the socket's own range {}-{}", range.min, range.max)
    });
    match space.kind {
        SpaceKind::Connect { source, destination } => {
            format!("{protocol}{} → {destination}{own}", source.to_canonical())
        }
        SpaceKind::Bind { address } => format!("{protocol}bind {}{own}", address.to_canonical()),
    }
}

/// How full a space is.
pub fn percent(space: &Space) -> String {
    format!("{:.1}%", space.used_percent())
}

/// How a space grows and when it is full; empty when it does not grow.
pub fn outlook(space: &Space) -> String {
    let positive =
        |number: Option<f64>| number.filter(|number| number.is_finite() && *number > 0.0);
    // While it empties, the growth of the last minute is no outlook.
    let grows = space.headroom == 0 || space.seconds_to_exhaustion.is_some();
    let growth = positive(space.growth_per_second.filter(|_| grows))
        .map_or_else(String::new, |growth| format!(", growing {}", rate(growth)));
    let full = positive(space.seconds_to_exhaustion)
        .map_or_else(String::new, |seconds| format!(", full in {}", about(seconds)));
    growth + &full
}

/// A time that is known roughly.
pub fn about(seconds: f64) -> String {
    let age = age(seconds);
    if seconds < LEAST { age } else { format!("about {age}") }
}

/// A rate, by the second or, where that would be next to nothing, by the minute.
pub fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0/s".to_owned(),
        _ if per_second.abs() >= 99.95 => format!("{per_second:.0}/s"),
        _ if per_second.abs() >= 0.1 => format!("{per_second:.1}/s"),
        _ => format!("{:.1}/min", per_second * 60.0),
    }
}

/// What is said to be less than a second.
const LEAST: f64 = 0.95;

/// A time as people say it: two digits or so.
pub fn age(seconds: f64) -> String {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 3600.0;
    const DAY: f64 = 86_400.0;
    match seconds {
        ..LEAST => "less than 1 s".to_owned(),
        ..9.95 => format!("{seconds:.1} s"),
        ..90.0 => format!("{seconds:.0} s"),
        _ if seconds < 90.0 * MINUTE => format!("{:.0} min", seconds / MINUTE),
        _ if seconds < 36.0 * HOUR => format!("{:.0} h", seconds / HOUR),
        _ if seconds < 1000.0 * DAY => format!("{:.0} days", seconds / DAY),
        _ => "years".to_owned(),
    }
}

/// The call that failed, with what it asked for and why there was none.
pub fn failed_call(failure: &Failure) -> String {
    let &Failure { via, requested_port, local, remote, cause, .. } = failure;
    let mut text = via.name().to_owned();
    if let Some(local) = local {
        // A port that was not asked for has no number to show.
        let local = local.to_canonical();
        let _ = match requested_port {
            0 => write!(text, " {local}"),
            port => write!(text, " {}", Endpoint::new(local, port)),
        };
    }
    if let Some(remote) = remote {
        let _ = write!(text, " → {remote}");
    }
    if let Some(cause) = cause {
        let _ = write!(text, " ({})", cause.name().replace('_', " "));
    }
    text
}

/// Three or so digits and the unit that fits.
pub fn duration(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{}.{} ms", ns / 1_000_000, ns / 100_000 % 10),
        1_000_000_000..600_000_000_000 => format!("{seconds}.{} s", ns / 100_000_000 % 10),
        _ if seconds < 3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A bar for each sample, a dot where nothing is known.
pub fn sparkline(samples: &[Option<u32>], capacity: u32) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let last = BARS.len() as u64 - 1;
    samples
        .iter()
        .map(|sample| {
            sample.map_or('·', |used| {
                let at = (u64::from(used) * last).div_ceil(u64::from(capacity.max(1)));
                BARS[usize::try_from(at.min(last)).unwrap_or(0)]
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nearly_now_is_not_about_less_than_a_second() {
        assert_eq!((&*about(0.4), &*about(1.4)), ("less than 1 s", "about 1.4 s"));
    }

    #[test]
    fn times_to_come_have_two_digits_or_so() {
        for (seconds, text) in [
            (0.0, "less than 1 s"),
            (2.44, "2.4 s"),
            (59.6, "60 s"),
            (120.0, "2 min"),
            (5399.0, "90 min"),
            (7200.0, "2 h"),
            (259_200.0, "3 days"),
            (1e12, "years"),
        ] {
            assert_eq!(age(seconds), text);
        }
    }

    #[test]
    fn a_slow_rate_is_by_the_minute() {
        for (per_second, text) in [
            (0.0, "0/s"),
            (0.02, "1.2/min"),
            (-0.5, "-0.5/s"),
            (40.12, "40.1/s"),
            (1234.5, "1234/s"),
        ] {
            assert_eq!(rate(per_second), text);
        }
    }

    #[test]
    fn durations_have_the_unit_that_fits() {
        for (ns, text) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (12_345, "12 µs"),
            (1_250_000, "1.2 ms"),
            (61_234_000_000, "61.2 s"),
            (600_000_000_000, "10 min 0 s"),
            (5_400_000_000_000, "1 h 30 min"),
        ] {
            assert_eq!(duration(ns), text);
        }
        assert!(!duration(u64::MAX).is_empty());
    }

    #[test]
    fn bars_go_from_empty_to_full_and_what_is_not_known_is_a_dot() {
        let samples = [None, Some(0), Some(1), Some(50), Some(99), Some(100), Some(200)];
        assert_eq!(sparkline(&samples, 100), "·▁▂▅███");
        assert_eq!(sparkline(&[Some(1)], 0), "█");
    }
}
