//! Where in a recording calls failed.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crate::recording;

/// The moments, nanoseconds since 1970; found meanwhile, for a long recording takes seconds.
#[derive(Clone, Default)]
pub struct Moments(Arc<Found>);

#[derive(Default)]
struct Found {
    times_ns: Mutex<Vec<i64>>,
    is_done: AtomicBool,
}

impl Moments {
    /// Begins to look for them; those that follow within a step are one.
    pub fn look_for(path: PathBuf, step: Duration) -> Self {
        let moments = Self::default();
        let found = Arc::clone(&moments.0);
        let step_ns = i64::try_from(step.as_nanos()).unwrap_or(i64::MAX);
        thread::spawn(move || {
            // Whoever reads the recording is told what is wrong with it.
            let _ = recording::failures(&path, |time_ns| found.add(time_ns, step_ns));
            found.is_done.store(true, Ordering::Release);
        });
        moments
    }

    /// The next one after a moment, or the last one before it.
    pub fn beside(&self, at_ns: i64, is_forward: bool) -> Option<i64> {
        let times_ns = self.0.times_ns.lock().unwrap_or_else(PoisonError::into_inner);
        if is_forward {
            let after = times_ns.partition_point(|time_ns| *time_ns <= at_ns);
            times_ns.get(after).copied()
        } else {
            let before = times_ns.partition_point(|time_ns| *time_ns < at_ns);
            before.checked_sub(1).map(|at| times_ns[at])
        }
    }

    /// Whether all were found.
    pub fn is_done(&self) -> bool {
        self.0.is_done.load(Ordering::Acquire)
    }
}

impl Found {
    fn add(&self, time_ns: i64, step_ns: i64) {
        let mut times_ns = self.times_ns.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = |last: &i64| time_ns >= last.saturating_add(step_ns);
        if times_ns.last().is_none_or(is_new) {
            times_ns.push(time_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_gone_through_one_after_the_other_and_a_storm_is_one() {
        let moments = Moments::default();
        for time_ns in [100, 101, 109, 110, 200] {
            moments.0.add(time_ns, 10);
        }
        assert_eq!(moments.beside(0, true), Some(100));
        assert_eq!(moments.beside(100, true), Some(110));
        assert_eq!(moments.beside(110, true), Some(200));
        assert_eq!(moments.beside(200, true), None);
        assert_eq!(moments.beside(200, false), Some(110));
        assert_eq!(moments.beside(105, false), Some(100));
        assert_eq!(moments.beside(100, false), None);
    }
}
