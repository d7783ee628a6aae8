//! When to warn: a percentage, or a range as monitoring plugins write it.

use std::fmt;
use std::str::FromStr;

use crate::report::used_percent;

/// A percentage of the ports, or a plugin's range of percentages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// `70`: from here on, or above it.
    Percent(f64),
    /// `10:70`, `:70`, `10:`, `~:70`, with `@` in front: outside of it, with `@` inside. Ends belong
    /// to the range (Monitoring Plugins Development Guidelines, "Threshold and Ranges").
    Range {
        /// `~` is negative infinity.
        start: f64,
        /// Nothing is infinity.
        end: f64,
        /// `@`
        inside: bool,
    },
}

impl Threshold {
    /// When to warn, if nothing else is asked for.
    pub const WARNING: Self = Self::Percent(70.0);
    /// When it is critical, if nothing else is asked for.
    pub const CRITICAL: Self = Self::Percent(85.0);

    /// Whether a use of so many of so many ports is one to warn of. A percentage itself is one, if
    /// `at_least`.
    pub fn is_reached(self, used: u32, total: u32, at_least: bool) -> bool {
        let percent = used_percent(used, total);
        match self {
            // In ports, so that no fraction of a percentage is rounded.
            Self::Percent(limit) => {
                let limit = limit * f64::from(total) / 100.0;
                match total {
                    0 => true,
                    _ if at_least => f64::from(used) >= limit,
                    _ => f64::from(used) > limit,
                }
            }
            Self::Range { start, end, inside } => (start..=end).contains(&percent) == inside,
        }
    }

    /// As performance data has it, in ports.
    pub fn in_ports(self, total: u32) -> String {
        // Ports are whole: more than 19762.4 is more than 19762.
        let ports = |percent: f64| (percent * f64::from(total) / 100.0).floor().to_string();
        match self {
            Self::Percent(limit) => ports(limit),
            Self::Range { start, end, inside } => format_range(start, end, inside, ports),
        }
    }
}

fn format_range(start: f64, end: f64, inside: bool, number: impl Fn(f64) -> String) -> String {
    let at = if inside { "@" } else { "" };
    let start = if start.is_finite() { number(start) } else { "~".to_owned() };
    let end = if end.is_finite() { number(end) } else { String::new() };
    format!("{at}{start}:{end}")
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Percent(percent) => percent.fmt(f),
            Self::Range { start, end, inside } => {
                f.write_str(&format_range(start, end, inside, |number| number.to_string()))
            }
        }
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            "write a percentage from 0 to 100, or a range of them as 10:70, ~:70 or @70:85"
                .to_owned()
        };
        let number = |text: &str| match text.strip_suffix('%').unwrap_or(text).parse::<f64>() {
            Ok(number) if (0.0..=100.0).contains(&number) => Ok(number),
            _ => Err(wrong()),
        };
        let (inside, range) = match text.strip_prefix('@') {
            Some(range) => (true, range),
            None => (false, text),
        };
        let (start, end) = match range.split_once(':') {
            None if !inside => return number(text).map(Self::Percent),
            None => (0.0, number(range)?),
            Some((start, end)) => {
                let start = match start {
                    "~" => f64::NEG_INFINITY,
                    "" => 0.0,
                    start => number(start)?,
                };
                (start, if end.is_empty() { f64::INFINITY } else { number(end)? })
            }
        };
        if start > end {
            return Err(format!("the range ends ({end}) before it begins ({start})"));
        }
        Ok(Self::Range { start, end, inside })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threshold(text: &str) -> Threshold {
        text.parse().unwrap()
    }

    #[test]
    fn a_percentage_is_reached_at_it_or_above_it() {
        let seventy = threshold("70");
        assert!(!seventy.is_reached(69, 100, true));
        assert!(seventy.is_reached(70, 100, true) && !seventy.is_reached(70, 100, false));
        assert!(seventy.is_reached(71, 100, false));
        // 70% of 28232 are 19762.4 ports.
        for at_least in [true, false] {
            assert!(!seventy.is_reached(19_762, 28_232, at_least));
            assert!(seventy.is_reached(19_763, 28_232, at_least));
        }
        assert_eq!(seventy.in_ports(28_232), "19762");
        assert!(threshold("0.5%").is_reached(1, 100, true));
        assert!(seventy.is_reached(0, 0, false), "where there is no port, none is left");
    }

    #[test]
    fn a_plugins_range_warns_outside_of_it_and_with_an_at_sign_inside() {
        for (text, low, middle, high) in [
            ("10:70", true, false, true),
            (":70", false, false, true),
            ("~:70", false, false, true),
            ("10:", true, false, false),
            ("@10:70", false, true, false),
            ("@70", true, true, false),
        ] {
            let range = threshold(text);
            let reached = [5, 50, 90].map(|used| range.is_reached(used, 100, true));
            assert_eq!(reached, [low, middle, high], "{text}");
        }
        assert!(!threshold("10:70").is_reached(70, 100, true), "ends belong to the range");
        assert_eq!(threshold("~:70").in_ports(200), "~:140");
        assert_eq!(threshold("@10:").in_ports(200), "@20:");
        assert_eq!(threshold(":70.5%").to_string(), "0:70.5");
    }

    #[test]
    fn what_is_no_percentage_is_refused() {
        for text in
            ["", "%", "-1", "101", "much", "NaN", "inf", "@", "70:10", "10:101", "1:2:3", "70 %"]
        {
            assert!(text.parse::<Threshold>().is_err(), "{text}");
        }
    }
}
