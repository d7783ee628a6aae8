//! Sets of ports.

use std::{fmt, ops::RangeInclusive};

use rangemap::RangeInclusiveSet;

use crate::ports::PortRange;

/// Ports, as ranges that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet(RangeInclusiveSet<u16>);

fn inclusive(range: PortRange) -> RangeInclusive<u16> {
    range.min..=range.max
}

impl PortSet {
    /// Reads what its `Display` wrote; `None`: it is something else.
    pub fn read(text: &str) -> Option<Self> {
        let range = |text: &str| {
            let (min, max) = text.split_once('-').unwrap_or((text, text));
            let range = PortRange { min: min.parse().ok()?, max: max.parse().ok()? };
            (range.min <= range.max).then_some(range)
        };
        text.split(',').filter(|part| !part.is_empty()).map(range).collect()
    }

    /// Adds ports.
    pub fn insert(&mut self, range: PortRange) {
        self.0.insert(inclusive(range));
    }

    /// Takes ports out.
    pub fn remove(&mut self, range: PortRange) {
        self.0.remove(inclusive(range));
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it has a port.
    pub fn contains(&self, port: u16) -> bool {
        self.0.contains(&port)
    }

    /// Whether it has a port of a range.
    pub fn meets(&self, range: PortRange) -> bool {
        self.0.overlaps(&inclusive(range))
    }

    /// How many it has.
    pub fn count(&self) -> u32 {
        self.ranges().map(PortRange::count).sum()
    }

    /// Its ranges, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = PortRange> + '_ {
        self.0.iter().map(|range| PortRange { min: *range.start(), max: *range.end() })
    }

    /// What both have.
    pub fn intersection(&self, other: &Self) -> Self {
        let mut common = Self::default();
        common.0.extend(self.0.intersection(&other.0));
        common
    }

    /// What the other does not have.
    pub fn without(&self, other: &Self) -> Self {
        let mut left = self.clone();
        other.ranges().for_each(|range| left.remove(range));
        left
    }

    /// How many of them are even.
    pub fn even(&self) -> u32 {
        let even =
            |range: PortRange| u32::from(range.max / 2) + 1 - u32::from(range.min.div_ceil(2));
        self.ranges().map(even).sum()
    }

    /// How many pairs it has: an even port and the next.
    pub fn pairs(&self) -> u32 {
        let pairs = |range: PortRange| {
            let first = u32::from(range.min).next_multiple_of(2);
            (u32::from(range.max) + 1).saturating_sub(first) / 2
        };
        self.ranges().map(pairs).sum()
    }
}

impl FromIterator<PortRange> for PortSet {
    fn from_iter<T: IntoIterator<Item = PortRange>>(ranges: T) -> Self {
        let mut set = Self::default();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
    }
}

/// As `ip_local_reserved_ports` takes them; a few for people, see [`PortSet::brief`].
impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, range) in self.ranges().enumerate() {
            if number > 0 {
                f.write_str(",")?;
            }
            if range.min == range.max {
                write!(f, "{}", range.min)?;
            } else {
                write!(f, "{}-{}", range.min, range.max)?;
            }
        }
        Ok(())
    }
}

impl PortSet {
    /// For people: which, and how many.
    pub fn told(&self) -> String {
        match self.count() {
            1 => format!("port {self}"),
            count => format!("{}, {count} ports", self.brief()),
        }
    }

    /// For people: some of its ranges.
    pub fn brief(&self) -> String {
        const MOST: usize = 8;
        let shown: Self = self.ranges().take(MOST).collect();
        let text = shown.to_string().replace(',', ", ");
        match self.ranges().count().saturating_sub(MOST) {
            0 => text,
            more => format!("{text} and {more} more ranges"),
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
    fn even_ports_and_pairs_are_counted_at_any_ends() {
        for (ranges, ports, even, pairs) in [
            (&[(21_000, 21_100)][..], 101, 51, 50),
            (&[(21_001, 21_100)], 100, 50, 49),
            (&[(7, 7)], 1, 0, 0),
            (&[(8, 8)], 1, 1, 0),
            (&[(8, 9)], 2, 1, 1),
            (&[(1, 65_535)], 65_535, 32_767, 32_767),
            (&[(8, 8), (10, 11), (13, 14)], 5, 3, 1),
            (&[], 0, 0, 0),
        ] {
            let set = set(ranges);
            assert_eq!((set.count(), set.even(), set.pairs()), (ports, even, pairs), "{set}");
        }
    }

    #[test]
    fn sets_are_joined_cut_and_shown() {
        let one = set(&[(65_000, 65_535), (10, 20), (21, 21)]);
        assert_eq!(one.to_string(), "10-21,65000-65535");
        assert_eq!(PortSet::read("10-21,65000-65535"), Some(one.clone()));
        assert_eq!(PortSet::read("7"), Some(set(&[(7, 7)])));
        assert_eq!(PortSet::read(""), Some(PortSet::default()));
        for wrong in ["9-8", "65536", "a", "1-2-3", "-1"] {
            assert_eq!(PortSet::read(wrong), None, "{wrong}");
        }
        assert_eq!(one.intersection(&set(&[(20, 65_000)])), set(&[(20, 21), (65_000, 65_000)]));
        assert_eq!(one.without(&set(&[(12, 65_534)])).to_string(), "10-11,65535");
        let many: Vec<(u16, u16)> = (1..=10).map(|n| (n * 10, n * 10)).collect();
        assert!(set(&many).brief().ends_with("80 and 2 more ranges"));
    }
}
