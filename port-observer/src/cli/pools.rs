//! Arguments of `pools`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};

use super::{PoolsEchoArgs, PoolsVerifyArgs, PoolsWatchArgs, values};

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

Rules of nftables that drop a pool's ports are a warning; reading them takes CAP_NET_ADMIN. Without it
that is said, and --strict does not count it.

Exit codes: 0 no error, 1 an error, or with --strict a warning; 2 wrong usage.";

/// Arguments of `pools`.
#[derive(Args, Debug)]
pub struct PoolsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PoolsCommand,
}

impl PoolsArgs {
    /// What no option can see alone.
    pub(super) fn check(&self) -> Result<(), String> {
        match &self.command {
            PoolsCommand::Watch(args) => args.check(),
            _ => Ok(()),
        }
    }
}

/// The commands of `pools`.
#[derive(Debug, Subcommand)]
pub enum PoolsCommand {
    /// Check declared ranges against each other, the files that map them, and the kernel
    Check(PoolsCheckArgs),
    /// Show what is held of declared ranges now, by whom, and what their owners took elsewhere
    Show(PoolsShowArgs),
    /// Tell as it happens when declared ranges fill up, and when ports are taken in the wrong one
    Watch(Box<PoolsWatchArgs>),
    /// Lease ports of a pool that are free, to an owner
    Lease(PoolsLeaseArgs),
    /// Let a lease live on
    Renew(PoolsRenewArgs),
    /// Give the ports of leases back to the pools that they came from
    Release(PoolsReleaseArgs),
    /// Show the leases, who holds their ports, and what is held without one
    Leases(PoolsLeasesArgs),
    /// Try a pool with calls: RTP and RTCP on its ports, sent back by a peer
    Verify(PoolsVerifyArgs),
    /// Be the peer of `pools verify` elsewhere: send RTP back, and answer RTCP
    Echo(PoolsEchoArgs),
}

/// The files in which pools are.
#[derive(Args, Debug)]
pub struct PoolFilesArg {
    /// What declares or maps ranges: *.toml is a file of pools, *.yaml and *.yml are Compose's, and any
    /// other has variables (.env) [default: what lies in this directory of pools.toml, compose.yaml,
    /// docker-compose.yml, their overrides, or what COMPOSE_FILE names, and .env, or what
    /// COMPOSE_ENV_FILES names]
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
    /// Where leases are.
    #[command(flatten)]
    pub leases: StateArg,
    /// Print a JSON array with an object for each pool
    #[arg(long)]
    pub json: bool,
}

/// Where leases are kept.
#[derive(Args, Debug)]
pub struct StateArg {
    /// The directory with the leases [default: $STATE_DIRECTORY, /var/lib/port-observer for root,
    /// $XDG_STATE_HOME/port-observer or ~/.local/state/port-observer for others]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
}

const LEASE_EXAMPLES: &str = "\
Examples:
  A port of a pool, until it is given back:
      port-observer pools lease gluetun --owner acestream-1
  A port of the VPN containers in turns, for an hour; another try with this key gets the same one:
      port-observer pools lease --group vpn --owner acestream-1 --ttl 1h --key acestream-1
  Its number alone, for a script:
      port-observer pools lease media --owner \"$CALL\" --json | jq '.ports[0]'

A lease marks ports and binds nothing. Only ports that nobody holds now and that nobody has leased
are given, the lowest first; of pairs, whole pairs. A pool with `container` or `process` gives ports
while that runs. Without enough ports: exit code 1, \"No ports available in range MIN-MAX\", and why.";

/// Arguments of `pools lease`.
#[derive(Args, Debug)]
#[command(after_help = LEASE_EXAMPLES)]
pub struct PoolsLeaseArgs {
    /// The pool
    #[arg(value_name = "NAME", required_unless_present = "group", conflicts_with = "group")]
    pub name: Option<String>,
    /// The pools of this group in turns, those that can give none left out (those of GLUETUN_… variables
    /// are in the group vpn)
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// Whose the ports are to be: any name
    #[arg(long, value_name = "NAME", value_parser = values::short_name)]
    pub owner: String,
    /// How many units; each takes the pool's ports_per_unit
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_535))]
    pub units: u32,
    /// For how long (90s, 5m, 1h) [default: until it is given back]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub ttl: Option<Duration>,
    /// The same key gets the same lease for as long as that lives
    #[arg(long, value_name = "KEY", value_parser = values::short_name)]
    pub key: Option<String>,
    /// What declares the pools, as for `pools check`
    #[arg(long = "pools", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where.
    #[command(flatten)]
    pub of: StateArg,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `pools renew`.
#[derive(Args, Debug)]
pub struct PoolsRenewArgs {
    /// The lease's number
    #[arg(value_name = "ID")]
    pub id: i64,
    /// For how long from now on [default: as long as it was leased for]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub ttl: Option<Duration>,
    /// Where.
    #[command(flatten)]
    pub of: StateArg,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `pools release`.
#[derive(Args, Debug)]
pub struct PoolsReleaseArgs {
    /// The leases' numbers; all are given back, or none
    #[arg(value_name = "ID", required = true)]
    pub ids: Vec<i64>,
    /// Where.
    #[command(flatten)]
    pub of: StateArg,
}

/// Arguments of `pools leases`.
#[derive(Args, Debug)]
pub struct PoolsLeasesArgs {
    /// What declares the pools, as for `pools check`
    #[arg(long = "pools", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where.
    #[command(flatten)]
    pub of: StateArg,
    /// Print one JSON object
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
