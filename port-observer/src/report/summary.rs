//! The state of everything at one moment.

use std::{net::IpAddr, sync::Arc};

use serde::Serialize;

use super::{CauseKind, Counts, Port, Space};
use crate::{
    event::{Endpoint, TcpState, Via},
    ports::Ports,
    process::Process,
};

/// The state of everything at one moment.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// All network namespaces that are known.
    pub namespaces: Vec<NamespaceUse>,
    /// The fullest spaces, fullest first.
    pub spaces: Vec<Space>,
    /// The largest processes, largest first.
    pub processes: Vec<ProcessUse>,
}

/// How the ports of a network namespace are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceUse {
    /// Its inode number.
    pub netns: u32,
    /// Its names under /run/netns.
    pub names: Vec<String>,
    /// What automatic choice has, if known.
    pub ports: Option<Ports>,
    /// Of TCP.
    pub tcp: TcpUse,
    /// UDP ports in the ephemeral range with a holder.
    pub udp_used_ports: u32,
}

/// How many TCP holdings there are, by what holds the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpUse {
    /// Different ports, of a namespace those in the ephemeral range.
    pub ports: u32,
    /// By what holds the port.
    pub counts: Counts,
    /// Different ports of the ephemeral range that no connect() can share, wherever it goes, in whatever
    /// state they are: bind() took them.
    pub bind_held: u32,
}

/// How many ports a process holds.
#[derive(Clone, Debug)]
pub struct ProcessUse {
    /// Which; `None`: those of whom nothing is known.
    pub process: Option<Arc<Process>>,
    /// Of TCP.
    pub tcp: TcpUse,
    /// UDP ports.
    pub udp_ports: u32,
}

/// What the processes of one name hold in a network namespace: sockets, and TIME_WAIT entries that were
/// theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedUse {
    /// The inode number of the namespace.
    pub netns: u32,
    /// Their name; `None`: those of whom nothing is known.
    pub name: Option<String>,
    /// Which they are.
    pub pids: Vec<u32>,
    /// Of TCP, by what holds the port.
    pub tcp: Counts,
    /// Of UDP.
    pub udp: u32,
}

impl NamedUse {
    /// All of them.
    pub fn total(&self) -> u32 {
        self.tcp.total() + self.udp
    }

    /// Where it stands among others that hold as many.
    pub fn order(&self) -> (u32, Option<&str>) {
        (self.netns, self.name.as_deref())
    }
}

/// Who holds which ports, looked at once.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// When, nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub time_ns: u64,
    /// The host's name.
    pub host: String,
    /// `uname -r`.
    pub kernel: String,
    /// What could not be seen, a sentence each.
    pub missing: Vec<String>,
    /// Where it comes from.
    pub sources: Sources,
    /// By namespace, space and process.
    pub summary: Summary,
    /// One by one, by namespace, protocol and port; if asked for.
    pub holdings: Option<Vec<Holding>>,
    /// The ports that `holdings` are narrowed to, as text; `None`: all.
    pub asked: Option<String>,
}

/// Where what was looked at once comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sources {
    /// `sock_diag`, or `proc_net`.
    pub sockets: &'static str,
    /// `bpf_iterator`, or `proc`; absent: processes were not looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<&'static str>,
}

impl Sources {
    /// The kernel's lists. `is_fallback`: `/proc/net` was read. `processes`: how they were found.
    pub fn of_lists(is_fallback: bool, processes: Option<&'static str>) -> Self {
        let sockets = if is_fallback { "proc_net" } else { "sock_diag" };
        Self { sockets, processes }
    }
}

/// One socket, or the TIME_WAIT entry that succeeds it, that keeps a port.
#[derive(Clone, Debug)]
pub struct Holding {
    /// The port, and who has it.
    pub port: Port,
    /// Its state as the kernel's list has it: a TIME_WAIT entry whose peer has not closed yet is in
    /// `FIN_WAIT2`. `BOUND_INACTIVE` when only bound; of UDP, `ESTABLISHED` when connected, else
    /// `CLOSE`.
    pub state: TcpState,
    /// The number in `/proc/PID/fd` (`socket:[…]`), if any process has it open.
    pub inode: Option<u32>,
}

impl Holding {
    /// What lists of holdings are ordered by: namespace, protocol, port, address and destination.
    pub fn order(&self) -> impl Ord + use<> {
        let Port { netns, protocol, local, remote, .. } = &self.port;
        (*netns, *protocol, local.map(|local| (local.port, local.address)), *remote)
    }
}

/// What a terminal is shown at the end.
#[derive(Clone, Debug, Default)]
pub struct Closing {
    /// The largest processes, and the fullest spaces.
    pub summary: Summary,
    /// Calls that failed, by process and destination, most first.
    pub failures: Vec<Failure>,
}

/// Calls of one process that failed in the same way.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Whose.
    pub process: Option<Arc<Process>>,
    /// By which call.
    pub via: Via,
    /// Positive.
    pub errno: i32,
    /// The port that was asked for, 0: any.
    pub requested_port: u16,
    /// The address asked for, or connected from.
    pub local: Option<IpAddr>,
    /// Where to.
    pub remote: Option<Endpoint>,
    /// How often.
    pub count: u64,
    /// Why, if no port was left.
    pub cause: Option<CauseKind>,
}
