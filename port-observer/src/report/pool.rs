//! What becomes of a port range that an application declares, as it happens.

use std::sync::Arc;

use super::{Level, Port, used_percent};
use crate::{event::Via, process::Process};

/// How full a declared range is at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolUse {
    /// The pool's name.
    pub name: Arc<str>,
    /// Its ranges as they were declared: `21000-31000`.
    pub range: Arc<str>,
    /// The inode number of the network namespace that it is in; `None`: there is none of that name now.
    pub netns: Option<u32>,
    /// Its ports.
    pub ports: u32,
    /// How many of them somebody holds.
    pub used: u32,
    /// How many a unit can have if nobody holds any: of pairs, those of whole pairs.
    pub usable: u32,
    /// How many a unit can still have.
    pub free: u32,
    /// Whether no unit has room any more.
    pub is_full: bool,
    /// How many fewer a unit can have each second, over the last minute or what is known of it.
    pub growth_per_second: Option<f64>,
    /// When it will be full at that rate; absent where it does not fill up. An estimate.
    pub seconds_to_exhaustion: Option<f64>,
    /// How often a call for one of its ports was refused while it was full.
    pub refused: u64,
}

impl PoolUse {
    /// How much of what units can have is taken, in percent.
    pub fn used_percent(&self) -> f64 {
        used_percent(self.usable.saturating_sub(self.free), self.usable)
    }
}

/// How full a pool is, and who fills it.
#[derive(Clone, Debug)]
pub struct PoolLook {
    /// How full.
    pub pool: PoolUse,
    /// Who has its ports, the largest first.
    pub holders: Vec<PoolHolder>,
}

/// Something that happened to a pool.
#[derive(Clone, Debug)]
pub struct PoolReport {
    /// The pool, after that.
    pub pool: PoolUse,
    /// What happened.
    pub event: PoolEvent,
}

/// What happened to a pool.
#[derive(Clone, Debug)]
pub enum PoolEvent {
    /// It crossed a threshold, up or down; or watching it begins.
    Threshold {
        /// Where it is now.
        level: Level,
    },
    /// No unit has room in it any more.
    Exhausted {
        /// Who took the last port, or was refused one; `None`: it was full when watching began.
        port: Option<Port>,
        /// The call that was refused; `None`: none was, it is just full.
        refused: Option<(Via, i32)>,
        /// Who has its ports, the largest first.
        holders: Vec<PoolHolder>,
        /// How many more such calls of that process in that second this stands for.
        repeated: u64,
    },
    /// Its owner took a port that is of none of its pools.
    WrongRange {
        /// The port.
        port: Port,
        /// By which call; `None`: it was held when observing began.
        via: Option<Via>,
        /// The pool that the port is of.
        belongs_to: Option<Arc<str>>,
        /// How many more ports of that process in that second this stands for.
        repeated: u64,
    },
    /// Somebody else took a port of it.
    Taken {
        /// The port.
        port: Port,
        /// By which call; `None`: it was held when observing began.
        via: Option<Via>,
        /// The kernel chose the port: the pool is in the ephemeral range.
        is_chosen: bool,
        /// How many more ports of that process in that second this stands for.
        repeated: u64,
    },
}

/// Who has ports of a pool.
#[derive(Clone, Debug)]
pub struct PoolHolder {
    /// Which process; `None`: it is not known.
    pub process: Option<Arc<Process>>,
    /// How many of the pool's ports.
    pub ports: u32,
    /// Whether it is not the pool's owner; `None`: that can't be said.
    pub is_stranger: Option<bool>,
}

impl PoolReport {
    /// The port that it is about, if it is about one.
    pub fn port(&self) -> Option<&Port> {
        match &self.event {
            PoolEvent::Threshold { .. } => None,
            PoolEvent::Exhausted { port, .. } => port.as_ref(),
            PoolEvent::WrongRange { port, .. } | PoolEvent::Taken { port, .. } => Some(port),
        }
    }

    /// Who has the pool's ports, where that is told.
    pub fn holders(&self) -> &[PoolHolder] {
        match &self.event {
            PoolEvent::Exhausted { holders, .. } => holders,
            PoolEvent::Threshold { .. }
            | PoolEvent::WrongRange { .. }
            | PoolEvent::Taken { .. } => &[],
        }
    }

    /// For how many more this stands.
    pub fn repeated(&self) -> u64 {
        match self.event {
            PoolEvent::Threshold { .. } => 0,
            PoolEvent::Exhausted { repeated, .. }
            | PoolEvent::WrongRange { repeated, .. }
            | PoolEvent::Taken { repeated, .. } => repeated,
        }
    }

    /// The same, for so many more.
    #[must_use]
    pub fn with_repeated(mut self, more: u64) -> Self {
        match &mut self.event {
            PoolEvent::Threshold { .. } => {}
            PoolEvent::Exhausted { repeated, .. }
            | PoolEvent::WrongRange { repeated, .. }
            | PoolEvent::Taken { repeated, .. } => *repeated = more,
        }
        self
    }
}
