//! `snapshot`: once, who holds which ports now.

mod look;

use anyhow::{Context as _, Result};

use crate::{
    config::SnapshotConfig,
    kernel::{
        clock,
        netns::{self, Namespace},
    },
    sandbox::{Sandbox, Task},
    sink,
};

/// Looks once, and tells.
///
/// # Errors
/// When no namespace can be looked into, or the output can't be written.
pub fn run(config: &SnapshotConfig, sandbox: Sandbox) -> Result<()> {
    let own = netns::own_inode().ok();
    let is_own = |one: &Namespace| Some(one.inode) == own;
    let namespaces = config.netns.is_empty() || !config.netns.iter().all(is_own);
    sandbox.enter(&Task::List { namespaces, keeps: false });
    let snapshot = look::look(config)?;
    let home = netns::own_inode().ok();
    sink::write_snapshot(config.output, home, clock::offset_ns()?, &snapshot)
        .context("can't write to standard output")
}
