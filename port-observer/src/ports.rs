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
