//! Arguments that several commands have, each declared once.

use std::{ffi::OsString, num::NonZeroUsize, time::Duration};

use clap::{Args, builder::NonEmptyStringValueParser};
use nix::unistd::User;

use super::values::{self, BackendChoice};
use crate::child::Program;

/// How the kernel is observed.
#[derive(Args, Debug)]
pub struct ObserveArgs {
    /// How to observe the kernel; `auto` takes the best that this kernel and these privileges allow
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = values::backend())]
    pub backend: BackendChoice,
    /// Room for events between the kernel and this program: bytes, or with KiB, MiB or GiB;
    /// rounded up to a power of two, from 64KiB to 1GiB
    #[arg(long, value_name = "SIZE", default_value = values::BUFFER_SIZE, value_parser = values::buffer_size)]
    pub buffer_size: u32,
}

/// How much is accounted.
#[derive(Args, Debug)]
pub struct LimitArgs {
    /// The most sockets and TIME_WAIT entries that are accounted, to bound memory; `lost` lines say
    /// when there are more
    #[arg(long, value_name = "N", default_value = "1000000")]
    pub max_holdings: NonZeroUsize,
}

/// Which network namespaces.
#[derive(Args, Debug, Default)]
pub struct NetnsArg {
    /// Only this network namespace: its inode number, its name under /run/netns, the container or systemd
    /// unit whose own it is, or a path such as /proc/PID/ns/net; may be given several times
    #[arg(
        long,
        value_name = "INODE|NAME|PATH",
        value_parser = NonEmptyStringValueParser::new()
    )]
    pub netns: Vec<String>,
}

/// From when on it is told how full something is.
#[derive(Args, Debug)]
pub struct ThresholdArgs {
    /// Print a line when a space, or a pool, gets fuller than this, and when it is below again
    #[arg(long, value_name = "PERCENT", default_value = "70", value_parser = values::percent)]
    pub warning: f64,
    /// The same for the upper threshold
    #[arg(long, value_name = "PERCENT", default_value = "85", value_parser = values::percent)]
    pub critical: f64,
}

impl ThresholdArgs {
    /// What no option can see alone.
    pub(super) fn check(&self) -> Result<(), String> {
        values::thresholds(self.warning, self.critical)
    }
}

/// How a recording is kept.
#[derive(Args, Debug)]
pub struct KeepArgs {
    /// How long recorded events are kept: 90s, 5m, 24h
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = values::duration)]
    pub keep: Duration,
    /// How large the recording may get; the oldest events make room: bytes, or with KiB, MiB or GiB,
    /// from 8MiB
    #[arg(long, value_name = "SIZE", default_value = "2GiB", value_parser = values::file_size)]
    pub max_size: u64,
    /// Let this group read the recording too; without it, only the user who records may
    #[arg(long, value_name = "NAME", value_parser = values::group)]
    pub group: Option<nix::unistd::Gid>,
}

/// A command that is run to be observed.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Command")]
pub struct RunArgs {
    /// Run the command as this user, with that user's groups, HOME, USER, LOGNAME and SHELL; without
    /// it, as you
    #[arg(long, value_name = "NAME", value_parser = values::user, requires = "command")]
    pub user: Option<User>,
    /// Run this command, show what it and its descendants do, and end with it and its exit code (128+N
    /// by signal N, 127 if it is not found, 126 if it can't be executed); see below
    #[arg(last = true, value_name = "CMD", num_args = 1..)]
    pub command: Vec<OsString>,
}

/// `is_without`: the command line ends with `--`.
pub(super) fn has_command(is_without: bool) -> Result<(), String> {
    match is_without {
        true => Err("a command is missing after --, such as `-- curl https://example.org`".into()),
        false => Ok(()),
    }
}

impl RunArgs {
    /// What no option can see alone. `is_empty`: the command line ends with `--`.
    pub(super) fn check(&self, is_empty: bool) -> Result<(), String> {
        has_command(is_empty && self.command.is_empty())
    }

    /// What is to be run, if anything is.
    pub fn program(self) -> Option<Program> {
        let mut words = self.command.into_iter();
        let name = words.next()?;
        Some(Program::new(name, words.collect(), self.user))
    }
}
