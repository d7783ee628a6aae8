//! Gathers timelines in bounded memory, however long it takes: when there are too many buckets, two
//! become one.

use std::{collections::BTreeMap, time::Duration};

use foldhash::HashMap;

use super::{Held, Point, Series, Share, Timeline, names::Names};
use crate::{
    ledger::{Census, SpaceKey},
    report::{Holder, Space, Story},
};

/// How long a bucket is at first.
const STEP_NS: i64 = 250_000_000;
/// How many buckets there are at most.
const BUCKETS: usize = 1_024;
/// How many spaces are followed.
const FOLLOWED: usize = 64;
/// From how many thousandths of its capacity on a space is worth a timeline.
const FILLED: u32 = 100;
/// How many spaces are worth one that were never that full.
const FEW: usize = 2;
/// How many series a timeline has.
const SERIES: usize = 8;

/// Gathers them.
#[derive(Debug)]
pub struct Timelines {
    step_ns: i64,
    /// Not many, and in the order in which they came.
    lines: Vec<Line>,
    names: Names,
}

impl Default for Timelines {
    fn default() -> Self {
        Self { step_ns: STEP_NS, lines: Vec::new(), names: Names::default() }
    }
}

/// One space.
#[derive(Debug)]
struct Line {
    key: SpaceKey,
    /// As it was at its fullest.
    space: Space,
    fullest_ns: i64,
    refused: u64,
    /// By number: time since 1970 by the length of a bucket.
    buckets: BTreeMap<i64, Bucket>,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    used: u32,
    capacity: u32,
    refused: u64,
    /// By whom, the largest of them.
    shares: Vec<Share>,
}

impl Timelines {
    /// How often a census is to be taken, so that each bucket has one.
    pub fn step(&self) -> Duration {
        Duration::from_nanos(self.step_ns.unsigned_abs())
    }

    /// The spaces that are followed.
    pub fn followed(&self) -> Vec<SpaceKey> {
        self.lines.iter().map(|line| line.key).collect()
    }

    /// How full spaces are now, and by whom. `now_ns`: nanoseconds since 1970.
    pub fn add(&mut self, now_ns: i64, census: &[Census]) {
        for Census { space, holders } in census {
            self.look(now_ns, space, holders, 0);
        }
    }

    /// A call found no port.
    pub fn refused(&mut self, now_ns: i64, story: &Story, count: u64) {
        self.look(now_ns, &story.space, &story.holders, count);
    }

    fn look(&mut self, now_ns: i64, space: &Space, holders: &[Holder], refused: u64) {
        let Self { step_ns, lines, names } = self;
        let number = now_ns.div_euclid(*step_ns);
        let key = SpaceKey::from(space);
        let at = lines.iter().position(|line| line.key == key).unwrap_or_else(|| {
            lines.push(Line {
                key,
                space: space.clone(),
                fullest_ns: now_ns,
                refused: 0,
                buckets: BTreeMap::new(),
            });
            lines.len() - 1
        });
        let line = &mut lines[at];
        line.refused += refused;
        if thousandths(space) > thousandths(&line.space) {
            (line.space, line.fullest_ns) = (space.clone(), now_ns);
        }
        let is_new = !line.buckets.contains_key(&number);
        let bucket = line.buckets.entry(number).or_default();
        bucket.refused += refused;
        if is_new || space.used > bucket.used {
            (bucket.used, bucket.capacity) = (space.used, space.capacity);
            bucket.shares = names.shares(holders);
        }
        while is_new && self.are_too_many() {
            self.coarsen();
        }
        if self.lines.len() > FOLLOWED {
            let lines = self.lines.iter().enumerate();
            let least = lines.min_by_key(|(_, line)| line.rank()).map(|(at, _)| at);
            least.map(|at| self.lines.remove(at));
        }
    }

    fn are_too_many(&self) -> bool {
        let ends = |line: &Line| {
            Some((*line.buckets.first_key_value()?.0, *line.buckets.last_key_value()?.0))
        };
        let all = self.lines.iter().filter_map(ends);
        let both = all.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        both.is_some_and(|(first, last)| last.abs_diff(first) >= BUCKETS as u64)
    }

    /// Two buckets become one.
    fn coarsen(&mut self) {
        self.step_ns = self.step_ns.saturating_mul(2);
        for line in &mut self.lines {
            for (number, bucket) in std::mem::take(&mut line.buckets) {
                let both = line.buckets.entry(number.div_euclid(2)).or_default();
                let refused = both.refused + bucket.refused;
                if both.capacity == 0 || bucket.used > both.used {
                    *both = bucket;
                }
                both.refused = refused;
            }
        }
    }

    /// The most important, those with the most refused calls first, then the fullest; of spaces that
    /// were nearly empty, only a few.
    pub fn finish(self, count: usize) -> Vec<Timeline> {
        let Self { step_ns, mut lines, names } = self;
        lines.sort_by_key(|line| std::cmp::Reverse(line.rank()));
        let has_filled = |line: &Line| line.refused > 0 || thousandths(&line.space) >= FILLED;
        let filled = lines.iter().filter(|line| has_filled(line)).count();
        lines.truncate(filled.max(FEW).min(count));
        lines.into_iter().map(|line| line.finish(step_ns, &names)).collect()
    }
}

impl Line {
    /// What is least important is least.
    fn rank(&self) -> (u64, u32, u32) {
        (self.refused, thousandths(&self.space), self.space.used)
    }

    fn finish(self, step_ns: i64, names: &Names) -> Timeline {
        let first = self.buckets.first_key_value().map_or(0, |(number, _)| *number);
        let mut totals: HashMap<usize, u64> = HashMap::default();
        for share in self.buckets.values().flat_map(|bucket| &bucket.shares) {
            *totals.entry(share.number).or_default() += u64::from(share.held.total());
        }
        let merged = names.merged(&totals);
        let mut by_series: HashMap<usize, u64> = HashMap::default();
        for (number, total) in totals {
            *by_series.entry(merged[&number]).or_default() += total;
        }
        let mut largest: Vec<(usize, u64)> =
            by_series.into_iter().filter(|(_, total)| *total > 0).collect();
        largest.sort_unstable_by_key(|(number, total)| (std::cmp::Reverse(*total), *number));
        largest.truncate(SERIES);
        let mut series: Vec<Series> = largest
            .iter()
            .map(|(number, _)| names.get(*number))
            .map(|named| Series {
                process: named.process.clone(),
                is_several: named.is_several,
                held: Vec::with_capacity(self.buckets.len()),
            })
            .collect();
        let mut points = Vec::with_capacity(self.buckets.len());
        for (number, bucket) in self.buckets {
            let mut held: HashMap<usize, Held> = HashMap::default();
            for share in bucket.shares {
                *held.entry(merged[&share.number]).or_default() += share.held;
            }
            let mut rest = bucket.used;
            for ((name, _), series) in largest.iter().zip(&mut series) {
                let held = held.remove(name).unwrap_or_default();
                rest = rest.saturating_sub(held.total());
                series.held.push(held);
            }
            let time_wait = held.values().map(|held| held.time_wait).sum::<u32>().min(rest);
            points.push(Point {
                bucket: number - first,
                used: bucket.used,
                capacity: bucket.capacity,
                refused: bucket.refused,
                others: Held { in_use: rest - time_wait, time_wait },
            });
        }
        Timeline {
            names: Vec::new(),
            space: self.space,
            fullest_ns: self.fullest_ns,
            began_ns: first.saturating_mul(step_ns),
            step_ns,
            points,
            series,
        }
    }
}

fn thousandths(space: &Space) -> u32 {
    let used = u64::from(space.used.min(space.capacity)) * 1_000;
    let thousandths = used.checked_div(space.capacity.into()).unwrap_or(1_000);
    u32::try_from(thousandths).unwrap_or(1_000)
}
