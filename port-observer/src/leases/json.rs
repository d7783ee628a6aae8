//! Leases as JSON.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::Serialize;

use super::{Lease, Moment, View};
use crate::{
    pools::{Protocols, Share, json::Part},
    words::escape::json_line,
};

/// One line of JSON with one lease, without its end.
///
/// # Errors
/// Never in practice: all values have a form in JSON.
pub fn render(lease: &Lease, now: &Moment) -> serde_json::Result<String> {
    json_line(&One::of(lease, now))
}

/// One line of JSON with all leases and what is held without one, without its end.
///
/// # Errors
/// The same.
pub fn render_view(view: &View<'_>) -> serde_json::Result<String> {
    let leases = view.leases.iter().map(|one| Seen {
        lease: One::of(one.lease, view.now),
        holders: one.holders.as_ref().ok().map(|all| all.iter().map(part).collect()),
        missing: one.holders.as_ref().err().map(String::as_str),
    });
    let unleased =
        view.unleased.iter().map(|one| Unleased { pool: &one.pool.name, of: part(&one.share) });
    json_line(&Document { leases: leases.collect(), unleased: unleased.collect() })
}

/// The engines behind VPN containers, as the orchestrator of seed 003 lists them: what is leased of pools
/// of containers, by their numbers; the first of each container is the one that its forwarded port is for.
///
/// # Errors
/// The same.
pub fn render_engines(leases: &[Lease]) -> serde_json::Result<String> {
    let mut known = HashSet::new();
    let engines = leases.iter().filter_map(|lease| {
        let container = lease.scope.namespace.as_deref()?;
        Some(Engine {
            container_name: &lease.owner,
            host: container,
            port: lease.ports.ranges().next()?.min,
            vpn_container: container,
            forwarded: known.insert(container),
        })
    });
    json_line(&engines.collect::<Vec<_>>())
}

#[derive(Serialize)]
struct Engine<'a> {
    container_name: &'a str,
    host: &'a str,
    port: u16,
    vpn_container: &'a str,
    forwarded: bool,
}

fn part<'a>(share: &'a Share<'_>) -> Part<'a> {
    Part::of(share, None)
}

#[derive(Serialize)]
struct Document<'a> {
    leases: Vec<Seen<'a>>,
    /// What is held of pools and not leased.
    unleased: Vec<Unleased<'a>>,
}

#[derive(Serialize)]
struct One<'a> {
    id: i64,
    pool: &'a str,
    /// The network namespace or the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'a str>,
    protocol: &'static str,
    ports: Vec<u16>,
    units: u32,
    owner: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    since: Timestamp,
    /// Without one it lives until it is given back.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
}

impl<'a> One<'a> {
    fn of(lease: &'a Lease, now: &Moment) -> Self {
        let at = |ms: i64| Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
        Self {
            id: lease.id,
            pool: &lease.pool,
            namespace: lease.scope.namespace.as_deref(),
            address: lease.scope.address.as_deref(),
            protocol: Protocols::name(lease.scope.protocols),
            ports: lease.ports.ranges().flat_map(|range| range.min..=range.max).collect(),
            units: lease.units,
            owner: &lease.owner,
            key: lease.key.as_deref(),
            since: at(lease.since_ms),
            expires: lease.end.as_ref().map(|end| at(end.shown_by(now))),
        }
    }
}

#[derive(Serialize)]
struct Seen<'a> {
    #[serde(flatten)]
    lease: One<'a>,
    /// Who holds ports of it now; none: nobody does.
    #[serde(skip_serializing_if = "Option::is_none")]
    holders: Option<Vec<Part<'a>>>,
    /// Why that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<&'a str>,
}

#[derive(Serialize)]
struct Unleased<'a> {
    pool: &'a str,
    #[serde(flatten)]
    of: Part<'a>,
}
