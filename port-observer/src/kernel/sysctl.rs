//! Port settings of a network namespace. `/proc/sys/net` shows those of the thread that reads it
//! (`net/sysctl_net.c`, `net_ctl_header_lookup`).

use std::fs;

use anyhow::{Context, bail};

use super::netns::Namespace;
use crate::ports::{PortRange, Ports, ReservedPorts};

const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Reads a namespace's settings, from within it.
///
/// # Errors
/// When the namespace can't be entered, or /proc/sys is not mounted or holds something else.
pub fn ports(namespace: &Namespace) -> anyhow::Result<Ports> {
    namespace.run(ports_here)
}

/// Reads the settings of the calling thread's namespace.
///
/// # Errors
/// As [`ports`].
pub fn ports_here() -> anyhow::Result<Ports> {
    let read = |path| fs::read_to_string(path).with_context(|| format!("cannot read {path}"));
    Ok(Ports {
        ephemeral: parse_range(&read(RANGE)?).context(RANGE)?,
        reserved: parse_reserved(&read(RESERVED)?).context(RESERVED)?,
    })
}

fn parse_range(text: &str) -> anyhow::Result<PortRange> {
    let mut words = text.split_ascii_whitespace();
    let (Some(min), Some(max), None) = (words.next(), words.next(), words.next()) else {
        bail!("expected two numbers, found {text:?}");
    };
    range(min, max)
}

fn range(min: &str, max: &str) -> anyhow::Result<PortRange> {
    let port = |text: &str| text.parse().with_context(|| format!("{text:?} is not a port"));
    let range = PortRange { min: port(min)?, max: port(max)? };
    if range.min > range.max {
        bail!("the range {min}-{max} is upside down");
    }
    Ok(range)
}

/// Parses a list as the kernel prints it: `8080,9148-9150`, or nothing.
///
/// # Errors
/// When a part is no port or range.
pub fn parse_reserved(text: &str) -> anyhow::Result<ReservedPorts> {
    let ranges = text
        .trim()
        .split(',')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (min, max) = part.split_once('-').unwrap_or((part, part));
            range(min, max)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(ReservedPorts::new(ranges))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_two_numbers() {
        assert_eq!(parse_range("32768\t60999\n").unwrap(), PortRange { min: 32768, max: 60999 });
        for bad in ["", "1", "1 2 3", "a b", "60999 32768", "1 65536", "-1 5"] {
            assert!(parse_range(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn reserved_ports_are_joined_and_counted_within_a_range() {
        let reserved = parse_reserved("9148-9150,8080,9151,9149\n").unwrap();
        assert_eq!(
            reserved.ranges(),
            [PortRange { min: 8080, max: 8080 }, PortRange { min: 9148, max: 9151 }]
        );
        assert!(reserved.contains(9150) && !reserved.contains(9152));
        assert_eq!(reserved.count_in(PortRange { min: 9150, max: 10000 }), 2);
        assert_eq!(reserved.count_in(PortRange { min: 1, max: 65535 }), 5);
        assert_eq!(parse_reserved("\n").unwrap(), ReservedPorts::default());
        assert_eq!(parse_reserved("65535,65534-65535").unwrap().ranges().len(), 1);
        for bad in ["x", "1-", "5-3", "70000", "1-2-3"] {
            assert!(parse_reserved(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn capacity_leaves_the_reserved_ports_out() {
        let ports = Ports {
            ephemeral: PortRange { min: 40000, max: 40099 },
            reserved: parse_reserved("40000-40009,50000").unwrap(),
        };
        assert_eq!(ports.capacity(), 90);
    }

    #[test]
    fn this_namespace_has_a_range() {
        assert!(ports_here().unwrap().ephemeral.count() > 0);
    }
}
