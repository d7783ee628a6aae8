//! Arguments of `why`.

use clap::{Args, builder::NonEmptyStringValueParser};

use crate::why::{Target, target::parse_address};

const EXAMPLES: &str = "\
Examples:
  connect() to a service fails with \"Cannot assign requested address\":
      port-observer why 10.0.0.1:5432
  The same in a network namespace, from a certain address, and of UDP:
      port-observer why 10.0.0.1:53 --netns blue --source 10.0.0.7 --udp
  A server does not start, \"Address already in use\":
      port-observer why --bind 8080
      port-observer why --bind '[::1]:8080'
  Whether bind() to port 0 finds a port:
      port-observer why --bind 10.0.0.7:0
  In a script:
      port-observer why --json 10.0.0.1:5432 | jq '.remedies[0]'

It answers for one call of a socket without options, at this moment: which ports the call can't
have and why just there, who has them, what would help and how many ports that brings, and what
would not help. Nothing is connected or bound.

As root it loads the kernel programs that `live` has, to see which ports bind() took, and where
TIME_WAIT entries are in the way it looks for two seconds who connects there. Without privileges
it reads one list of sockets, and says what that does not show.

Exit codes: 0 the call can succeed, 1 it can't, 2 wrong usage, 3 that can't be known.";

/// Arguments of `why`.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct WhyArgs {
    /// Where connect() is to go.
    #[arg(
        help = "Where connect() is to go: 10.0.0.1:5432, [2001:db8::1]:443, [fe80::1%eth0]:80",
        value_name = "ADDRESS:PORT",
        value_parser = Target::of_connect,
        required_unless_present = "bind",
        conflicts_with = "bind"
    )]
    pub destination: Option<Target>,
    /// Ask about bind() to this port instead; without an address: 0.0.0.0; port 0: any port
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = clap::value_parser!(Target))]
    pub bind: Option<Target>,
    /// The address that bind() gives before connect() [default: what the kernel chooses]
    #[arg(long, value_name = "ADDRESS", value_parser = source, conflicts_with = "bind")]
    pub source: Option<(std::net::IpAddr, Option<String>)>,
    /// UDP instead of TCP
    #[arg(long)]
    pub udp: bool,
    /// In this network namespace: its inode number, its name under /run/netns, or a path such as
    /// /proc/PID/ns/net
    #[arg(long, value_name = "INODE|NAME|PATH", value_parser = NonEmptyStringValueParser::new())]
    pub netns: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

impl WhyArgs {
    /// What no option can see alone.
    pub(super) fn check(&self) -> Result<(), String> {
        let (Some(Target { address: Some(to), .. }), Some((from, _))) =
            (&self.destination, &self.source)
        else {
            return Ok(());
        };
        if to.is_ipv4() != from.is_ipv4() {
            return Err(format!("--source {from} and {to} are not of one family"));
        }
        if from.is_unspecified() {
            return Err(format!("--source {from} is no address: leave it out"));
        }
        Ok(())
    }
}

fn source(text: &str) -> Result<(std::net::IpAddr, Option<String>), String> {
    parse_address(text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text))
}
