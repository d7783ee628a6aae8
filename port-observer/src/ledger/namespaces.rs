//! The ports of each network namespace and who is on them.

use foldhash::{HashMap, HashMapExt as _};

use super::lists::{Index, NONE};
use crate::{
    event::{NamespaceSettings, Protocol},
    ports::Ports,
};

/// All holders of one port: the kernel's bind bucket (`inet_bind_bucket`), and its like of UDP.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// The first of its holdings.
    pub first: Index,
    /// How many there are.
    pub holders: u32,
    /// How many of them connect() did not choose.
    pub unshared: u32,
    /// A bind() succeeded here since the port last had no holder.
    pub is_bound: bool,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { first: NONE, holders: 0, unshared: 0, is_bound: false }
    }
}

impl Bucket {
    /// Whether connect() passes the port over, whatever its destination
    /// (`__inet_hash_connect`, net/ipv4/inet_hashtables.c). Up to Linux 6.17 that is `sticky`.
    pub fn is_blocked(&self, sticky: bool) -> bool {
        if sticky { self.is_bound } else { self.unshared > 0 }
    }
}

/// The ports of one protocol in one namespace.
#[derive(Debug)]
pub struct Table {
    /// By port. Only ports with a holder.
    pub buckets: HashMap<u16, Bucket>,
    /// How many of the ports that automatic choice has are held.
    pub used: u32,
    /// How many of them connect() passes over.
    pub blocked: u32,
}

impl Default for Table {
    fn default() -> Self {
        Self { buckets: HashMap::new(), used: 0, blocked: 0 }
    }
}

/// A network namespace.
#[derive(Debug, Default)]
pub struct Namespace {
    /// `None` until it is told; changed by [`Namespace::set`] alone.
    pub settings: Option<Box<NamespaceSettings>>,
    /// Of these settings: how many ports automatic choice has.
    capacity: u32,
    /// TCP's ports.
    pub tcp: Table,
    /// UDP's ports.
    pub udp: Table,
}

impl Namespace {
    /// The ports of a protocol.
    pub fn table(&self, protocol: Protocol) -> &Table {
        match protocol {
            Protocol::Tcp => &self.tcp,
            Protocol::Udp => &self.udp,
        }
    }

    /// The ports of a protocol.
    pub fn table_mut(&mut self, protocol: Protocol) -> &mut Table {
        match protocol {
            Protocol::Tcp => &mut self.tcp,
            Protocol::Udp => &mut self.udp,
        }
    }

    /// Its settings are these from now on.
    pub fn set(&mut self, settings: NamespaceSettings) {
        self.capacity = settings.ports.capacity();
        self.settings = Some(Box::new(settings));
    }

    /// How many ports automatic choice has, if known.
    pub fn capacity(&self) -> Option<u32> {
        self.settings.as_ref().map(|_| self.capacity)
    }

    /// What automatic choice has, if known.
    pub fn ports(&self) -> Option<&Ports> {
        self.settings.as_deref().map(|settings| &settings.ports)
    }

    /// Whether automatic choice may give this port.
    pub fn offers(&self, port: u16) -> bool {
        self.ports().is_some_and(|ports| ports.offers(port))
    }
}
