//! What `why` works with.

use std::net::IpAddr;

use anyhow::Context as _;

use super::Output;
use crate::cli;
use crate::event::Protocol;
use crate::kernel::netns::Namespace;
use crate::why::Target;

/// What `why` does.
#[derive(Clone, Debug, PartialEq)]
pub struct WhyConfig {
    /// Where.
    pub namespace: Namespace,
    /// What it was called; `None`: the own.
    pub netns: Option<String>,
    /// Of which protocol.
    pub protocol: Protocol,
    /// About which call.
    pub call: Asked,
    /// How it is printed.
    pub output: Output,
}

/// The call, as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// connect()
    Connect {
        /// Where to: it has an address.
        destination: Target,
        /// From where, with the interface of a link-local address.
        source: Option<(IpAddr, Option<String>)>,
    },
    /// bind()
    Bind(Target),
}

impl WhyConfig {
    /// Resolves the arguments. `netns` gives the network namespace that a number, name or path stands
    /// for.
    ///
    /// # Errors
    /// The namespace can't be resolved, or /proc is not mounted.
    pub fn resolve(
        args: cli::WhyArgs,
        color: cli::Color,
        netns: &dyn Fn(&str) -> anyhow::Result<Namespace>,
    ) -> anyhow::Result<Self> {
        let namespace = match &args.netns {
            Some(text) => netns(text).with_context(|| format!("--netns {text}"))?,
            None => Namespace::own()?,
        };
        let call = match (args.destination, args.bind) {
            (_, Some(local)) => Asked::Bind(local),
            (Some(destination), None) => Asked::Connect { destination, source: args.source },
            // The command line asks for one of them.
            (None, None) => anyhow::bail!("give ADDRESS:PORT, or --bind [ADDRESS:]PORT"),
        };
        Ok(Self {
            namespace,
            netns: args.netns,
            protocol: if args.udp { Protocol::Udp } else { Protocol::Tcp },
            call,
            output: Output::resolve(args.json, color),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(arguments: &str) -> anyhow::Result<WhyConfig> {
        let words = ["port-observer", "why"].into_iter().chain(arguments.split_whitespace());
        let cli = cli::Cli::read(words)?;
        let cli::Command::Why(args) = cli.command else { unreachable!("it was asked for") };
        WhyConfig::resolve(*args, cli.color, &|name| match name {
            "own" => Namespace::own(),
            _ => anyhow::bail!("no such namespace"),
        })
    }

    #[test]
    fn one_call_is_asked_about() {
        let config = resolve("10.0.0.1:80 --source 10.0.0.2 --netns own").unwrap();
        let Asked::Connect { destination, source } = config.call else { panic!("{config:?}") };
        assert_eq!((destination.port, source.unwrap().0.to_string()), (80, "10.0.0.2".to_owned()));
        assert_eq!(config.protocol, Protocol::Tcp);
        let config = resolve("--udp --bind 53").unwrap();
        assert_eq!((config.protocol, config.netns), (Protocol::Udp, None));
        assert!(matches!(config.call, Asked::Bind(Target { address: None, port: 53, .. })));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for wrong in [
            "",
            "80",
            "10.0.0.1:80 --bind 80",
            "--bind 80 --source 10.0.0.1",
            "10.0.0.1:80 --source ::1",
            "10.0.0.1:80 --source 0.0.0.0",
            "10.0.0.1:80 --source here",
            "example.org:80",
            "--bind 70000",
            "10.0.0.1:0",
        ] {
            assert!(resolve(wrong).is_err(), "{wrong}");
        }
        let error = resolve("10.0.0.1:80 --netns green").unwrap_err();
        assert_eq!(format!("{error:#}"), "--netns green: no such namespace");
    }
}
