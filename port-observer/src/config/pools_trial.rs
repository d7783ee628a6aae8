//! What `pools verify` and `pools echo` work with.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{Format, pools::state};
use crate::cli;

/// What `pools verify` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolsVerifyConfig {
    /// Which pool.
    pub pool: String,
    /// How many calls; `None`: as many as the pool has units.
    pub calls: Option<u32>,
    /// How many legs each has; `None`: what the pool says.
    pub legs: Option<u32>,
    /// How long they send.
    pub duration: Duration,
    /// Where the peer is; `None`: here.
    pub peer: Option<SocketAddr>,
    /// The time between two reports of a leg.
    pub report_every: Duration,
    /// What is read; empty: what lies in the current directory.
    pub files: Vec<PathBuf>,
    /// Where leases are, if that can be said.
    pub state: Option<PathBuf>,
    /// How it is printed.
    pub format: Format,
}

impl PoolsVerifyConfig {
    /// Resolves the arguments.
    pub fn resolve(args: cli::PoolsVerifyArgs) -> Self {
        Self {
            pool: args.name,
            calls: args.calls,
            legs: args.legs,
            duration: args.duration,
            peer: args.to,
            report_every: args.rtcp_interval,
            files: args.files,
            state: state(args.leases).ok(),
            format: if args.json { Format::Json } else { Format::Table },
        }
    }
}

/// What `pools echo` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolsEchoConfig {
    /// Where it listens for RTP.
    pub listen: SocketAddr,
    /// For how long; `None`: until it is told to end.
    pub duration: Option<Duration>,
    /// How it is printed what it did.
    pub format: Format,
}

impl PoolsEchoConfig {
    /// Resolves the arguments.
    pub fn resolve(args: &cli::PoolsEchoArgs) -> Self {
        let format = if args.json { Format::Json } else { Format::Table };
        Self { listen: args.listen, duration: args.duration, format }
    }
}
