//! How many leases there are, for the metrics: the thread that keeps them is asked now and then.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::sync::oneshot::{Receiver, error::TryRecvError};

use crate::serve::{Pools, pools::Told};

/// How old the figures may get.
const EVERY: Duration = Duration::from_secs(5);

/// How many leases each pool has, by its name.
pub(super) struct Leased {
    pools: Pools,
    counts: Option<BTreeMap<String, u32>>,
    asked: Option<Receiver<Result<Told>>>,
    next: Instant,
}

impl Leased {
    /// Not known yet.
    pub(super) fn new(pools: Pools) -> Self {
        Self { pools, counts: None, asked: None, next: Instant::now() }
    }

    /// Takes in what was answered, and asks again when it is time to.
    pub(super) fn tick(&mut self) {
        match self.asked.as_mut().map(Receiver::try_recv) {
            Some(Err(TryRecvError::Empty)) => return,
            Some(Ok(Ok(Told::Counted(counts)))) => self.counts = Some(counts),
            // What is not known any more is not told as if it were.
            Some(Ok(Ok(_) | Err(_)) | Err(TryRecvError::Closed)) => self.counts = None,
            None => {}
        }
        self.asked = None;
        if Instant::now() >= self.next {
            self.next = Instant::now() + EVERY;
            self.asked = self.pools.count();
        }
    }

    /// As they were a moment ago.
    pub(super) fn counts(&self) -> Option<BTreeMap<String, u32>> {
        self.counts.clone()
    }
}
