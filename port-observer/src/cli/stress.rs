//! Arguments of `stress`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{ObserveArgs, shared, values};
use crate::{
    filter::PortRange,
    stress::{Bind, Close, MOST_CONNECTIONS, target},
};

const EXAMPLES: &str = "\
Examples:
  As many connections as go, and which limit ends them:
      port-observer stress
  With this host's settings and ten source addresses:
      port-observer stress --sources 10
  Open and close 500 a second, through 200 ports:
      port-observer stress --close client --rate 500 --range 40000-40199
  A server of your own, on the first port that it listens on:
      port-observer stress --server 'nginx -c /etc/nginx/nginx.conf -g \"daemon off;\"'
  A program that makes the connections itself, in a place of its own, and what it runs into:
      port-observer stress -- ./load-test --connections 20000
  The same of a process that runs already, where it is:
      port-observer stress --watch 4711
  In continuous integration: fail below 20,000, and keep the answer and a page with pictures:
      port-observer stress --expect 20000 --json --html stress.html > stress.json

It runs in network, mount and process namespaces of its own, with this host's settings of the network
namespace: the host's ports, sysctls and processes are not touched, and nothing stays behind, also
when it is killed. What belongs to the whole host (memory, open files, tcp_mem) is used, and it stops
before memory is short. Listening sockets, clients and the observer are processes of their own.

Exit codes: 0 a limit was found and named, or all that was asked for was reached; 1 it failed, or
fewer than --expect; 2 wrong usage.";

/// Options of the clients, which a program of the user's takes the place of.
const OF_CLIENTS: [&str; 10] = [
    "connections",
    "sources",
    "destinations",
    "close",
    "bind",
    "rate",
    "ipv6",
    "server_port",
    "variations",
    "mitigations",
];
/// Those of the place, which a process that runs already is not in.
const OF_A_PLACE: [&str; 4] = ["range", "nofile", "tw_reuse", "server"];

/// Options that UDP has nothing for.
const OF_TCP: [&str; 7] = ["tw_reuse", "bind", "server", "server_port", "to", "watch", "command"];

/// Options of the place and of the server in it.
const OF_THE_PLACE: [&str; 11] = [
    "sources",
    "destinations",
    "ipv6",
    "range",
    "tw_reuse",
    "server",
    "server_port",
    "variations",
    "mitigations",
    "watch",
    "command",
];

/// Arguments of `stress`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct StressArgs {
    /// How many connections; with --close, how many in all [default: as many as go]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_CONNECTIONS))]
    pub connections: Option<u64>,
    /// The ephemeral range there [default: this host's]
    #[arg(long, value_name = "MIN-MAX")]
    pub range: Option<PortRange>,
    /// How many addresses to connect from
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub sources: u16,
    /// How many addresses to connect to
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub destinations: u16,
    /// RLIMIT_NOFILE of the load, with one process at each end [default: as many processes as it takes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(32..))]
    pub nofile: Option<u64>,
    /// Who closes a connection as soon as it stands
    #[arg(long, value_name = "WHO", default_value = "keep")]
    pub close: CloseArg,
    /// tcp_tw_reuse there [default: this host's]
    #[arg(long, value_name = "0|1|2", value_parser = clap::value_parser!(u8).range(0..=2))]
    pub tw_reuse: Option<u8>,
    /// How a client's socket gets its address
    #[arg(long, value_name = "HOW", default_value = "none")]
    pub bind: BindArg,
    /// At most so many attempts a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: Option<u32>,
    /// For how long connections are made (8s, 5m) [default: 5m, with --close 8s]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub duration: Option<Duration>,
    /// Over IPv6
    #[arg(long)]
    pub ipv6: bool,
    /// Connected UDP sockets in place of TCP connections
    #[arg(long, conflicts_with_all = OF_TCP)]
    pub udp: bool,
    /// Start this server by the shell in the namespace, and load it
    #[arg(long, value_name = "CMD", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub server: Option<String>,
    /// The port that it listens on [default: the first that is seen]
    #[arg(long, value_name = "PORT", requires = "server", value_parser = clap::value_parser!(u16).range(1..))]
    pub server_port: Option<u16>,
    /// Load this, where it is, in place of a server in a place of its own: at most 1000 connections and 500
    /// a second unless --connections (up to 20000) and --rate (up to 10000) say otherwise
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with_all = OF_THE_PLACE)]
    pub to: Option<SocketAddr>,
    /// What --to names is outside of this network namespace, and yours to load
    #[arg(long, requires = "to")]
    pub i_own_this_target: bool,
    /// Watch this process, which runs already, and its descendants where they are: until it ends, has met
    /// a limit for 10 s, or --duration is over; calls of those that are started later are not observed
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(u32).range(1..), conflicts_with_all = OF_CLIENTS.into_iter().chain(OF_A_PLACE))]
    pub watch: Option<u32>,
    /// Also run it with one thing changed at a time, for at most 10 s each: how sockets are bound, who
    /// closes, addresses, IPv6, a wider range, tcp_tw_reuse
    #[arg(long)]
    pub variations: bool,
    /// Also try what could help against the limit, in the same way, for at most 10 s each; and, of
    /// connections that are kept, how many a wider range and more descriptors are good for, for 60 s each
    #[arg(long)]
    pub mitigations: bool,
    /// Also say what is other than in this answer of an earlier run with --json
    #[arg(long, value_name = "OLD.json")]
    pub compare: Option<PathBuf>,
    /// Also write it as one HTML page to this file, with pictures of how it went over time
    #[arg(long, value_name = "OUT")]
    pub html: Option<PathBuf>,
    /// Fail when there are fewer connections
    #[arg(long, value_name = "N")]
    pub expect: Option<u64>,
    /// Record what happens into this file, as `record` does
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// How it is observed.
    #[command(flatten)]
    pub observe: ObserveArgs,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Run this program there in place of clients, and say which limit it runs into: until it ends, has
    /// met one for 10 s, or --duration is over; what it writes goes to standard error
    #[arg(last = true, value_name = "CMD", num_args = 1.., conflicts_with_all = OF_CLIENTS, conflicts_with = "watch")]
    pub command: Vec<String>,
}

impl StressArgs {
    /// What no option can see alone. `is_empty`: the command line ends with `--`.
    pub(super) fn check(&self, is_empty: bool) -> Result<(), String> {
        shared::has_command(is_empty && self.command.is_empty())?;
        if self.udp && matches!(self.close, CloseArg::Server | CloseArg::Rst) {
            return Err("of UDP only the client closes: --close keep|client".to_owned());
        }
        let Some(to) = self.to else { return Ok(()) };
        target::check(to, self.i_own_this_target)?;
        if self.close == CloseArg::Server {
            return Err("--close server is for a server of this program".to_owned());
        }
        let too_many = |what: &str, most: u64| Err(format!("--to takes {what} {most} at most"));
        if self.connections.is_some_and(|count| count > target::MOST_CONNECTIONS) {
            return too_many("--connections of", target::MOST_CONNECTIONS);
        }
        if self.rate.is_some_and(|rate| rate > target::MOST_RATE) {
            return too_many("--rate of", target::MOST_RATE.into());
        }
        if self.duration.is_some_and(|time| time > target::LONGEST) {
            return too_many("--duration in seconds of", target::LONGEST.as_secs());
        }
        Ok(())
    }
}

/// Who closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum CloseArg {
    /// Nobody: connections are kept
    Keep,
    /// The client, which keeps its port in TIME_WAIT
    Client,
    /// The server
    Server,
    /// The client, with a reset
    Rst,
}

impl From<CloseArg> for Close {
    fn from(arg: CloseArg) -> Self {
        match arg {
            CloseArg::Keep => Self::Keep,
            CloseArg::Client => Self::Client,
            CloseArg::Server => Self::Server,
            CloseArg::Rst => Self::Rst,
        }
    }
}

/// How a client's socket gets its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "kebab-case")]
pub enum BindArg {
    /// By connect()
    None,
    /// Address and port by bind() to port 0
    Before,
    /// The address by bind() with IP_BIND_ADDRESS_NO_PORT
    NoPort,
    /// As before, with SO_REUSEADDR
    Reuseaddr,
}

impl From<BindArg> for Bind {
    fn from(arg: BindArg) -> Self {
        match arg {
            BindArg::None => Self::None,
            BindArg::Before => Self::Before,
            BindArg::NoPort => Self::NoPort,
            BindArg::Reuseaddr => Self::Reuseaddr,
        }
    }
}
