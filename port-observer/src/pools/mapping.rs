//! Whether each pool is mapped by the service that owns it, with the same ports inside and out.

use super::{
    compose::{Host, Mapping, Network, Service, Services},
    pool::{Pool, Protocols},
    ports::PortSet,
    problem::{Code, Problem, Problems, Severity},
    rules::subject,
};
use crate::event::Protocol;

/// How many services one after another may share a network.
const MOST_HOPS: usize = 8;
/// Ports that one service maps until that costs much: a process and rules each.
const MANY_PORTS: u32 = 500;
/// What docker-proxy takes for a port (moby/moby#11185: 602 MB for 500).
const KIB_EACH: u32 = 1_200;

/// Whose a pool is.
enum Owner<'a> {
    /// Not known.
    Nobody,
    /// A container that no service is.
    Missing(&'a str),
    /// It binds on the host itself.
    Host,
    /// The service whose network it is.
    Service(&'a Service),
}

/// Checks all pools.
pub fn check(pools: &[Pool], services: &Services, problems: &mut Problems) {
    if services.is_empty() {
        return;
    }
    for pool in pools {
        match owner(pool, services) {
            Owner::Nobody => {}
            Owner::Host => elsewhere(pool, None, services, problems),
            Owner::Missing(container) => {
                // What a file of pools names may run without Compose.
                if pool.variable.is_none() {
                    continue;
                }
                let message = format!(
                    "{} ({}) is not mapped: no service is called {container}, by its name or \
                     container_name",
                    subject(pool),
                    pool.shown()
                );
                let known: Vec<&str> = services.values().map(name).take(8).collect();
                let fix = format!(
                    "name the container of a service ({}), or add the service",
                    known.join(", ")
                );
                let problem = Problem::error(Code::NotMapped, message, pool.place.clone());
                problems.push(problem.of([&*pool.name]).fix(fix));
            }
            Owner::Service(service) => {
                mapped(pool, service, problems);
                elsewhere(pool, Some(service), services, problems);
            }
        }
    }
    services.values().for_each(|service| cost(service, problems));
}

/// Marks the pools whose ports are in a container's network, and in none that is named.
pub fn mark_forwarded(pools: &mut [Pool], services: &Services) {
    for pool in pools.iter_mut().filter(|pool| pool.netns.is_none()) {
        pool.is_forwarded = match owner(pool, services) {
            Owner::Host => false,
            Owner::Service(_) => true,
            Owner::Nobody | Owner::Missing(_) => pool.container.is_some(),
        };
    }
}

fn name(service: &Service) -> &str {
    service.container_name.as_deref().unwrap_or(&service.name)
}

fn owner<'a>(pool: &'a Pool, services: &'a Services) -> Owner<'a> {
    if let Some(container) = &pool.container {
        return match named(container, services) {
            Some(service) => network(service, services),
            None => Owner::Missing(container),
        };
    }
    let declaring = services.values().filter(|service| pool.services.contains(&service.name));
    let owners: Vec<Owner<'_>> = declaring.map(|service| network(service, services)).collect();
    let most = owners.into_iter().max_by_key(|owner| match owner {
        Owner::Host => u32::MAX,
        Owner::Service(service) => identical(pool, service, None).count(),
        Owner::Nobody | Owner::Missing(_) => 0,
    });
    if let Some(owner) = most {
        return owner;
    }
    // No service gets the variable: the one that maps some of it, as a range.
    let maps_some = |service: &&Service| {
        let meets = |mapping: &Mapping| {
            mapping.container.count() > 1
                && pool.ports.ranges().any(|range| {
                    range.min <= mapping.container.max && mapping.container.min <= range.max
                })
        };
        service.mappings.iter().any(meets)
    };
    let mut some = services.values().filter(maps_some);
    match (some.next(), some.next()) {
        (Some(service), None) => Owner::Service(service),
        _ => Owner::Nobody,
    }
}

fn named<'a>(container: &str, services: &'a Services) -> Option<&'a Service> {
    let by_container = |service: &&Service| service.container_name.as_deref() == Some(container);
    let by_name = |service: &&Service| service.name == container;
    services.values().find(by_container).or_else(|| services.values().find(by_name))
}

/// Whose network a service has in the end.
fn network<'a>(service: &'a Service, services: &'a Services) -> Owner<'a> {
    let mut service = service;
    for _ in 0..MOST_HOPS {
        let next = match &service.network {
            Network::Own => return Owner::Service(service),
            Network::Host => return Owner::Host,
            Network::None => return Owner::Nobody,
            Network::Service(name) => services.values().find(|one| one.name == *name),
            Network::Container(name) => named(name, services),
        };
        match next {
            Some(next) => service = next,
            None => return Owner::Nobody,
        }
    }
    Owner::Nobody
}

/// The ports of a pool that a service maps to themselves; of a protocol, or of any.
fn identical(pool: &Pool, service: &Service, protocol: Option<Protocol>) -> PortSet {
    let is_same = |mapping: &&Mapping| {
        mapping.host == Host::Each(mapping.container)
            && mapping.protocol.is_some()
            && (protocol.is_none() || mapping.protocol == protocol)
    };
    let all: PortSet =
        service.mappings.iter().filter(is_same).map(|mapping| mapping.container).collect();
    pool.ports.intersection(&all)
}

fn mapped(pool: &Pool, service: &Service, problems: &mut Problems) {
    let wanted: &[Option<Protocol>] = match pool.protocols {
        None => &[None],
        Some(Protocols::Tcp) => &[Some(Protocol::Tcp)],
        Some(Protocols::Udp) => &[Some(Protocol::Udp)],
        Some(Protocols::Both) => &[Some(Protocol::Tcp), Some(Protocol::Udp)],
    };
    for protocol in wanted {
        let missing = pool.ports.without(&identical(pool, service, *protocol));
        if missing.is_empty() {
            continue;
        }
        let of = protocol.map(|protocol| format!(" for {}", protocol.name())).unwrap_or_default();
        let because = reason(&missing, service, *protocol)
            .map(|because| format!(": {because}"))
            .unwrap_or_default();
        let message = format!(
            "{} ({}) is not mapped as a whole{of}: the service {} ({}) does not publish {} as \
             the same inside and out{because}{}",
            subject(pool),
            pool.shown(),
            service.name,
            service.place,
            missing.told(),
            started(service),
        );
        let end = if *protocol == Some(Protocol::Udp) { "/udp" } else { "" };
        let lines: Vec<String> = pool
            .ports
            .ranges()
            .take(4)
            .map(|range| format!("- \"{0}-{1}:{0}-{1}{end}\"", range.min, range.max))
            .collect();
        let fix = format!(
            "give services.{}.ports {}, or the pool the range that is mapped",
            service.name,
            lines.join(" and ")
        );
        let problem = Problem::error(Code::NotMapped, message, pool.place.clone());
        problems.push(problem.of([&*pool.name]).fix(fix));
    }
}

/// Of a service that no active profile starts: that it is checked all the same.
fn started(service: &Service) -> String {
    match service.is_inactive {
        true => format!(
            "; it is started only with a profile ({}), which COMPOSE_PROFILES does not name",
            service.profiles.join(", ")
        ),
        false => String::new(),
    }
}

/// What comes near to mapping these ports, and why it does not.
fn reason(missing: &PortSet, service: &Service, protocol: Option<Protocol>) -> Option<String> {
    service.mappings.iter().find_map(|mapping| {
        let meets = |range: crate::ports::PortRange| {
            !missing.intersection(&[range].into_iter().collect()).is_empty()
        };
        let is_inside = meets(mapping.container);
        if !is_inside && !mapping.host.range().is_some_and(meets) {
            return None;
        }
        let (text, place) = (&mapping.text, &mapping.place);
        Some(match mapping.host {
            Host::OneOf(_) => {
                format!("{text:?} ({place}) publishes one port only, whichever is free")
            }
            Host::Random => format!("{text:?} ({place}) publishes them as any ports that are free"),
            Host::Each(outside) if outside != mapping.container => {
                format!("{text:?} ({place}) has other ports inside than outside")
            }
            Host::Each(_) => {
                let is = mapping.protocol.map_or("sctp", Protocol::name);
                let wanted = protocol.map_or("tcp or udp", Protocol::name);
                format!("{text:?} ({place}) is for {is} alone, and not for {wanted}")
            }
        })
    })
}

/// Ports of a pool that other services publish.
fn elsewhere(pool: &Pool, own: Option<&Service>, services: &Services, problems: &mut Problems) {
    let others = services.values().filter(|one| own.is_none_or(|own| !std::ptr::eq(own, *one)));
    for service in others {
        for mapping in &service.mappings {
            let Some(outside) = mapping.host.range() else { continue };
            let is_of_pool =
                mapping.protocol.is_some_and(|protocol| pool.protocols().has(protocol));
            // One of them is never started with the other.
            let is_instead = own.is_some_and(|own| own.is_instead_of(service));
            if !is_of_pool || !pool.ports.meets(outside) || is_instead {
                continue;
            }
            if problems.is_full() {
                problems.omit(Severity::Error);
                continue;
            }
            let common = pool.ports.intersection(&[outside].into_iter().collect());
            let owner =
                own.map_or("the host".to_owned(), |own| format!("the service {}", own.name));
            let message = format!(
                "{} ({}) is of {owner}, but the service {} publishes {} of it, as {:?} ({}){}",
                subject(pool),
                pool.shown(),
                service.name,
                common.told(),
                mapping.text,
                mapping.place,
                started(service),
            );
            let fix = format!(
                "take them out of services.{}.ports, or give the pool the range of its own service",
                service.name
            );
            let problem = Problem::error(Code::MappedElsewhere, message, pool.place.clone());
            // As long as it is not started, nothing is wrong.
            let severity = match service.is_inactive {
                true => Severity::Warning,
                false => Severity::Error,
            };
            problems.push(Problem { severity, ..problem }.of([&*pool.name]).fix(fix));
        }
    }
}

/// What docker-proxy costs.
fn cost(service: &Service, problems: &mut Problems) {
    let is_range = |one: &&Mapping| matches!(one.host, Host::Each(range) if range.count() > 1);
    let published = service.mappings.iter().filter(is_range);
    let count: u32 = published.clone().map(|mapping| mapping.container.count()).sum();
    let Some(largest) = published.max_by_key(|mapping| mapping.container.count()) else { return };
    if count <= MANY_PORTS {
        return;
    }
    let mib = u64::from(count) * u64::from(KIB_EACH) / 1024;
    let message = format!(
        "the service {} publishes ranges of {count} ports: Docker runs a docker-proxy and adds rules for each, about \
         {mib} MiB, and starting and stopping take minutes",
        service.name
    );
    let problem = Problem::warning(Code::DockerProxy, message, largest.place.clone());
    problems.push(problem.fix(
        "use network_mode: host, or set \"userland-proxy\": false in /etc/docker/daemon.json, or publish \
         fewer ports",
    ));
}
