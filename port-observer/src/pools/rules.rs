//! What pools must be, by themselves and to each other.

use super::{
    pool::{Parity, Pool},
    problem::{Code, Problem, Problems},
    range,
    variables::Cover,
};
use crate::ports::PortRange;

/// Whether a pool has room for what is wanted of it at once.
pub fn size(pools: &[Pool], problems: &mut Problems) {
    for pool in pools {
        let (Some(units), Some(needed)) = (pool.units, pool.needed()) else { continue };
        if pool.capacity() >= units {
            continue;
        }
        let count = pool.ports.count();
        let each = match (pool.ports_per_unit.max(1), pool.parity) {
            (1, Parity::Any) => "1 port each".to_owned(),
            (each, Parity::Any) => format!("{each} ports each"),
            (each, Parity::Even) => format!("{each} even ports each"),
            (each, Parity::Pair) => format!("{each} ports each, in pairs from an even one on"),
        };
        let usable = match (pool.parity, pool.usable()) {
            (_, usable) if usable == u64::from(count) => String::new(),
            (Parity::Even, usable) => format!(", {usable} of them even"),
            (_, usable) => format!(", {usable} of them in pairs"),
        };
        let subject = subject(pool);
        let message = format!(
            "{subject} is too small: {} has {count} ports{usable}, room for {} {} ({each}); {units} need \
             {needed}, and the next is told {:?}",
            pool.shown(),
            pool.capacity(),
            pool.unit_name,
            match &pool.variable {
                Some(variable) if variable.starts_with("GLUETUN_") => {
                    "No available ports in Gluetun port range".to_owned()
                }
                _ => format!("No ports available in range {}", pool.shown()),
            },
        );
        let fix = match enough(pool, needed) {
            Some(range) => format!("widen it to {} or more", range::show(range)),
            None => format!(
                "no range from {} on is large enough: use several pools",
                pool.ranges[0].min
            ),
        };
        let problem = Problem::error(Code::TooSmall, message, pool.place.clone());
        problems.push(problem.of([&*pool.name]).fix(fix));
    }
}

/// A range from the same port on that has so many ports that can be used.
fn enough(pool: &Pool, needed: u64) -> Option<PortRange> {
    let min = pool.ranges.iter().map(|range| range.min).min()?;
    let (first, ports) = match pool.parity {
        Parity::Any => (u64::from(min), needed),
        Parity::Even => (u64::from(min).next_multiple_of(2), needed.saturating_mul(2) - 1),
        Parity::Pair => (u64::from(min).next_multiple_of(2), needed),
    };
    // What is excluded may be within.
    let excluded: u32 = pool.ranges.iter().map(|range| range.count()).sum::<u32>();
    let excluded = u64::from(excluded.saturating_sub(pool.ports.count()));
    let max = first.checked_add(ports)?.checked_add(excluded * 2)?.checked_sub(1)?;
    Some(PortRange { min, max: u16::try_from(max).ok()? })
}

/// What a pool is called at the beginning of a sentence.
pub fn subject(pool: &Pool) -> String {
    match &pool.variable {
        Some(variable) if *variable != pool.name => format!("{variable} ({})", pool.name),
        _ => pool.name.clone(),
    }
}

/// Whether two pools have the same ports. Of one that files disagree about, either is looked at.
pub fn overlap(pools: &[Pool], problems: &mut Problems) {
    let mut by_begin: Vec<(PortRange, usize)> = Vec::new();
    for (at, pool) in pools.iter().enumerate() {
        by_begin.extend(pool.ports.ranges().map(|range| (range, at)));
    }
    by_begin.sort_by_key(|(range, at)| (range.min, *at));
    let mut pairs = std::collections::BTreeSet::new();
    for (number, (range, one)) in by_begin.iter().enumerate() {
        let others = by_begin[number + 1..].iter().take_while(|(other, _)| other.min <= range.max);
        for (_, other) in others {
            let (first, second) = (one.min(other), one.max(other));
            if meet(&pools[*first], &pools[*second]) {
                pairs.insert((*second, *first));
            }
            if pairs.len() > MOST_PAIRS {
                break;
            }
        }
    }
    for (second, first) in pairs {
        let (one, other) = (&pools[first], &pools[second]);
        let common = one.ports.intersection(&other.ports);
        let message = format!(
            "{} ({}) and {} ({}) overlap: both have {}; {} is declared in {}",
            subject(one),
            one.shown(),
            subject(other),
            other.shown(),
            common.told(),
            subject(one),
            one.place,
        );
        let fix = match one.ports.ranges().last().map(|range| range.max.checked_add(1)) {
            Some(Some(next)) if other.ports.count() > 0 => {
                let max = u32::from(next) + other.ports.count() - 1;
                match u16::try_from(max) {
                    Ok(max) => format!("move one of them, e.g. {} to {next}-{max}", subject(other)),
                    Err(_) => "move or shorten one of them".to_owned(),
                }
            }
            _ => "move or shorten one of them".to_owned(),
        };
        let problem = Problem::error(Code::Overlap, message, other.place.clone());
        problems.push(problem.of([&*one.name, &*other.name]).fix(fix));
    }
}

/// Pairs of pools that overlap; of more, the others are left out.
const MOST_PAIRS: usize = 2_000;

/// Whether two pools would take the same ports, if they have the same numbers.
fn meet(one: &Pool, other: &Pool) -> bool {
    let differ =
        |a: &Option<String>, b: &Option<String>| matches!((a, b), (Some(a), Some(b)) if a != b);
    let is_wildcard = |pool: &Pool| {
        let address = pool.address.as_ref().and_then(|text| text.parse::<std::net::IpAddr>().ok());
        address.is_some_and(|address| address.is_unspecified())
    };
    let other_address =
        differ(&one.address, &other.address) && !is_wildcard(one) && !is_wildcard(other);
    let is_other_value = one.name == other.name && one.variable == other.variable;
    !is_other_value
        && one.protocols().meets(other.protocols())
        && !differ(&one.netns, &other.netns)
        && !other_address
}

/// Whether pools are within the range that is to cover them: those of variables; if there are none, those
/// of files of pools.
pub fn cover(pools: &[Pool], covers: &[Cover], problems: &mut Problems) {
    let of_variables = pools.iter().any(|pool| pool.variable.is_some());
    for cover in covers {
        let range = [cover.range].into_iter().collect();
        for pool in pools.iter().filter(|pool| pool.variable.is_some() == of_variables) {
            let outside = pool.ports.without(&range);
            if outside.is_empty() {
                continue;
            }
            let message = format!(
                "{} ({}) is not covered by PORT_RANGE_HOST={} ({}): outside lies {}",
                subject(pool),
                pool.shown(),
                range::show(cover.range),
                cover.place,
                outside.told(),
            );
            let all = pool.ports.ranges();
            let (min, max) = all.fold((cover.range.min, cover.range.max), |(min, max), range| {
                (min.min(range.min), max.max(range.max))
            });
            let fix = format!("set PORT_RANGE_HOST={min}-{max}, or move the pool into it");
            let problem = Problem::error(Code::NotCovered, message, pool.place.clone());
            problems.push(problem.of([&*pool.name]).fix(fix));
        }
    }
}
