//! Which ports of which pool a request gets.

use super::{Lease, Request};
use crate::pools::{Parity, Pool, PortSet};

/// A pool that may give ports.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// As it is declared now.
    pub pool: &'a Pool,
    /// Which of its ports the kernel says are held, or why it can give none.
    pub held: Result<PortSet, String>,
}

/// Why nobody could give what was asked for, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

/// The first that has enough, beginning with the one after whose turn was last.
pub(super) fn choose<'a>(
    candidates: &[Candidate<'a>],
    group: Option<(&str, Option<&str>)>,
    leases: &[Lease],
    request: &Request<'_>,
) -> Result<(&'a Pool, PortSet), Refusal> {
    let last = group.and_then(|(_, last)| last);
    let at = candidates.iter().position(|one| Some(&*one.pool.name) == last);
    let first = at.map_or(0, |at| at + 1);
    let mut reasons = Vec::new();
    for number in 0..candidates.len() {
        let candidate = &candidates[(first + number) % candidates.len()];
        match of_pool(candidate, leases, request) {
            Ok(ports) => return Ok((candidate.pool, ports)),
            Err(reason) => reasons.push((candidate.pool, reason)),
        }
    }
    let told = |(pool, reason): &(&Pool, Reason)| match reason {
        Reason::Full(counts) => format!("{} ({}): {counts}", pool.name, pool.shown()),
        Reason::Unwell(reason) => format!("{}: {reason}", pool.name),
    };
    Err(Refusal(match (group, &reasons[..]) {
        (None, [(pool, Reason::Full(counts))]) => {
            format!("No ports available in range {}: {counts}", pool.shown())
        }
        (Some((name, _)), _) => {
            let all: Vec<String> = reasons.iter().map(told).collect();
            format!("No ports available in the group {name}: {}", all.join("; "))
        }
        (None, _) => {
            let all: Vec<String> = reasons.iter().map(told).collect();
            format!("No ports available: {}", all.join("; "))
        }
    }))
}

enum Reason {
    /// Too few of its ports are free: how many are what.
    Full(String),
    /// It may not give any.
    Unwell(String),
}

fn of_pool(
    candidate: &Candidate<'_>,
    leases: &[Lease],
    request: &Request<'_>,
) -> Result<PortSet, Reason> {
    let Candidate { pool, held } = candidate;
    let held = held.as_ref().map_err(|reason| Reason::Unwell(reason.clone()))?;
    let leased = super::of_pool(leases, pool);
    let free = pool.ports.without(held).without(&leased);
    let wanted = pool.ports_of_a_unit().saturating_mul(request.units.into());
    lowest(pool.parity, wanted, &free).ok_or_else(|| {
        let without = held.without(&leased).count();
        Reason::Full(format!(
            "of {} ports {} are leased, {without} held without a lease, and {} are left; {wanted} are \
             asked for",
            pool.ports.count(),
            leased.count(),
            pool.parity.usable(&free),
        ))
    })
}

/// So many ports that units can take, the lowest; `None`: there are fewer.
fn lowest(parity: Parity, count: u64, free: &PortSet) -> Option<PortSet> {
    if count == 0 || u64::from(parity.usable(free)) < count {
        return None;
    }
    Some(parity.lowest(free, u32::try_from(count).ok()?))
}
