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

use tokio::sync::Notify;

use crate::recording;

/// The moments, nanoseconds since 1970; found meanwhile, for a long recording takes seconds.
#[derive(Clone, Default)]
pub struct Moments(Arc<Found>);

/// What is next to a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beside {
    /// One, then: nanoseconds since 1970.
    At(i64),
    /// It is not found yet, if there is one.
    Searching,
    /// There is none.
    None,
}

#[derive(Default)]
struct Found {
    times_ns: Mutex<Vec<i64>>,
    is_done: AtomicBool,
    /// That it was not so a moment ago.
    news: Notify,
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
            found.news.notify_one();
        });
        moments
    }

    /// The next one after a moment, or the last one before it.
    pub fn beside(&self, at_ns: i64, is_forward: bool) -> Beside {
        // Asked first: then all is there that was found.
        let is_done = self.0.is_done.load(Ordering::Acquire);
        let times_ns = self.0.times_ns.lock().unwrap_or_else(PoisonError::into_inner);
        let beside = if is_forward {
            times_ns.get(times_ns.partition_point(|time_ns| *time_ns <= at_ns))
        } else {
            // The last one before it may still be found.
            let before = times_ns.partition_point(|time_ns| *time_ns < at_ns);
            before
                .checked_sub(1)
                .filter(|_| is_done || before < times_ns.len())
                .map(|at| &times_ns[at])
        };
        match beside {
            Some(at_ns) => Beside::At(*at_ns),
            None if is_done => Beside::None,
            None => Beside::Searching,
        }
    }

    /// Returns when another one is found, or all are.
    pub async fn news(&self) {
        self.0.news.notified().await;
    }
}

impl Found {
    fn add(&self, time_ns: i64, step_ns: i64) {
        let mut times_ns = self.times_ns.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = |last: &i64| time_ns >= last.saturating_add(step_ns);
        if times_ns.last().is_none_or(is_new) {
            times_ns.push(time_ns);
            self.news.notify_one();
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
        moments.0.is_done.store(true, Ordering::Release);
        assert_eq!(moments.beside(0, true), Beside::At(100));
        assert_eq!(moments.beside(100, true), Beside::At(110));
        assert_eq!(moments.beside(110, true), Beside::At(200));
        assert_eq!(moments.beside(200, true), Beside::None);
        assert_eq!(moments.beside(200, false), Beside::At(110));
        assert_eq!(moments.beside(105, false), Beside::At(100));
        assert_eq!(moments.beside(100, false), Beside::None);
    }

    #[test]
    fn what_may_still_be_found_is_waited_for() {
        let moments = Moments::default();
        assert_eq!(moments.beside(150, true), Beside::Searching);
        moments.0.add(100, 10);
        assert_eq!(moments.beside(0, true), Beside::At(100));
        assert_eq!(moments.beside(150, true), Beside::Searching);
        assert_eq!(moments.beside(150, false), Beside::Searching, "a later one may come");
        moments.0.add(200, 10);
        assert_eq!(moments.beside(150, false), Beside::At(100));
    }
}
