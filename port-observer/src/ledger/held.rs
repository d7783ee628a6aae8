//! What is on each port, for who asks about one call.

use super::{Holding, Holdings, namespaces::Bucket};
use crate::event::{NamespaceSettings, Protocol};

/// A port that somebody holds.
#[derive(Clone, Copy, Debug)]
pub struct HeldBucket<'a> {
    /// Its number.
    pub port: u16,
    /// connect() passes it over, whatever the destination.
    pub is_blocked: bool,
    holdings: &'a Holdings,
    bucket: &'a Bucket,
}

impl<'a> HeldBucket<'a> {
    /// Who is on it, one or more.
    pub fn holders(&self) -> impl Iterator<Item = &'a Holding> + use<'a> {
        self.holdings.on(self.bucket).map(|(_, holding)| holding)
    }
}

impl Holdings {
    /// All ports of a protocol in a namespace that somebody holds, in any order.
    pub fn buckets(&self, netns: u32, protocol: Protocol) -> impl Iterator<Item = HeldBucket<'_>> {
        let namespace = self.namespaces.get(&netns).into_iter();
        let buckets = namespace.flat_map(move |one| &one.table(protocol).buckets);
        buckets.map(|(port, bucket)| HeldBucket {
            port: *port,
            is_blocked: bucket.is_blocked(self.sticky),
            holdings: self,
            bucket,
        })
    }

    /// A port, if somebody holds it.
    pub fn held_bucket(&self, netns: u32, protocol: Protocol, port: u16) -> Option<HeldBucket<'_>> {
        let bucket = self.namespaces.get(&netns)?.table(protocol).buckets.get(&port)?;
        Some(HeldBucket {
            port,
            is_blocked: bucket.is_blocked(self.sticky),
            holdings: self,
            bucket,
        })
    }

    /// The settings of all namespaces of which they are known, in any order.
    pub fn all_settings(&self) -> impl Iterator<Item = &NamespaceSettings> {
        self.namespaces.values().filter_map(|one| one.settings.as_deref())
    }

    /// The settings of a namespace, if they are known.
    pub fn settings_of(&self, netns: u32) -> Option<&NamespaceSettings> {
        self.namespaces.get(&netns)?.settings.as_deref()
    }
}
