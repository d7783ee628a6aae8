//! Calls that failed, the newest first.

use std::{collections::VecDeque, sync::Arc};

use super::activity::key_of;
use crate::{
    event::Via,
    report::{Body, Holder, Port, Report, Story},
};

/// How many are kept.
const KEPT: usize = 1_000;
/// Calls that fail alike and no farther apart than this are one row: a storm would push out all else.
const APART_NS: u64 = 5_000_000_000;
/// Among so many of the newest the like is looked for.
const RECENT: usize = 64;

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
            _ => return,
        };
        let count = repeated.saturating_add(1);
        self.total = self.total.saturating_add(count);
        let is_same = |row: &Arc<FailedCall>| {
            row.time_ns.saturating_add(APART_NS) > report.time_ns
                && (row.via, row.errno) == (*via, *errno)
                && is_alike(&row.port, port)
        };
        let same = self.rows.iter().take(RECENT).position(is_same);
        if let Some(mut same) = same.and_then(|at| self.rows.remove(at)) {
            let row = Arc::make_mut(&mut same);
            row.count = row.count.saturating_add(count);
            row.time_ns = row.time_ns.max(report.time_ns);
            // The last is the fullest story: what is known grows with time.
            if story.is_some() {
                row.story.clone_from(story);
            }
            self.rows.push_front(same);
            return;
        }
        self.rows.push_front(Arc::new(FailedCall {
            number: self.total,
            began_ns: report.time_ns,
            time_ns: report.time_ns,
            count,
            port: port.clone(),
            via: *via,
            errno: *errno,
            story: story.clone(),
            in_the_way: in_the_way.to_vec(),
        }));
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
