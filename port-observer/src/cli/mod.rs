//! The command line as it is typed. `config` makes of it what the commands work with.

mod check;
mod pools;
mod pools_trial;
mod pools_watch;
mod record;
mod replay;
mod report;
mod serve;
mod shared;
mod snapshot;
mod stress;
mod top;
mod values;
mod why;

pub use check::{CheckArgs, Refused, unknown};
pub use pools::{
    PoolFilesArg, PoolsArgs, PoolsCheckArgs, PoolsCommand, PoolsLeaseArgs, PoolsLeasesArgs,
    PoolsReleaseArgs, PoolsRenewArgs, PoolsShowArgs, StateArg,
};
pub use pools_trial::{PoolsEchoArgs, PoolsVerifyArgs};
pub use pools_watch::PoolsWatchArgs;
pub use record::RecordArgs;
pub use replay::{ReplayArgs, Speed, To};
pub use report::ReportArgs;
pub use serve::ServeArgs;
pub use shared::{KeepArgs, LimitArgs, NetnsArg, ObserveArgs, RunArgs, ThresholdArgs};
pub use snapshot::SnapshotArgs;
pub use stress::StressArgs;
pub use top::TopArgs;
pub use values::BackendChoice;
pub use values::{duration, short_name};
pub use why::WhyArgs;

use std::error::Error;
use std::ffi::OsString;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::event::Protocol;
use crate::filter::{Destination, PortRange};
use crate::report::EventType;

/// See every local port taken, kept and given back, straight from the kernel
///
/// When connect() fails with "Cannot assign requested address", this shows which process takes
/// which local port for which destination, which ports stay behind in TIME_WAIT and whose they
/// were, and every connect() and bind() that the kernel refused for want of a port.
#[derive(Debug, Parser)]
#[command(
    name = "port-observer",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "Start with `port-observer live`. Exit codes: 0 done, 1 failed, 2 wrong usage; \
                  of `check` 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN; \
                  of `why` 0 it can, 1 it can't, 3 not known."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How much is logged to standard error; without it, RUST_LOG decides [default: warn]
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Global options")]
    pub log_level: Option<LogLevel>,
    /// When to use colour; `auto`: on a terminal, unless NO_COLOR is set
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Global options"
    )]
    pub color: Color,
    /// Keep all privileges and system calls; without it, a command gives up what it does not need
    #[arg(long, global = true, help_heading = "Global options")]
    pub no_sandbox: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Stream events as they happen
    Live(Box<LiveArgs>),
    /// Watch processes, destinations, failures and ports on a full screen
    Top(Box<TopArgs>),
    /// Show once who holds which ports now
    Snapshot(SnapshotArgs),
    /// Say once whether a connect() or bind() can succeed now, and if not, why and what would help
    Why(Box<WhyArgs>),
    /// Check once how much of the ephemeral ports is used, for monitoring systems
    Check(CheckArgs),
    /// Check port ranges that applications declare, or show who has their ports
    Pools(PoolsArgs),
    /// Record events into a file, for later
    Record(Box<RecordArgs>),
    /// Print a recording as the lines that `live` would have printed
    Replay(Box<ReplayArgs>),
    /// Tell what happened in a recording, why, and what would have helped
    Report(ReportArgs),
    /// Run on: metrics for Prometheus, events and the state of everything over HTTP; record if asked to
    Serve(Box<ServeArgs>),
    /// Look for the limit: fill connections up in a namespace of its own, and say which limit ended it
    Stress(Box<StressArgs>),
    /// Say what this kernel and these privileges allow, and what would allow more
    Doctor(DoctorArgs),
    /// A process of `stress`, which talks to those that started it.
    #[command(hide = true)]
    StressPart,
}

impl Cli {
    /// Reads the command line, the program's name first.
    ///
    /// # Errors
    /// Wrong usage, or a request for help, which clap treats the same: the error knows what is to be
    /// printed, where, and the exit code.
    pub fn read<T: Into<OsString> + Clone>(
        arguments: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let is_without_command = arguments.last().is_some_and(|last| last == "--");
        let cli = Self::try_parse_from(arguments)?;
        match &cli.command {
            Command::Live(args) => {
                let lines = args.lines.check(!args.pools.is_empty());
                let checked = lines.and_then(|()| args.run.check(is_without_command));
                checked.map_err(|message| usage_error("live", message))?;
            }
            Command::Record(args) => {
                let checked = args.run.check(is_without_command);
                checked.map_err(|message| usage_error("record", message))?;
            }
            Command::Replay(args) => {
                let checked = args.lines.check(!args.pools.is_empty());
                checked.map_err(|message| usage_error("replay", message))?;
            }
            Command::Check(args) => {
                args.check().map_err(|message| usage_error("check", message))?
            }
            Command::Why(args) => args.check().map_err(|message| usage_error("why", message))?,
            Command::Pools(args) => {
                args.check().map_err(|message| usage_error("pools", message))?;
            }
            Command::Stress(args) => {
                let checked = args.check(is_without_command);
                checked.map_err(|message| usage_error("stress", message))?;
            }
            Command::Top(args) => args.check().map_err(|message| usage_error("top", message))?,
            Command::Snapshot(_)
            | Command::Report(_)
            | Command::Serve(_)
            | Command::StressPart
            | Command::Doctor(_) => {}
        }
        Ok(cli)
    }
}

/// An error as clap has them for its own checks.
fn usage_error(of: &str, message: String) -> clap::Error {
    let mut command = Cli::command();
    command.build();
    match command.find_subcommand_mut(of) {
        Some(found) => found.error(ErrorKind::ValueValidation, message),
        None => command.error(ErrorKind::ValueValidation, message),
    }
}

const LIVE_EXAMPLES: &str = "\
Examples:
  Everything, as it happens:
      port-observer live
  Who takes ports towards one service, and who is refused one:
      port-observer live --to 10.0.0.1:5432 --events acquire,exhausted
  What one program does with the ports 40000 to 40099, for five minutes:
      port-observer live --name nginx --port 40000-40099 --duration 5m
  How full everything is, every ten seconds, and nothing else:
      port-observer live --summary 10s --events summary
  The same while it is recorded for later:
      port-observer live --record incident.db
  What one command does with ports, and what it is refused:
      port-observer live -- curl https://example.org
      port-observer live --events acquire,exhausted,conflict --output lines.txt -- make test
  JSON lines into another program:
      port-observer live --json | jq -r 'select(.type == \"exhausted\") | .process.name'

A filter given several times lets through what any of its values matches; different filters must
all match. They narrow what is printed, not what is accounted. A `threshold` line, and a space in
a `summary`, is about no process and no single port: only --netns, --protocol and --to apply.
`start`, `lost` and `stop` lines are only subject to --events.

Of a command (after --) the lines of its own processes are shown, on standard error, and at the end
what was refused to them, why, and what to change. It begins when observing has begun. Standard
input, output and error are its own, signals are passed on to it. When it ends, so does this; its
descendants are not waited for. --duration and --count end the lines and not the command.";

/// Arguments of `live`.
#[derive(Args, Debug)]
#[command(
    after_help = LIVE_EXAMPLES,
    mut_arg("keep", |arg| arg.requires("record")),
    mut_arg("max_size", |arg| arg.requires("record")),
    mut_arg("group", |arg| arg.requires("record")),
)]
pub struct LiveArgs {
    /// How it is observed.
    #[command(flatten)]
    pub observe: ObserveArgs,
    /// Stop after this long: 90s, 5m, 1h30m
    #[arg(long, value_parser = values::duration)]
    pub duration: Option<Duration>,
    /// Which lines, and what is in them.
    #[command(flatten)]
    pub lines: LinesArgs,
    /// Also tell what happens to the pools that this file declares, as `pools watch` does; may be given
    /// several times
    #[arg(long, value_name = "FILE")]
    pub pools: Vec<PathBuf>,
    /// Also record what happens into this file, as `record` does
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// How.
    #[command(flatten)]
    pub keep: KeepArgs,
    /// Write the lines into this file, and not to standard output, or of a command to standard error
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// What to print.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// What to run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What is printed of a stream of events, whether it comes from the kernel or from a recording.
#[derive(Args, Debug)]
pub struct LinesArgs {
    /// Stop after this many printed events
    #[arg(long, value_name = "N")]
    pub count: Option<NonZeroU64>,
    /// Print only these types of lines: start, existing, acquire, time_wait, release, exhausted,
    /// conflict, refused, threshold, state, summary, lost, stop; with --pools pool_threshold,
    /// pool_exhausted, pool_wrong_range, pool_taken
    #[arg(
        long,
        value_name = "TYPE,…",
        value_delimiter = ',',
        hide_possible_values = true,
        value_parser = values::event_type()
    )]
    pub events: Vec<EventType>,
    /// Also print every TCP state change
    #[arg(long)]
    pub states: bool,
    /// Don't print the ports that are held already at the start; they are accounted all the same
    #[arg(long)]
    pub no_existing: bool,
    /// Also print, with every port that the kernel chose, how full the space it was chosen from is
    #[arg(long)]
    pub spaces: bool,
    /// Print a summary this often: network namespaces, the fullest spaces, the largest processes;
    /// 500ms, 10s, 5m
    #[arg(long, value_name = "EVERY", value_parser = values::summary_every)]
    pub summary: Option<Duration>,
    /// How many spaces and how many processes a summary shows
    #[arg(long, value_name = "N", default_value = "10")]
    pub top: NonZeroUsize,
    /// From when on it is told how full something is.
    #[command(flatten)]
    pub thresholds: ThresholdArgs,
    /// Print one JSON object a line
    #[arg(long)]
    pub json: bool,
    /// How much is accounted.
    #[command(flatten)]
    pub limit: LimitArgs,
}

impl LinesArgs {
    /// What no option can see alone.
    fn check(&self, has_pools: bool) -> Result<(), String> {
        if !has_pools && self.events.iter().any(|event| EventType::OF_POOLS.contains(event)) {
            return Err(
                "lines about pools are those of `live --pools FILE`, `replay --pools FILE` and \
                        `pools watch`"
                    .into(),
            );
        }
        self.thresholds.check()?;
        if self.no_existing && self.events.contains(&EventType::Existing) {
            return Err("--no-existing leaves out what --events existing asks for: \
                        give one of them"
                .to_owned());
        }
        if self.summary.is_none() && self.events.contains(&EventType::Summary) {
            return Err("--events summary needs --summary EVERY, such as --summary 10s".to_owned());
        }
        Ok(())
    }
}

/// The filters. `To` is what `--to` takes: of a recording it may be a time too.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "Filters (each may be given several times)")]
pub struct FilterArgs<To = Destination>
where
    To: FromStr + Clone + Send + Sync + 'static,
    To::Err: Into<Box<dyn Error + Send + Sync>>,
{
    /// The process, as the host numbers it
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Vec<u32>,
    /// The process's name, or its executable's
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub name: Vec<String>,
    /// The process's real user id
    #[arg(long)]
    pub uid: Vec<u32>,
    /// Local ports: 40000-40099, or one
    #[arg(long, value_name = "RANGE")]
    pub port: Vec<PortRange>,
    /// The destination: 10.0.0.1, 10.0.0.1:443, 10.0.0.0/8, 2001:db8::1 (with a port: in brackets)
    #[arg(long, value_name = "ADDRESS[:PORT]")]
    pub to: Vec<To>,
    /// The network namespace; applied in the kernel.
    #[command(flatten)]
    pub netns: NetnsArg,
    /// The container: its name, its identifier, or at least the first 12 characters of that
    #[arg(long, value_name = "ID|NAME", value_parser = NonEmptyStringValueParser::new())]
    pub container: Vec<String>,
    /// The protocol; applied in the kernel
    #[arg(long, value_parser = values::protocol())]
    pub protocol: Vec<Protocol>,
}

/// Arguments of `doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum LogLevel {
    #[expect(missing_docs, reason = "would be shown in the help, where the word is enough")]
    Error,
    #[expect(missing_docs, reason = "as above")]
    Warn,
    #[expect(missing_docs, reason = "as above")]
    Info,
    #[expect(missing_docs, reason = "as above")]
    Debug,
    #[expect(missing_docs, reason = "as above")]
    Trace,
}

impl From<LogLevel> for log::LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::Error,
            LogLevel::Warn => Self::Warn,
            LogLevel::Info => Self::Info,
            LogLevel::Debug => Self::Debug,
            LogLevel::Trace => Self::Trace,
        }
    }
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub enum Color {
    #[expect(missing_docs, reason = "would be shown in the help, where the word is enough")]
    Auto,
    #[expect(missing_docs, reason = "as above")]
    Always,
    #[expect(missing_docs, reason = "as above")]
    Never,
}

#[cfg(test)]
mod tests;
