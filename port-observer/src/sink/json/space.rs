//! How full a space is, who fills it and why, as the JSON has them. All is made while it is
//! written, so that lines without any of it pay nothing.

use std::{net::IpAddr, sync::Arc};

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::processes::Objects;
use super::summary::Range;
use super::types::Endpoint;
use crate::ports::PortRange;
use crate::process::Process;
use crate::report::{self, SpaceKind};

/// At most three decimals; what is no finite number is not known.
pub(super) fn rounded(value: f64) -> Option<f64> {
    // Adding 0 makes -0 a plain 0.
    let rounded = (value * 1000.0).round() / 1000.0 + 0.0;
    rounded.is_finite().then_some(rounded)
}

/// A set of ports that one allocation chooses from.
#[derive(Clone, Copy)]
pub struct Space<'a>(pub &'a report::Space);

#[derive(Serialize)]
struct SpaceFields {
    kind: &'static str,
    netns: u32,
    protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<Endpoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    own_range: Option<Range>,
    capacity: u32,
    used: u32,
    headroom: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_percent: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    growth_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_to_exhaustion: Option<f64>,
}

impl Serialize for Space<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let space = self.0;
        let (kind, source, destination, address) = match space.kind {
            SpaceKind::Connect { source, destination } => {
                ("connect", Some(source.to_canonical()), Some(Endpoint::new(destination)), None)
            }
            SpaceKind::Bind { address } => ("bind", None, None, Some(address.to_canonical())),
        };
        SpaceFields {
            kind,
            netns: space.netns,
            protocol: space.protocol.name(),
            source,
            destination,
            address,
            own_range: space.own_range.map(|PortRange { min, max }| Range { min, max }),
            capacity: space.capacity,
            used: space.used,
            headroom: space.headroom,
            used_percent: rounded(space.used_percent()),
            growth_per_second: space.growth_per_second.and_then(rounded),
            seconds_to_exhaustion: space.seconds_to_exhaustion.and_then(rounded),
        }
        .serialize(serializer)
    }
}

/// Who holds ports, with the objects of the processes.
#[derive(Clone, Copy)]
pub(super) struct Holders<'a> {
    holders: &'a [report::Holder],
    objects: &'a Objects,
}

#[derive(Serialize)]
struct Holder<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_in: Option<[&'a RawValue; 1]>,
    #[serde(flatten)]
    way: Option<Way>,
    #[serde(flatten)]
    counts: Counts,
    total: u32,
}

/// Ports by what holds them.
struct Counts(report::Counts);

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.in_json())
    }
}

/// How it is in the way of a call.
#[derive(Serialize)]
struct Way {
    how: &'static str,
    local: Endpoint,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<Endpoint>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
fn is_none(count: &u32) -> bool {
    *count == 0
}

/// The processes of holders, whose objects [`Holders`] writes.
pub(super) fn processes(holders: &[report::Holder]) -> impl Iterator<Item = Option<&Arc<Process>>> {
    holders.iter().flat_map(|holder| {
        let open_in = holder.open_in.as_ref().map(Some);
        [Some(holder.process.as_ref()), open_in].into_iter().flatten()
    })
}

impl<'a> Holders<'a> {
    /// `objects` are those of [`processes`], in the same order.
    pub(super) fn new(holders: &'a [report::Holder], objects: &'a Objects) -> Self {
        Self { holders, objects }
    }
}

impl Serialize for Holders<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut objects = self.objects.iter();
        let mut next = || objects.next().and_then(|object| object.as_deref());
        serializer.collect_seq(self.holders.iter().map(|holder| Holder {
            process: next(),
            open_in: holder.open_in.as_ref().and_then(|_| next()).map(|process| [process]),
            way: holder.way.map(|way| Way {
                how: way.how.name(),
                local: Endpoint::new(way.local),
                remote: way.remote.map(Endpoint::new),
            }),
            counts: Counts(holder.counts),
            total: holder.total(),
        }))
    }
}

/// Why a space is full.
#[derive(Clone, Copy)]
pub(super) struct Cause<'a>(pub(super) &'a report::Cause);

#[derive(Serialize)]
struct CauseFields {
    kind: &'static str,
    evidence: Evidence,
}

#[derive(Serialize)]
struct Evidence {
    capacity: u32,
    time_wait: u32,
    established: u32,
    #[serde(skip_serializing_if = "is_none")]
    syn_sent: u32,
    #[serde(skip_serializing_if = "is_none")]
    close_wait: u32,
    #[serde(skip_serializing_if = "is_none")]
    closing: u32,
    #[serde(skip_serializing_if = "is_none")]
    other: u32,
    bound: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    median_age_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    growth_per_second: Option<f64>,
}

impl Serialize for Cause<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let report::Cause { kind, evidence } = self.0;
        CauseFields {
            kind: kind.name(),
            evidence: Evidence {
                capacity: evidence.capacity,
                time_wait: evidence.time_wait,
                established: evidence.established,
                syn_sent: evidence.syn_sent,
                close_wait: evidence.close_wait,
                closing: evidence.closing,
                other: evidence.other,
                bound: evidence.bound,
                closed_per_second: evidence.growth.and_then(|g| rounded(g.closed_per_second)),
                median_age_seconds: evidence.median_age_seconds.and_then(rounded),
                growth_per_second: evidence.growth.and_then(|g| rounded(g.used_per_second)),
            },
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn numbers_have_three_decimals_at_most_and_are_finite() {
        for (value, wanted) in [
            (90.00625, Some(90.006)),
            (1.0 / 3.0, Some(0.333)),
            (-0.0004, Some(0.0)),
            (f64::NAN, None),
            (f64::INFINITY, None),
            (f64::MAX, None),
        ] {
            assert_eq!(rounded(value), wanted, "{value}");
        }
        assert!(rounded(-0.0004).unwrap().is_sign_positive());
    }
}
