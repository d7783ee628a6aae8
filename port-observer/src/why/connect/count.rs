//! Counts, port by port, what connect() from one address to one destination can't have.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use super::{
    super::{Facts, How, Question, WIDEST_MIN, groups::Groups, is_an_end_left_out},
    Callers,
};
use crate::{
    event::{Endpoint, NamespaceSettings, Protocol},
    ledger::{HeldBucket, Holding, Holds, Role, rules::may_reuse},
    process::Process,
    report::Standing,
};

/// What keeps a port from the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// A connection whose port bind() took, or its TIME_WAIT.
    Bound,
    /// A socket that is bound, and neither connected nor listening.
    BoundIdle,
    Listener,
    /// A connection that a listener accepted.
    Accepted,
    /// A connection between the same ends.
    Connected(Standing),
    /// TIME_WAIT between the same ends.
    TimeWait,
    /// The same where the peer's FIN is awaited.
    FinWait2,
}

impl Class {
    pub(super) fn how(self) -> How {
        match self {
            Self::Bound | Self::BoundIdle => How::Bound,
            Self::Listener => How::Listener,
            Self::Accepted => How::Accepted,
            Self::Connected(_) => How::Connected,
            Self::TimeWait | Self::FinWait2 => How::TimeWait,
        }
    }

    pub(super) fn is_time_wait(self) -> bool {
        matches!(self, Self::TimeWait | Self::FinWait2)
    }
}

/// The ports of one class.
#[derive(Clone, Debug, Default)]
pub(super) struct OfClass {
    pub(super) groups: Groups,
    /// Those that the call could have if only the first holder's bind() had not been: by name.
    pub(super) freed: BTreeMap<Option<String>, u32>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Count {
    /// Ports that the call can't have.
    pub(super) used: u32,
    pub(super) classes: BTreeMap<Class, OfClass>,
    /// Of those that it is thought to have, ports that somebody has of whom it is not known whether
    /// bind() was called before.
    pub(super) doubtful: u32,
    /// Of these, those of which it is likely: see [`Choices`].
    pub(super) likely_bound: u32,
    /// Ports that connect() passes over wherever it goes.
    pub(super) blocked: u32,
    /// TIME_WAIT entries that `tcp_tw_reuse` would free now.
    pub(super) reusable: u32,
    /// The only port that is left may be left out.
    pub(super) is_left_out: bool,
    /// Reserved ports of the range.
    pub(super) reserved: u32,
    /// Of these, those that the call could not have either.
    pub(super) reserved_taken: u32,
    /// Ports outside of the range, from [`WIDEST_MIN`] on, that the call could not have.
    pub(super) taken_outside: u32,
    /// Who has connections between the same ends.
    pub(super) callers: Callers,
}

/// What one port is to the call.
struct Port<'a> {
    bucket: HeldBucket<'a>,
    /// A holder between the same ends, a socket before a TIME_WAIT entry.
    own: Option<&'a Holding>,
    /// It is a TIME_WAIT entry that may be taken over under `tcp_tw_reuse`.
    is_reusable: bool,
}

impl Count {
    pub(super) fn of(
        question: &Question,
        (source, destination): (IpAddr, Endpoint),
        settings: &NamespaceSettings,
        facts: &Facts<'_>,
    ) -> Self {
        let ports = &settings.ports;
        let mut count =
            Self { reserved: ports.reserved.count_in(ports.ephemeral), ..Self::default() };
        let reuses = may_reuse(settings.tw_reuse, source, destination.address);
        let ends = [ports.ephemeral.min, ports.ephemeral.max];
        let mut left_out: BTreeSet<u16> =
            ends.into_iter().filter(|port| is_an_end_left_out(settings, *port)).collect();
        left_out.retain(|port| ports.offers(*port));
        let can_be_left_out = left_out.len() as u32;
        let mut choices = Choices::default();
        for bucket in facts.holdings.buckets(question.netns, Protocol::Tcp) {
            let port = Port::new(bucket, (source, destination), settings, facts);
            let is_free = port.is_free(reuses);
            let number = bucket.port;
            if !ports.offers(number) {
                let is_reserved = ports.ephemeral.contains(number);
                count.reserved_taken += u32::from(!is_free && is_reserved);
                let is_outside = number >= WIDEST_MIN && !ports.reserved.contains(number);
                count.taken_outside += u32::from(!is_free && is_outside && !is_reserved);
                continue;
            }
            count.note_caller(&port);
            count.blocked += u32::from(bucket.is_blocked);
            if is_free {
                if !facts.knows_binds {
                    count.doubtful += 1;
                    choices.add(&bucket, ports.ephemeral.min);
                }
                continue;
            }
            left_out.remove(&number);
            count.used += 1;
            count.reusable += u32::from(!bucket.is_blocked && port.is_reusable);
            count.add(&port, reuses);
        }
        count.likely_bound = choices.likely_bound(ports.capacity() / 2);
        let headroom = ports.capacity().saturating_sub(count.used);
        count.is_left_out =
            can_be_left_out > 0 && headroom > 0 && headroom == left_out.len() as u32;
        count
    }

    /// The TIME_WAIT entries that are not blocked otherwise.
    pub(super) fn time_waits(&self) -> u32 {
        self.classes.get(&Class::TimeWait).map_or(0, |of| of.groups.ports())
    }

    fn note_caller(&mut self, port: &Port<'_>) {
        if let Some(process) = port.own.and_then(Holding::process) {
            self.callers.entry(process.name.clone()).or_default().insert(process.pid);
        }
    }

    fn add(&mut self, port: &Port<'_>, reuses: bool) {
        let (class, who) = port.class();
        let of = self.classes.entry(class).or_default();
        of.groups.add(who);
        // Without its bind() it would be shared, unless it is between the same ends.
        let would_be_free = match port.own {
            None => true,
            Some(_) => reuses && port.is_reusable,
        };
        if would_be_free && matches!(class, Class::Bound | Class::BoundIdle) {
            *of.freed.entry(who.map(|process| process.name.clone())).or_default() += 1;
        }
    }
}

/// The parity of the ports that connections have, by their ends. connect() takes ports of the low end's
/// parity first (`__inet_hash_connect`, net/ipv4/inet_hashtables.c), bind() the others first
/// (`inet_csk_find_open_port`, net/ipv4/inet_connection_sock.c).
#[derive(Default)]
struct Choices(HashMap<(IpAddr, Endpoint), [u32; 2]>);

impl Choices {
    /// Fewer connections between two ends say nothing.
    const FEW: u32 = 8;

    fn add(&mut self, bucket: &HeldBucket<'_>, low: u16) {
        let mut holders = bucket.holders();
        // A port that several share, connect() chose.
        let (Some(one), None) = (holders.next(), holders.next()) else { return };
        let flow = one.flow();
        if let (Some(remote), Role::Owner) = (flow.remote, one.role) {
            let parities = self.0.entry((flow.local.address, remote)).or_default();
            parities[usize::from((bucket.port ^ low) & 1)] += 1;
        }
    }

    /// Ports of ends that have many of the parity that connect() takes last, while most of those that
    /// it takes first were free. `half`: how many there are of a parity.
    fn likely_bound(&self, half: u32) -> u32 {
        let is_bound = |[first, last]: &&[u32; 2]| {
            first + last >= Self::FEW && last * 4 >= first + last && *first < half - half / 8
        };
        self.0.values().filter(is_bound).map(|[first, last]| first + last).sum()
    }
}

impl<'a> Port<'a> {
    fn new(
        bucket: HeldBucket<'a>,
        (source, destination): (IpAddr, Endpoint),
        settings: &NamespaceSettings,
        facts: &Facts<'_>,
    ) -> Self {
        let is_own = |holding: &&Holding| {
            let flow = holding.flow();
            flow.local.address == source && flow.remote == Some(destination)
        };
        let mut own: Option<&Holding> = None;
        for holding in bucket.holders().filter(is_own) {
            if own.is_none_or(|own| own.holds == Holds::TimeWait) {
                own = Some(holding);
            }
        }
        let is_reusable = own.is_some_and(|own| {
            let is_old = match facts.time_waits.get(&bucket.port) {
                Some(entry) => {
                    let age_ms = crate::event::TIME_WAIT_NS / 1_000_000;
                    let age_ms = age_ms.saturating_sub(u64::from(entry.expires_ms));
                    !entry.fin_wait2 && age_ms > u64::from(settings.tw_reuse_delay_ms)
                }
                None => own.ripe,
            };
            own.holds == Holds::TimeWait && own.reuse.timestamps && !own.reuse.fin_wait2 && is_old
        });
        Self { bucket, own, is_reusable }
    }

    fn is_free(&self, reuses: bool) -> bool {
        !self.bucket.is_blocked && (self.own.is_none() || (reuses && self.is_reusable))
    }

    /// What keeps it, and whose that is.
    fn class(&self) -> (Class, Option<&'a Process>) {
        let process = |holding: &'a Holding| holding.process().map(|process| &**process);
        match self.own {
            Some(own) if own.holds != Holds::TimeWait => {
                return (Class::Connected(own.standing()), process(own));
            }
            Some(own) if !self.bucket.is_blocked => {
                let class = if own.reuse.fin_wait2 { Class::FinWait2 } else { Class::TimeWait };
                return (class, process(own));
            }
            _ => {}
        }
        let class_of = |holding: &Holding| match (holding.holds, holding.role) {
            (Holds::Listening, _) => Class::Listener,
            (_, Role::Child) => Class::Accepted,
            (Holds::Bound, _) => Class::BoundIdle,
            (Holds::Connected | Holds::TimeWait, Role::Owner) => Class::Bound,
        };
        // What can be helped least stands for the port.
        let rank = |holding: &&Holding| match class_of(holding) {
            Class::Listener => 0,
            Class::Accepted => 1,
            Class::BoundIdle => 2,
            _ => 3,
        };
        let unshared = || self.bucket.holders().filter(|one| !one.sharing.connect_bind);
        // On kernels that mark the port (up to 6.17), whoever bound it may be gone.
        let first = unshared().min_by_key(rank).or_else(|| self.bucket.holders().next());
        match first {
            Some(holding) => {
                let known =
                    unshared().find(|one| one.process().is_some() && rank(one) == rank(&holding));
                (class_of(holding), process(known.unwrap_or(holding)))
            }
            None => (Class::Bound, None),
        }
    }
}
