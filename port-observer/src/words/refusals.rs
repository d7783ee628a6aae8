//! Why a call failed that found no address rather than no port, and what to change.

use std::{fmt, net::IpAddr};

use crate::event::{Endpoint, Refusal};

/// Where the caller is, as whoever reads of it sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The host, or what the observer takes for it.
    Here,
    /// A network namespace that is named beside.
    Namespace,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Here => "this host",
            Self::Namespace => "that network namespace",
        })
    }
}

/// Why, in words. `place`: what has or has not the address.
pub fn why(
    refusal: Refusal,
    local: Option<Endpoint>,
    remote: Option<Endpoint>,
    place: Place,
) -> String {
    let name = |end: Option<Endpoint>| end.map(|end| end.address.to_canonical().to_string());
    match refusal {
        Refusal::AddressNotLocal => match name(local) {
            Some(address) if is_detected(local) => {
                format!("{address} is not an address of {place}, or not one that can be used yet")
            }
            Some(address) => format!("{address} is not an address of {place}"),
            None => format!("addresses that are not of {place}"),
        },
        Refusal::NoSourceAddress => {
            let to = name(remote).map_or_else(String::new, |address| format!(" to {address}"));
            format!("{place} has no IPv6 address to connect{to} from")
        }
    }
}

/// Whether an address is one that duplicate address detection may hold back.
fn is_detected(end: Option<Endpoint>) -> bool {
    let address = end.map(|end| end.address.to_canonical());
    address.is_some_and(|address| address.is_ipv6() && !address.is_loopback())
}

/// What would have helped this call, the most likely first; each is a sentence, with the line to type
/// where there is one.
pub fn remedies(
    refusal: Refusal,
    local: Option<Endpoint>,
    remote: Option<Endpoint>,
) -> Vec<String> {
    let asked = match refusal {
        Refusal::AddressNotLocal => local,
        Refusal::NoSourceAddress => remote,
    };
    let Some(address) = asked.map(|end| end.address.to_canonical()) else { return Vec::new() };
    match refusal {
        Refusal::AddressNotLocal if address.is_loopback() => loopback(address, "bind"),
        Refusal::AddressNotLocal => not_local(address),
        Refusal::NoSourceAddress if address.is_loopback() => loopback(address, "connect to"),
        Refusal::NoSourceAddress => vec![
            "connect over IPv4, if the destination has such an address (curl -4; for all programs: \
             precedence ::ffff:0:0/96 100 in /etc/gai.conf)"
                .to_owned(),
            "switch IPv6 on, if it is off: sysctl -w net.ipv6.conf.all.disable_ipv6=0".to_owned(),
            "give the interface towards it an address: ip -6 address add ADDRESS/64 dev INTERFACE (it can be \
             used when ip -6 address show tentative does not show it any more)"
                .to_owned(),
        ],
    }
}

fn not_local(address: IpAddr) -> Vec<String> {
    let (any, length) = match address {
        IpAddr::V4(_) => ("0.0.0.0", 32),
        IpAddr::V6(_) => ("::", 128),
    };
    let mut remedies = vec![
        format!("bind {any}, which is every address, or one that is there: ip -brief address"),
        format!(
            "add the address, if it belongs there: ip address add {address}/{length} dev INTERFACE"
        ),
        elsewhere(address),
    ];
    if address.is_ipv6() {
        remedies.insert(
            1,
            "wait until duplicate address detection lets it be used, if it is in: ip -6 address show \
             tentative"
                .to_owned(),
        );
    }
    remedies
}

/// For an address that is there at other times.
fn elsewhere(address: IpAddr) -> String {
    let (family, option) = match address {
        IpAddr::V4(_) => ("ipv4", "IP_FREEBIND"),
        IpAddr::V6(_) => ("ipv6", "IPV6_FREEBIND"),
    };
    format!(
        "bind it before it is there, if it moves between hosts (keepalived, VRRP): {option} in the program, \
         or sysctl -w net.{family}.ip_nonlocal_bind=1"
    )
}

/// The loopback address is there, unless somebody has taken it away.
fn loopback(address: IpAddr, what: &str) -> Vec<String> {
    let up = "bring the loopback interface up: ip link set lo up".to_owned();
    match address {
        IpAddr::V4(_) => vec![up],
        IpAddr::V6(_) => vec![
            format!("{what} 127.0.0.1: localhost is {address} too, which is not there"),
            "switch IPv6 on for the loopback interface: sysctl -w net.ipv6.conf.lo.disable_ipv6=0 (of a \
             container: docker run --sysctl net.ipv6.conf.all.disable_ipv6=0)"
                .to_owned(),
            up,
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Option<Endpoint> {
        Some(Endpoint::new(address.parse().unwrap(), 80))
    }

    #[test]
    fn an_address_that_is_not_there_is_named_as_it_is_written() {
        let of = |address| why(Refusal::AddressNotLocal, at(address), None, Place::Here);
        assert_eq!(of("203.0.113.5"), "203.0.113.5 is not an address of this host");
        assert_eq!(of("::ffff:203.0.113.5"), "203.0.113.5 is not an address of this host");
        assert_eq!(of("::1"), "::1 is not an address of this host");
        let v6 = "2001:db8::5 is not an address of this host, or not one that can be used yet";
        assert_eq!(of("2001:db8::5"), v6);
        assert_eq!(
            why(Refusal::NoSourceAddress, at("::"), at("::1"), Place::Here),
            "this host has no IPv6 address to connect to ::1 from"
        );
    }

    #[test]
    fn remedies_are_of_the_family_of_the_address() {
        let of = |address| remedies(Refusal::AddressNotLocal, at(address), None).join("\n");
        for v4 in [of("203.0.113.5"), of("::ffff:203.0.113.5")] {
            assert!(v4.contains("ip address add 203.0.113.5/32 dev"), "{v4}");
            assert!(v4.contains("0.0.0.0") && v4.contains("net.ipv4.ip_nonlocal_bind=1"), "{v4}");
        }
        let v6 = of("2001:db8::5");
        assert!(v6.contains("show tentative"), "{v6}");
        assert!(v6.contains("ip address add 2001:db8::5/128 dev"), "{v6}");
        assert!(v6.contains("net.ipv6.ip_nonlocal_bind=1") && !v6.contains("0.0.0.0"), "{v6}");
    }

    #[test]
    fn nobody_is_told_to_add_the_loopback_address_or_to_use_ipv4_for_what_has_none() {
        for refusal in [Refusal::AddressNotLocal, Refusal::NoSourceAddress] {
            let loopback = remedies(refusal, at("::1"), at("::1"));
            assert!(loopback[0].contains("127.0.0.1"), "{loopback:?}");
            assert!(!loopback.join("\n").contains("address add"), "{loopback:?}");
        }
    }

    #[test]
    fn calls_of_which_the_addresses_are_not_known_get_no_remedy() {
        for refusal in Refusal::ALL {
            assert!(remedies(refusal, None, None).is_empty());
            assert!(!why(refusal, None, None, Place::Here).is_empty());
        }
    }
}
