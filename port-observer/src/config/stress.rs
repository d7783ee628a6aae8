//! What `stress` works with.

use std::path::PathBuf;

use super::Format;
use crate::{
    cli, filter,
    probe::Backend,
    stress::{self, CHURNING, Close, KEEPING, program::Program, target},
};

/// What `stress` does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StressConfig {
    /// What is tried.
    pub plan: stress::Plan,
    /// How it is observed; `None`: by the best backend that loads.
    pub backend: Option<Backend>,
    /// The size of the ring buffer in bytes.
    pub buffer_size: u32,
    /// Where events are recorded.
    pub record: Option<PathBuf>,
    /// Variations are tried too.
    pub variations: bool,
    /// And what could help.
    pub mitigations: bool,
    /// The answer of an earlier run.
    pub compare: Option<PathBuf>,
    /// Where it is written as a page too.
    pub html: Option<PathBuf>,
    /// Fewer connections are a failure.
    pub expect: Option<u64>,
    /// How it is printed.
    pub format: Format,
}

impl StressConfig {
    /// Resolves the arguments. `settings`: the host's, as they are now.
    pub fn resolve(args: cli::StressArgs, settings: Vec<(String, String)>) -> Self {
        let close = Close::from(args.close);
        let usual = if close == Close::Keep { KEEPING } else { CHURNING };
        let plan = stress::Plan {
            connections: args.connections.or(args.to.map(|_| target::CONNECTIONS)),
            range: args.range.map(filter::PortRange::ends),
            sources: args.sources,
            destinations: args.destinations,
            nofile: args.nofile,
            close,
            tw_reuse: args.tw_reuse,
            bind: args.bind.into(),
            rate: args.rate.or(args.to.map(|_| target::RATE)),
            duration: args.duration.unwrap_or(usual),
            ipv6: args.ipv6,
            udp: args.udp,
            server: args.server,
            server_port: args.server_port,
            target: args.to,
            program: match args.watch {
                Some(pid) => Some(Program::Running(pid)),
                None if args.command.is_empty() => None,
                None => Some(Program::Command(args.command)),
            },
            tcp_memory_max: stress::tcp_memory_max(),
            settings,
        };
        Self {
            plan,
            backend: args.observe.backend.0,
            buffer_size: args.observe.buffer_size,
            record: args.record,
            variations: args.variations,
            mitigations: args.mitigations,
            compare: args.compare,
            html: args.html,
            expect: args.expect,
            format: if args.json { Format::Json } else { Format::Table },
        }
    }
}
