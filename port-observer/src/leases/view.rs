//! Leases, and who holds their ports.

use super::{Lease, Moment, of_pool};
use crate::pools::{Pool, Share, State};

/// All leases, and what is held of pools without one.
pub struct View<'a> {
    /// By when.
    pub now: &'a Moment,
    /// By their numbers.
    pub leases: Vec<Seen<'a>>,
    /// Of each pool, the largest first.
    pub unleased: Vec<Unleased<'a>>,
}

/// A lease, and who holds ports of it.
pub struct Seen<'a> {
    /// Which.
    pub lease: &'a Lease,
    /// The largest first, or why that is not known.
    pub holders: Result<Vec<Share<'a>>, String>,
}

/// What a process holds of a pool that is not leased.
pub struct Unleased<'a> {
    /// Which pool.
    pub pool: &'a Pool,
    /// What of it.
    pub share: Share<'a>,
}

impl<'a> View<'a> {
    /// Of leases, each with its state as a pool, and of pools with theirs.
    pub fn of(
        now: &'a Moment,
        leases: &'a [Lease],
        states: impl Iterator<Item = State<'a>>,
        pools: impl Iterator<Item = State<'a>>,
    ) -> Self {
        let seen = |(lease, state): (&'a Lease, State<'a>)| Seen {
            lease,
            holders: state.used.map(|_| state.holders).map_err(str::to_owned),
        };
        let unleased = |state: State<'a>| {
            let leased = of_pool(leases, state.pool);
            let left = move |share: Share<'a>| {
                let ports = share.ports.without(&leased);
                (!ports.is_empty())
                    .then_some(Unleased { pool: state.pool, share: Share { ports, ..share } })
            };
            state.holders.into_iter().filter_map(left)
        };
        Self {
            now,
            leases: leases.iter().zip(states).map(seen).collect(),
            unleased: pools.flat_map(unleased).collect(),
        }
    }
}
