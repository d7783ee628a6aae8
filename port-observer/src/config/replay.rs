//! What `replay` does.

use std::path::PathBuf;

use super::Lines;
use crate::{
    cli::{self, Speed},
    recording::Moment,
};

/// What `replay` does.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayConfig {
    /// The recording.
    pub path: PathBuf,
    /// From when on lines are printed.
    pub from: Option<Moment>,
    /// Until when.
    pub to: Option<Moment>,
    /// How fast.
    pub speed: Speed,
    /// What is printed.
    pub lines: Lines,
    /// What declares the pools that are told of; empty: none are.
    pub pools: Vec<PathBuf>,
}

impl ReplayConfig {
    /// Resolves the arguments; `netns` as for [`super::LiveConfig::resolve`].
    ///
    /// # Errors
    /// A namespace can't be resolved.
    pub fn resolve(
        args: cli::ReplayArgs,
        color: cli::Color,
        netns: &dyn Fn(&str) -> anyhow::Result<u32>,
    ) -> anyhow::Result<Self> {
        let (to, filter) = (args.end(), args.filter());
        Ok(Self {
            path: args.file,
            from: args.from,
            to,
            speed: args.speed,
            pools: args.pools,
            lines: Lines::resolve(args.lines, filter, color, netns)?,
        })
    }
}
