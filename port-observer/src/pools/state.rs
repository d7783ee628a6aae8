//! What is held of pools now, by whom, and what their owners hold elsewhere.

use std::collections::BTreeMap;

use super::{
    kernel::{Facts, Held, Holder},
    pool::Pool,
    ports::PortSet,
};
use crate::event::{Protocol, TcpState};

/// A pool now.
#[derive(Clone, Debug)]
pub struct State<'a> {
    /// As it was declared.
    pub pool: &'a Pool,
    /// Which of its ports are held, or why that is not known.
    pub used: Result<PortSet, &'a str>,
    /// Which are leased; `None`: there is no file of leases.
    pub leased: Option<PortSet>,
    /// By whom, the largest first.
    pub holders: Vec<Share<'a>>,
    /// What its owner holds that is not of its pools.
    pub outside: Vec<Outside<'a>>,
    /// What the list does not show, a sentence each.
    pub missing: &'a [String],
    /// It is in the own network namespace of its container.
    pub is_containers_own: bool,
}

/// What one process has of a pool.
#[derive(Clone, Debug)]
pub struct Share<'a> {
    /// Which process; `None`: it is not known.
    pub holder: Option<&'a Holder>,
    /// The protocol.
    pub protocol: Protocol,
    /// How: `listening`, `bound`, `connected`, `TIME_WAIT`.
    pub how: &'static str,
    /// Which ports.
    pub ports: PortSet,
}

/// Ports that the owner of a pool took elsewhere.
#[derive(Clone, Debug)]
pub struct Outside<'a> {
    /// Which process.
    pub holder: &'a Holder,
    /// The protocol.
    pub protocol: Protocol,
    /// How: `listening` or `bound`.
    pub how: &'static str,
    /// Which ports.
    pub ports: PortSet,
    /// The pool that has them.
    pub of: Option<&'a Pool>,
}

impl<'a> Share<'a> {
    /// Of those that hold something, the largest first.
    pub fn of_all(held: impl Iterator<Item = &'a Held>) -> Vec<Self> {
        let mut shares: BTreeMap<(Option<&Holder>, Protocol, &str), PortSet> = BTreeMap::new();
        for one in held {
            let key = (one.holder.as_ref(), one.protocol, one.how());
            shares.entry(key).or_default().insert(one.port());
        }
        let share = |((holder, protocol, how), ports)| Self { holder, protocol, how, ports };
        let mut shares: Vec<Self> = shares.into_iter().map(share).collect();
        shares.sort_by_key(|share| std::cmp::Reverse(share.ports.count()));
        shares
    }
}

impl<'a> State<'a> {
    /// Of one of the pools, by what the kernel says of the network namespace that it is in.
    pub fn of(pool: &'a Pool, all: &'a [Pool], facts: &'a Facts) -> Self {
        let missing = &facts.missing[..];
        let (used, holders, outside) = match (&facts.held, &facts.ports) {
            (Some(Ok(held)), _) => {
                let here = || held.iter().filter(|one| one.is_on(pool));
                let used = here().map(Held::port).collect();
                (Ok(used), Share::of_all(here()), outside(pool, all, held, facts))
            }
            (Some(Err(reason)), _) | (None, Some(Err(reason))) => {
                (Err(&**reason), Vec::new(), Vec::new())
            }
            (None, _) => (Err("its network namespace was not looked into"), Vec::new(), Vec::new()),
        };
        let is_containers_own = facts.is_of_container(pool);
        Self { pool, used, leased: None, holders, outside, missing, is_containers_own }
    }

    /// Whether who has a share of it is not its owner; `None`: it is not said whose the pool is, or not
    /// known who holds them.
    pub fn is_stranger(&self, share: &Share<'_>) -> Option<bool> {
        self.pool.is_owned_by(share.holder, self.is_containers_own).map(|is_own| !is_own)
    }

    /// How many of its ports a unit can still take, those of pairs by pairs.
    pub fn free(&self) -> Option<u32> {
        let mut left = self.pool.ports.without(self.used.as_ref().ok()?);
        if let Some(leased) = &self.leased {
            left = left.without(leased);
        }
        Some(self.pool.parity.usable(&left))
    }
}

/// What the owner of a pool listens on or has bound that is of none of its pools. Ports that the kernel may
/// have chosen for it are nobody's pool's.
fn outside<'a>(pool: &Pool, all: &'a [Pool], held: &'a [Held], facts: &Facts) -> Vec<Outside<'a>> {
    let is_chosen = |port: u16| matches!(&facts.ports, Some(Ok(ports)) if ports.offers(port));
    let mut found: BTreeMap<(&Holder, Protocol, &str, Option<usize>), PortSet> = BTreeMap::new();
    let is_of = |one: &Held, pool: &Pool| {
        pool.is_owned_by(one.holder.as_ref(), facts.is_of_container(pool)) == Some(true)
    };
    for one in held.iter().filter(|one| is_chosen_by_its_owner(one) && is_of(one, pool)) {
        let Some(holder) = &one.holder else { continue };
        if all.iter().any(|pool| one.is_on(pool) && is_of(one, pool)) {
            continue;
        }
        let of = all.iter().position(|pool| one.is_on(pool));
        // Whatever is in a container's namespace is its; its other ports are nobody's matter.
        if of.is_some() || (!is_chosen(one.local.port) && one.is_of(pool)) {
            let ports = found.entry((holder, one.protocol, one.how(), of)).or_default();
            ports.insert(one.port());
        }
    }
    let told = |((holder, protocol, how, of), ports): ((_, _, _, Option<usize>), _)| Outside {
        holder,
        protocol,
        how,
        ports,
        of: of.map(|at| &all[at]),
    };
    found.into_iter().map(told).collect()
}

fn is_chosen_by_its_owner(one: &Held) -> bool {
    match one.protocol {
        Protocol::Tcp => one.state == TcpState::LISTEN,
        Protocol::Udp => !one.is_connected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pools::{Parity, problem::Place},
        ports::{PortRange, Ports, ReservedPorts},
    };

    fn pool(name: &str, min: u16, max: u16, process: &str) -> Pool {
        let place = Place { file: "pools.toml".into(), line: Some(1) };
        let process = (!process.is_empty()).then(|| process.to_owned());
        Pool { process, ..Pool::new(name, vec![PortRange { min, max }], place) }
    }

    fn held(protocol: Protocol, local: &str, holder: &str) -> Held {
        let local: std::net::SocketAddr = local.parse().unwrap();
        let (executable, container) = (None, Vec::new());
        let named = Holder { name: holder.to_owned(), pid: 7, executable, container };
        let state = if protocol == Protocol::Tcp { TcpState::LISTEN } else { TcpState::CLOSE };
        let holder = (!holder.is_empty()).then_some(named);
        Held { protocol, local: local.into(), is_connected: false, state, holder }
    }

    fn facts(held: Vec<Held>) -> Facts {
        let ephemeral = PortRange { min: 32_768, max: 60_999 };
        let reserved = ReservedPorts::new(vec![PortRange { min: 40_000, max: 40_000 }]);
        let ports = Some(Ok(Ports { ephemeral, reserved }));
        Facts { ports, held: Some(Ok(held)), ..Facts::default() }
    }

    #[test]
    fn what_is_free_is_counted_by_what_a_unit_takes() {
        let facts = facts(vec![
            held(Protocol::Udp, "0.0.0.0:21000", "rtpengine"),
            held(Protocol::Udp, "0.0.0.0:21003", ""),
            held(Protocol::Tcp, "0.0.0.0:21004", "nginx"),
            held(Protocol::Tcp, "0.0.0.0:20999", "nginx"),
        ]);
        for (parity, free) in [(Parity::Any, 7), (Parity::Even, 3), (Parity::Pair, 4)] {
            let pools = [Pool { parity, ..pool("media", 21_000, 21_009, "rtpengine") }];
            let state = State::of(&pools[0], &pools, &facts);
            assert_eq!(state.used.as_ref().unwrap().to_string(), "21000,21003-21004");
            assert_eq!(state.free(), Some(free), "{parity:?}");
            let who: Vec<_> = state
                .holders
                .iter()
                .map(|one| (one.holder.map(|holder| &*holder.name), state.is_stranger(one)))
                .collect();
            for expected in [(Some("rtpengine"), Some(false)), (Some("nginx"), Some(true))] {
                assert!(who.contains(&expected), "{who:?}");
            }
            assert!(who.contains(&(None, None)), "{who:?}");
        }
        let pools = [pool("media", 21_000, 21_009, "")];
        let state = State::of(&pools[0], &pools, &facts);
        assert!(state.holders.iter().all(|one| state.is_stranger(one).is_none()));
    }

    #[test]
    fn what_an_owner_took_elsewhere_is_told_with_whose_it_is() {
        let pools = [
            pool("gluetun", 19_000, 19_099, "engine1"),
            pool("gluetun_2", 19_100, 19_199, "engine2"),
            pool("more", 30_000, 30_001, "engine2"),
        ];
        let facts = facts(vec![
            held(Protocol::Tcp, "0.0.0.0:19007", "engine2"),
            held(Protocol::Tcp, "0.0.0.0:19107", "engine2"),
            held(Protocol::Tcp, "0.0.0.0:30001", "engine2"),
            held(Protocol::Tcp, "0.0.0.0:8080", "engine2"),
            held(Protocol::Tcp, "0.0.0.0:40000", "engine2"),
            held(Protocol::Udp, "0.0.0.0:40001", "engine2"),
        ]);
        let of_second = State::of(&pools[1], &pools, &facts);
        let told: Vec<(String, Option<&str>)> = of_second
            .outside
            .iter()
            .map(|one| (one.ports.to_string(), one.of.map(|of| &*of.name)))
            .collect();
        let expected = [("8080,40000".to_owned(), None), ("19007".to_owned(), Some("gluetun"))];
        assert_eq!(told, expected);
        assert!(State::of(&pools[0], &pools, &facts).outside.is_empty());
    }

    #[test]
    fn what_is_not_known_is_said() {
        let pools = [pool("a", 1, 2, "")];
        for (held, reason) in [(None, "looked into"), (Some(Err("why".to_owned())), "why")] {
            let facts = Facts { held, ..Facts::default() };
            let state = State::of(&pools[0], &pools, &facts);
            assert!(state.used.as_ref().unwrap_err().contains(reason));
            assert_eq!(state.free(), None);
        }
    }
}
