//! What `snapshot` works with.

use std::collections::HashSet;

use super::{Output, resolve_netns};
use crate::cli;
use crate::event::Protocol;
use crate::filter::PortRange;
use crate::kernel::netns::Namespace;

/// What `snapshot` does.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotConfig {
    /// Where it looks; empty: wherever it may.
    pub netns: Vec<Namespace>,
    /// What it looks at; empty: all.
    pub protocols: Vec<Protocol>,
    /// The ports that are asked about; empty: all.
    pub ports: Vec<PortRange>,
    /// Whether each holding is shown.
    pub holdings: bool,
    /// How many spaces and processes are shown, 1 or more.
    pub top: usize,
    /// How it is printed.
    pub output: Output,
}

impl SnapshotConfig {
    /// Resolves the arguments. `netns` gives the network namespace that a number, name or path stands
    /// for.
    ///
    /// # Errors
    /// A namespace can't be resolved.
    pub fn resolve(
        args: cli::SnapshotArgs,
        color: cli::Color,
        netns: &dyn Fn(&str) -> anyhow::Result<Namespace>,
    ) -> anyhow::Result<Self> {
        let mut namespaces = resolve_netns(&args.netns, netns)?;
        // One path leads to what another does.
        let mut seen = HashSet::new();
        namespaces.retain(|one| seen.insert(one.inode));
        Ok(Self {
            netns: namespaces,
            protocols: args.protocol,
            holdings: args.holdings || !args.port.is_empty(),
            ports: args.port,
            top: args.top.get(),
            output: Output::resolve(args.json, color),
        })
    }

    /// Whether a local port is asked about.
    pub fn asks_for(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.iter().any(|range| range.has(port))
    }

    /// The ports that are asked about, in words; `None`: all.
    pub fn asked(&self) -> Option<String> {
        let ranges: Vec<String> = self.ports.iter().map(PortRange::to_string).collect();
        match &ranges[..] {
            [] => None,
            [one] if !one.contains('-') => Some(format!("port {one}")),
            _ => Some(format!("the ports {}", ranges.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(arguments: &str) -> anyhow::Result<SnapshotConfig> {
        let words = ["port-observer", "snapshot"].into_iter().chain(arguments.split_whitespace());
        let cli = cli::Cli::read(words)?;
        let cli::Command::Snapshot(args) = cli.command else { unreachable!("it was asked for") };
        SnapshotConfig::resolve(args, cli.color, &|name| match name {
            "own" | "mine" => Namespace::own(),
            _ => anyhow::bail!("no such namespace"),
        })
    }

    #[test]
    fn asking_about_ports_is_asking_for_their_holdings() {
        let config = resolve("--port 80 --port 100-102").unwrap();
        assert!(config.holdings && config.asks_for(80) && config.asks_for(102));
        assert!(!config.asks_for(81) && !config.asks_for(103));
        assert_eq!(config.asked().unwrap(), "the ports 80, 100-102");
        assert_eq!(resolve("--port 80").unwrap().asked().unwrap(), "port 80");
        let config = resolve("").unwrap();
        assert!(!config.holdings && config.asks_for(81) && config.asked().is_none());
    }

    #[test]
    fn a_namespace_that_is_named_twice_is_looked_into_once() {
        assert_eq!(resolve("--netns own --netns mine").unwrap().netns.len(), 1);
        let error = resolve("--netns green").unwrap_err();
        assert_eq!(format!("{error:#}"), "--netns green: no such namespace");
    }
}
