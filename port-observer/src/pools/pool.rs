//! A pool as it was declared.

use std::net::IpAddr;

use serde::Deserialize;

use super::{kernel::Holder, ports::PortSet, problem::Place};
use crate::{event::Protocol, ports::PortRange};

/// Which protocols a pool's ports are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocols {
    /// TCP alone.
    Tcp,
    /// UDP alone.
    Udp,
    /// Each port for both.
    Both,
}

impl Protocols {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Both];

    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Both => "both",
        }
    }

    /// Whether one is among them.
    pub fn has(self, protocol: Protocol) -> bool {
        match self {
            Self::Tcp => protocol == Protocol::Tcp,
            Self::Udp => protocol == Protocol::Udp,
            Self::Both => true,
        }
    }

    /// Whether they have one in common.
    pub fn meets(self, other: Self) -> bool {
        self == other || self == Self::Both || other == Self::Both
    }
}

/// Which ports a unit can take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Parity {
    /// Any.
    #[default]
    Any,
    /// Even ones alone: RTP where RTCP has none of its own.
    Even,
    /// An even one and the next: RTP and RTCP (RFC 3550, 11).
    Pair,
}

impl Parity {
    /// How many of these ports a unit can take.
    pub fn usable(self, ports: &PortSet) -> u32 {
        match self {
            Self::Any => ports.count(),
            Self::Even => ports.even(),
            Self::Pair => ports.pairs() * 2,
        }
    }

    /// The lowest of these ports that units can take, so many of them; of pairs an even number. Fewer, where
    /// there are fewer.
    pub fn lowest(self, ports: &PortSet, count: u32) -> PortSet {
        let mut found = PortSet::default();
        let mut left = count;
        for range in ports.ranges() {
            let mut next = u32::from(range.min);
            if self != Self::Any {
                next = next.next_multiple_of(2);
            }
            while left > 0 && next <= range.max.into() {
                let (last, step, takes) = match self {
                    // All at once.
                    Self::Any => {
                        let takes = left.min(u32::from(range.max) - next + 1);
                        (next + takes - 1, takes, takes)
                    }
                    Self::Even => (next, 2, 1),
                    Self::Pair => (next + 1, 2, 2),
                };
                let (Ok(min), Ok(max)) = (u16::try_from(next), u16::try_from(last)) else { break };
                if max > range.max {
                    break;
                }
                found.insert(PortRange { min, max });
                left = left.saturating_sub(takes);
                next += step;
            }
        }
        found
    }
}

/// Where a pool's ports are: two sockets can have one port if they are in different places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The network namespace, as a user names it, or the container whose it is; `None`: the own.
    pub namespace: Option<String>,
    /// The local address; `None`: any.
    pub address: Option<String>,
    /// The protocols.
    pub protocols: Protocols,
}

impl Scope {
    /// That of a pool.
    pub fn of(pool: &Pool) -> Self {
        Self {
            namespace: pool.netns.as_ref().or(pool.container.as_ref()).cloned(),
            address: pool.address.clone(),
            protocols: pool.protocols(),
        }
    }

    /// Whether one port in both would be one port.
    pub fn meets(&self, other: &Self) -> bool {
        let address = |scope: &Self| -> Option<IpAddr> {
            let address: IpAddr = scope.address.as_ref()?.parse().ok()?;
            (!address.is_unspecified()).then(|| address.to_canonical())
        };
        let differ =
            matches!((address(self), address(other)), (Some(one), Some(two)) if one != two);
        self.namespace == other.namespace && self.protocols.meets(other.protocols) && !differ
    }
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// The variable that declares it; `None`: a file of pools does.
    pub variable: Option<String>,
    /// The services of Compose that get the variable.
    pub services: Vec<String>,
    /// As they were written.
    pub ranges: Vec<PortRange>,
    /// The ports of the ranges but those that are excluded.
    pub ports: PortSet,
    /// What it is for, if that is said.
    pub protocols: Option<Protocols>,
    /// How many units are wanted at once.
    pub units: Option<u64>,
    /// What a unit is, in the plural: `units`, `engines`.
    pub unit_name: &'static str,
    /// How many ports each takes.
    pub ports_per_unit: u64,
    /// Which.
    pub parity: Parity,
    /// The local address.
    pub address: Option<String>,
    /// The network namespace, as a user names it.
    pub netns: Option<String>,
    /// The container whose it is.
    pub container: Option<String>,
    /// The process whose it is.
    pub process: Option<String>,
    /// Pools that leases are spread over.
    pub group: Option<String>,
    /// It is of a container with a network of its own: the host hands on what comes to it.
    pub is_forwarded: bool,
    /// Where it is declared first.
    pub place: Place,
}

impl Pool {
    /// A pool of which only that much is known.
    pub fn new(name: impl Into<String>, ranges: Vec<PortRange>, place: Place) -> Self {
        Self {
            name: name.into(),
            variable: None,
            services: Vec::new(),
            ports: ranges.iter().copied().collect(),
            ranges,
            protocols: None,
            units: None,
            unit_name: "units",
            ports_per_unit: 1,
            parity: Parity::Any,
            address: None,
            netns: None,
            container: None,
            process: None,
            group: None,
            is_forwarded: false,
            place,
        }
    }

    /// Whether it may be in another network namespace than the own.
    pub fn is_elsewhere(&self) -> bool {
        self.netns.is_some() || self.container.is_some()
    }

    /// Whether a process is its owner; `None`: it is not said whose the pool is, or not known who that is.
    /// `is_containers_own`: the process is in the own network namespace of the pool's container, where all
    /// are its, those of the containers that joined it too.
    pub fn is_owned_by(&self, holder: Option<&Holder>, is_containers_own: bool) -> Option<bool> {
        if self.process.is_none() {
            if is_containers_own {
                return Some(true);
            }
            self.container.as_ref()?;
        }
        holder.map(|holder| holder.owns(self))
    }

    /// What it is for, as far as is known.
    pub fn protocols(&self) -> Protocols {
        self.protocols.unwrap_or(Protocols::Both)
    }

    /// How many ports a unit takes, as many as it can take.
    pub fn ports_of_a_unit(&self) -> u64 {
        match self.parity {
            Parity::Any | Parity::Even => self.ports_per_unit.max(1),
            Parity::Pair => self.ports_per_unit.max(1).div_ceil(2).saturating_mul(2),
        }
    }

    /// How many ports all units need; of even ones, so many even ones.
    pub fn needed(&self) -> Option<u64> {
        Some(self.units?.saturating_mul(self.ports_of_a_unit()))
    }

    /// How many of its ports a unit can take.
    pub fn usable(&self) -> u64 {
        self.parity.usable(&self.ports).into()
    }

    /// How many units it has room for.
    pub fn capacity(&self) -> u64 {
        self.usable() / self.ports_of_a_unit()
    }

    /// Its ranges, as they are written: some, of many.
    pub fn shown(&self) -> String {
        const MOST: usize = 8;
        let ranges: Vec<String> =
            self.ranges.iter().take(MOST).map(|range| super::range::show(*range)).collect();
        match self.ranges.len().saturating_sub(MOST) {
            0 => ranges.join(", "),
            more => format!("{} and {more} more", ranges.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(u16, u16)]) -> PortSet {
        ranges.iter().map(|&(min, max)| PortRange { min, max }).collect()
    }

    #[test]
    fn the_lowest_ports_that_a_unit_can_take_are_found() {
        let free = set(&[(7, 9), (13, 13), (20, 25), (65_534, 65_535)]);
        for (parity, count, expected) in [
            (Parity::Any, 1, "7"),
            (Parity::Any, 5, "7-9,13,20"),
            (Parity::Any, 100, "7-9,13,20-25,65534-65535"),
            (Parity::Even, 2, "8,20"),
            (Parity::Even, 100, "8,20,22,24,65534"),
            (Parity::Pair, 2, "8-9"),
            (Parity::Pair, 6, "8-9,20-23"),
            (Parity::Pair, 100, "8-9,20-25,65534-65535"),
            (Parity::Any, 0, ""),
        ] {
            let found = parity.lowest(&free, count);
            assert_eq!(found.to_string(), expected, "{parity:?} {count}");
            assert!(parity.usable(&found) == found.count() || parity == Parity::Even);
        }
    }

    #[test]
    fn pools_meet_where_a_port_would_be_the_same() {
        let scope = |namespace: &str, address: &str, protocols| Scope {
            namespace: (!namespace.is_empty()).then(|| namespace.to_owned()),
            address: (!address.is_empty()).then(|| address.to_owned()),
            protocols,
        };
        let one = scope("a", "10.0.0.1", Protocols::Udp);
        for (other, meets) in [
            (one.clone(), true),
            (scope("a", "", Protocols::Both), true),
            (scope("a", "0.0.0.0", Protocols::Udp), true),
            (scope("a", "::ffff:10.0.0.1", Protocols::Udp), true),
            (scope("a", "10.0.0.2", Protocols::Udp), false),
            (scope("a", "10.0.0.1", Protocols::Tcp), false),
            (scope("b", "10.0.0.1", Protocols::Udp), false),
            (scope("", "10.0.0.1", Protocols::Udp), false),
        ] {
            assert_eq!((one.meets(&other), other.meets(&one)), (meets, meets), "{other:?}");
        }
    }
}
