//! What `serve` works with.

use std::path::PathBuf;

use super::{Format, Lines, LiveConfig, Output, ServedPools, recorded, resolve_netns};
use crate::{cli, filter::Filter, serve::listen::Place};

/// What `serve` does.
#[derive(Clone, Debug, PartialEq)]
pub struct ServeConfig {
    /// Where it listens; empty: at the usual place, or on what systemd passed.
    pub places: Vec<Place>,
    /// The file of tokens.
    pub tokens: Option<PathBuf>,
    /// Other names of this host.
    pub hosts: Vec<String>,
    /// The most series.
    pub max_series: usize,
    /// The file that metrics are written into.
    pub textfile: Option<PathBuf>,
    /// The pools that are leased.
    pub pools: Option<ServedPools>,
    /// How the kernel is observed, recorded, and what is accounted.
    pub live: LiveConfig,
}

impl ServeConfig {
    /// Resolves the arguments; `netns` as for [`LiveConfig::resolve`].
    ///
    /// # Errors
    /// A namespace can't be resolved, or there is no place for leases.
    pub fn resolve(
        args: cli::ServeArgs,
        netns: &dyn Fn(&str) -> anyhow::Result<u32>,
    ) -> anyhow::Result<Self> {
        let filter = Filter { netns: resolve_netns(&args.netns, netns)?, ..Filter::default() };
        let lines = Lines {
            max_holdings: args.limit.max_holdings.get(),
            filter,
            // The states of connections are kept up to date for people.
            ..Lines::everything(Output { format: Format::Table, color: false })
        };
        Ok(Self {
            places: args.listen,
            tokens: args.token,
            hosts: args.allow_host,
            max_series: usize::try_from(args.max_series)?,
            textfile: args.textfile,
            pools: ServedPools::resolve(args.pools, args.state)?,
            live: LiveConfig {
                backend: args.observe.backend.0,
                duration: None,
                states: false,
                buffer_size: args.observe.buffer_size,
                recording: args.record.map(|path| recorded(path, args.keep)),
                is_silent: true,
                program: None,
                pools: None,
                lines,
            },
        })
    }
}
