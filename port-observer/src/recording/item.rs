//! What a recording hands over, piece by piece.

use std::time::Duration;

use super::entry::Entry;
use crate::{ledger::Checkpoint, report::Start};

/// One run of the recorder.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its number in the file.
    pub id: i64,
    /// The first line.
    pub start: Start,
    /// See [`crate::ledger::Options`].
    pub is_sticky: bool,
    /// When it began, nanoseconds since 1970.
    pub started_ns: i64,
    /// Realtime less boottime when it began.
    pub offset_ns: i64,
    /// When it ended; `None`: it was killed, or goes on.
    pub stopped_ns: Option<i64>,
    /// How long it observed, if it ended by itself.
    pub observed: Option<Duration>,
}

/// What comes next.
#[derive(Debug)]
pub enum Item {
    /// A run begins, or what is left of it.
    Begins {
        /// Which.
        run: Box<Run>,
        /// When (`CLOCK_BOOTTIME`).
        time_ns: u64,
        /// Realtime less boottime.
        offset_ns: i64,
    },
    /// What is held now, known from elsewhere than the entries before.
    Holds {
        /// When (`CLOCK_BOOTTIME`).
        time_ns: u64,
        /// What.
        checkpoint: Box<Checkpoint>,
    },
    /// Something that the ledger took in.
    Entry(Entry),
    /// The run ended.
    Ends {
        /// When (`CLOCK_BOOTTIME`).
        time_ns: u64,
        /// For how long it observed.
        observed: Duration,
    },
}
