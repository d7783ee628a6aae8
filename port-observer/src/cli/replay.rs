//! Arguments of `replay`.

use std::{path::PathBuf, str::FromStr};

use clap::Args;

use super::{FilterArgs, LinesArgs, NetnsArg};
use crate::{filter::Destination, recording::Moment};

const EXAMPLES: &str = "\
Examples:
  What `live --json` would have written:
      port-observer replay ports.db --json
  Who was refused a port between two moments, local time:
      port-observer replay ports.db --from 14:00 --to 14:10 --events exhausted
  The last ten minutes as they happened, ten times as fast:
      port-observer replay ports.db --from 10m --speed 10
  When declared port ranges were full, and who took their ports:
      port-observer replay ports.db --pools pools.toml --events pool_exhausted,pool_taken

TIME is 2026-01-02T03:04:05Z; 2026-01-02T03:04 or 03:04 in local time, of the last day that has it;
or 10m, before the end of the recording. Of several runs, each has its `start` and its `stop` line.
A namespace can be named as it was named when it was recorded.";

/// Arguments of `replay`.
#[derive(Args, Debug)]
#[command(
    after_help = EXAMPLES,
    mut_arg("to", |arg| arg.value_name("TIME|ADDRESS[:PORT]").help(
        "Print nothing of after this time; or the destination: 10.0.0.1, 10.0.0.1:443, 10.0.0.0/8, \
         2001:db8::1 (with a port: in brackets)"
    )),
)]
pub struct ReplayArgs {
    /// The recording; it may still be written
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print nothing of before
    #[arg(long, value_name = "TIME")]
    pub from: Option<Moment>,
    /// How many times as fast as it happened; `max`: at once
    #[arg(long, value_name = "N|max", default_value = "max")]
    pub speed: Speed,
    /// Which lines, and what is in them.
    #[command(flatten)]
    pub lines: LinesArgs,
    /// Also tell what happened to the pools that this file declares, as `live --pools` does; may be given
    /// several times
    #[arg(long, value_name = "FILE")]
    pub pools: Vec<PathBuf>,
    /// What to print.
    #[command(flatten)]
    pub filter: FilterArgs<To>,
}

/// What `--to` takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum To {
    /// When to end.
    Moment(Moment),
    /// Lines of this destination.
    Destination(Destination),
}

impl FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // No text is both: an address without a port has three dots or two colons.
        if let Ok(destination) = text.parse() {
            return Ok(Self::Destination(destination));
        }
        text.parse()
            .map(Self::Moment)
            .map_err(|error| format!("{error}; or, for a destination, as 10.0.0.1 or 10.0.0.1:443"))
    }
}

impl ReplayArgs {
    /// When to end; the last that was given.
    pub fn end(&self) -> Option<Moment> {
        self.filter.to.iter().rev().find_map(|to| match to {
            To::Moment(moment) => Some(*moment),
            To::Destination(_) => None,
        })
    }

    /// Which lines.
    pub fn filter(&self) -> FilterArgs {
        let FilterArgs { pid, name, uid, port, to, netns, container, protocol } = &self.filter;
        let destination = |to: &To| match to {
            To::Destination(destination) => Some(*destination),
            To::Moment(_) => None,
        };
        FilterArgs {
            pid: pid.clone(),
            name: name.clone(),
            uid: uid.clone(),
            port: port.clone(),
            to: to.iter().filter_map(destination).collect(),
            netns: NetnsArg { netns: netns.netns.clone() },
            container: container.clone(),
            protocol: protocol.clone(),
        }
    }
}

/// How fast a recording is replayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// So many times as fast as it happened.
    Times(f64),
    /// Without waiting.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<f64>() {
            _ if text == "max" => Ok(Self::Max),
            Ok(times) if times > 0.0 && times.is_finite() => Ok(Self::Times(times)),
            _ => Err("write a number above 0, or max".to_owned()),
        }
    }
}
