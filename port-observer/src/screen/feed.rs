//! From the reports of a stream to what the screen shows of them.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::state::Activity;
use crate::report::{Report, Sink};

/// Takes reports; a clone sees the same.
#[derive(Clone, Default)]
pub struct Feed(Arc<Mutex<Activity>>);

impl Feed {
    /// What came so far.
    pub fn activity(&self) -> MutexGuard<'_, Activity> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Feed {
    fn set_offset(&mut self, offset_ns: i64) {
        self.activity().offset_ns = offset_ns;
    }

    fn begin(&mut self, _first_offset_ns: i64) {
        self.activity().begin();
    }

    fn report(&mut self, report: &Report) -> io::Result<()> {
        self.activity().take(report);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
