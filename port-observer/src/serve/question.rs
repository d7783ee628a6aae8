//! What the server asks the thread that observes.

use tokio::sync::{mpsc, oneshot};

use super::{map::RangeMap, top::Top};
use crate::{
    check::{self, Terms},
    event::Protocol,
    metrics::Family,
    report::Snapshot,
};

/// How many questions may wait for the observer.
const WAITING: usize = 32;

/// One question, and where its answer goes. Whoever asked may have left.
#[derive(Debug)]
pub enum Question {
    /// Whether it answers at all.
    Ready(oneshot::Sender<()>),
    /// All metrics.
    Metrics(oneshot::Sender<Vec<Family>>),
    /// The fullest spaces and the calls that failed.
    Top(oneshot::Sender<Box<Top>>),
    /// A map of the ephemeral range.
    Map {
        /// Of this network namespace; `None`: that of `serve`.
        netns: Option<u32>,
        /// Of this protocol.
        protocol: Protocol,
        /// How many cells it may have.
        cells: u32,
        /// The answer; `None`: the namespace or its range is not known.
        answer: oneshot::Sender<Option<Box<RangeMap>>>,
    },
    /// The state of everything: so many spaces and processes at most.
    Snapshot {
        /// How many of each.
        top: usize,
        /// The answer, and realtime less boottime.
        answer: oneshot::Sender<(Box<Snapshot>, i64)>,
    },
    /// How much of the ports is used.
    Check {
        /// What is checked.
        terms: Terms,
        /// Network namespaces by name or inode number, none: that of `serve`; `None`: all that are watched.
        namespaces: Option<Vec<String>>,
        /// The answer.
        answer: oneshot::Sender<Box<check::Answer>>,
    },
}

/// The observer's end.
pub type Questions = mpsc::Receiver<Question>;

/// Both ends.
pub fn questions() -> (mpsc::Sender<Question>, Questions) {
    mpsc::channel(WAITING)
}
