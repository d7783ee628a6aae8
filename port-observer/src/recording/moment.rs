//! A moment of a recording, as people write it.

use std::{str::FromStr, time::Duration};

use jiff::{SignedDuration, Timestamp, civil, tz::TimeZone};

/// A moment, some of it left to the recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Moment {
    /// `2026-01-02T03:04:05Z`
    At(Timestamp),
    /// `2026-01-02T03:04`, in local time.
    Local(civil::DateTime),
    /// `03:04`, in local time: the last one before the recording's end.
    Daily(civil::Time),
    /// `10m` before the recording's end.
    BeforeEnd(Duration),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(at) = text.parse() {
            return Ok(Self::At(at));
        }
        // A date has two hyphens, a time has a colon, and a duration neither.
        if text.matches('-').count() >= 2
            && let Ok(local) = text.parse()
        {
            return Ok(Self::Local(local));
        }
        if text.contains(':')
            && let Ok(daily) = text.parse()
        {
            return Ok(Self::Daily(daily));
        }
        let before = text.parse::<SignedDuration>().ok().and_then(|d| Duration::try_from(d).ok());
        before.map(Self::BeforeEnd).ok_or_else(|| {
            "write it as 2026-01-02T03:04:05Z, 2026-01-02T03:04 or 03:04 (local time), or 10m (before \
             the recording's end)"
                .to_owned()
        })
    }
}

impl Moment {
    /// In nanoseconds since 1970, of a recording that ends at `end_ns`. Out of the range of times,
    /// the nearest of them.
    pub fn resolve(self, end_ns: i64, zone: &TimeZone) -> i64 {
        let nearest =
            |ns: i128| i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX });
        let of_local = |local: civil::DateTime| {
            local.to_zoned(zone.clone()).map(|zoned| nearest(zoned.timestamp().as_nanosecond()))
        };
        match self {
            Self::At(at) => nearest(at.as_nanosecond()),
            Self::Local(local) => of_local(local).unwrap_or(end_ns),
            Self::Daily(time) => {
                let end = Timestamp::from_nanosecond(end_ns.into()).unwrap_or(Timestamp::MAX);
                let last = end.to_zoned(zone.clone()).date();
                let on = |date: civil::Date| of_local(date.to_datetime(time)).unwrap_or(end_ns);
                match on(last) {
                    at if at <= end_ns => at,
                    at => last.yesterday().map_or(at, on),
                }
            }
            Self::BeforeEnd(before) => {
                nearest(i128::from(end_ns) - before.as_nanos().cast_signed())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-02T03:04:05Z
    const END: i64 = 1_767_323_045_000_000_000;
    const SECOND: i64 = 1_000_000_000;

    fn resolve(text: &str) -> i64 {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        text.parse::<Moment>().unwrap().resolve(END, &zone) - END
    }

    #[test]
    fn moments_are_absolute_local_daily_or_before_the_end() {
        assert_eq!(resolve("2026-01-02T03:04:05Z"), 0);
        assert_eq!(resolve("2026-01-02T04:04:06+01:00"), SECOND);
        assert_eq!(resolve("2026-01-02T04:04"), -5 * SECOND);
        assert_eq!(resolve("2026-01-02 04:04:04"), -SECOND);
        assert_eq!(resolve("04:04"), -5 * SECOND);
        assert_eq!(resolve("04:05"), 55 * SECOND - 86_400 * SECOND);
        assert_eq!(resolve("1m30s"), -90 * SECOND);
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in ["", "yesterday", "25:00", "-5m", "2026-13-01T00:00", "5"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }
}
