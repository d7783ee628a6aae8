//! Declared pools of ports.

use std::collections::BTreeMap;

use super::family::{Family, Kind, Sample, as_f64};
use crate::{report::PoolUse, words::escape::escape};

/// Declared pools at one moment.
#[derive(Debug, Default)]
pub struct Pools {
    /// How full each is.
    pub uses: Vec<PoolUse>,
    /// How many leases each has, by its name, where leases are kept.
    pub leases: Option<BTreeMap<String, u32>>,
}

impl Pools {
    /// The families; none where no pools are watched.
    pub(super) fn families(&self) -> Vec<Family> {
        if self.uses.is_empty() {
            return Vec::new();
        }
        let gauge = |name, help| Family::new(Kind::Gauge, name, help);
        // Of a pool whose namespace is not known, only that is known.
        let there = |value: fn(&PoolUse) -> Option<f64>| {
            let there = self.uses.iter().filter(|pool| pool.netns.is_some());
            there.filter_map(move |pool| Some(Sample::new(label(&pool.name), value(pool)?)))
        };
        let of = |pool: &PoolUse, value| Sample::new(label(&pool.name), value);
        let mut families = vec![
            gauge("port_observer_pool_ports", "Ports of a declared pool.")
                .of(self.uses.iter().map(|pool| of(pool, pool.ports.into()))),
            gauge(
                "port_observer_pool_ports_used",
                "Ports of a declared pool that somebody holds; absent while its network namespace or \
                 container is not there.",
            )
            .of(there(|pool| Some(pool.used.into()))),
            gauge(
                "port_observer_pool_ports_free",
                "Ports of a declared pool that units can still have: of pairs, those of whole pairs.",
            )
            .of(there(|pool| Some(pool.free.into()))),
            gauge(
                "port_observer_pool_full",
                "1 while no unit has room in a declared pool any more, else 0.",
            )
            .of(there(|pool| Some(f64::from(u8::from(pool.is_full))))),
            gauge(
                "port_observer_pool_exhaustion_seconds",
                "When a declared pool will be full if it fills up as in the last minute; absent where it \
                 does not. An estimate.",
            )
            .of(there(|pool| pool.seconds_to_exhaustion)),
            Family::new(
                Kind::Counter,
                "port_observer_pool_refused_total",
                "Calls for a port of a declared pool that were refused while it was full.",
            )
            .of(self.uses.iter().map(|pool| of(pool, as_f64(pool.refused)))),
        ];
        if let Some(leases) = &self.leases {
            let count = |pool: &PoolUse| leases.get(&*pool.name).copied().unwrap_or_default();
            families.push(
                gauge("port_observer_pool_leases", "Leases of ports of a declared pool.")
                    .of(self.uses.iter().map(|pool| of(pool, count(pool).into()))),
            );
        }
        families
    }
}

/// The label of a pool.
pub(super) fn label(name: &str) -> Vec<(&'static str, String)> {
    vec![("pool", escape(name).into_owned())]
}
