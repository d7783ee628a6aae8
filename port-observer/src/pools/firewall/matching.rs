//! Which ports a condition lets through: for all packets to them, or for some.

use crate::{pools::ports::PortSet, ports::PortRange};

/// All there are.
pub(super) const ALL_PORTS: PortRange = PortRange { min: 0, max: u16::MAX };

/// What conditions do with new packets of one protocol and family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Matching {
    /// Ports of which every packet matches.
    pub(super) all: PortSet,
    /// Ports of which some match, or may.
    pub(super) may: PortSet,
    /// Where not every packet matches, it is understood what that depends on.
    pub(super) is_known: bool,
    /// It is about certain senders.
    pub(super) is_narrow: bool,
    /// It names ports.
    pub(super) names_ports: bool,
}

impl Matching {
    /// Every packet.
    pub(super) fn full() -> Self {
        let all = PortSet::from_iter([ALL_PORTS]);
        let may = all.clone();
        Self { all, may, is_known: true, is_narrow: false, names_ports: false }
    }

    /// No packet.
    pub(super) fn none() -> Self {
        Self { all: PortSet::default(), may: PortSet::default(), ..Self::full() }
    }

    /// Some, by what is understood.
    pub(super) fn some() -> Self {
        Self { all: PortSet::default(), ..Self::full() }
    }

    /// Those of certain senders.
    pub(super) fn of_some_senders() -> Self {
        Self { is_narrow: true, ..Self::some() }
    }

    /// Some, or all, or none.
    pub(super) fn unknown() -> Self {
        Self { is_known: false, ..Self::some() }
    }

    /// Those to these ports.
    pub(super) fn ports(range: PortRange) -> Self {
        let all = PortSet::from_iter([range]);
        Self { may: all.clone(), all, names_ports: range != ALL_PORTS, ..Self::full() }
    }

    /// Both.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            all: self.all.intersection(&other.all),
            may: self.may.intersection(&other.may),
            is_known: self.is_known && other.is_known,
            is_narrow: self.is_narrow || other.is_narrow,
            names_ports: self.names_ports || other.names_ports,
        }
    }

    /// Any of them.
    pub(super) fn any(of: impl IntoIterator<Item = Self>) -> Self {
        let mut found = Self { is_narrow: true, ..Self::none() };
        for one in of.into_iter().filter(|one| !one.may.is_empty()) {
            one.all.ranges().for_each(|range| found.all.insert(range));
            one.may.ranges().for_each(|range| found.may.insert(range));
            found.is_known &= one.is_known;
            found.is_narrow &= one.is_narrow;
            found.names_ports |= one.names_ports;
        }
        found
    }

    /// The others.
    pub(super) fn not(self) -> Self {
        let full = PortSet::from_iter([ALL_PORTS]);
        Self {
            all: full.without(&self.may),
            may: full.without(&self.all),
            is_narrow: false,
            ..self
        }
    }
}

/// What is known of a value that a register has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Domain {
    /// It is one of these.
    Known(Vec<Vec<u8>>),
    /// The port.
    Port,
    /// The interface: another than loopback's, whose name or number this is.
    Interface { loopback: Vec<u8> },
    /// What senders differ in.
    Sender,
    /// Something that packets differ in, and that is understood.
    Differs,
    /// Nothing.
    Unknown,
}

impl Domain {
    /// Whether it lies between, both included. `low` and `high` are as long as each other.
    pub(super) fn within(&self, low: &[u8], high: &[u8]) -> Matching {
        let is_any = low.iter().all(|byte| *byte == 0) && high.iter().all(|byte| *byte == 0xff);
        match self {
            Self::Known(values) => {
                let cut = |value: &Vec<u8>| {
                    let value = &value[..low.len().min(value.len())];
                    low <= value && value <= high
                };
                match values.iter().filter(|value| cut(value)).count() {
                    0 => Matching::none(),
                    count if count == values.len() => Matching::full(),
                    _ => Matching::some(),
                }
            }
            Self::Port => match (low, high) {
                (&[a, b], &[c, d]) => {
                    let (min, max) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                    match min <= max {
                        true => Matching::ports(PortRange { min, max }),
                        false => Matching::none(),
                    }
                }
                _ => Matching::unknown(),
            },
            _ if is_any && low != high => Matching::full(),
            Self::Interface { loopback } if low == high && is_name(loopback, low) => {
                Matching::none()
            }
            Self::Interface { .. } | Self::Differs => Matching::some(),
            Self::Sender => Matching::of_some_senders(),
            Self::Unknown => Matching::unknown(),
        }
    }

    /// Compares it (`enum nft_cmp_ops`).
    pub(super) fn compare(&self, operator: u32, data: &[u8]) -> Matching {
        let least = vec![0; data.len()];
        let most = vec![0xff; data.len()];
        match operator {
            0 => self.within(data, data),
            1 => self.within(data, data).not(),
            2 => self.within(data, &most).not(),
            3 => self.within(&least, data),
            4 => self.within(&least, data).not(),
            5 => self.within(data, &most),
            _ => Matching::unknown(),
        }
    }

    /// `(value & mask) ^ xor`
    pub(super) fn bitwise(&self, mask: &[u8], xor: &[u8]) -> Self {
        let one = |value: &Vec<u8>| -> Vec<u8> {
            let bytes = value.iter().zip(mask).zip(xor);
            bytes.map(|((value, mask), xor)| (value & mask) ^ xor).collect()
        };
        match self {
            Self::Known(values) => Self::Known(values.iter().map(one).collect()),
            Self::Sender => Self::Sender,
            Self::Differs => Self::Differs,
            _ => Self::Unknown,
        }
    }
}

/// Whether bytes are this name as a whole (16 bytes, filled with null bytes), or this number.
fn is_name(name: &[u8], bytes: &[u8]) -> bool {
    let is_filled = |rest: &[u8]| (name.len() == 4 && rest.is_empty()) || rest.first() == Some(&0);
    bytes.strip_prefix(name).is_some_and(is_filled)
}
