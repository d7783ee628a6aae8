//! The command line, resolved: what the commands work with. Nothing from here on knows clap.

mod check;
mod pools;
mod pools_trial;
mod record;
mod replay;
mod serve;
mod snapshot;
mod stress;
mod top;
mod why;

pub use check::CheckConfig;
pub use pools::{
    PoolsCheckConfig, PoolsLeaseConfig, PoolsLeasesConfig, PoolsReleaseConfig, PoolsRenewConfig,
    PoolsShowConfig, ServedPools, watch as pools_watch,
};
pub use pools_trial::{PoolsEchoConfig, PoolsVerifyConfig};
pub use replay::ReplayConfig;
pub use serve::ServeConfig;
pub use snapshot::SnapshotConfig;
pub use stress::StressConfig;
pub use top::TopConfig;
pub use why::{Asked, WhyConfig};

use std::io::IsTerminal;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;

use crate::child::Program;
use crate::cli;
use crate::filter::Filter;
use crate::ledger;
use crate::probe::Backend;
use crate::recording;
use crate::report::EventType;
pub use crate::sink::{Format, Output, Target};
use crate::source::{self, Looks};

/// What `live` does.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveConfig {
    /// How the kernel is observed; `None`: by the best backend that loads.
    pub backend: Option<Backend>,
    /// When to stop, from the start of observing.
    pub duration: Option<Duration>,
    /// Whether TCP state changes are observed.
    pub states: bool,
    /// The size of the ring buffer in bytes, a power of two.
    pub buffer_size: u32,
    /// Into which file it is recorded, and how.
    pub recording: Option<recording::Options>,
    /// Nothing is printed.
    pub is_silent: bool,
    /// The command that is run, and whose processes alone are shown.
    pub program: Option<Program>,
    /// What declares the pools that are told of, as for `pools check`; `None`: none are.
    pub pools: Option<Vec<PathBuf>>,
    /// What is printed. The `netns` and `protocols` of its filter are also for the kernel's side.
    pub lines: Lines,
}

/// What is printed of a stream of events.
#[derive(Clone, Debug, PartialEq)]
pub struct Lines {
    /// After how many printed lines about ports to stop.
    pub count: Option<NonZeroU64>,
    /// Whether TCP state changes are printed.
    pub states: bool,
    /// Whether ports that are held already are printed.
    pub existing: bool,
    /// Whether lines of chosen ports have the space that they were chosen from.
    pub spaces: bool,
    /// How often a summary is printed, 100 ms or more.
    pub summary: Option<Duration>,
    /// How many spaces and processes a summary shows, 1 or more.
    pub top: usize,
    /// How full a space is told of, in percent; 0 < `warning` < `critical` ≤ 100.
    pub warning: f64,
    /// And once more.
    pub critical: f64,
    /// The most holdings that are accounted, 1 or more.
    pub max_holdings: usize,
    /// How many holders are told of a refused call.
    pub holders: usize,
    /// Whose lines are printed.
    pub filter: Filter,
    /// Whether people are shown who holds the most, and what failed, when it is over.
    pub closing: bool,
    /// How it is printed.
    pub output: Output,
    /// Where to.
    pub to: Target,
}

/// What `doctor` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoctorConfig {
    /// How it is printed.
    pub output: Output,
}

impl LiveConfig {
    /// What is observed, and how.
    pub fn observed(&self) -> source::Options {
        let filter = &self.lines.filter;
        source::Options {
            backend: self.backend,
            looks: Looks { netns: filter.netns.clone(), protocols: filter.protocols.clone() },
            buffer_size: self.buffer_size,
            states: self.states,
        }
    }

    /// Resolves the arguments. `netns` gives the inode number of the network namespace that a name
    /// or path stands for.
    ///
    /// # Errors
    /// A namespace can't be resolved.
    pub fn resolve(
        args: cli::LiveArgs,
        color: cli::Color,
        netns: &dyn Fn(&str) -> anyhow::Result<u32>,
    ) -> anyhow::Result<Self> {
        let mut lines = Lines::resolve(args.lines, args.filter, color, netns)?;
        let program = args.run.program();
        let target = args.output.map(Target::File);
        lines.write_to(target.unwrap_or_else(|| beside(program.as_ref())), color);
        Ok(Self {
            backend: args.observe.backend.0,
            duration: args.duration,
            states: lines.states,
            buffer_size: args.observe.buffer_size,
            recording: args.record.map(|path| recorded(path, args.keep)),
            is_silent: false,
            program,
            pools: (!args.pools.is_empty()).then_some(args.pools),
            lines,
        })
    }
}

/// Where lines go: standard output is the command's, if there is one.
fn beside(program: Option<&Program>) -> Target {
    program.map_or(Target::StandardOutput, |_| Target::StandardError)
}

fn recorded(path: PathBuf, keep: cli::KeepArgs) -> recording::Options {
    let cli::KeepArgs { keep, max_size, group } = keep;
    recording::Options { path, keep: Some(keep), max_size, group }
}

impl Lines {
    /// Everything that is accounted, with the usual thresholds.
    pub fn everything(output: Output) -> Self {
        let ledger::Options { warning, critical, max_holdings, holders, .. } =
            ledger::Options::default();
        Self {
            count: None,
            states: false,
            existing: true,
            spaces: false,
            summary: None,
            top: 10,
            warning,
            critical,
            max_holdings,
            holders,
            filter: Filter::default(),
            closing: true,
            output,
            to: Target::default(),
        }
    }

    fn write_to(&mut self, target: Target, color: cli::Color) {
        let is_table = self.output.format == Format::Table;
        self.output.color = is_table
            && match target {
                Target::StandardOutput => uses_color(color, &std::io::stdout()),
                Target::StandardError => uses_color(color, &std::io::stderr()),
                Target::File(_) => color == cli::Color::Always,
            };
        self.to = target;
    }

    /// Resolves the arguments; `netns` as for [`LiveConfig::resolve`].
    ///
    /// # Errors
    /// A namespace can't be resolved.
    pub fn resolve(
        args: cli::LinesArgs,
        filter: cli::FilterArgs,
        color: cli::Color,
        netns: &dyn Fn(&str) -> anyhow::Result<u32>,
    ) -> anyhow::Result<Self> {
        let mut events = args.events;
        // Asking for the lines is asking for the observation, and the other way round.
        let states = args.states || events.contains(&EventType::State);
        let asked = [(states, EventType::State), (args.summary.is_some(), EventType::Summary)];
        for (is_asked, event) in asked {
            if is_asked && !events.is_empty() && !events.contains(&event) {
                events.push(event);
            }
        }
        let filter = Filter {
            events,
            pids: filter.pid,
            names: filter.name,
            uids: filter.uid,
            ports: filter.port,
            destinations: filter.to,
            netns: resolve_netns(&filter.netns, netns)?,
            containers: filter.container,
            protocols: filter.protocol,
        };
        Ok(Self {
            count: args.count,
            states,
            existing: !args.no_existing,
            spaces: args.spaces,
            summary: args.summary,
            top: args.top.get(),
            warning: args.thresholds.warning,
            critical: args.thresholds.critical,
            max_holdings: args.limit.max_holdings.get(),
            holders: ledger::Options::default().holders,
            filter,
            closing: true,
            output: Output::resolve(args.json, color),
            to: Target::default(),
        })
    }
}

impl DoctorConfig {
    /// Resolves the arguments.
    pub fn resolve(args: &cli::DoctorArgs, color: cli::Color) -> Self {
        Self { output: Output::resolve(args.json, color) }
    }
}

impl Output {
    /// Resolves the arguments.
    pub fn resolve(json: bool, color: cli::Color) -> Self {
        let format = if json { Format::Json } else { Format::Table };
        Self { format, color: !json && uses_color(color, &std::io::stdout()) }
    }
}

/// Whether what goes to `out` is coloured. <https://no-color.org>: `NO_COLOR`, set and not empty, turns
/// colour off, unless it was asked for.
pub fn uses_color(color: cli::Color, out: &impl IsTerminal) -> bool {
    match color {
        cli::Color::Always => true,
        cli::Color::Never => false,
        cli::Color::Auto => {
            out.is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

fn resolve_netns<T: PartialEq>(
    arg: &cli::NetnsArg,
    netns: &dyn Fn(&str) -> anyhow::Result<T>,
) -> anyhow::Result<Vec<T>> {
    let mut resolved = Vec::new();
    for text in &arg.netns {
        let found = netns(text).with_context(|| format!("--netns {text}"))?;
        // However often it is named.
        if !resolved.contains(&found) {
            resolved.push(found);
        }
    }
    Ok(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(arguments: &str) -> anyhow::Result<LiveConfig> {
        let words = ["port-observer", "live"].into_iter().chain(arguments.split_whitespace());
        let cli = cli::Cli::read(words)?;
        let cli::Command::Live(args) = cli.command else { unreachable!("live was asked for") };
        LiveConfig::resolve(*args, cli.color, &|name| match name {
            "blue" | "77" => Ok(77),
            "4026531840" => Ok(4_026_531_840),
            _ => anyhow::bail!("no such namespace"),
        })
    }

    #[test]
    fn without_options_everything_is_observed_and_printed() {
        let config = resolve("--color never").unwrap();
        let output = Output { format: Format::Table, color: false };
        assert_eq!(
            config,
            LiveConfig {
                backend: None,
                duration: None,
                states: false,
                buffer_size: 8 << 20,
                recording: None,
                is_silent: false,
                program: None,
                pools: None,
                lines: Lines {
                    count: None,
                    states: false,
                    existing: true,
                    spaces: false,
                    summary: None,
                    top: 10,
                    warning: 70.0,
                    critical: 85.0,
                    max_holdings: 1_000_000,
                    holders: 10,
                    filter: Filter::default(),
                    closing: true,
                    output,
                    to: Target::StandardOutput,
                },
            }
        );
    }

    #[test]
    fn a_namespace_is_an_inode_number_or_asked_for_by_name() {
        assert_eq!(
            resolve("--netns 4026531840 --netns blue --netns 77").unwrap().lines.filter.netns,
            [4026531840, 77]
        );
    }

    #[test]
    fn a_namespace_that_is_not_there_is_named_in_the_error() {
        let error = resolve("--netns green").unwrap_err();
        assert_eq!(format!("{error:#}"), "--netns green: no such namespace");
        let error = resolve("--netns 1").unwrap_err();
        assert_eq!(format!("{error:#}"), "--netns 1: no such namespace");
    }

    #[test]
    fn what_is_shown_may_be_recorded_too() {
        let recording = resolve("--record a.db --keep 5m").unwrap().recording.unwrap();
        assert_eq!(recording.path, PathBuf::from("a.db"));
        assert_eq!(recording.keep, Some(Duration::from_secs(300)));
        let error = resolve("--keep 5m").unwrap_err();
        assert!(format!("{error:#}").contains("--record"), "{error:#}");
    }

    #[test]
    fn states_and_the_type_state_imply_each_other() {
        assert!(resolve("--events state").unwrap().states);
        let config = resolve("--states --events acquire").unwrap();
        assert_eq!(config.lines.filter.events, [EventType::Acquire, EventType::State]);
        assert_eq!(resolve("--states").unwrap().lines.filter.events, []);
        assert!(!resolve("--events acquire").unwrap().states);
    }

    #[test]
    fn asking_for_summaries_is_asking_for_their_lines() {
        let config = resolve("--summary 500ms --events acquire").unwrap();
        assert_eq!(config.lines.summary, Some(Duration::from_millis(500)));
        assert_eq!(config.lines.filter.events, [EventType::Acquire, EventType::Summary]);
        assert_eq!(resolve("--summary 10s").unwrap().lines.filter.events, []);
        let config = resolve("--summary 10s --events summary").unwrap();
        assert_eq!(config.lines.filter.events, [EventType::Summary]);
    }

    #[test]
    fn options_of_the_ledger_arrive() {
        let config = resolve(
            "--no-existing --spaces --top 3 --warning 50 --critical 60.5% --max-holdings 1000",
        )
        .unwrap();
        assert!(!config.lines.existing && config.lines.spaces);
        assert_eq!((config.lines.top, config.lines.max_holdings), (3, 1000));
        assert_eq!((config.lines.warning, config.lines.critical), (50.0, 60.5));
    }

    #[test]
    fn json_is_never_coloured() {
        let output = resolve("--json --color always").unwrap().lines.output;
        assert_eq!(output, Output { format: Format::Json, color: false });
        assert!(resolve("--color always").unwrap().lines.output.color);
    }
}
