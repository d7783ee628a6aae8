//! Calls that failed, as `top` keeps them.

use std::io;

use crate::{
    report::{Report, Sink},
    screen::state::Failures,
};

/// The sink that keeps the latest.
#[derive(Default)]
pub(super) struct Failed(pub Failures);

impl Sink for Failed {
    fn set_offset(&mut self, _offset_ns: i64) {}

    fn report(&mut self, report: &Report) -> io::Result<()> {
        self.0.take(report);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
