//! Arguments of `pools verify` and `pools echo`.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;

use super::{StateArg, values};
use crate::trial::echo;

const VERIFY_EXAMPLES: &str = "\
Examples:
  Fifty calls for five minutes, with a peer in this process:
      port-observer pools verify media --calls 50 --duration 5m
  The same over the network, with a peer that runs there (`pools echo`):
      port-observer pools verify media --calls 50 --duration 5m --to 192.0.2.10:7680
  In a script: what was lost, and how long 99% of round trips took at most:
      port-observer pools verify media --calls 10 --json | jq '.rtp.lost, .rtp.rtt_p99_seconds'

Each call takes ports of the pool, the lowest that are free, in the pool's network namespace
(netns, or that of its container) and on its address: per leg an even one for RTP and the next
for RTCP, or one for both where parity is \"even\". Ports that are leased are left out. A port
that somebody holds is told, with who that is, and passed over. Each leg sends G.711 (PCMU), a
packet of 172 bytes every 20 ms, and a sender report with RTCP now and then; the peer sends
packets back as they are, and answers reports. RTT is the time until a packet is back, and for
RTCP what LSR and DLSR make of it (RFC 3550); lost is what is not back within a second. SIGINT or
SIGTERM ends it early, with what came of it so far.

Exit codes: 0 all calls were set up and no packet was lost; 1 one could not be set up (then none
sends: \"No ports available in range MIN-MAX\"), packets were lost, or reports not answered; 2 wrong
usage.";

/// Arguments of `pools verify`.
#[derive(Args, Debug)]
#[command(after_help = VERIFY_EXAMPLES)]
pub struct PoolsVerifyArgs {
    /// The pool
    #[arg(value_name = "NAME")]
    pub name: String,
    /// How many calls at once [default: the pool's units, else 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=32_768))]
    pub calls: Option<u32>,
    /// How many legs each call has [default: as many as the pool's ports_per_unit make, 2 if that is not
    /// said: those of a relayed call]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub legs: Option<u32>,
    /// How long they send (90s, 5m, 1h)
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = values::duration)]
    pub duration: Duration,
    /// The peer's port of RTP, the next being that of RTCP: one that `pools echo` listens on [default: a
    /// peer in this process, on two ports of the loopback address that are in no pool]
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = peer)]
    pub to: Option<SocketAddr>,
    /// The time between two RTCP reports of a leg
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = values::summary_every)]
    pub rtcp_interval: Duration,
    /// What declares the pools, as for `pools check`
    #[arg(long = "pools", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where leases are.
    #[command(flatten)]
    pub leases: StateArg,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

const ECHO_EXAMPLES: &str = "\
Examples:
  A peer for `pools verify --to 192.0.2.10:7680` on other hosts:
      port-observer pools echo --listen 192.0.2.10:7680

RTP packets are sent back as they are, each number of a stream once. RTCP sender reports are
answered with a receiver report, which is never longer. What is neither is ignored. It sends to
whom a packet says it is from: where strangers reach it, they could have it send to others what
they send to it, one for one. So it listens on the loopback address unless told otherwise;
elsewhere, let a firewall choose who reaches it.";

/// Arguments of `pools echo`.
#[derive(Args, Debug)]
#[command(after_help = ECHO_EXAMPLES)]
pub struct PoolsEchoArgs {
    /// Where RTP comes in; RTCP does on the next port. Port 0: two that are free
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value_t = echo::DEFAULT,
        value_parser = listen
    )]
    pub listen: SocketAddr,
    /// How long it listens (90s, 5m, 1h) [default: until SIGINT or SIGTERM]
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub duration: Option<Duration>,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
}

fn peer(text: &str) -> Result<SocketAddr, String> {
    let at = listen(text)?;
    match at {
        _ if at.port() == 0 => Err("a peer's port is from 1 to 65534".to_owned()),
        _ if at.ip().is_unspecified() => Err(format!("{} is nobody's address", at.ip())),
        _ => Ok(at),
    }
}

fn listen(text: &str) -> Result<SocketAddr, String> {
    let wrong = || format!("'{text}' is no address with a port, such as {}", echo::DEFAULT);
    let at: SocketAddr = text.parse().map_err(|_| wrong())?;
    match at.port() {
        u16::MAX => Err("the next port, that of RTCP, would be 65536".to_owned()),
        _ => Ok(at),
    }
}
