//! Where to, or what of its own, a call wants: an address and a port, as they are typed.

use std::{net::IpAddr, str::FromStr};

/// An address with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address; `None`: the wildcard. A v4-mapped IPv6 address is the IPv4 address that it is on the
    /// wire.
    pub address: Option<IpAddr>,
    /// The name or number of the interface of a link-local address.
    pub scope: Option<String>,
    /// The port.
    pub port: u16,
}

impl Target {
    /// `10.0.0.1:5432`, `[2001:db8::1]:443`, `[fe80::1%eth0]:80`.
    ///
    /// # Errors
    /// What is wrong, and how it is written.
    pub fn of_connect(text: &str) -> Result<Self, String> {
        let target: Self = text.parse()?;
        match target {
            Self { address: None, .. } => Err(format!(
                "'{text}' has no address: give ADDRESS:PORT (--bind takes a port alone)"
            )),
            Self { port: 0, .. } => Err("port 0 is no destination: 1 to 65535".to_owned()),
            target => Ok(target),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    /// As [`Target::of_connect`], or a port alone; the port may be 0.
    fn from_str(text: &str) -> Result<Self, String> {
        let (address, port) = if let Some(rest) = text.strip_prefix('[') {
            let (address, rest) = rest
                .split_once(']')
                .ok_or_else(|| "the bracket is not closed: write [ADDRESS]:PORT".to_owned())?;
            let port = rest.strip_prefix(':').ok_or_else(|| no_port(text))?;
            (Some(address), port)
        } else {
            match text.rsplit_once(':') {
                Some((address, _)) if address.contains(':') => {
                    return Err(format!(
                        "'{text}': an IPv6 address with a port goes in brackets: [2001:db8::1]:443"
                    ));
                }
                Some((address, port)) => (Some(address), port),
                None if text.parse::<IpAddr>().is_ok() => return Err(no_port(text)),
                None => (None, text),
            }
        };
        let port =
            port.parse().map_err(|_| format!("'{port}' is not a port: a number up to 65535"))?;
        let (address, scope) = match address {
            None => (None, None),
            Some(text) => {
                let (address, scope) = parse_address(text)?;
                (Some(address), scope)
            }
        };
        Ok(Self { address, scope, port })
    }
}

fn no_port(text: &str) -> String {
    format!("'{text}' has no port: write ADDRESS:PORT, or [ADDRESS]:PORT")
}

/// An address, perhaps with its interface.
///
/// # Errors
/// It is none.
pub fn parse_address(text: &str) -> Result<(IpAddr, Option<String>), String> {
    let (address, scope) = match text.split_once('%') {
        Some((address, scope)) => (address, Some(scope)),
        None => (text, None),
    };
    let parsed: IpAddr = address.parse().map_err(|_| {
        format!("'{address}' is not an IP address (names are not looked up: `getent ahosts` does)")
    })?;
    match (scope, parsed) {
        (Some(""), _) => Err(format!("'{text}' names no interface after %")),
        (Some(_), IpAddr::V4(_)) => Err(format!("'{text}': IPv4 addresses have no interface")),
        (scope, address) => Ok((address.to_canonical(), scope.map(str::to_owned))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_an_address_and_a_port() {
        for (text, address, scope, port) in [
            ("10.0.0.1:5432", "10.0.0.1", None, 5432),
            ("[2001:db8::1]:443", "2001:db8::1", None, 443),
            ("[::ffff:10.0.0.1]:80", "10.0.0.1", None, 80),
            ("[fe80::1%eth0]:80", "fe80::1", Some("eth0"), 80),
            ("[10.0.0.1]:80", "10.0.0.1", None, 80),
        ] {
            let target = Target::of_connect(text).unwrap();
            assert_eq!(target.address, Some(address.parse().unwrap()), "{text}");
            assert_eq!((target.scope.as_deref(), target.port), (scope, port), "{text}");
        }
        let own: Target = "8080".parse().unwrap();
        assert_eq!((own.address, own.port), (None, 8080));
        assert_eq!("0".parse::<Target>().unwrap().port, 0);
    }

    #[test]
    fn what_is_no_destination_is_refused_with_what_to_write() {
        for (text, why) in [
            ("localhost:80", "names are not looked up"),
            ("10.0.0.1", "no port"),
            ("10.0.0.1:", "not a port"),
            ("10.0.0.1:70000", "not a port"),
            ("10.0.0.1:0", "no destination"),
            ("80", "no address"),
            ("::1:80", "brackets"),
            ("[::1]", "no port"),
            ("[::1:80", "not closed"),
            ("[::1]80", "no port"),
            ("[fe80::1%]:80", "no interface"),
            ("[10.0.0.1%lo]:80", "no interface"),
            ("", "not a port"),
            (":80", "not an IP address"),
        ] {
            let error = Target::of_connect(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
