//! What `record` does: what `live` does, and silently.

use super::{Lines, LiveConfig, Output, beside, recorded, resolve_netns};
use crate::{cli, filter::Filter};

impl LiveConfig {
    /// Resolves the arguments of `record`; `netns` as for [`LiveConfig::resolve`].
    ///
    /// # Errors
    /// A namespace can't be resolved.
    pub fn of_record(
        args: cli::RecordArgs,
        netns: &dyn Fn(&str) -> anyhow::Result<u32>,
    ) -> anyhow::Result<Self> {
        let filter = Filter {
            netns: resolve_netns(&args.netns, netns)?,
            protocols: args.protocol,
            ..Filter::default()
        };
        let program = args.run.program();
        let lines = Lines {
            states: args.states,
            max_holdings: args.limit.max_holdings.get(),
            filter,
            to: beside(program.as_ref()),
            ..Lines::everything(Output::resolve(args.json, cli::Color::Never))
        };
        Ok(Self {
            backend: args.observe.backend.0,
            duration: args.duration,
            states: args.states,
            buffer_size: args.observe.buffer_size,
            recording: Some(recorded(args.file, args.keep)),
            is_silent: !args.json,
            program,
            pools: None,
            lines,
        })
    }
}
