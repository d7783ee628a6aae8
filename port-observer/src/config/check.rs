//! What `check` works with.

use std::path::PathBuf;
use std::time::Duration;

use super::Format;
use crate::ask::Remote;
use crate::check::Terms;
use crate::cli;

/// What `check` does.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckConfig {
    /// Where to look, as a user names it; empty: in the own network namespace. It is looked for anew
    /// each time, since it may come and go.
    pub netns: Vec<String>,
    /// In all network namespaces.
    pub all_netns: bool,
    /// What is checked.
    pub terms: Terms,
    /// How often; `None`: once.
    pub interval: Option<Duration>,
    /// How old the last answer may be that is given again; `None`: it is not kept.
    pub max_age: Option<Duration>,
    /// The `serve` that is asked; `None`: the kernel is.
    pub from: Option<Remote>,
    /// The file of its token.
    pub token: Option<PathBuf>,
    /// How it is printed.
    pub format: Format,
}

impl CheckConfig {
    /// Resolves the arguments.
    pub fn resolve(args: cli::CheckArgs) -> Self {
        let terms = args.terms();
        Self {
            netns: args.netns.netns,
            all_netns: args.all_netns,
            terms,
            interval: args.interval,
            max_age: args.max_age,
            from: args.from,
            token: args.token,
            format: if args.json { Format::Json } else { Format::Table },
        }
    }
}
