//! The state of everything at one moment, for those who ask.

use std::{net::IpAddr, sync::Arc};

use foldhash::{HashMap, HashMapExt as _, HashSet};

use super::{Holding, Holdings, Ledger, Role, SpaceKey, spaces::State};
use crate::{
    event::{Endpoint, Flow, Protocol, Via},
    process::Process,
    report::{
        CauseKind, Closing, Failure, NamespaceUse, Port, ProcessUse, Space, SpaceKind, Summary,
        TcpUse,
    },
};

/// How many different failures are kept apart.
const FAILURES: usize = 1_000;
/// How many rows each part of the closing table has.
const CLOSING_ROWS: usize = 5;

/// What makes calls that failed the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FailureKey {
    process: Option<(u32, u64)>,
    via: Via,
    errno: i32,
    requested_port: u16,
    local: Option<IpAddr>,
    remote: Option<Endpoint>,
}

/// Calls that failed so far.
#[derive(Debug, Default)]
pub(super) struct Failures {
    by_key: HashMap<FailureKey, Failure>,
}

impl Failures {
    /// So many more.
    pub(super) fn add(
        &mut self,
        port: &Port,
        via: Via,
        errno: i32,
        cause: Option<CauseKind>,
        count: u64,
    ) {
        let process = port.caller.as_ref().map(|caller| &caller.process);
        let key = FailureKey {
            process: process.map(|process| (process.pid, process.start_time_ns)),
            via,
            errno,
            requested_port: port.local.map_or(0, |local| local.port),
            local: port.local.map(|local| local.address),
            remote: port.remote,
        };
        if self.by_key.len() >= FAILURES && !self.by_key.contains_key(&key) {
            return;
        }
        let failure = self.by_key.entry(key).or_insert_with(|| Failure {
            process: process.cloned(),
            via,
            errno,
            requested_port: key.requested_port,
            local: key.local,
            remote: key.remote,
            count: 0,
            cause: None,
        });
        failure.count = failure.count.saturating_add(count);
        failure.cause = cause.or(failure.cause);
    }

    fn most(&self, count: usize) -> Vec<Failure> {
        let mut failures: Vec<Failure> = self.by_key.values().cloned().collect();
        failures.sort_by_key(|failure| std::cmp::Reverse(failure.count));
        failures.truncate(count);
        failures
    }
}

impl Ledger {
    /// The state of everything: the `top` fullest spaces and largest processes of those that are
    /// wanted.
    pub fn summary(
        &mut self,
        now_ns: u64,
        top: usize,
        wants_space: &dyn Fn(&Space) -> bool,
        wants_process: &dyn Fn(Option<&Process>) -> bool,
    ) -> Summary {
        self.holdings.advance(now_ns);
        Summary {
            namespaces: self.holdings.namespace_use(),
            spaces: self.holdings.fullest(top, wants_space),
            processes: self.holdings.process_use(None, top, wants_process),
        }
    }

    /// What a terminal is shown at the end.
    pub fn closing(&mut self, now_ns: u64) -> Closing {
        Closing {
            summary: self.summary(now_ns, CLOSING_ROWS, &|_| true, &|_| true),
            failures: self.failures.most(CLOSING_ROWS),
        }
    }
}

impl Holdings {
    fn namespace_use(&self) -> Vec<NamespaceUse> {
        let mut tcp: HashMap<u32, TcpUse> = HashMap::new();
        for holding in self.iter().filter(|h| h.place.protocol() == Protocol::Tcp) {
            *tcp.entry(holding.place.netns()).or_default().counts.of(holding.standing()) += 1;
        }
        let mut namespaces = self.namespace_ports();
        for namespace in &mut namespaces {
            let counted = tcp.get(&namespace.netns).copied().unwrap_or_default();
            namespace.tcp = TcpUse { counts: counted.counts, ..namespace.tcp };
        }
        namespaces
    }

    /// How many ports of each namespace are used, the most first; what keeps them is not counted, so
    /// that it costs nothing to ask.
    pub fn namespace_ports(&self) -> Vec<NamespaceUse> {
        let mut namespaces: Vec<NamespaceUse> = self
            .namespaces
            .iter()
            .map(|(&netns, namespace)| NamespaceUse {
                netns,
                names: namespace.settings.as_ref().map_or_else(Vec::new, |s| s.names.clone()),
                ports: namespace.ports().cloned(),
                tcp: TcpUse {
                    ports: namespace.tcp.used,
                    bind_held: namespace.tcp.blocked,
                    ..TcpUse::default()
                },
                udp_used_ports: namespace.udp.used,
            })
            .collect();
        namespaces
            .sort_by_key(|namespace| (std::cmp::Reverse(namespace.tcp.ports), namespace.netns));
        namespaces
    }

    /// The fullest spaces of those that are wanted, fullest first, at most `top`.
    pub fn fullest(&self, top: usize, wants: &dyn Fn(&Space) -> bool) -> Vec<Space> {
        // By two counters first: only those that may be among the fullest are looked at closely.
        let states = self.spaces.iter();
        let mut states: Vec<(u32, &State)> =
            states.filter_map(|state| Some((self.most_used(state)?, state))).collect();
        states.sort_unstable_by_key(|(used, state)| (std::cmp::Reverse(*used), state.key.netns));
        let mut fullest: Vec<Space> = Vec::new();
        for (at_most, state) in states {
            let least = fullest.get(top.wrapping_sub(1)).map_or(0, permille);
            if fullest.len() >= top && at_most <= least {
                break;
            }
            let Some(fill) = self.fill(&state.key, Some(state)) else { continue };
            let space = self.as_filled(&state.key, Some(state), fill);
            if !wants(&space) {
                continue;
            }
            fullest.push(space);
            fullest.sort_by_key(|space| std::cmp::Reverse(permille(space)));
            fullest.truncate(top);
        }
        // Their fill is the same for all of a namespace: what bind() holds.
        for key in self.bind_held_spaces() {
            let Some(fill) = self.fill(&key, None) else { continue };
            let space = self.as_filled(&key, None, fill);
            if wants(&space) {
                fullest.push(space);
            }
        }
        fullest.sort_by_key(|space| std::cmp::Reverse(permille(space)));
        fullest.truncate(top);
        fullest
    }

    /// Whether no connect() can share the port that it has, for bind() took it.
    fn is_bind_held(&self, holding: &Holding) -> bool {
        let (netns, _, port) = holding.place.port();
        !holding.sharing.connect_bind
            && self.namespaces.get(&netns).is_some_and(|namespace| namespace.offers(port))
            && self.bucket(&holding.place).is_some_and(|bucket| bucket.is_blocked(self.sticky))
    }

    /// Where connections go that have all taken their ports by bind(), so that none is a member of the
    /// space: those with the most of them first.
    fn bind_held_spaces(&self) -> Vec<SpaceKey> {
        let mut found: HashMap<SpaceKey, u32> = HashMap::new();
        for (&netns, namespace) in &self.namespaces {
            // Mostly none, or a few listeners.
            if namespace.tcp.blocked == 0 {
                continue;
            }
            let Some(ports) = namespace.ports() else { continue };
            let buckets = namespace.tcp.buckets.iter();
            let held = buckets
                .filter(|(port, bucket)| bucket.is_blocked(self.sticky) && ports.offers(**port));
            for (_, holding) in held.flat_map(|(_, bucket)| self.on(bucket)) {
                let Flow { protocol, local, remote, .. } = holding.flow();
                let Some(destination) = remote.filter(|_| holding.role == Role::Owner) else {
                    continue;
                };
                let kind = SpaceKind::Connect { source: local.address, destination };
                let key = SpaceKey { netns, protocol, kind };
                if self.spaces.look_up(&key).is_none_or(|state| state.members == 0) {
                    *found.entry(key).or_default() += 1;
                }
            }
        }
        let mut found: Vec<(SpaceKey, u32)> = found.into_iter().collect();
        let ends = |key: &SpaceKey| match key.kind {
            SpaceKind::Connect { source, destination } => Some((source, destination)),
            SpaceKind::Bind { .. } => None,
        };
        found.sort_by_key(|(key, count)| (std::cmp::Reverse(*count), key.netns, ends(key)));
        found.into_iter().map(|(key, _)| key).collect()
    }

    /// The most that a space can be used, in thousandths of its capacity; cheap.
    fn most_used(&self, state: &State) -> Option<u32> {
        let namespace = self.namespaces.get(&state.key.netns)?;
        let capacity = namespace.capacity()?;
        let table = namespace.table(state.key.protocol);
        let used = match state.key.kind {
            SpaceKind::Connect { .. } => table.blocked + state.own,
            SpaceKind::Bind { .. } => table.used,
        };
        Some(thousandths(used, capacity))
    }

    /// The largest processes of those that are wanted, largest first, at most `top`: of one namespace
    /// or of all.
    pub fn process_use(
        &self,
        netns: Option<u32>,
        top: usize,
        wants: &dyn Fn(Option<&Process>) -> bool,
    ) -> Vec<ProcessUse> {
        let mut numbers: HashMap<Option<(u32, u64)>, usize> = HashMap::new();
        let mut uses: Vec<ProcessUse> = Vec::new();
        let mut ports: HashSet<(usize, u32, Protocol, u16)> = HashSet::default();
        let is_there = |holding: &&Holding| netns.is_none_or(|it| it == holding.place.netns());
        for holding in self.iter().filter(is_there) {
            let process: Option<&Arc<Process>> = holding.process();
            let key = process.map(|process| (process.pid, process.start_time_ns));
            let number = *numbers.entry(key).or_insert_with(|| {
                uses.push(ProcessUse {
                    process: process.cloned(),
                    tcp: TcpUse::default(),
                    udp_ports: 0,
                });
                uses.len() - 1
            });
            if let (Some(known), Some(process)) = (&mut uses[number].process, process) {
                known.join(process);
            }
            let (netns, protocol, port) = holding.place.port();
            let is_new = ports.insert((number, netns, protocol, port));
            match protocol {
                Protocol::Tcp => {
                    uses[number].tcp.ports += u32::from(is_new);
                    uses[number].tcp.bind_held += u32::from(is_new && self.is_bind_held(holding));
                    *uses[number].tcp.counts.of(holding.standing()) += 1;
                }
                Protocol::Udp => uses[number].udp_ports += u32::from(is_new),
            }
        }
        uses.retain(|one| wants(one.process.as_deref()));
        let pid = |one: &ProcessUse| one.process.as_ref().map_or(0, |process| process.pid);
        uses.sort_by_key(|one| (std::cmp::Reverse(one.tcp.ports + one.udp_ports), pid(one)));
        uses.truncate(top);
        uses
    }
}

fn thousandths(used: u32, capacity: u32) -> u32 {
    (used.min(capacity) * 1000).checked_div(capacity).unwrap_or(1000)
}

fn permille(space: &Space) -> u32 {
    thousandths(space.used, space.capacity)
}
