//! Pools that are watched: by `pools watch`, and beside all else by `live`, `top` and `serve`.

use std::path::PathBuf;

use anyhow::Result;

use super::{no_pool, read, warn_of_errors};
use crate::{
    config::Lines,
    kernel::netns,
    pools::{Pool, watch::Watch},
    report::Thresholds,
};

/// What is declared in these files, to be watched.
///
/// # Errors
/// When they can't be read, or declare no pool.
pub(in crate::command) fn watched(files: &[PathBuf], lines: &Lines) -> Result<Watch> {
    let verdict = read(files)?;
    if verdict.pools.is_empty() {
        return Err(no_pool());
    }
    warn_of_errors(&verdict);
    watch(verdict.pools, lines)
}

/// Pools, to be watched.
///
/// # Errors
/// When the own network namespace is not known.
pub(in crate::command) fn watch(pools: Vec<Pool>, lines: &Lines) -> Result<Watch> {
    let thresholds = Thresholds { warning: lines.warning, critical: lines.critical };
    Ok(Watch::new(pools, netns::own_inode()?, &lines.filter.netns, thresholds))
}
