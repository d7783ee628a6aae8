//! Arguments of `record`.

use std::{num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Args, builder::NonEmptyStringValueParser};

use super::values::{self, BackendChoice};
use crate::event::Protocol;

const EXAMPLES: &str = "\
Examples:
  All the time, the last day of it:
      port-observer record /var/lib/port-observer/ports.db
  One incident, of one network namespace:
      port-observer record incident.db --netns blue --duration 10m
  And read it:
      port-observer report incident.db
      port-observer replay incident.db --events exhausted

The file is a SQLite database that may be read while it is written. It is safe to end the recorder
at any moment, with kill -9 too: at most the last second is missing. The next start with the same
file goes on in it, as a new run. A full disk pauses the recording until there is room.";

/// Arguments of `record`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct RecordArgs {
    /// The recording; if it is there already, a new run is added to it
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How long events are kept: 90s, 5m, 24h
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = values::duration)]
    pub keep: Duration,
    /// How large the file may get; the oldest events make room: bytes, or with KiB, MiB or GiB,
    /// from 8MiB
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = values::file_size)]
    pub max_size: u64,
    /// Let this group read the recording too; without it, only the user who records may
    #[arg(long, value_name = "NAME", value_parser = values::group)]
    pub group: Option<nix::unistd::Gid>,
    /// Also print the lines of `live --json`
    #[arg(long)]
    pub json: bool,
    /// How to observe the kernel; `auto` takes the best that this kernel and these privileges allow
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = values::backend())]
    pub backend: BackendChoice,
    /// Stop after this long: 90s, 5m, 1h30m
    #[arg(long, value_parser = values::duration)]
    pub duration: Option<Duration>,
    /// Also record every TCP state change
    #[arg(long)]
    pub states: bool,
    /// The most sockets and TIME_WAIT entries that are accounted, to bound memory
    #[arg(long, value_name = "N", default_value = "1000000")]
    pub max_holdings: NonZeroUsize,
    /// Room for events between the kernel and this program: bytes, or with KiB, MiB or GiB;
    /// rounded up to a power of two, from 64KiB to 1GiB
    #[arg(long, value_name = "SIZE", default_value = values::BUFFER_SIZE, value_parser = values::buffer_size)]
    pub buffer_size: u32,
    /// Only this network namespace: its inode number, its name under /run/netns, or a path such as
    /// /proc/PID/ns/net; may be given several times
    #[arg(
        long,
        value_name = "INODE|NAME|PATH",
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub netns: Vec<String>,
    /// Only this protocol
    #[arg(long, value_parser = values::protocol())]
    pub protocol: Vec<Protocol>,
}
