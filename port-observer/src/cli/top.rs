//! Arguments of `top`.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Args, builder::NonEmptyStringValueParser};

use super::values::{self, BackendChoice};
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
#[command(after_help = EXAMPLES)]
pub struct TopArgs {
    /// How often the screen changes, or how long a step through a recording is: 500ms, 2s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = values::summary_every)]
    pub every: Duration,
    /// The view that comes first: processes, destinations, failures, ports
    #[arg(
        long,
        value_name = "NAME",
        default_value = "processes",
        hide_possible_values = true,
        value_parser = values::view()
    )]
    pub view: View,
    /// Only this network namespace: its inode number, its name under /run/netns, or a path such as
    /// /proc/PID/ns/net; may be given several times
    #[arg(
        long,
        value_name = "INODE|NAME|PATH",
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub netns: Vec<String>,
    /// Show a recording (see `record`) instead of the kernel
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// Where in the recording to begin: 2026-01-02T03:04:05Z, 03:04 (local time), or 10m before its
    /// end
    #[arg(long, value_name = "TIME", requires = "replay")]
    pub from: Option<Moment>,
    /// How to observe the kernel; `auto` takes the best that this kernel and these privileges allow
    #[arg(
        long,
        value_name = "NAME",
        default_value = "auto",
        value_parser = values::backend(),
        conflicts_with = "replay"
    )]
    pub backend: BackendChoice,
    /// The most sockets and TIME_WAIT entries that are accounted, to bound memory
    #[arg(long, value_name = "N", default_value = "1000000")]
    pub max_holdings: NonZeroUsize,
    /// Room for events between the kernel and this program: bytes, or with KiB, MiB or GiB;
    /// rounded up to a power of two, from 64KiB to 1GiB
    #[arg(long, value_name = "SIZE", default_value = values::BUFFER_SIZE, value_parser = values::buffer_size)]
    pub buffer_size: u32,
}
