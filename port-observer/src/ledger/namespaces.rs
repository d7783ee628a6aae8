//! The ports of each network namespace and who is on them.

use foldhash::{HashMap, HashMapExt as _};

use super::{
    Holding, Holdings, Holds, Role,
    lists::{Index, NONE, iter},
    place::Place,
    rules::overlaps,
};
use crate::{
    event::{Flow, NamespaceSettings, Protocol},
    ports::Ports,
};

/// How many holdings of a port are looked at for its listener: a child's siblings come first.
const LISTENERS: usize = 8;

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

impl Holdings {
    /// A port, if anybody holds it.
    pub(super) fn bucket(&self, place: &Place) -> Option<&Bucket> {
        self.bucket_at(place.port())
    }

    pub(super) fn bucket_at(
        &self,
        (netns, protocol, port): (u32, Protocol, u16),
    ) -> Option<&Bucket> {
        self.namespaces.get(&netns)?.table(protocol).buckets.get(&port)
    }

    /// Who is on a port, the newest first.
    pub(super) fn on(&self, bucket: &Bucket) -> impl Iterator<Item = (Index, &Holding)> {
        iter(&self.slab, bucket.first, |holding| &holding.in_bucket)
    }

    /// Who is on the port of a flow, the newest first.
    pub fn on_port(&self, flow: &Flow) -> impl Iterator<Item = (Index, &Holding)> {
        let port = (flow.netns, flow.protocol, flow.local.port);
        self.bucket_at(port).into_iter().flat_map(|bucket| self.on(bucket))
    }

    /// Who is on any port of a protocol in a namespace.
    pub(super) fn on_ports(
        &self,
        netns: u32,
        protocol: Protocol,
    ) -> impl Iterator<Item = &Holding> {
        let namespace = self.namespaces.get(&netns).into_iter();
        let buckets = namespace.flat_map(move |one| one.table(protocol).buckets.values());
        buckets.flat_map(|bucket| self.on(bucket)).map(|(_, holding)| holding)
    }

    /// Who is on any port of UDP.
    pub fn udp(&self) -> impl Iterator<Item = &Holding> {
        let buckets = self.namespaces.values().flat_map(|namespace| namespace.udp.buckets.values());
        buckets.flat_map(|bucket| self.on(bucket)).map(|(_, holding)| holding)
    }

    /// The listener of an accepted child, or a sibling of the child, where the source can't say who
    /// the listener is.
    pub(super) fn listening_on(&self, flow: &Flow) -> Option<&Holding> {
        let on_it = self.on_port(flow).take(LISTENERS);
        let mut listens = on_it.map(|(_, holding)| holding).filter(|holding| {
            let is_server = holding.role == Role::Child || holding.holds == Holds::Listening;
            is_server && overlaps(flow.local.address, holding)
        });
        listens.find(|holding| holding.process().is_some())
    }

    /// Whether a connection of which nothing is known was, as far as can be told, accepted on the port
    /// of a listener: one that listens there, or one that is no longer there but on a port that the
    /// kernel would not have chosen.
    pub(super) fn is_servers(&self, flow: &Flow) -> bool {
        let is_chosen = || {
            let ports = self.namespaces.get(&flow.netns).and_then(Namespace::ports);
            ports.is_none_or(|ports| ports.ephemeral.contains(flow.local.port))
        };
        flow.protocol == Protocol::Tcp
            && flow.remote.is_some()
            && (self.listening_on(flow).is_some() || !is_chosen())
    }
}
