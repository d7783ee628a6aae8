//! What `record` does.

use super::{Lines, LiveConfig, Output, resolve_netns};
use crate::{cli, filter::Filter, recording};

/// What `record` does.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordConfig {
    /// How the kernel is observed, and with `--json`, what is printed.
    pub live: LiveConfig,
    /// How it is recorded.
    pub recording: recording::Options,
}

impl RecordConfig {
    /// Resolves the arguments; `netns` as for [`LiveConfig::resolve`].
    ///
    /// # Errors
    /// A namespace can't be resolved.
    pub fn resolve(
        args: cli::RecordArgs,
        netns: &dyn Fn(&str) -> anyhow::Result<u32>,
    ) -> anyhow::Result<Self> {
        let filter = Filter {
            netns: resolve_netns(&args.netns, netns)?,
            protocols: args.protocol,
            ..Filter::default()
        };
        let lines = Lines {
            states: args.states,
            max_holdings: args.max_holdings.get(),
            filter,
            ..Lines::everything(Output::resolve(args.json, cli::Color::Never))
        };
        Ok(Self {
            live: LiveConfig {
                backend: args.backend.0,
                duration: args.duration,
                states: args.states,
                buffer_size: args.buffer_size,
                lines,
            },
            recording: recording::Options {
                path: args.file,
                keep: Some(args.keep),
                max_size: args.max_size,
                group: args.group,
            },
        })
    }
}
