//! How spaces filled up over time, and by whom.

mod gather;
mod names;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::{process::Process, report::Space};

pub use gather::Timelines;

/// How one space filled up. Times are nanoseconds since 1970.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// The space as it was at its fullest.
    pub space: Space,
    /// The names of its namespace.
    pub names: Vec<String>,
    /// When the bucket began in which that was.
    pub fullest_ns: i64,
    /// When bucket 0 began.
    pub began_ns: i64,
    /// How long a bucket is.
    pub step_ns: i64,
    /// The buckets of which something is known, in order.
    pub points: Vec<Point>,
    /// Who held the ports, the most first. What is used beyond them is others'.
    pub series: Vec<Series>,
}

/// The fullest moment of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The number of the bucket.
    pub bucket: i64,
    /// Ports that could not be had then.
    pub used: u32,
    /// Of how many.
    pub capacity: u32,
    /// How many calls found no port in the whole bucket.
    pub refused: u64,
    /// Of what is used, what is nobody's in the series.
    pub others: Held,
}

/// Who held ports: a process, or all of one name in one container.
#[derive(Clone, Debug)]
pub struct Series {
    /// One of them; `None`: those of whom nothing is known.
    pub process: Option<Arc<Process>>,
    /// There were more.
    pub is_several: bool,
    /// How many, at each of the points.
    pub held: Vec<Held>,
}

/// How many ports are held, and by what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// By sockets.
    pub in_use: u32,
    /// By TIME_WAIT.
    pub time_wait: u32,
}

impl Held {
    /// Both.
    pub fn total(self) -> u32 {
        self.in_use + self.time_wait
    }
}

impl std::ops::AddAssign for Held {
    fn add_assign(&mut self, other: Self) {
        self.in_use += other.in_use;
        self.time_wait += other.time_wait;
    }
}

/// What one of the names holds at a moment.
#[derive(Clone, Copy, Debug)]
struct Share {
    number: usize,
    held: Held,
}
