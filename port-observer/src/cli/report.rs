//! Arguments of `report`.

use std::{num::NonZeroUsize, path::PathBuf};

use clap::Args;

use crate::recording::Moment;

const EXAMPLES: &str = "\
Examples:
  What happened: who was refused ports, who had them, why, and what would have helped:
      port-observer report ports.db
  Of one night, local time:
      port-observer report ports.db --from 2026-01-02T01:00 --to 2026-01-02T05:00
  For a post-mortem, with pictures; the page needs nothing else and loads nothing:
      port-observer report ports.db --html report.html
  Who held what at a moment:
      port-observer report ports.db --at 03:04:05

TIME is 2026-01-02T03:04:05Z; 2026-01-02T03:04 or 03:04 in local time, of the last day that has it;
or 10m, before the end of the recording.";

/// Arguments of `report`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ReportArgs {
    /// The recording; it may still be written
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Leave out what was before
    #[arg(long, value_name = "TIME")]
    pub from: Option<Moment>,
    /// Leave out what was after
    #[arg(long, value_name = "TIME")]
    pub to: Option<Moment>,
    /// Write one HTML page to this file instead: the same, and pictures of used ports over time
    #[arg(long, value_name = "OUT", conflicts_with_all = ["json", "at"])]
    pub html: Option<PathBuf>,
    /// Show who held what at this moment instead
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "to"])]
    pub at: Option<Moment>,
    /// With --at: also print each socket and TIME_WAIT entry that kept a port
    #[arg(long, requires = "at")]
    pub holdings: bool,
    /// With --at: how many spaces and how many processes are shown
    #[arg(long, value_name = "N", default_value = "10", requires = "at")]
    pub top: NonZeroUsize,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
