//! Ports of a pool that others are known to want.

use super::{
    pool::Pool,
    ports::PortSet,
    problem::{Code, Problem, Problems},
    rules::subject,
};
use crate::{
    event::Protocol::{self, Tcp, Udp},
    ports::PortRange,
};

/// System ports (RFC 6335, 6): to bind one takes a privilege.
const SYSTEM: PortRange = PortRange { min: 1, max: 1_023 };

/// Servers that run beside many others.
const SERVERS: [(u16, Protocol, &str); 24] = [
    (1_194, Udp, "OpenVPN"),
    (2_049, Tcp, "NFS"),
    (2_375, Tcp, "Docker"),
    (2_376, Tcp, "Docker"),
    (2_379, Tcp, "etcd"),
    (2_380, Tcp, "etcd"),
    (3_306, Tcp, "MySQL"),
    (3_389, Tcp, "RDP"),
    (3_478, Udp, "STUN"),
    (3_478, Tcp, "STUN"),
    (4_789, Udp, "VXLAN"),
    (5_060, Udp, "SIP"),
    (5_060, Tcp, "SIP"),
    (5_061, Tcp, "SIP"),
    (5_353, Udp, "mDNS"),
    (5_432, Tcp, "PostgreSQL"),
    (5_672, Tcp, "AMQP"),
    (6_379, Tcp, "Redis"),
    (6_443, Tcp, "Kubernetes"),
    (9_092, Tcp, "Kafka"),
    (10_250, Tcp, "kubelet"),
    (11_211, Tcp, "memcached"),
    (27_017, Tcp, "MongoDB"),
    (51_820, Udp, "WireGuard"),
];

/// Warns of them; of servers where a pool says which protocol it is for.
pub fn check(pools: &[Pool], problems: &mut Problems) {
    for pool in pools {
        let mut told = Vec::new();
        let system = pool.ports.intersection(&PortSet::from_iter([SYSTEM]));
        if !system.is_empty() {
            told.push(format!(
                "{} of system services, which take a privilege to bind",
                system.told()
            ));
        }
        let is_wanted = |protocol| pool.protocols.is_some_and(|protocols| protocols.has(protocol));
        let servers = SERVERS
            .iter()
            .filter(|(port, protocol, _)| is_wanted(*protocol) && pool.ports.contains(*port));
        told.extend(
            servers.map(|(port, protocol, name)| format!("{} {port} of {name}", protocol.name())),
        );
        if told.is_empty() {
            continue;
        }
        let message = format!("{} ({}) has {}", subject(pool), pool.shown(), told.join(", "));
        let problem = Problem::warning(Code::WellKnown, message, pool.place.clone());
        problems.push(problem.of([&*pool.name]).fix("leave them out (exclude), or move the pool"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pools::{Place, Protocols};

    #[test]
    fn ports_that_others_want_are_named_by_protocol() {
        let told = |min, max, protocols| {
            let place = Place { file: "pools.toml".into(), line: None };
            let mut pool = Pool::new("a", vec![PortRange { min, max }], place);
            pool.protocols = protocols;
            let mut problems = Problems::default();
            check(&[pool], &mut problems);
            problems.sorted().first().map(|one| one.message.clone())
        };
        assert_eq!(told(19_000, 31_000, None), None);
        assert_eq!(told(19_000, 31_000, Some(Protocols::Udp)), None);
        let tcp = told(19_000, 31_000, Some(Protocols::Tcp)).unwrap();
        assert_eq!(tcp, "a (19000-31000) has tcp 27017 of MongoDB");
        assert!(
            told(1_000, 1_100, None).unwrap().contains("1000-1023, 24 ports of system services")
        );
    }
}
