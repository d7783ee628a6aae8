//! Arguments of `snapshot`.

use std::num::NonZeroUsize;

use clap::Args;

use super::{NetnsArg, values};
use crate::event::Protocol;
use crate::filter::PortRange;

const EXAMPLES: &str = "\
Examples:
  How full everything is and who holds the most:
      port-observer snapshot
  Who has port 9090, TIME_WAIT and other network namespaces included:
      port-observer snapshot --port 9090
  Every socket of one network namespace, into another program:
      port-observer snapshot --json --holdings --netns blue | jq '.holdings[]'

It reads the kernel's own list of sockets and leaves nothing behind. Without privileges it shows
what may be seen, and says what may not.";

/// Arguments of `snapshot`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct SnapshotArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Also print each socket and TIME_WAIT entry that keeps a port
    #[arg(long)]
    pub holdings: bool,
    /// Print who holds these local ports: 40000-40099, or one; implies --holdings
    #[arg(long, value_name = "RANGE")]
    pub port: Vec<PortRange>,
    /// How many spaces and how many processes are shown
    #[arg(long, value_name = "N", default_value = "10")]
    pub top: NonZeroUsize,
    /// Where.
    #[command(flatten)]
    pub netns: NetnsArg,
    /// Only this protocol
    #[arg(long, value_parser = values::protocol())]
    pub protocol: Vec<Protocol>,
}
