//! Arguments of `check`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{NetnsArg, values};
use crate::ask::Remote;
use crate::check::{Terms, Threshold};
use crate::event::Protocol;
use crate::filter::PortRange;
use crate::ports;

const EXAMPLES: &str = "\
Examples:
  The ephemeral range of this network namespace:
      port-observer check
  Warn when connect() to any one destination runs out, in all network namespaces:
      port-observer check --per-destination --all-netns
  An application's own range of UDP ports, with thresholds of its own:
      port-observer check --range 21000-31000 --protocol udp --warning 50 --critical 80
  For an agent that asks every few seconds, on a host with a million sockets:
      port-observer check --max-age 1m
  In milliseconds, from a `port-observer serve` that runs:
      port-observer check --from unix:/run/port-observer.sock
  As an object, once a minute:
      port-observer check --json --interval 1m

A THRESHOLD is a percentage (`--warning 70`: 70% or more; `--critical 85`: more than 85%) or a range
of them as monitoring plugins have it: 10:70 warns outside of it, @70:85 inside.
Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN; with --interval 0 when told to stop.";

/// Arguments of `check`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES, mut_arg("netns", |arg| arg.conflicts_with("all_netns")))]
pub struct CheckArgs {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// When to warn
    #[arg(short, long, value_name = "THRESHOLD", default_value_t = Threshold::WARNING)]
    pub warning: Threshold,
    /// When it is critical
    #[arg(short, long, value_name = "THRESHOLD", default_value_t = Threshold::CRITICAL)]
    pub critical: Threshold,
    /// An application's own ports instead of the ephemeral ones: 21000-31000; reserved ports count
    #[arg(long, value_name = "RANGE")]
    pub range: Option<PortRange>,
    /// The protocol
    #[arg(long, default_value = "tcp", value_parser = values::protocol())]
    pub protocol: Protocol,
    /// Where.
    #[command(flatten)]
    pub netns: NetnsArg,
    /// All network namespaces; the worst decides
    #[arg(long)]
    pub all_netns: bool,
    /// Compare with the thresholds how full the busiest destination is, which is what connect() runs
    /// out of, instead of the whole range
    #[arg(long)]
    pub per_destination: bool,
    /// Check again this often, a line each: 90s, 5m, 1h30m
    #[arg(long, value_name = "EVERY", value_parser = values::summary_every)]
    pub interval: Option<Duration>,
    /// Give the last answer to the same question again while it is younger, and say how old it is:
    /// 30s, 5m. It is kept in $RUNTIME_DIRECTORY, /run/port-observer or $XDG_RUNTIME_DIR
    #[arg(long, value_name = "AGE", value_parser = values::duration, conflicts_with = "interval")]
    pub max_age: Option<Duration>,
    /// Ask a running `serve` instead of the kernel, of what it watches: http://127.0.0.1:7678, or
    /// unix:PATH, which answers also when no port is left to ask from. It knows whose TIME_WAIT entries
    /// are, and needs no privileges here
    #[arg(long, value_name = "URL|SOCKET", conflicts_with = "max_age")]
    pub from: Option<Remote>,
    /// With --from, a file whose first line is the token to show
    #[arg(long, value_name = "FILE", requires = "from")]
    pub token: Option<PathBuf>,
}

impl CheckArgs {
    /// What is checked, by what it is judged.
    pub fn terms(&self) -> Terms {
        let range = self.range.map(PortRange::ends);
        Terms {
            protocol: self.protocol,
            range: range.map(|(min, max)| ports::PortRange { min, max }),
            warning: self.warning,
            critical: self.critical,
            per_destination: self.per_destination,
        }
    }

    /// What no option can see alone.
    pub(super) fn check(&self) -> Result<(), String> {
        self.terms().check()
    }
}

/// A call of `check` that makes no sense. A monitoring system reads standard output and the exit
/// code, so it is answered as a check is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: String,
    /// JSON was asked for.
    pub json: bool,
}

/// What to answer if these arguments, which were refused, are of `check`; `None`: they are of another
/// command, or ask for help.
pub fn unknown(
    arguments: impl IntoIterator<Item = OsString>,
    error: &clap::Error,
) -> Option<Refused> {
    let arguments: Vec<OsString> = arguments.into_iter().skip(1).collect();
    let takes_value = |option: &OsString| option == "--color" || option == "--log-level";
    let mut at = 0;
    while arguments.get(at)?.as_encoded_bytes().starts_with(b"-") {
        at += if takes_value(&arguments[at]) { 2 } else { 1 };
    }
    if arguments.get(at)? != "check" || !error.use_stderr() {
        return None;
    }
    let text = error.render().to_string();
    // Usage and hints follow after an empty line.
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.split_whitespace().collect();
    let reason = words.join(" ");
    let reason = reason.strip_prefix("error: ").unwrap_or(&reason).to_owned();
    Some(Refused { reason, json: arguments.iter().any(|argument| argument == "--json") })
}
