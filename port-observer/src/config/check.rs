//! What `check` works with.

use std::time::Duration;

use super::Format;
use crate::check::Threshold;
use crate::cli;
use crate::event::Protocol;
use crate::ports::PortRange;

/// What `check` does.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckConfig {
    /// Where to look, as a user names it; empty: in the own network namespace. It is looked for anew
    /// each time, since it may come and go.
    pub netns: Vec<String>,
    /// In all network namespaces.
    pub all_netns: bool,
    /// Which protocol.
    pub protocol: Protocol,
    /// An application's own range.
    pub range: Option<PortRange>,
    /// When to warn.
    pub warning: Threshold,
    /// When it is critical.
    pub critical: Threshold,
    /// The thresholds are for the busiest destination.
    pub per_destination: bool,
    /// How often; `None`: once.
    pub interval: Option<Duration>,
    /// How old the last answer may be that is given again; `None`: it is not kept.
    pub max_age: Option<Duration>,
    /// How it is printed.
    pub format: Format,
}

impl CheckConfig {
    /// Resolves the arguments.
    pub fn resolve(args: cli::CheckArgs) -> Self {
        let range = args.range.map(|range| {
            let (min, max) = range.ends();
            PortRange { min, max }
        });
        Self {
            netns: args.netns.netns,
            all_netns: args.all_netns,
            protocol: args.protocol,
            range,
            warning: args.warning,
            critical: args.critical,
            per_destination: args.per_destination,
            interval: args.interval,
            max_age: args.max_age,
            format: if args.json { Format::Json } else { Format::Table },
        }
    }
}
