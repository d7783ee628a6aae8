//! Who keeps the ports of many spaces at one moment, found in one pass.

use super::{Ledger, SpaceKey};
use crate::report::{Holder, Space};

/// A space, and all who keep its ports, largest first.
#[derive(Clone, Debug)]
pub struct Census {
    /// How full it is.
    pub space: Space,
    /// By whom: together, they hold what is used of it.
    pub holders: Vec<Holder>,
}

impl Ledger {
    /// Of the `top` fullest spaces, and of those in `also`. Spaces of namespaces whose settings are not
    /// known are left out.
    pub fn census(&mut self, now_ns: u64, top: usize, also: &[SpaceKey]) -> Vec<Census> {
        self.holdings.advance(now_ns);
        let mut spaces = self.holdings.fullest(top, &|_| true);
        for key in also {
            if !spaces.iter().any(|space| SpaceKey::from(space) == *key) {
                spaces.extend(self.holdings.space(key));
            }
        }
        let keys: Vec<SpaceKey> = spaces.iter().map(SpaceKey::from).collect();
        let holders = self.holdings.largest_holders(&keys, usize::MAX);
        let both = spaces.into_iter().zip(holders);
        both.map(|(space, holders)| Census { space, holders }).collect()
    }
}
