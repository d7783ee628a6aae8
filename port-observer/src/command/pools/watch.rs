//! Pools that are watched: by `pools watch`, and beside all else by `live`, `replay`, `top` and `serve`.

use std::path::PathBuf;

use anyhow::Result;

use super::{no_pool, read, warn_of_errors};
use crate::{
    config::Lines,
    kernel::netns,
    pools::{Pool, watch::Watch},
    report::Thresholds,
};

/// What is declared in these files, to be watched on this host.
///
/// # Errors
/// When they can't be read, or declare no pool.
pub(in crate::command) fn watched(files: &[PathBuf], lines: &Lines) -> Result<Watch> {
    Ok(watch(declared_in(files)?, Some(netns::own_inode()?), lines))
}

/// What is declared in these files; nothing, if none is named.
///
/// # Errors
/// The same.
pub(in crate::command) fn declared(files: &[PathBuf]) -> Result<Vec<Pool>> {
    if files.is_empty() { Ok(Vec::new()) } else { declared_in(files) }
}

/// The same; without any, in those that lie in the current directory.
fn declared_in(files: &[PathBuf]) -> Result<Vec<Pool>> {
    let verdict = read(files)?;
    if verdict.pools.is_empty() {
        return Err(no_pool());
    }
    warn_of_errors(&verdict);
    Ok(verdict.pools)
}

/// Pools, to be watched by an observer in the network namespace `own`, if that is known.
pub(in crate::command) fn watch(pools: Vec<Pool>, own: Option<u32>, lines: &Lines) -> Watch {
    let thresholds = Thresholds { warning: lines.warning, critical: lines.critical };
    Watch::new(pools, own, &lines.filter.netns, thresholds)
}
