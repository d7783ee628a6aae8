//! What a service publishes: the short and the long syntax of `ports` (05-services).

use super::super::{problem::Place, yaml::Node};
use crate::{event::Protocol, ports::PortRange};

/// Ports outside that lead to ports inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// As it is written.
    pub text: String,
    /// Outside.
    pub host: Host,
    /// Inside.
    pub container: PortRange,
    /// `None`: neither of those that pools are of.
    pub protocol: Option<Protocol>,
    /// The address outside, if one is given.
    pub host_ip: Option<String>,
    /// Where.
    pub place: Place,
}

/// Ports outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Any that are free.
    Random,
    /// Each leads to the one inside that is as far from the first.
    Each(PortRange),
    /// One that is free of these leads to the only one inside.
    OneOf(PortRange),
}

impl Host {
    /// Which may be taken.
    pub fn range(self) -> Option<PortRange> {
        match self {
            Self::Random => None,
            Self::Each(range) | Self::OneOf(range) => Some(range),
        }
    }
}

/// Reads the short syntax, with references resolved: `[[IP:]HOST:]CONTAINER[/PROTOCOL]`.
///
/// # Errors
/// Why it is none, as the end of a sentence.
pub fn short(text: &str, place: Place) -> Result<Mapping, String> {
    let (ports, protocol) = match text.rsplit_once('/') {
        Some((ports, protocol)) => (ports, self::protocol(protocol)?),
        None => (text, Some(Protocol::Tcp)),
    };
    let (outside, inside) = match ports.rsplit_once(':') {
        Some((outside, inside)) => (Some(outside), inside),
        None => (None, ports),
    };
    let container = range(inside)?;
    let (host_ip, outside) = match outside.and_then(|outside| outside.rsplit_once(':')) {
        Some((address, outside)) => (self::address(address)?, Some(outside)),
        None => (None, outside),
    };
    let host = match outside {
        None | Some("" | "0") => Host::Random,
        Some(outside) => host(range(outside)?, container)?,
    };
    Ok(Mapping { text: text.to_owned(), host, container, protocol, host_ip, place })
}

fn host(outside: PortRange, container: PortRange) -> Result<Host, String> {
    match (outside.count(), container.count()) {
        (one, other) if one == other => Ok(Host::Each(outside)),
        (_, 1) => Ok(Host::OneOf(outside)),
        (one, other) => Err(format!("{one} ports outside can't lead to {other} inside")),
    }
}

fn range(text: &str) -> Result<PortRange, String> {
    let (min, max) = text.split_once('-').unwrap_or((text, text));
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err(format!("{text:?} is no port from 1 to 65535")),
    };
    let range = PortRange { min: port(min)?, max: port(max)? };
    match range.min <= range.max {
        true => Ok(range),
        false => Err(format!("min ({min}) is greater than max ({max})")),
    }
}

/// `None`: any. Docker takes one that a variable leaves empty so.
fn address(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    match inner.parse::<std::net::IpAddr>() {
        Ok(_) => Ok(Some(inner.to_owned())),
        Err(_) => Err(format!("{text:?} is no IP address")),
    }
}

fn protocol(text: &str) -> Result<Option<Protocol>, String> {
    match &*text.to_ascii_lowercase() {
        "tcp" => Ok(Some(Protocol::Tcp)),
        "udp" => Ok(Some(Protocol::Udp)),
        "sctp" => Ok(None),
        _ => Err(format!("{text:?} is no protocol: tcp, udp or sctp")),
    }
}

/// Reads the long syntax. `resolve` gives a scalar's text with references resolved.
///
/// # Errors
/// As [`short`].
pub fn long(
    node: &Node,
    place: Place,
    resolve: &mut dyn FnMut(&Node) -> Option<String>,
) -> Result<Mapping, String> {
    let (mut target, mut published, mut host_ip) = (None, None, None);
    let mut protocol = Some(Protocol::Tcp);
    for entry in node.entries() {
        let mut text = || resolve(&entry.value).unwrap_or_default();
        match &*entry.key {
            "target" => target = Some(text()),
            "published" => published = Some(text()).filter(|text| !text.is_empty() && text != "0"),
            "protocol" => protocol = self::protocol(&text())?,
            "host_ip" => host_ip = address(&text())?,
            "mode" => match &*text() {
                "host" | "ingress" => {}
                other => return Err(format!("mode is {other:?}, neither host nor ingress")),
            },
            "app_protocol" | "name" => {}
            key if key.starts_with("x-") => {}
            key => return Err(format!("{key:?} is no key of a port")),
        }
    }
    let target = target.ok_or("target is missing: the port inside")?;
    let container = range(&target)?;
    if container.count() > 1 {
        return Err(format!("target is {target}: it is one port"));
    }
    let host = match &published {
        None => Host::Random,
        Some(published) => host(range(published)?, container)?,
    };
    let outside =
        published.map(|published| format!("published: \"{published}\", ")).unwrap_or_default();
    let text = format!("{outside}target: {target}");
    Ok(Mapping { text, host, container, protocol, host_ip, place })
}

/// Whether YAML 1.1 reads a scalar without quotes as a number of base 60 (`22:22` is 1342).
pub fn is_base_60(text: &str) -> bool {
    let mut parts = text.split(':');
    let first = parts.next().unwrap_or_default();
    let mut rest = parts.peekable();
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    rest.peek().is_some()
        && is_number(first)
        && !first.starts_with('0')
        && rest.all(|part| {
            is_number(part) && part.len() <= 2 && part.parse::<u8>().is_ok_and(|number| number < 60)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Mapping, String> {
        short(text, Place { file: "compose.yaml".into(), line: Some(1) })
    }

    fn range(min: u16, max: u16) -> PortRange {
        PortRange { min, max }
    }

    /// The examples of the specification.
    #[test]
    fn the_short_syntax_is_read_as_the_specification_says() {
        let tcp = Some(Protocol::Tcp);
        for (text, ip, host, container, protocol) in [
            ("3000", None, Host::Random, range(3000, 3000), tcp),
            ("3000-3005", None, Host::Random, range(3000, 3005), tcp),
            ("8000:8000", None, Host::Each(range(8000, 8000)), range(8000, 8000), tcp),
            ("9090-9091:8080-8081", None, Host::Each(range(9090, 9091)), range(8080, 8081), tcp),
            ("49100:22", None, Host::Each(range(49_100, 49_100)), range(22, 22), tcp),
            ("8000-9000:80", None, Host::OneOf(range(8000, 9000)), range(80, 80), tcp),
            (
                "127.0.0.1:8001:8001",
                Some("127.0.0.1"),
                Host::Each(range(8001, 8001)),
                range(8001, 8001),
                tcp,
            ),
            (
                "127.0.0.1:5000-5010:5000-5010",
                Some("127.0.0.1"),
                Host::Each(range(5000, 5010)),
                range(5000, 5010),
                tcp,
            ),
            ("127.0.0.1::80", Some("127.0.0.1"), Host::Random, range(80, 80), tcp),
            ("::1:6000:6000", Some("::1"), Host::Each(range(6000, 6000)), range(6000, 6000), tcp),
            ("[::1]:6001:6001", Some("::1"), Host::Each(range(6001, 6001)), range(6001, 6001), tcp),
            (
                "6060:6060/udp",
                None,
                Host::Each(range(6060, 6060)),
                range(6060, 6060),
                Some(Protocol::Udp),
            ),
            (":8443:443", None, Host::Each(range(8443, 8443)), range(443, 443), tcp),
            ("::80", None, Host::Random, range(80, 80), tcp),
            ("7:7/SCTP", None, Host::Each(range(7, 7)), range(7, 7), None),
        ] {
            let mapping = read(text).unwrap();
            let found =
                (mapping.host_ip.as_deref(), mapping.host, mapping.container, mapping.protocol);
            assert_eq!(found, (ip, host, container, protocol), "{text}");
        }
        for wrong in [
            "",
            "a",
            "8000-9000:80-81",
            "80:8000-9000",
            "70000:80",
            "80:0",
            "5-1:5-1",
            "80/icmp",
            "127.0.0.1:80",
            "host:80:80",
            "80:+80",
            "80:80:80",
            "1-2-3",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    /// The examples of the specification.
    #[test]
    fn the_long_syntax_is_read_as_the_specification_says() {
        let text = "- {name: web, target: 80, host_ip: 127.0.0.1, published: \"8080\", protocol: tcp, app_protocol: http, mode: host}\n\
                    - {name: web-secured, target: 443, host_ip: 127.0.0.1, published: \"8083-9000\", protocol: tcp, app_protocol: https, mode: host}\n\
                    - {target: 53, protocol: udp, mode: ingress, x-why: names}\n";
        let documents = crate::pools::yaml::read(text).unwrap();
        let place = Place { file: "compose.yaml".into(), line: Some(1) };
        let mut resolve = |node: &Node| node.text().map(str::to_owned);
        let found: Vec<_> = documents[0]
            .items()
            .iter()
            .map(|item| long(item, place.clone(), &mut resolve).unwrap())
            .map(|one| (one.host_ip, one.host, one.container, one.protocol))
            .collect();
        let local = || Some("127.0.0.1".to_owned());
        let (tcp, udp) = (Some(Protocol::Tcp), Some(Protocol::Udp));
        assert_eq!(
            found,
            [
                (local(), Host::Each(range(8080, 8080)), range(80, 80), tcp),
                (local(), Host::OneOf(range(8083, 9000)), range(443, 443), tcp),
                (None, Host::Random, range(53, 53), udp),
            ]
        );
    }

    #[test]
    fn numbers_of_base_60_are_told_from_others() {
        for (text, is) in [
            ("22:22", true),
            ("1:0", true),
            ("8000:59", true),
            ("22:22:22", true),
            ("22:60", false),
            ("8000:8000", false),
            ("022:22", false),
            ("22", false),
            ("22:22/udp", false),
            ("", false),
        ] {
            assert_eq!(is_base_60(text), is, "{text}");
        }
    }
}
