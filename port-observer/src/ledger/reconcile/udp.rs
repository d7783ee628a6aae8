//! UDP ports: those that were taken without a word, and those whose end nobody told of.

use std::collections::HashSet;

use foldhash::HashMap;

use crate::event::{
    Endpoint, Existing, Flow, Kind, ListedSocket, Reason, Sharing, SocketEvent, SocketId, Via,
};

/// How long after its end was told a socket may still be listed: `cgroup/sock_release` runs before the
/// kernel lets go of the port (`inet_release`, net/ipv4/af_inet.c).
pub(super) const SETTLING_NS: u64 = 50_000_000;

/// A UDP socket that is known to hold a port.
#[derive(Clone, Copy, Debug)]
pub(in crate::ledger) struct UdpHolder {
    /// Its identity.
    pub socket: SocketId,
    /// Where it is.
    pub flow: Flow,
    /// IPv4 too, if its address is `[::]`.
    pub takes_ipv4: bool,
    /// Since when, nanoseconds since boot, if that is known.
    pub since_ns: Option<u64>,
}

/// Which sockets the kernel listed, and when.
pub(super) struct Listed<'a> {
    /// Before the list was read, nanoseconds since boot.
    pub(super) time_ns: u64,
    /// Of these namespaces.
    pub(super) namespaces: &'a HashSet<u32>,
    pub(super) sockets: &'a [ListedSocket],
}

/// A namespace, a port, and whether of IPv6. Without the address: connect() gives a wildcard socket
/// one, and no two sockets of a family overlap of which one was not bound by bind().
type Place = (u32, u16, bool);

/// What only the lists show.
#[derive(Debug, Default)]
pub(super) struct UdpPorts {
    found: HashMap<Place, (SocketId, Endpoint)>,
    /// Ports that a program told of, and when last: a list may be older than that.
    touched: HashMap<Place, u64>,
    /// A list was compared: what a scan finds from now on was taken since.
    has_begun: bool,
}

impl UdpPorts {
    /// A program told of this one. The end of what only a list showed is made the end of that.
    pub(super) fn pass(&mut self, event: &mut SocketEvent) {
        for place in places(&event.flow, true) {
            self.touched.insert(place, event.time_ns);
        }
        if let Kind::Release { .. } = event.kind
            && let Some((found, local)) = self.find(&event.flow, true)
        {
            self.found.retain(|_, (socket, _)| *socket != found);
            event.socket = found;
            event.flow.local = local;
        }
    }

    /// A scan found this one. Returns `false` for what the next comparison is to tell as taken.
    pub(super) fn pass_existing(
        &self,
        existing: &mut Existing,
        mut holders: impl Iterator<Item = UdpHolder>,
    ) -> bool {
        let takes_ipv4 = !existing.sharing.ipv6_only;
        if let Some((found, _)) = self.find(&existing.flow, takes_ipv4) {
            existing.socket = Some(found);
            return true;
        }
        let mine: Vec<Place> = places(&existing.flow, takes_ipv4).collect();
        let is_it = |holder: UdpHolder| holder.places().any(|place| mine.contains(&place));
        !self.has_begun || holders.any(is_it)
    }

    fn find(&self, flow: &Flow, takes_ipv4: bool) -> Option<(SocketId, Endpoint)> {
        places(flow, takes_ipv4).find_map(|place| self.found.get(&place)).copied()
    }

    /// The sockets in the list that nobody told of.
    fn unknown<'a>(&self, listed: &Listed<'a>, holders: &[UdpHolder]) -> Vec<&'a ListedSocket> {
        let held: HashSet<Place> = holders.iter().flat_map(UdpHolder::places).collect();
        let is_known = |place: &Place| {
            held.contains(place)
                || self.found.contains_key(place)
                || self.is_settling(*place, listed.time_ns)
        };
        let unknown = |socket: &&ListedSocket| !places_of(socket).any(|place| is_known(&place));
        listed.sockets.iter().filter(unknown).collect()
    }

    /// Whether the list may be older than what was told.
    fn is_settling(&self, place: Place, time_ns: u64) -> bool {
        let told_ns = self.touched.get(&place);
        told_ns.is_some_and(|told_ns| told_ns.saturating_add(SETTLING_NS) >= time_ns)
    }

    /// Tells what a list shows beyond what is known, and the inode number of the socket whose openers
    /// are not known.
    pub(super) fn compare(
        &mut self,
        listed: &Listed<'_>,
        holders: &[UdpHolder],
        mut tell: impl FnMut(SocketId, Flow, Kind, u32),
    ) {
        for socket in self.unknown(listed, holders) {
            let id = socket.socket;
            self.found.extend(places_of(socket).map(|place| (place, (id, socket.flow.local))));
            let kind = Kind::Acquire {
                sharing: Sharing { ipv6_only: socket.ipv6_only, ..Sharing::default() },
                via: Via::Autobind,
                requested_port: Some(0),
                search_ns: None,
                task: None,
            };
            tell(id, socket.flow, kind, socket.inode);
        }
        let all = by_place(listed.sockets);
        for (holder, local) in moved(&all, holders, listed.time_ns) {
            let flow = Flow { local, remote: None, ..holder.flow };
            tell(holder.socket, flow, Kind::Rehash, 0);
        }
        let is_gone =
            |place: &Place| listed.namespaces.contains(&place.0) && !all.contains_key(place);
        self.found.retain(|place, _| !is_gone(place));
        for holder in holders {
            // It was disconnected, or its release was lost.
            if holder.since_ns < Some(listed.time_ns)
                && holder
                    .places()
                    .all(|place| is_gone(&place) && !self.is_settling(place, listed.time_ns))
            {
                let kind = Kind::Release { reason: Reason::Reconciled };
                tell(holder.socket, holder.flow, kind, 0);
            }
        }
        self.touched.retain(|_, told_ns| told_ns.saturating_add(SETTLING_NS) >= listed.time_ns);
        self.has_begun = true;
    }
}

/// How many sockets are on each place, and where the first of them is.
fn by_place(sockets: &[ListedSocket]) -> HashMap<Place, (usize, Endpoint)> {
    let mut all = HashMap::default();
    for socket in sockets {
        for place in places_of(socket) {
            all.entry(place).or_insert((0, socket.flow.local)).0 += 1;
        }
    }
    all
}

/// Those that connect(), or its end, has given another address. Of several on one place nobody can say
/// which of them it was.
fn moved<'a>(
    all: &HashMap<Place, (usize, Endpoint)>,
    holders: &'a [UdpHolder],
    time_ns: u64,
) -> impl Iterator<Item = (&'a UdpHolder, Endpoint)> {
    let mut held: HashMap<Place, usize> = HashMap::default();
    for place in holders.iter().flat_map(UdpHolder::places) {
        *held.entry(place).or_default() += 1;
    }
    holders.iter().filter_map(move |holder| {
        let local = holder.places().find_map(|place| match all.get(&place) {
            Some(&(1, local)) if held[&place] == 1 => Some(local),
            _ => None,
        })?;
        (holder.since_ns < Some(time_ns) && local != holder.flow.local).then_some((holder, local))
    })
}

impl UdpHolder {
    fn places(&self) -> impl Iterator<Item = Place> + use<> {
        places(&self.flow, self.takes_ipv4)
    }
}

fn places_of(socket: &ListedSocket) -> impl Iterator<Item = Place> + use<> {
    places(&socket.flow, !socket.ipv6_only)
}

/// The first one is of its family; the second, of a `[::]` that takes IPv4 too, is where it is once
/// connect() has given it an IPv4 address.
fn places(flow: &Flow, takes_ipv4: bool) -> impl Iterator<Item = Place> + use<> {
    let Flow { netns, local, .. } = *flow;
    let is_ipv6 = local.address.is_ipv6();
    let is_both = takes_ipv4 && is_ipv6 && local.address.is_unspecified();
    let families = [Some(is_ipv6), is_both.then_some(false)];
    families.into_iter().flatten().map(move |is_ipv6| (netns, local.port, is_ipv6))
}
