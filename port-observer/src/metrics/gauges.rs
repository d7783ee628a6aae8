//! What the ledger holds at one moment.

use super::{
    counters::Counters,
    descriptors::Descriptors,
    family::{Family, Kind, Sample, as_f64},
};
use crate::{
    event::Protocol,
    ledger::Ledger,
    report::{Counts, NamedUse, NamespaceUse, Space, SpaceKind},
    words::escape::escape,
};

/// How many of the fullest spaces have series.
const SPACES: usize = 10;
/// How many names of processes have series of their own; the rest is `other`.
const NAMES: usize = 10;

/// What the ledger holds at one moment, with the names of namespaces as labels have them.
#[derive(Debug, Default)]
pub struct Gauges {
    namespaces: Vec<(String, NamespaceUse)>,
    spaces: Vec<(String, Space)>,
    largest: Vec<(String, NamedUse)>,
    /// Of each namespace what is not of the largest.
    others: Vec<(String, Counts, u32)>,
    descriptors: Vec<Descriptors>,
}

impl Gauges {
    /// Asks the ledger, and /proc for the descriptors of the largest processes. `now_ns`: since boot.
    pub fn read(ledger: &mut Ledger, counters: &Counters, now_ns: u64) -> Self {
        ledger.advance(now_ns);
        let holdings = ledger.holdings();
        let namespaces = holdings.namespace_ports();
        let spaces = holdings.fullest(SPACES, &|_| true);
        let mut largest = holdings.by_name();
        let rest = largest.split_off(largest.len().min(NAMES));
        let mut others: Vec<(String, Counts, u32)> = Vec::new();
        for one in rest {
            let netns = counters.label(one.netns);
            match others.iter_mut().find(|(known, ..)| *known == netns) {
                None => others.push((netns, one.tcp, one.udp)),
                Some((_, tcp, udp)) => {
                    *tcp += one.tcp;
                    *udp += one.udp;
                }
            }
        }
        let named = |netns| counters.label(netns);
        Self {
            descriptors: Descriptors::of(&largest),
            namespaces: namespaces.into_iter().map(|one| (named(one.netns), one)).collect(),
            spaces: spaces.into_iter().map(|one| (named(one.netns), one)).collect(),
            largest: largest.into_iter().map(|one| (named(one.netns), one)).collect(),
            others,
        }
    }

    /// The families of gauges.
    pub(super) fn families(&self) -> Vec<Family> {
        let gauge = |name, help| Family::new(Kind::Gauge, name, help);
        let mut families = vec![
            gauge(
                "port_observer_ephemeral_ports",
                "Ports that automatic choice has: ip_local_port_range less ip_local_reserved_ports.",
            )
            .of(self.namespaces.iter().filter_map(|(netns, namespace)| {
                let ports = namespace.ports.as_ref()?;
                let labels = vec![("netns", netns.clone())];
                Some(Sample::new(labels, ports.capacity().into()))
            })),
            gauge(
                "port_observer_ephemeral_ports_used",
                "Ports of the ephemeral range that somebody holds. How many are left for a call depends \
                 on its destination: see port_observer_space_headroom_ports.",
            )
            .of(self.namespaces.iter().flat_map(|(netns, namespace)| {
                let used =
                    [(Protocol::Tcp, namespace.tcp.ports), (Protocol::Udp, namespace.udp_used_ports)];
                used.map(|(protocol, used)| {
                    let protocol = protocol.name().to_owned();
                    Sample::new(vec![("netns", netns.clone()), ("protocol", protocol)], used.into())
                })
            })),
        ];
        families.extend(self.of_spaces());
        families.push(
            gauge(
                "port_observer_process_ports",
                "Sockets and TIME_WAIT entries that hold a local port, by the name of the process and by \
                 state; of the largest names, the rest as other.",
            )
            .of(self.of_processes()),
        );
        families.extend(super::descriptors::families(&self.descriptors));
        families
    }

    fn of_spaces(&self) -> Vec<Family> {
        let gauge = |name, help| Family::new(Kind::Gauge, name, help);
        let each = |value: &dyn Fn(&Space) -> Option<f64>| -> Vec<Sample> {
            let samples = self.spaces.iter();
            let value = |(netns, space): &(String, Space)| {
                Some(Sample::new(labels(netns, space), value(space)?))
            };
            samples.filter_map(value).collect()
        };
        vec![
            gauge(
                "port_observer_space_headroom_ports",
                "How many more such calls would succeed now; of the fullest spaces.",
            )
            .of(each(&|space| Some(space.headroom.into()))),
            gauge(
                "port_observer_space_ports",
                "Ports that one allocation chooses from; of the fullest spaces.",
            )
            .of(each(&|space| Some(space.capacity.into()))),
            gauge(
                "port_observer_space_exhaustion_seconds",
                "When a space will be full if it grows as in the last minute; absent where it does not \
                 grow. An estimate.",
            )
            .of(each(&|space| space.seconds_to_exhaustion)),
        ]
    }

    fn of_processes(&self) -> Vec<Sample> {
        let largest = self.largest.iter().map(|(netns, one)| {
            (netns, one.name.as_deref().unwrap_or("unknown"), &one.tcp, one.udp)
        });
        let others = self.others.iter().map(|(netns, tcp, udp)| (netns, "other", tcp, *udp));
        let mut samples = Vec::new();
        for (netns, process, tcp, udp) in largest.chain(others) {
            let tcp = tcp.named().map(|(count, _, state)| (state, count));
            for (state, count) in tcp.into_iter().chain([("udp", udp)]) {
                if count > 0 {
                    let labels = vec![
                        ("netns", netns.clone()),
                        ("process", escape(process).into_owned()),
                        ("state", state.to_owned()),
                    ];
                    samples.push(Sample::new(labels, as_f64(count.into())));
                }
            }
        }
        samples
    }
}

fn labels(netns: &str, space: &Space) -> Vec<(&'static str, String)> {
    let (kind, source, destination) = match space.kind {
        SpaceKind::Connect { source, destination } => {
            ("connect", source.to_string(), destination.to_string())
        }
        SpaceKind::Bind { address } => ("bind", address.to_string(), String::new()),
    };
    vec![
        ("netns", netns.to_owned()),
        ("protocol", space.protocol.name().to_owned()),
        ("kind", kind.to_owned()),
        ("source", source),
        ("destination", destination),
    ]
}
