//! Metrics: what Prometheus and its like read.
//!
//! [`Counters`] takes in reports as every sink does; [`Gauges`] is what the ledger holds at the moment
//! of a scrape. [`families`] makes one list of both, bounded in series, and [`text::write`] writes that.

mod counters;
mod descriptors;
mod family;
mod gauges;
mod own;
mod pools;
pub mod text;

#[cfg(test)]
mod tests;

pub use counters::Counters;
pub use family::{Family, Kind, Sample};
pub use gauges::Gauges;
pub use own::Own;
pub use pools::Pools;

/// All families, in the order in which they are cut: the first have their series for certain.
///
/// At most `max_series` samples in all; what is left out is counted in
/// `port_observer_dropped_series`.
pub fn families(
    counters: &Counters,
    gauges: &Gauges,
    pools: &Pools,
    own: &Own,
    max_series: usize,
) -> Vec<Family> {
    let mut families = own.families();
    families.extend(pools.families());
    families.extend(counters.families());
    families.extend(gauges.families());
    family::limit(&mut families, max_series);
    families
}
