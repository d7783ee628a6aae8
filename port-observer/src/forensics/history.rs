//! How full the fullest space was over a long time, and how many calls failed: a picture in which to
//! find the moment that a report is to be of.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use serde_json::json;

use super::json::time;
use crate::report::{Body, Report, Sink, Space};

/// How long a bucket may be, in seconds; of those that give at most [`BUCKETS`], the shortest is taken.
const STEPS: [i64; 9] = [1, 2, 5, 10, 20, 30, 60, 120, 300];
/// How many buckets there are at most, beside one that is cut.
const BUCKETS: i64 = 288;
/// How far apart looks may be.
const LOOK: Duration = Duration::from_secs(10);
const SECOND_NS: i64 = 1_000_000_000;
/// The longest time that it may be of.
pub const LONGEST: Duration = Duration::from_secs(86_400);

/// Takes looks and reports, in bounded memory. Times are nanoseconds since 1970.
#[derive(Debug)]
pub struct History {
    offset_ns: i64,
    /// When bucket 0 begins.
    began_ns: i64,
    step_seconds: i64,
    /// How many buckets there are.
    count: i64,
    /// By number; those of which something is known.
    buckets: BTreeMap<i64, Bucket>,
}

/// The fullest moment of a bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bucket {
    /// It was looked how full it is; else only failures are known.
    is_known: bool,
    used: u32,
    capacity: u32,
    /// How many calls failed in the whole bucket.
    failures: u64,
}

impl History {
    /// Of this time; of what is longer than [`LONGEST`], the end.
    pub fn of(from_ns: i64, to_ns: i64) -> Self {
        let longest_ns = i64::try_from(LONGEST.as_nanos()).unwrap_or(i64::MAX);
        let from_ns = from_ns.clamp(to_ns.saturating_sub(longest_ns), to_ns);
        let seconds = to_ns.saturating_sub(from_ns) / SECOND_NS;
        let fits = |step: &i64| seconds / step < BUCKETS;
        let step_seconds = STEPS.into_iter().find(fits).unwrap_or(STEPS[STEPS.len() - 1]);
        let step_ns = step_seconds * SECOND_NS;
        let first = from_ns.div_euclid(step_ns);
        let count = to_ns.div_euclid(step_ns) - first + 1;
        let began_ns = first.saturating_mul(step_ns);
        Self { offset_ns: 0, began_ns, step_seconds, count, buckets: BTreeMap::new() }
    }

    /// From when on it is.
    pub fn began_ns(&self) -> i64 {
        self.began_ns
    }

    /// How often [`History::add`] is to be called.
    pub fn look_step(&self) -> Duration {
        Duration::from_secs(self.step_seconds.unsigned_abs()).min(LOOK)
    }

    /// How full the fullest space is at a moment; none: nobody holds a port.
    pub fn add(&mut self, at_ns: i64, fullest: Option<&Space>) {
        let Some(bucket) = self.bucket(at_ns) else { return };
        bucket.is_known = true;
        let Some(space) = fullest else { return };
        let thousandths = |used: u32, capacity: u32| {
            (u64::from(used.min(capacity)) * 1_000).checked_div(capacity.into()).unwrap_or(0)
        };
        let (new, old) = (
            (thousandths(space.used, space.capacity), space.used),
            (thousandths(bucket.used, bucket.capacity), bucket.used),
        );
        if bucket.capacity == 0 || new > old {
            (bucket.used, bucket.capacity) = (space.used, space.capacity);
        }
    }

    fn bucket(&mut self, at_ns: i64) -> Option<&mut Bucket> {
        let number = at_ns.checked_sub(self.began_ns)?.div_euclid(self.step_seconds * SECOND_NS);
        (0..self.count).contains(&number).then(|| self.buckets.entry(number).or_default())
    }

    fn failed(&mut self, at_ns: i64, repeated: u64) {
        if let Some(bucket) = self.bucket(at_ns) {
            bucket.failures = bucket.failures.saturating_add(repeated).saturating_add(1);
        }
    }

    /// Writes it as one JSON object of columns, with a line end.
    ///
    /// # Errors
    /// Writing failed.
    pub fn write(&self, mut out: impl Write) -> io::Result<()> {
        let column = |of: fn(&Bucket) -> u64| self.buckets.values().map(of).collect::<Vec<_>>();
        let object = json!({
            "schema": 1,
            "began": time(self.began_ns),
            "step_seconds": self.step_seconds,
            "bucket": self.buckets.keys().collect::<Vec<_>>(),
            "is_known": self.buckets.values().map(|bucket| bucket.is_known).collect::<Vec<_>>(),
            "used": column(|bucket| bucket.used.into()),
            "capacity": column(|bucket| bucket.capacity.into()),
            "failures": column(|bucket| bucket.failures),
        });
        serde_json::to_writer(&mut out, &object)?;
        out.write_all(b"\n")
    }
}

impl Sink for History {
    fn set_offset(&mut self, offset_ns: i64) {
        self.offset_ns = offset_ns;
    }

    fn report(&mut self, report: &Report) -> io::Result<()> {
        let at_ns = self.offset_ns.wrapping_add_unsigned(report.time_ns);
        match &report.body {
            Body::Exhausted { story, repeated, .. } => {
                self.failed(at_ns, *repeated);
                if let Some(story) = story {
                    self.add(at_ns, Some(&story.space));
                }
            }
            Body::Conflict { repeated, .. } | Body::Refused { repeated, .. } => {
                self.failed(at_ns, *repeated);
            }
            Body::Start(_)
            | Body::Existing { .. }
            | Body::Acquire { .. }
            | Body::TimeWait { .. }
            | Body::Release { .. }
            | Body::Threshold { .. }
            | Body::Pool(_)
            | Body::Summary(_)
            | Body::State { .. }
            | Body::Lost { .. }
            | Body::Stop(_) => {}
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{event::Protocol, report::SpaceKind};

    /// 2026-01-02T03:04:05Z
    const END: i64 = 1_767_323_045 * SECOND_NS;

    fn space(used: u32, capacity: u32) -> Space {
        Space {
            kind: SpaceKind::Bind { address: [10, 0, 0, 1].into() },
            netns: 1,
            protocol: Protocol::Tcp,
            own_range: None,
            capacity,
            used,
            headroom: capacity - used,
            growth_per_second: None,
            seconds_to_exhaustion: None,
        }
    }

    fn written(history: &History) -> Value {
        let mut text = Vec::new();
        history.write(&mut text).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    #[test]
    fn there_are_few_buckets_however_long_it_was() {
        for seconds in [0, 1, 59, 287, 288, 3_600, 86_399, 86_400, 10_000_000, i64::MAX / SECOND_NS]
        {
            let from_ns = END.saturating_sub(seconds.saturating_mul(SECOND_NS));
            let mut history = History::of(from_ns, END);
            let seconds = seconds.min(86_400);
            assert!(history.count <= BUCKETS + 1, "{seconds} s: {}", history.count);
            let began_ns = history.began_ns();
            assert!((0..300 * SECOND_NS).contains(&(END - seconds * SECOND_NS - began_ns)));
            assert!(history.look_step() <= LOOK);
            for at_ns in [began_ns - 1, began_ns, END, i64::MIN, i64::MAX] {
                history.failed(at_ns, 0);
            }
            let failures: u64 = history.buckets.values().map(|bucket| bucket.failures).sum();
            assert_eq!(failures, 2, "what is before or after is left out");
        }
    }

    #[test]
    fn a_bucket_is_its_fullest_moment_and_all_its_failures() {
        let mut history = History::of(END - 3_600 * SECOND_NS, END);
        let began_ns = history.began_ns();
        let at = |seconds: i64| began_ns + seconds * SECOND_NS;
        let (first, same, later) = (at(0), at(19), at(60));
        history.add(first, Some(&space(50, 100)));
        history.add(same, Some(&space(300, 1_000)));
        history.failed(same, 4);
        history.failed(first, 0);
        history.add(later, Some(&space(7, 1_000)));
        history.add(later, Some(&space(8, 1_000)));
        history.add(at(90), None);
        history.failed(at(120), 0);
        let found = written(&history);
        assert_eq!(found["step_seconds"], 20);
        assert_eq!(found["began"], "2026-01-02T02:04:00.000000000Z");
        assert_eq!(found["bucket"], json!([0, 3, 4, 6]));
        assert_eq!(found["is_known"], json!([true, true, true, false]));
        assert_eq!(found["used"], json!([50, 8, 0, 0]));
        assert_eq!(found["capacity"], json!([100, 1_000, 0, 0]));
        assert_eq!(found["failures"], json!([6, 0, 0, 1]));
    }
}
