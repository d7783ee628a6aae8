//! `snapshot`: once, who holds which ports now.

mod look;

use anyhow::{Context as _, Result};

use crate::{
    config::SnapshotConfig,
    kernel::{clock, netns},
    sink,
};

/// Looks once, and tells.
///
/// # Errors
/// When no namespace can be looked into, or the output can't be written.
pub fn run(config: &SnapshotConfig) -> Result<()> {
    let snapshot = look::look(config)?;
    let home = netns::own_inode().ok();
    sink::write_snapshot(config.output, home, clock::offset_ns()?, &snapshot)
        .context("can't write to standard output")
}
