//! The state of everything at one moment, as the JSON has it.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::processes::Objects;
use super::space::Space;
use crate::ports::Ports;
use crate::report::{self, NamespaceUse, ProcessUse, TcpUse};

/// A summary, with the objects of its processes.
#[derive(Clone, Copy)]
pub(super) struct Summary<'a> {
    summary: &'a report::Summary,
    objects: &'a Objects,
}

impl<'a> Summary<'a> {
    /// `objects` are those of the summary's processes, in the same order.
    pub(super) fn new(summary: &'a report::Summary, objects: &'a Objects) -> Self {
        Self { summary, objects }
    }
}

#[derive(Serialize)]
struct Fields<'a> {
    namespaces: Vec<Namespace<'a>>,
    spaces: Vec<Space<'a>>,
    processes: Vec<Process<'a>>,
}

#[derive(Serialize)]
struct Namespace<'a> {
    netns: u32,
    names: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    ephemeral_range: Option<Range>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reserved_ports: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<u32>,
    tcp: NamespaceTcp,
    udp: NamespaceUdp,
}

#[derive(Serialize)]
pub(super) struct Range {
    pub(super) min: u16,
    pub(super) max: u16,
}

#[derive(Serialize)]
struct NamespaceTcp {
    used_ports: u32,
    connections: u32,
    time_wait: u32,
    listening: u32,
    bound: u32,
    #[serde(skip_serializing_if = "is_none")]
    bind_held_ports: u32,
}

#[derive(Serialize)]
struct NamespaceUdp {
    used_ports: u32,
}

#[derive(Serialize)]
struct Process<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<&'a RawValue>,
    tcp: ProcessTcp,
    udp: ProcessUdp,
}

#[derive(Serialize)]
struct ProcessTcp {
    ports: u32,
    established: u32,
    #[serde(skip_serializing_if = "is_none")]
    syn_sent: u32,
    #[serde(skip_serializing_if = "is_none")]
    close_wait: u32,
    #[serde(skip_serializing_if = "is_none")]
    fin_wait: u32,
    time_wait: u32,
    listening: u32,
    bound: u32,
    other: u32,
    #[serde(skip_serializing_if = "is_none")]
    bind_held_ports: u32,
}

#[derive(Serialize)]
struct ProcessUdp {
    ports: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_none(count: &u32) -> bool {
    *count == 0
}

impl Serialize for Summary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let report::Summary { namespaces, spaces, processes } = self.summary;
        let processes = processes.iter().zip(self.objects);
        Fields {
            namespaces: namespaces.iter().map(Namespace::new).collect(),
            spaces: spaces.iter().map(Space).collect(),
            processes: processes.map(|(of, object)| Process::new(of, object.as_deref())).collect(),
        }
        .serialize(serializer)
    }
}

impl<'a> Namespace<'a> {
    fn new(of: &'a NamespaceUse) -> Self {
        let ports = of.ports.as_ref();
        let range = |ports: &Ports| Range { min: ports.ephemeral.min, max: ports.ephemeral.max };
        Self {
            netns: of.netns,
            names: &of.names,
            ephemeral_range: ports.map(range),
            reserved_ports: ports.map(|ports| ports.reserved.count_in(ports.ephemeral)),
            capacity: ports.map(Ports::capacity),
            tcp: NamespaceTcp::new(&of.tcp),
            udp: NamespaceUdp { used_ports: of.udp_used_ports },
        }
    }
}

impl NamespaceTcp {
    fn new(tcp: &TcpUse) -> Self {
        Self {
            used_ports: tcp.ports,
            // Connections that begin or end are connections too.
            connections: tcp.counts.connections(),
            time_wait: tcp.counts.time_wait,
            listening: tcp.counts.listening,
            bound: tcp.counts.bound,
            bind_held_ports: tcp.bind_held,
        }
    }
}

impl<'a> Process<'a> {
    fn new(of: &ProcessUse, process: Option<&'a RawValue>) -> Self {
        let tcp = &of.tcp;
        Self {
            process,
            tcp: ProcessTcp {
                ports: tcp.ports,
                established: tcp.counts.established,
                syn_sent: tcp.counts.syn_sent,
                close_wait: tcp.counts.close_wait,
                fin_wait: tcp.counts.fin_wait,
                time_wait: tcp.counts.time_wait,
                listening: tcp.counts.listening,
                bound: tcp.counts.bound,
                // All that is neither; some of it stands apart too.
                other: tcp.counts.connections() - tcp.counts.established,
                bind_held_ports: tcp.bind_held,
            },
            udp: ProcessUdp { ports: of.udp_ports },
        }
    }
}
