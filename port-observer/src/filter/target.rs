//! Ports and destinations, as an option names them.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use super::same_network;
use crate::event::Endpoint;

/// Ports from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// The first and the last.
    pub fn ends(self) -> (u16, u16) {
        (self.first, self.last)
    }

    /// Whether the port is one of them.
    pub fn has(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

impl FromStr for PortRange {
    type Err = String;

    /// `40000-40099`, or one port.
    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first)?, port(last)?);
        if first > last {
            return Err(format!("the range ends ({last}) before it begins ({first})"));
        }
        Ok(Self { first, last })
    }
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("'{text}' is not a port: a number from 1 to 65535")),
    }
}

/// An address or a network, with or without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    address: IpAddr,
    prefix_length: u8,
    port: Option<u16>,
}

impl Destination {
    /// Whether the endpoint is in it.
    pub fn has(self, endpoint: Endpoint) -> bool {
        self.port.is_none_or(|port| port == endpoint.port)
            && same_network(self.address, endpoint.address, self.prefix_length)
    }
}

impl FromStr for Destination {
    type Err = String;

    /// `10.0.0.1`, `10.0.0.1:443`, `10.0.0.0/8`, `2001:db8::1`, `[2001:db8::1]:443`,
    /// `[2001:db8::/32]:443`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (network, port_text) = split(text)?;
        let (address, prefix_length) = parse_network(network)?;
        Ok(Self { address, prefix_length, port: port_text.map(port).transpose()? })
    }
}

/// Parts the address from the port.
fn split(text: &str) -> Result<(&str, Option<&str>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((network, "")) => Ok((network, None)),
            Some((network, rest)) => match rest.strip_prefix(':') {
                Some(port) => Ok((network, Some(port))),
                None => Err(format!("'{rest}' follows the brackets: only :PORT may")),
            },
            None => Err("the bracket is not closed: write [ADDRESS]:PORT".to_owned()),
        };
    }
    match text.split_once(':') {
        None => Ok((text, None)),
        Some((_, rest)) if rest.contains(':') => Ok((text, None)),
        Some((network, port)) => Ok((network, Some(port))),
    }
}

fn parse_network(text: &str) -> Result<(IpAddr, u8), String> {
    let (address_text, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address_text.parse().map_err(|_| {
        format!(
            "'{address_text}' is not an IP address (names are not looked up; \
             an IPv6 address with a port goes in brackets: [2001:db8::1]:443)"
        )
    })?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let length = match length.map(str::parse::<u8>) {
        None => width,
        Some(Ok(length)) if length <= width => length,
        Some(_) => return Err(format!("the prefix length must be from 0 to {width}")),
    };
    match address {
        IpAddr::V6(v6) => canonical(v6, length),
        IpAddr::V4(_) => Ok((address, length)),
    }
}

/// Reports have a v4-mapped address as IPv4, so a filter on one must be the same.
fn canonical(address: Ipv6Addr, length: u8) -> Result<(IpAddr, u8), String> {
    match (address.to_ipv4_mapped(), length.checked_sub(96)) {
        (Some(v4), Some(length)) => Ok((v4.into(), length)),
        (Some(_), None) => Err("the prefix of a v4-mapped address is 96 bits or more".to_owned()),
        (None, _) => Ok((address.into(), length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reaches(destination: &str, endpoint: &str) -> bool {
        let endpoint: std::net::SocketAddr = endpoint.parse().unwrap();
        destination.parse::<Destination>().unwrap().has(endpoint.into())
    }

    #[test]
    fn a_range_has_both_of_its_ends_and_nothing_outside() {
        let range: PortRange = "40000-40099".parse().unwrap();
        assert!(range.has(40000) && range.has(40099));
        assert!(!range.has(39999) && !range.has(40100));
    }

    #[test]
    fn one_port_is_a_range_of_itself() {
        let range: PortRange = "65535".parse().unwrap();
        assert!(range.has(65535) && !range.has(65534));
    }

    #[test]
    fn a_range_that_makes_no_sense_is_refused() {
        for text in ["", "-", "0", "0-10", "65536", "20-10", "1-2-3", "1-", "-1", "http", "1 - 2"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_address_without_a_port_reaches_every_port() {
        assert!(reaches("10.0.0.1", "10.0.0.1:1") && reaches("10.0.0.1", "10.0.0.1:443"));
        assert!(!reaches("10.0.0.1", "10.0.0.2:443"));
        assert!(reaches("2001:db8::1", "[2001:db8::1]:443"));
        assert!(reaches("[2001:db8::1]", "[2001:db8::1]:443"));
    }

    #[test]
    fn an_address_with_a_port_reaches_that_port_only() {
        assert!(reaches("10.0.0.1:443", "10.0.0.1:443"));
        assert!(!reaches("10.0.0.1:443", "10.0.0.1:80"));
        assert!(reaches("[2001:db8::1]:443", "[2001:db8::1]:443"));
        assert!(!reaches("[2001:db8::1]:443", "[2001:db8::1]:80"));
    }

    #[test]
    fn a_network_reaches_its_addresses_and_no_others() {
        assert!(reaches("10.0.0.0/8", "10.255.0.1:443"));
        assert!(!reaches("10.0.0.0/8", "11.0.0.1:443"));
        assert!(reaches("10.0.0.0/8:443", "10.1.2.3:443"));
        assert!(!reaches("10.0.0.0/8:443", "10.1.2.3:80"));
        assert!(reaches("2001:db8::/32", "[2001:db8:ffff::1]:443"));
        assert!(reaches("[2001:db8::/32]:443", "[2001:db8::1]:443"));
        assert!(!reaches("2001:db8::/32", "[2001:db9::1]:443"));
        assert!(reaches("0.0.0.0/0", "8.8.8.8:53") && !reaches("0.0.0.0/0", "[::1]:53"));
        assert!(reaches("::/0", "[::1]:53") && !reaches("::/0", "8.8.8.8:53"));
    }

    #[test]
    fn a_v4_mapped_address_is_the_ipv4_address() {
        assert!(reaches("::ffff:10.0.0.1", "10.0.0.1:443"));
        assert!(reaches("[::ffff:10.0.0.0/104]:443", "10.9.9.9:443"));
    }

    #[test]
    fn a_destination_that_makes_no_sense_is_refused() {
        for text in [
            "",
            ":443",
            "example.com",
            "10.0.0.1:",
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "10.0.0",
            "[::1",
            "[::1]443",
            "[::1]:",
            "::1/129",
            "[]",
            "::ffff:0:0/80",
            "[::1]:1:2",
        ] {
            assert!(text.parse::<Destination>().is_err(), "{text}");
        }
    }
}
