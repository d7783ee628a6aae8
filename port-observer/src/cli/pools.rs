//! Arguments of `pools`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

const EXAMPLES: &str = "\
Examples:
  What lies in this directory:
      port-observer pools check
  A file of pools alone, in CI, where warnings count too:
      port-observer pools check --strict pools.toml
  One line for each problem:
      port-observer pools check --json | jq -r '.problems[] | \"\\(.file):\\(.line) \\(.message)\"'

pools.toml has a table for each pool; only name and range are required:
  [[pool]]
  name = \"media\"
  range = \"21000-31000\"     # or a list of ranges
  protocol = \"udp\"          # tcp, udp, both
  units = 50                # how many calls, engines … there are at once
  ports_per_unit = 4        # a relayed call: RTP and RTCP, on both legs
  parity = \"pair\"           # any, even, pair: an even port and the next
and at will address, netns, container, process (whose it is), group, exclude (a list of ports).

In files of variables, PORT_RANGE… and GLUETUN_PORT_RANGE_N declare pools, the latter for the
container GLUETUN_CONTAINER_NAME[_N]; PORT_RANGE_HOST has to cover them; MAX_ACTIVE_REPLICAS says
how many engines there are. rtp.conf is Asterisk's, rtpengine.conf rtpengine's.

Exit codes: 0 no error, 1 an error, or with --strict a warning; 2 wrong usage.";

/// Arguments of `pools`.
#[derive(Args, Debug)]
pub struct PoolsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PoolsCommand,
}

/// The commands of `pools`.
#[derive(Debug, Subcommand)]
pub enum PoolsCommand {
    /// Check declared ranges against each other, the files that map them, and the kernel
    Check(PoolsCheckArgs),
    /// Show what is held of declared ranges now, by whom, and what their owners took elsewhere
    Show(PoolsShowArgs),
}

/// The files in which pools are.
#[derive(Args, Debug)]
pub struct PoolFilesArg {
    /// What declares or maps ranges: *.toml is a file of pools, *.yaml and *.yml are Compose's, and any
    /// other has variables (.env) [default: what lies in this directory of pools.toml, compose.yaml,
    /// docker-compose.yml, their overrides, and .env]
    #[arg(value_name = "FILES")]
    pub files: Vec<PathBuf>,
}

const SHOW_EXAMPLES: &str = "\
Examples:
  Who has ports of the pools that lie in this directory:
      port-observer pools show
  Whoever has ports of a pool and is not its owner:
      port-observer pools show --json | jq '.[].holders[] | select(.stranger)'

Used are ports that are held in the pool's network namespace (netns; else that of its container, if that
runs here), over its protocols and on its address. Free is what a unit can still take: of pairs, those
with both ports. Whose a pool is, `process` and `container` say: others are strangers in it, and what
those listen on or have bound elsewhere is shown, but for ephemeral ports.";

/// Arguments of `pools show`.
#[derive(Args, Debug)]
#[command(after_help = SHOW_EXAMPLES)]
pub struct PoolsShowArgs {
    /// Which.
    #[command(flatten)]
    pub of: PoolFilesArg,
    /// Print a JSON array with an object for each pool
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `pools check`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct PoolsCheckArgs {
    /// Which.
    #[command(flatten)]
    pub of: PoolFilesArg,
    /// Exit with 1 where there is only a warning too
    #[arg(long)]
    pub strict: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}
