//! Arguments of `top`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{LimitArgs, NetnsArg, ObserveArgs, values};
use crate::{recording::Moment, screen::state::View};

const EXAMPLES: &str = "\
Examples:
  Who holds the ports, now:
      port-observer top
  How full the destinations of one container's network namespace are:
      port-observer top --netns /proc/4242/ns/net --view destinations
  What happened last night, step by step ([ ]) or from failure to failure ({ }):
      port-observer top --replay ports.db --from 03:00

Press ? for all keys. Colours are off with --color never or NO_COLOR; where the locale (LC_ALL,
LC_CTYPE, LANG) is not UTF-8, only ASCII is drawn.";

/// Arguments of `top`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, mut_arg("backend", |arg| arg.conflicts_with("replay")))]
pub struct TopArgs {
    /// How often the screen changes, or how long a step through a recording is: 500ms, 2s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = values::summary_every)]
    pub every: Duration,
    /// The view that comes first: processes, destinations, failures, ports, or with --pools pools
    #[arg(
        long,
        value_name = "NAME",
        default_value = "processes",
        hide_possible_values = true,
        value_parser = values::view()
    )]
    pub view: View,
    /// Also show the pools that this file declares, as `pools watch` does; may be given several times
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    pub pools: Vec<PathBuf>,
    /// Where.
    #[command(flatten)]
    pub netns: NetnsArg,
    /// Show a recording (see `record`) instead of the kernel
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// Where in the recording to begin: 2026-01-02T03:04:05Z, 03:04 (local time), or 10m before its
    /// end
    #[arg(long, value_name = "TIME", requires = "replay")]
    pub from: Option<Moment>,
    /// How it is observed.
    #[command(flatten)]
    pub observe: ObserveArgs,
    /// How much is accounted.
    #[command(flatten)]
    pub limit: LimitArgs,
}

impl TopArgs {
    /// What no option can see alone.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.view == View::Pools && self.pools.is_empty() {
            return Err("--view pools needs --pools FILE, which declares them".to_owned());
        }
        Ok(())
    }
}
