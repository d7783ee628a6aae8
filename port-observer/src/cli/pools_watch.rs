//! Arguments of `pools watch`.

use std::{num::NonZeroU64, path::PathBuf, time::Duration};

use clap::Args;

use super::{LimitArgs, ObserveArgs, PoolFilesArg, ThresholdArgs, values};

const EXAMPLES: &str = "\
Examples:
  The pools that lie in this directory, as their ports are taken and given back:
      port-observer pools watch
  Tell somebody when one is full, or when somebody else takes a port of it:
      port-observer pools watch --json pools.toml |
          jq -r --unbuffered 'select(.type == \"pool_exhausted\" or .type == \"pool_taken\") | .message'

Lines: pool_threshold (first of all where each pool is, then whenever it crosses a threshold),
pool_exhausted (no unit has room any more, or a call for a port of a full pool was refused),
pool_wrong_range (a pool's owner listens on, or has bound, a port that is of none of its pools),
pool_taken (a port was taken by somebody who is not the owner, or by automatic choice). `live --pools`
has them among all others. Whose a pool is, `process` and `container` say; what is in the own network
namespace of a container is the container's.";

/// Arguments of `pools watch`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct PoolsWatchArgs {
    /// Which.
    #[command(flatten)]
    pub of: PoolFilesArg,
    /// Stop after this long: 90s, 5m, 1h30m
    #[arg(long, value_parser = values::duration)]
    pub duration: Option<Duration>,
    /// Stop after this many lines about pools
    #[arg(long, value_name = "N")]
    pub count: Option<NonZeroU64>,
    /// From when on it is told how full something is.
    #[command(flatten)]
    pub thresholds: ThresholdArgs,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
    /// Write the lines into this file, and not to standard output
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// How it is observed.
    #[command(flatten)]
    pub observe: ObserveArgs,
    /// How much is accounted.
    #[command(flatten)]
    pub limit: LimitArgs,
}

impl PoolsWatchArgs {
    /// What no option can see alone.
    pub(super) fn check(&self) -> Result<(), String> {
        self.thresholds.check()
    }
}
