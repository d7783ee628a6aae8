//! A pool as it was declared.

use serde::Deserialize;

use super::{ports::PortSet, problem::Place};
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
            place,
        }
    }

    /// What it is for, as far as is known.
    pub fn protocols(&self) -> Protocols {
        self.protocols.unwrap_or(Protocols::Both)
    }

    /// How many ports a unit takes, as many as it can take.
    fn each(&self) -> u64 {
        match self.parity {
            Parity::Any | Parity::Even => self.ports_per_unit.max(1),
            Parity::Pair => self.ports_per_unit.max(1).div_ceil(2).saturating_mul(2),
        }
    }

    /// How many ports all units need; of even ones, so many even ones.
    pub fn needed(&self) -> Option<u64> {
        Some(self.units?.saturating_mul(self.each()))
    }

    /// How many of its ports a unit can take.
    pub fn usable(&self) -> u64 {
        self.parity.usable(&self.ports).into()
    }

    /// How many units it has room for.
    pub fn capacity(&self) -> u64 {
        self.usable() / self.each()
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
