//! Who holds what, for those who look at one namespace, space, process or port at a time.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};

use super::{
    Held, Holding, Holdings, Holds, SpaceKey,
    lists::{Index, NONE},
    namespaces::Bucket,
    rules::{may_reuse, overlaps},
    story::Tally,
};
use crate::{
    event::{Endpoint, Protocol},
    process::Process,
    report::{Holder, SpaceKind, Standing},
};

/// A port that is held.
#[derive(Clone, Debug)]
pub struct HeldPort {
    /// Its number.
    pub port: u16,
    /// What keeps it: of several holders, what leaves the fewest choices.
    pub standing: Standing,
    /// How many holders it has.
    pub holders: u32,
    /// The process of that one of them, if known.
    pub process: Option<Arc<Process>>,
}

/// Where to a process holds ports.
#[derive(Clone, Debug)]
pub struct PlaceUse {
    /// Of which protocol.
    pub protocol: Protocol,
    /// The destination, or where it is bound.
    pub endpoint: Endpoint,
    /// Whether it is a destination.
    pub is_remote: bool,
    /// How many holdings, by what holds.
    pub held: Holder,
}

/// The spaces of one namespace and protocol whose holders are counted together.
struct Asked {
    /// Of connect(), by number.
    connect: HashMap<Index, AskedConnect>,
    /// Of connect(), without a connection: the places in the answer.
    empty: Vec<usize>,
    /// Of bind(): the address, and the place in the answer.
    bind: Vec<(std::net::IpAddr, usize)>,
}

/// A space of connect() whose holders are counted.
struct AskedConnect {
    /// Its place in the answer.
    at: usize,
    /// connect() may take over TIME_WAIT entries that are old enough.
    may_reuse: bool,
    /// The last port that was counted.
    last: Option<u16>,
    /// Who blocks ports on which it has a connection: these are counted already.
    counted: Tally,
}

impl Holdings {
    /// The largest holders of each of these spaces, at most `count`, by the ports that a call can't
    /// have: all spaces in one go over the ports of their namespaces.
    pub fn largest_holders(&self, keys: &[SpaceKey], count: usize) -> Vec<Vec<Holder>> {
        let mut asked: HashMap<(u32, Protocol), Asked> = HashMap::new();
        for (at, key) in keys.iter().enumerate() {
            let of = asked.entry((key.netns, key.protocol)).or_insert_with(|| Asked {
                connect: HashMap::new(),
                empty: Vec::new(),
                bind: Vec::new(),
            });
            match key.kind {
                SpaceKind::Connect { source, destination } => {
                    if let Some(space) = self.spaces.find(key) {
                        let settings = self.settings_of(key.netns);
                        let may_reuse = settings
                            .is_some_and(|s| may_reuse(s.tw_reuse, source, destination.address));
                        of.connect.insert(
                            space,
                            AskedConnect { at, may_reuse, last: None, counted: Tally::default() },
                        );
                    } else {
                        of.empty.push(at);
                    }
                }
                SpaceKind::Bind { address } => of.bind.push((address, at)),
            }
        }
        let mut tallies: Vec<Tally> = keys.iter().map(|_| Tally::default()).collect();
        for ((netns, protocol), of) in &mut asked {
            self.tally(*netns, *protocol, of, &mut tallies);
        }
        tallies.into_iter().map(|tally| tally.largest(count)).collect()
    }

    fn tally(&self, netns: u32, protocol: Protocol, of: &mut Asked, tallies: &mut [Tally]) {
        let Some(namespace) = self.namespaces.get(&netns) else { return };
        let Some(ports) = namespace.ports() else { return };
        // Those of blocked ports count for every space of connect() that has no connection there.
        let mut of_all = Tally::default();
        for (port, bucket) in &namespace.table(protocol).buckets {
            if !ports.offers(*port) {
                continue;
            }
            for (address, at) in &of.bind {
                if let Some((_, holding)) = self.on(bucket).find(|(_, h)| overlaps(*address, h)) {
                    tallies[*at].add(holding, self.open_in(holding));
                }
            }
            let blocker = self.blocker(bucket);
            if let Some(blocker) = blocker {
                of_all.add(blocker, self.open_in(blocker));
            }
            for (_, holding) in self.on(bucket) {
                if holding.space == NONE {
                    continue;
                }
                let Some(asked) = of.connect.get_mut(&holding.space) else { continue };
                // What may be taken over is not in the way, unless the port is blocked anyway.
                let is_free = asked.may_reuse && holding.ripe && blocker.is_none();
                if is_free || asked.last.replace(*port) == Some(*port) {
                    continue;
                }
                tallies[asked.at].add(holding, self.open_in(holding));
                if let Some(blocker) = blocker {
                    asked.counted.add(blocker, self.open_in(blocker));
                }
            }
        }
        for asked in of.connect.values() {
            tallies[asked.at].add_all(&of_all, &asked.counted);
        }
        for at in &of.empty {
            tallies[*at].add_all(&of_all, &Tally::default());
        }
    }

    /// Who keeps connect() from a port, whatever its destination.
    pub(super) fn blocker(&self, bucket: &Bucket) -> Option<&Holding> {
        if !bucket.is_blocked(self.sticky) {
            return None;
        }
        let unshared = self.on(bucket).find(|(_, holding)| !holding.sharing.connect_bind);
        unshared.or_else(|| self.on(bucket).next()).map(|(_, holding)| holding)
    }

    /// The ports that automatic choice has and that are held, in any order.
    pub fn held_ports(&self, netns: u32, protocol: Protocol) -> Vec<HeldPort> {
        let Some(namespace) = self.namespaces.get(&netns) else { return Vec::new() };
        let Some(ports) = namespace.ports() else { return Vec::new() };
        let buckets = &namespace.table(protocol).buckets;
        let held = buckets.iter().filter(|(port, _)| ports.ephemeral.contains(**port));
        held.filter_map(|(port, bucket)| {
            let on_it = self.on(bucket).map(|(_, holding)| holding);
            let first = on_it.min_by_key(|holding| rank(holding.holds))?;
            Some(HeldPort {
                port: *port,
                standing: first.standing(),
                holders: bucket.holders,
                process: first.process().cloned(),
            })
        })
        .collect()
    }

    /// All holdings of a port.
    pub fn held_on(&self, netns: u32, protocol: Protocol, port: u16) -> impl Iterator<Item = Held> {
        let bucket = self.bucket_at((netns, protocol, port));
        let is_bound = bucket.is_some_and(|bucket| bucket.is_bound);
        let on_it = bucket.into_iter().flat_map(|bucket| self.on(bucket));
        on_it.map(move |(_, holding)| Held::of(holding, is_bound))
    }

    /// Where to a process holds ports, most first: its destinations, and the addresses that it is
    /// bound to. The process by number and start time.
    pub fn places_of(&self, process: (u32, u64)) -> Vec<PlaceUse> {
        let mut places: HashMap<(Protocol, Endpoint, bool), Tally> = HashMap::new();
        for holding in self.iter() {
            let of = holding.process().map(|of| (of.pid, of.start_time_ns));
            if of != Some(process) {
                continue;
            }
            let flow = holding.flow();
            let place = (flow.protocol, flow.remote.unwrap_or(flow.local), flow.remote.is_some());
            places.entry(place).or_default().add(holding, None);
        }
        let mut places: Vec<PlaceUse> = places
            .into_iter()
            .filter_map(|((protocol, endpoint, is_remote), tally)| {
                let held = tally.largest(1).pop()?;
                Some(PlaceUse { protocol, endpoint, is_remote, held })
            })
            .collect();
        places.sort_by_key(|place| {
            (std::cmp::Reverse(place.held.total()), place.endpoint, place.is_remote)
        });
        places
    }
}

fn rank(holds: Holds) -> u8 {
    match holds {
        Holds::Bound | Holds::Listening => 0,
        Holds::Connected => 1,
        Holds::TimeWait => 2,
    }
}
