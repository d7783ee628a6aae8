//! Arguments of `serve`.

use std::path::PathBuf;

use clap::{Args, builder::NonEmptyStringValueParser};

use super::{KeepArgs, LimitArgs, NetnsArg, ObserveArgs, StateArg, values};
use crate::serve::listen::{self, Place};

const EXAMPLES: &str = "\
Examples:
  On this host, for Prometheus to scrape http://127.0.0.1:7678/metrics:
      port-observer serve
  With a recording of the last day, for `report` and `top --replay`:
      port-observer serve --record /var/lib/port-observer/ports.db
  For other hosts, which have to send a token (Authorization: Bearer TOKEN; a browser asks for it
  as a password, of any user name):
      openssl rand -hex 32 > token && chmod 600 token
      port-observer serve --listen 0.0.0.0:7678 --token token --allow-host db1.example.org
  And ask it:
      curl http://127.0.0.1:7678/metrics
      curl -N 'http://127.0.0.1:7678/events?events=exhausted,conflict,refused'

GET /metrics (Prometheus text or OpenMetrics), /events (server-sent events: the lines of `live --json`,
with its filters as the query; Last-Event-ID goes on), /snapshot (JSON; ?top=N), /check (JSON, or a
plugin's line for who accepts text/plain; the options of `check` as the query), /report (JSON, or a
page for who accepts text/html; ?from=TIME&to=TIME as for `report`, the last hour without them; with
--record, on a Unix socket or with --token), /livez, /readyz.

With --pools: GET /pools (as `pools show --json`), /leases (as `pools leases --json`) and /engines; and on
a Unix socket or with --token, POST /pools/NAME/leases and /groups/NAME/leases with
{\"owner\": NAME, \"units\": N, \"ttl\": \"1h\", \"key\": KEY}, of which only owner is required (201 with the
lease, 409 if nothing is left), PUT /pools/NAME/leases/ID (it lives on) and DELETE (204: given back).

Who may connect to a loopback address may be any user of this host: there, command lines are left out
unless a token is asked for. A Unix socket has mode 0660, and nothing is left out. SIGHUP reads the
tokens again. Sockets that systemd passes (LISTEN_FDS) take the place of the default of --listen.";

/// Arguments of `serve`.
#[derive(Args, Debug)]
#[command(
    after_help = EXAMPLES,
    mut_arg("state", |arg| arg.requires("pools")),
    mut_arg("keep", |arg| arg.requires("record")),
    mut_arg("max_size", |arg| arg.requires("record")),
    mut_arg("group", |arg| arg.requires("record")),
)]
pub struct ServeArgs {
    /// Where to listen: an address and a port, or unix:PATH; may be given several times
    /// [default: 127.0.0.1:7678]
    #[arg(long, value_name = "ADDRESS:PORT|unix:PATH")]
    pub listen: Vec<Place>,
    /// Clients have to send one of the tokens in this file, one a line; an address that other hosts can
    /// reach needs it
    #[arg(long, value_name = "FILE")]
    pub token: Option<PathBuf>,
    /// Also answer to this name of this host, as a proxy or another host calls it; may be given several
    /// times
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub allow_host: Vec<String>,
    /// The most series that /metrics has; how many are left out is one of them
    #[arg(long, value_name = "N", default_value = "500", value_parser = clap::value_parser!(u32).range(50..=100_000))]
    pub max_series: u32,
    /// Also write the metrics into this file every 15 seconds, for node_exporter's textfile collector; its
    /// name has to end in .prom
    #[arg(long, value_name = "FILE", value_parser = values::textfile)]
    pub textfile: Option<PathBuf>,
    /// Also answer for the pools that this file declares, as for `pools check`: /pools, and leases of their
    /// ports; may be given several times
    #[arg(long, value_name = "FILE")]
    pub pools: Vec<PathBuf>,
    /// Where leases are.
    #[command(flatten)]
    pub state: StateArg,
    /// Also record what happens into this file, as `record` does
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// How.
    #[command(flatten)]
    pub keep: KeepArgs,
    /// Where.
    #[command(flatten)]
    pub netns: NetnsArg,
    /// How it is observed.
    #[command(flatten)]
    pub observe: ObserveArgs,
    /// How much is accounted.
    #[command(flatten)]
    pub limit: LimitArgs,
}

impl ServeArgs {
    /// Where it listens if nothing is asked for.
    pub fn default_place() -> Place {
        Place::Tcp(listen::DEFAULT)
    }
}
