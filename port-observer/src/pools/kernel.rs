//! Pools against the kernel: which of their ports automatic choice may give away, and which are held.

use super::{
    pool::Pool,
    ports::PortSet,
    problem::{Code, Problem, Problems, Severity},
    rules::subject,
    state::Share,
};
use crate::{
    event::{Endpoint, Protocol, TcpState},
    ports::{PortRange, Ports},
    process::Process,
};

/// Holders of a pool's ports that are named.
const MOST_HOLDERS: usize = 10;

/// What the kernel says of one network namespace.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// As pools name it; `None`: the own.
    pub netns: Option<String>,
    /// Its range and reserved ports, or why they are not known.
    pub ports: Option<Result<Ports, String>>,
    /// What is held, or why that is not known.
    pub held: Option<Result<Vec<Held>, String>>,
    /// What the list does not show, a sentence each.
    pub missing: Vec<String>,
}

impl Facts {
    /// Whether they are of the own network namespace of a pool's container: it was found by that name.
    pub(super) fn is_of_container(&self, pool: &Pool) -> bool {
        pool.netns.is_none() && self.netns.is_some() && self.netns == pool.container
    }
}

/// A socket, or what is left of it, that holds a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its address and port.
    pub local: Endpoint,
    /// Whether it has a peer.
    pub is_connected: bool,
    /// Its state, of TCP.
    pub state: TcpState,
    /// Who has it open, if that is known.
    pub holder: Option<Holder>,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// Its name.
    pub name: String,
    /// Its number.
    pub pid: u32,
    /// The name of its executable's file.
    pub executable: Option<String>,
    /// The names and the id of its container.
    pub container: Vec<String>,
}

/// For people: who holds a port.
pub fn who_is(holder: Option<&Holder>) -> String {
    match holder {
        None => "nobody that is known".to_owned(),
        Some(holder) => match holder.container.first() {
            Some(container) => format!("{} (pid {}, in {container})", holder.name, holder.pid),
            None => format!("{} (pid {})", holder.name, holder.pid),
        },
    }
}

impl Held {
    /// How it holds the port.
    pub(super) fn how(&self) -> &'static str {
        match (self.protocol, self.state) {
            (Protocol::Tcp, TcpState::LISTEN) => "listening",
            (Protocol::Tcp, TcpState::TIME_WAIT) => "TIME_WAIT",
            _ if self.is_connected => "connected",
            _ => "bound",
        }
    }

    /// Whether it is in the way of a pool.
    pub(super) fn is_on(&self, pool: &Pool) -> bool {
        let is_there = match &pool.address {
            None => true,
            Some(address) => {
                let own = self.local.address;
                own.is_unspecified()
                    || address.parse().is_ok_and(|address: std::net::IpAddr| {
                        address.is_unspecified() || address.to_canonical() == own
                    })
            }
        };
        is_there && pool.protocols().has(self.protocol) && pool.ports.contains(self.local.port)
    }

    /// Whether it is the pool's own.
    pub(super) fn is_of(&self, pool: &Pool) -> bool {
        self.holder.as_ref().is_some_and(|holder| holder.owns(pool))
    }

    /// Its port.
    pub(super) fn port(&self) -> PortRange {
        PortRange { min: self.local.port, max: self.local.port }
    }
}

impl Holder {
    /// A process.
    pub fn of(process: &Process) -> Self {
        let file = process.executable.as_deref().and_then(|path| path.rsplit('/').next());
        let container = process
            .container
            .iter()
            .flat_map(|container| container.name.iter().cloned().chain([container.id.clone()]));
        Self {
            name: process.name.clone(),
            pid: process.pid,
            executable: file.map(str::to_owned),
            container: container.collect(),
        }
    }

    /// Whether it is whose the pool is.
    pub(super) fn owns(&self, pool: &Pool) -> bool {
        let process = pool.process.as_deref();
        let is_named = |name: &str| Some(name) == process;
        let is_process = is_named(&self.name) || self.executable.as_deref().is_some_and(is_named);
        // What Docker publishes for the pool's container.
        let is_proxy =
            self.name == "docker-proxy" && (pool.container.is_some() || !pool.services.is_empty());
        is_process || is_proxy || self.is_in_container(pool)
    }

    /// Whether it is in the pool's container.
    pub(super) fn is_in_container(&self, pool: &Pool) -> bool {
        pool.container.as_ref().is_some_and(|container| {
            let is_id = |name: &String| container.len() >= 12 && name.starts_with(&**container);
            self.container.iter().any(|name| name == container || is_id(name))
        })
    }
}

/// Checks the pools that are in this namespace.
pub fn check(pools: &[Pool], facts: &Facts, problems: &mut Problems) {
    let pools: Vec<&Pool> = pools.iter().filter(|pool| pool.netns == facts.netns).collect();
    let unknown = |what: &str, reason: &str| Problem {
        severity: Severity::Warning,
        code: Code::NotChecked,
        pools: pools.iter().take(MOST_HOLDERS).map(|pool| pool.name.clone()).collect(),
        message: format!("{what} is not known: {reason}"),
        place: None,
        fix: Some("run it on the host where the pools are, as root".to_owned()),
    };
    match &facts.ports {
        Some(Ok(ports)) => ephemeral(&pools, ports, facts.netns.as_deref(), problems),
        Some(Err(reason)) => problems.push(unknown("the ephemeral range", reason)),
        None => {}
    }
    match &facts.held {
        Some(Ok(held)) => in_use(&pools, held, &facts.missing, problems),
        Some(Err(reason)) => problems.push(unknown("what holds ports", reason)),
        None => {}
    }
}

/// What a command begins with that is run in a namespace; the own: nothing.
pub(super) fn enter(netns: Option<&str>) -> String {
    match netns {
        None => String::new(),
        Some(name) if name.contains('/') => format!("nsenter --net={name} "),
        Some(name) => format!("ip netns exec {name} "),
    }
}

fn ephemeral(pools: &[&Pool], ports: &Ports, netns: Option<&str>, problems: &mut Problems) {
    let reserved: PortSet = ports.reserved.ranges().iter().copied().collect();
    let offered = PortSet::from_iter([ports.ephemeral]).without(&reserved);
    let mut all = reserved.clone();
    let mut hit: Vec<(&Pool, PortSet)> = Vec::new();
    for pool in pools {
        let common = pool.ports.intersection(&offered);
        if !common.is_empty() {
            pool.ports.ranges().for_each(|range| all.insert(range));
            hit.push((pool, common));
        }
    }
    let enter = enter(netns);
    for (pool, common) in hit {
        let message = format!(
            "{} ({}) lies in ip_local_port_range ({} {}) with {}, not reserved: any connect(), or bind() \
             to port 0, may take that",
            subject(pool),
            pool.shown(),
            ports.ephemeral.min,
            ports.ephemeral.max,
            common.told(),
        );
        let fix = format!("{enter}sysctl -w net.ipv4.ip_local_reserved_ports={all}");
        let problem = Problem::warning(Code::Ephemeral, message, pool.place.clone());
        problems.push(problem.of([&*pool.name]).fix(fix));
    }
}

fn in_use(pools: &[&Pool], held: &[Held], missing: &[String], problems: &mut Problems) {
    for pool in pools {
        let others = || held.iter().filter(|one| one.is_on(pool) && !one.is_of(pool));
        let taken: PortSet = others().map(Held::port).collect();
        if taken.is_empty() {
            continue;
        }
        let largest = Share::of_all(others());
        let more = largest.len().saturating_sub(MOST_HOLDERS);
        let mut who: Vec<String> = largest
            .iter()
            .take(MOST_HOLDERS)
            .map(|Share { holder, protocol, how, ports }| {
                let holder = who_is(*holder);
                format!("{holder}: {} {} {how}", protocol.name(), ports.brief())
            })
            .collect();
        if more > 0 {
            who.push(format!("and {more} more"));
        }
        let limits = match missing {
            [] => String::new(),
            missing => format!(" (not seen: {})", missing.join("; ")),
        };
        let message = format!(
            "{} ({}): {} of {} ports held now: {}{limits}",
            subject(pool),
            pool.shown(),
            taken.count(),
            pool.ports.count(),
            who.join("; "),
        );
        let first = pool.ranges[0];
        let fix = format!(
            "move what holds them, or if it is the pool's own, name it in pools.toml (process, container); \
             `port-observer snapshot --port {}-{}` shows each",
            first.min, first.max
        );
        let problem = Problem::warning(Code::InUse, message, pool.place.clone());
        problems.push(problem.of([&*pool.name]).fix(fix));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{pools::problem::Place, ports::ReservedPorts};

    fn pool(name: &str, min: u16, max: u16) -> Pool {
        let place = Place { file: "pools.toml".into(), line: Some(1) };
        Pool::new(name, vec![PortRange { min, max }], place)
    }

    fn facts(min: u16, max: u16, reserved: &[(u16, u16)]) -> Facts {
        let ranges = reserved.iter().map(|&(min, max)| PortRange { min, max }).collect();
        let reserved = ReservedPorts::new(ranges);
        let ports = Ports { ephemeral: PortRange { min, max }, reserved };
        Facts { ports: Some(Ok(ports)), ..Facts::default() }
    }

    fn problems(pools: &[Pool], facts: &Facts) -> Vec<Problem> {
        let mut problems = Problems::default();
        check(pools, facts, &mut problems);
        problems.sorted().into_iter().cloned().collect()
    }

    #[test]
    fn pools_in_the_ephemeral_range_are_told_with_one_line_that_reserves_all() {
        let pools =
            [pool("media", 21_000, 31_000), pool("low", 500, 1_000), pool("vpn", 19_000, 19_999)];
        let found = problems(&pools, &facts(1_024, 65_535, &[(8_080, 8_080), (19_000, 19_000)]));
        let line = "sysctl -w net.ipv4.ip_local_reserved_ports=8080,19000-19999,21000-31000";
        let told: Vec<(&str, Option<&str>)> =
            found.iter().map(|one| (&*one.pools[0], one.fix.as_deref())).collect();
        assert_eq!(told, [("media", Some(line)), ("vpn", Some(line))]);
        assert!(found[0].message.contains("ip_local_port_range (1024 65535)"), "{found:?}");
        assert!(found[1].message.contains("19001-19999, 999 ports"), "{found:?}");
        // With that line, all is well.
        let reserved = [(8_080, 8_080), (19_000, 19_999), (21_000, 31_000)];
        assert_eq!(problems(&pools, &facts(1_024, 65_535, &reserved)), []);
        assert_eq!(problems(&pools, &facts(32_768, 60_999, &[])), []);
    }

    #[test]
    fn a_namespace_of_its_own_is_another_matter() {
        let mut blue = pool("blue", 40_000, 40_099);
        blue.netns = Some("blue".to_owned());
        let pools = [blue, pool("own", 40_000, 40_099)];
        let own = problems(&pools, &facts(32_768, 60_999, &[]));
        assert_eq!((own.len(), &*own[0].pools[0]), (1, "own"));
        let of_blue = Facts { netns: Some("blue".to_owned()), ..facts(40_000, 40_000, &[]) };
        let found = problems(&pools, &of_blue);
        let line = "ip netns exec blue sysctl -w net.ipv4.ip_local_reserved_ports=40000-40099";
        assert_eq!((found.len(), found[0].fix.as_deref()), (1, Some(line)));
    }

    fn held(protocol: Protocol, local: &str, state: TcpState, holder: Option<(&str, u32)>) -> Held {
        let local: std::net::SocketAddr = local.parse().unwrap();
        let holder = holder.map(|(name, pid)| Holder {
            name: name.to_owned(),
            pid,
            executable: None,
            container: if name == "engine" { vec!["gluetun".to_owned()] } else { Vec::new() },
        });
        Held { protocol, local: local.into(), is_connected: false, state, holder }
    }

    #[test]
    fn what_holds_ports_is_told_unless_it_is_the_pools_own_or_on_another_address_or_protocol() {
        let nginx = Some(("nginx", 7));
        let held = vec![
            held(Protocol::Tcp, "0.0.0.0:21000", TcpState::LISTEN, nginx),
            held(Protocol::Tcp, "10.0.0.1:21001", TcpState::LISTEN, nginx),
            held(Protocol::Udp, "[::]:21005", TcpState::CLOSE, Some(("engine", 9))),
            held(Protocol::Tcp, "10.0.0.2:21006", TcpState::TIME_WAIT, None),
            held(Protocol::Tcp, "10.0.0.2:80", TcpState::LISTEN, nginx),
        ];
        let facts = Facts { held: Some(Ok(held)), ..Facts::default() };
        let any = pool("media", 21_000, 21_100);
        let message = |pool: &Pool| {
            let found = problems(std::slice::from_ref(pool), &facts);
            found.first().map(|one| one.message.clone()).unwrap_or_default()
        };
        assert_eq!(
            message(&any),
            "media (21000-21100): 4 of 101 ports held now: nginx (pid 7): tcp 21000-21001 listening; \
             nobody that is known: tcp 21006 TIME_WAIT; engine (pid 9, in gluetun): udp 21005 bound"
        );
        let udp = Pool { protocols: Some(crate::pools::Protocols::Udp), ..any.clone() };
        assert!(message(&udp).contains(": 1 of 101 ports"));
        let own = Pool { container: Some("gluetun".to_owned()), ..udp };
        assert_eq!(message(&own), "");
        let own = Pool { process: Some("nginx".to_owned()), ..any.clone() };
        assert!(message(&own).contains(": 2 of 101 ports"), "{}", message(&own));
        let address = Pool { address: Some("10.0.0.1".to_owned()), ..any };
        assert!(message(&address).contains(": 3 of 101 ports"), "{}", message(&address));
    }

    #[test]
    fn what_can_not_be_known_is_said() {
        let facts = Facts { ports: Some(Err("why".to_owned())), ..Facts::default() };
        let found = problems(&[pool("a", 1, 2)], &facts);
        assert_eq!((found.len(), found[0].code), (1, Code::NotChecked));
    }
}
