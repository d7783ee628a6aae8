//! Calls that failed, the newest first.

use std::{collections::VecDeque, sync::Arc};

use super::activity::{key_of, second};
use crate::{
    event::{Refusal, Via},
    report::{Body, Holder, Port, Report, Story},
};

/// How many are kept.
const KEPT: usize = 1_000;
/// Calls that fail alike and no farther apart than this are one row: a storm would push out all else.
const APART_NS: u64 = 5_000_000_000;
/// Among so many of the newest the like is looked for.
const RECENT: usize = 64;

/// How many threads of a row are told apart within a second.
const THREADS: usize = 64;

/// A call that failed, and those that failed like it soon after.
#[derive(Clone, Debug)]
pub struct FailedCall {
    /// A number of its own.
    pub number: u64,
    /// When it was first (`CLOCK_BOOTTIME`).
    pub began_ns: u64,
    /// When it was last.
    pub time_ns: u64,
    /// How often.
    pub count: u64,
    /// What the worst second had.
    pub worst: InSecond,
    /// The second under way, with the threads whose calls failed in it.
    second: u64,
    in_second: InSecond,
    threads: Vec<u32>,
    /// What was asked for, and by whom.
    pub port: Port,
    /// By which call.
    pub via: Via,
    /// Positive.
    pub errno: i32,
    /// What was full, its holders when it was last, and why; of a port that the kernel was to choose.
    pub story: Option<Box<Story>>,
    /// Who had the port; of one that was asked for by its number.
    pub in_the_way: Vec<Holder>,
    /// That it failed for its address, and why.
    pub refusal: Option<Refusal>,
}

/// What failed within a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InSecond {
    /// Calls.
    pub calls: u64,
    /// Threads that made them: at least so many.
    pub threads: u64,
}

impl FailedCall {
    /// So many more calls of a thread.
    fn count(&mut self, time_ns: u64, tid: u32, count: u64) {
        self.count = self.count.saturating_add(count);
        let now = second(time_ns);
        if now != self.second {
            (self.second, self.in_second) = (now, InSecond::default());
            self.threads.clear();
        }
        self.in_second.calls = self.in_second.calls.saturating_add(count);
        if self.threads.len() < THREADS && !self.threads.contains(&tid) {
            self.threads.push(tid);
        }
        self.in_second.threads = self.threads.len() as u64;
        self.worst.calls = self.worst.calls.max(self.in_second.calls);
        self.worst.threads = self.worst.threads.max(self.in_second.threads);
    }
}

/// Those that are kept.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    /// The newest first.
    rows: VecDeque<Arc<FailedCall>>,
    total: u64,
}

impl Failures {
    /// Takes a report of a call that failed.
    pub fn take(&mut self, report: &Report) {
        let (port, via, errno, repeated, story, in_the_way) = match &report.body {
            Body::Exhausted { port, via, errno, story, repeated, .. } => {
                (port, via, errno, repeated, story, &[][..])
            }
            Body::Conflict { port, via, errno, holders, repeated } => {
                (port, via, errno, repeated, &None, &holders[..])
            }
            Body::Refused { port, via, errno, refusal: _, repeated } => {
                (port, via, errno, repeated, &None, &[][..])
            }
            _ => return,
        };
        let refusal = match report.body {
            Body::Refused { refusal, .. } => Some(refusal),
            _ => None,
        };
        let count = repeated.saturating_add(1);
        self.total = self.total.saturating_add(count);
        let tid = port.caller.as_ref().map_or(0, |caller| caller.tid);
        let is_same = |row: &Arc<FailedCall>| {
            row.time_ns.saturating_add(APART_NS) > report.time_ns
                && (row.via, row.errno, row.refusal) == (*via, *errno, refusal)
                && is_alike(&row.port, port)
        };
        let same = self.rows.iter().take(RECENT).position(is_same);
        if let Some(mut same) = same.and_then(|at| self.rows.remove(at)) {
            let row = Arc::make_mut(&mut same);
            row.count(report.time_ns, tid, count);
            row.time_ns = row.time_ns.max(report.time_ns);
            // The last is the fullest story: what is known grows with time.
            if story.is_some() {
                row.story.clone_from(story);
            }
            self.rows.push_front(same);
            return;
        }
        let mut row = FailedCall {
            number: self.total,
            began_ns: report.time_ns,
            time_ns: report.time_ns,
            count: 0,
            worst: InSecond::default(),
            second: 0,
            in_second: InSecond::default(),
            threads: Vec::new(),
            port: port.clone(),
            via: *via,
            errno: *errno,
            story: story.clone(),
            in_the_way: in_the_way.to_vec(),
            refusal,
        };
        row.count(report.time_ns, tid, count);
        self.rows.push_front(Arc::new(row));
        self.rows.truncate(KEPT);
    }

    /// The newest first.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &Arc<FailedCall>> {
        self.rows.iter()
    }

    /// How many calls failed.
    pub fn total(&self) -> u64 {
        self.total
    }
}

fn is_alike(one: &Port, other: &Port) -> bool {
    let process = |port: &Port| key_of(port.caller.as_ref().map(|caller| caller.process.as_ref()));
    (one.netns, one.protocol, one.local, one.remote)
        == (other.netns, other.protocol, other.local, other.remote)
        && process(one) == process(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Endpoint, Protocol},
        process::{Caller, Process},
    };

    const SECOND: u64 = 1_000_000_000;

    fn refused(time_ns: u64, tid: u32, calls: u64) -> Report {
        let process = Arc::new(Process { pid: 42, ..Process::default() });
        let port = Port {
            netns: 7,
            protocol: Protocol::Tcp,
            local: None,
            remote: Some(Endpoint::new([10, 0, 0, 1].into(), 443)),
            caller: Some(Caller { process, tid }),
        };
        let (via, errno, repeated) = (Via::Connect, 99, calls - 1);
        let body = Body::Exhausted { port, via, errno, search_ns: None, story: None, repeated };
        Report { time_ns, body }
    }

    #[test]
    fn the_worst_second_is_one_of_many() {
        let mut failures = Failures::default();
        // 115 calls in 12 seconds.
        for second in 0..11 {
            failures.take(&refused(second * SECOND, 42, 9));
        }
        failures.take(&refused(11 * SECOND, 42, 1));
        failures.take(&refused(11 * SECOND + 1, 43, 14));
        failures.take(&refused(11 * SECOND + 2, 42, 1));
        let [row] = &failures.rows().collect::<Vec<_>>()[..] else { panic!("one row") };
        assert_eq!((row.count, failures.total()), (115, 115));
        assert_eq!(row.worst, InSecond { calls: 16, threads: 2 });
    }

    #[test]
    fn threads_are_told_apart_in_bounded_memory() {
        let mut failures = Failures::default();
        (0..1_000).for_each(|tid| failures.take(&refused(SECOND, tid, 1)));
        let row = failures.rows().next().unwrap();
        assert_eq!(row.worst, InSecond { calls: 1_000, threads: THREADS as u64 });
        assert_eq!(row.threads.len(), THREADS);
    }
}
