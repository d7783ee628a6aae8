//! Ranges of ports: pure data.

/// Ports from `min` to `max`, both included; `min` ≤ `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    /// The lowest.
    pub min: u16,
    /// The highest.
    pub max: u16,
}

impl PortRange {
    /// How many ports it has, 1 to 65,536.
    pub fn count(self) -> u32 {
        u32::from(self.max) - u32::from(self.min) + 1
    }

    /// Whether a port is in it.
    pub fn contains(self, port: u16) -> bool {
        (self.min..=self.max).contains(&port)
    }
}

/// A socket's own range (`IP_LOCAL_PORT_RANGE`), as it was set: an end that is 0 is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnRange {
    /// The lower end.
    pub low: u16,
    /// The upper end.
    pub high: u16,
}

impl OwnRange {
    /// From the number that the socket option takes: the lower end, and from bit 16 on the upper. `None`:
    /// there is none.
    pub fn of_bits(bits: u64) -> Option<Self> {
        let [low_0, low_1, high_0, high_1, rest @ ..] = bits.to_le_bytes();
        let range = Self {
            low: u16::from_le_bytes([low_0, low_1]),
            high: u16::from_le_bytes([high_0, high_1]),
        };
        (range != Self { low: 0, high: 0 } && rest == [0; 4]).then_some(range)
    }

    /// The same number.
    pub fn bits(self) -> u64 {
        u64::from(self.low) | u64::from(self.high) << 16
    }

    /// What it leaves of the ephemeral range: an end that lies outside is ignored
    /// (`inet_sk_get_local_port_range`, net/ipv4/inet_connection_sock.c).
    pub fn within(self, ephemeral: PortRange) -> PortRange {
        let PortRange { mut min, mut max } = ephemeral;
        if (min..=max).contains(&self.low) {
            min = self.low;
        }
        if (min..=max).contains(&self.high) {
            max = self.high;
        }
        PortRange { min, max }
    }
}

/// Ports that automatic choice passes over (`ip_local_reserved_ports`): ranges, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReservedPorts(Vec<PortRange>);

impl ReservedPorts {
    /// Joins ranges, in any order.
    pub fn new(mut ranges: Vec<PortRange>) -> Self {
        ranges.sort_by_key(|range| range.min);
        let mut joined: Vec<PortRange> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match joined.last_mut() {
                Some(last) if range.min <= last.max.saturating_add(1) => {
                    last.max = last.max.max(range.max);
                }
                _ => joined.push(range),
            }
        }
        Self(joined)
    }

    /// Whether a port is reserved.
    pub fn contains(&self, port: u16) -> bool {
        let after = self.0.partition_point(|range| range.max < port);
        self.0.get(after).is_some_and(|range| range.contains(port))
    }

    /// How many ports of a range are reserved.
    pub fn count_in(&self, range: PortRange) -> u32 {
        self.0
            .iter()
            .map(|reserved| PortRange {
                min: reserved.min.max(range.min),
                max: reserved.max.min(range.max),
            })
            .filter(|common| common.min <= common.max)
            .map(PortRange::count)
            .sum()
    }

    /// The ranges, ascending, none touching another.
    pub fn ranges(&self) -> &[PortRange] {
        &self.0
    }
}

/// The ports that a namespace chooses from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// `net.ipv4.ip_local_port_range`, for IPv4 and IPv6 alike.
    pub ephemeral: PortRange,
    /// `net.ipv4.ip_local_reserved_ports`.
    pub reserved: ReservedPorts,
}

impl Ports {
    /// Whether automatic choice may give this port.
    pub fn offers(&self, port: u16) -> bool {
        self.ephemeral.contains(port) && !self.reserved.contains(port)
    }

    /// How many ports automatic choice has: the range without the reserved ones.
    pub fn capacity(&self) -> u32 {
        self.ephemeral.count() - self.reserved.count_in(self.ephemeral)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sockets_own_range_narrows_that_of_its_namespace_and_widens_it_never() {
        let ephemeral = PortRange { min: 40_000, max: 40_099 };
        for (low, high, min, max) in [
            (40_000, 40_019, 40_000, 40_019),
            (40_020, 0, 40_020, 40_099),
            (0, 40_019, 40_000, 40_019),
            (1_024, 65_535, 40_000, 40_099),
            (1_024, 40_019, 40_000, 40_019),
            (50_000, 50_010, 40_000, 40_099),
            (40_099, 40_099, 40_099, 40_099),
        ] {
            let own = OwnRange { low, high };
            assert_eq!(own.within(ephemeral), PortRange { min, max }, "{own:?}");
            assert_eq!(OwnRange::of_bits(own.bits()), Some(own));
        }
        assert_eq!((OwnRange::of_bits(0), OwnRange::of_bits(1 << 32 | 7)), (None, None));
    }
}
