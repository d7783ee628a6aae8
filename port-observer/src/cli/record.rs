//! Arguments of `record`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{KeepArgs, LimitArgs, NetnsArg, ObserveArgs, RunArgs, values};
use crate::event::Protocol;

const EXAMPLES: &str = "\
Examples:
  All the time, the last day of it:
      port-observer record /var/lib/port-observer/ports.db
  One incident, of one network namespace:
      port-observer record incident.db --netns blue --duration 10m
  While one command runs:
      port-observer record test.db -- make test
  And read it:
      port-observer report incident.db
      port-observer replay incident.db --events exhausted

The file is a SQLite database that may be read while it is written. It is safe to end the recorder
at any moment, with kill -9 too: at most the last second is missing. The next start with the same
file goes on in it, as a new run. A full disk pauses the recording until there is room.

With a command (after --), what all processes do is recorded until it ends, and at the end it is
said what was refused to its own. See `port-observer live --help`.";

/// Arguments of `record`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct RecordArgs {
    /// The recording; if it is there already, a new run is added to it
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How.
    #[command(flatten)]
    pub keep: KeepArgs,
    /// Also print the lines of `live --json`
    #[arg(long)]
    pub json: bool,
    /// How it is observed.
    #[command(flatten)]
    pub observe: ObserveArgs,
    /// Stop after this long: 90s, 5m, 1h30m
    #[arg(long, value_parser = values::duration)]
    pub duration: Option<Duration>,
    /// Also record every TCP state change
    #[arg(long)]
    pub states: bool,
    /// How much is accounted.
    #[command(flatten)]
    pub limit: LimitArgs,
    /// Where.
    #[command(flatten)]
    pub netns: NetnsArg,
    /// Only this protocol
    #[arg(long, value_parser = values::protocol())]
    pub protocol: Vec<Protocol>,
    /// What to run.
    #[command(flatten)]
    pub run: RunArgs,
}
