//! Which lines are printed. A filter narrows what is shown, never what is accounted.

mod target;

use std::net::IpAddr;

pub use target::{Destination, PortRange};

use crate::event::Protocol;
use crate::process::{Container, Process};
use crate::report::{Body, EventType, Port, Report, Space, SpaceKind};

/// The longest name that the kernel keeps for a process (`TASK_COMM_LEN` less its NUL).
const COMM_BYTES: usize = 15;
/// The shortest part of a container's identifier that stands for the whole.
const CONTAINER_ID_BYTES: usize = 12;

/// What a line must have to be printed. An empty list asks for nothing; of a list's members any
/// one is enough; all lists must be met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Types of lines.
    pub events: Vec<EventType>,
    /// Processes, as the host numbers them.
    pub pids: Vec<u32>,
    /// Names of processes, or of their executables' files.
    pub names: Vec<String>,
    /// Real user ids.
    pub uids: Vec<u32>,
    /// Local ports.
    pub ports: Vec<PortRange>,
    /// Destinations.
    pub destinations: Vec<Destination>,
    /// Inode numbers of network namespaces.
    pub netns: Vec<u32>,
    /// Containers: a name, an identifier or at least its first 12 characters.
    pub containers: Vec<String>,
    /// Protocols.
    pub protocols: Vec<Protocol>,
}

impl Filter {
    /// Whether the line is to be printed. A `threshold` depends on its space, one of a pool on the port that
    /// it is about, if it is about one, else on the pool's namespace. Other lines that are
    /// not about a port (`start`, `summary`, `lost`, `stop`) only depend on `events`. What is not known
    /// matches nothing that was asked for.
    pub fn matches(&self, report: &Report) -> bool {
        any_of(&self.events, |wanted| *wanted == report.body.event_type())
            && match &report.body {
                Body::Threshold { space, .. } => self.matches_space(space),
                Body::Pool(of) => match of.port() {
                    Some(port) => self.matches_port(port),
                    None => any_of(&self.netns, |netns| Some(*netns) == of.pool.netns),
                },
                body => body.port().is_none_or(|port| self.matches_port(port)),
            }
    }

    /// Whether a space is shown: by its namespace, protocol and destination. All processes share it
    /// and it is of all its ports, so filters on those say nothing of it. A space of bind() has no
    /// destination that could have been asked for.
    pub fn matches_space(&self, space: &Space) -> bool {
        any_of(&self.netns, |netns| *netns == space.netns)
            && any_of(&self.protocols, |protocol| *protocol == space.protocol)
            && any_of(&self.destinations, |wanted| match space.kind {
                SpaceKind::Connect { destination, .. } => wanted.has(destination),
                SpaceKind::Bind { .. } => false,
            })
    }

    fn matches_port(&self, port: &Port) -> bool {
        let process = port.caller.as_ref().map(|caller| caller.process.as_ref());
        any_of(&self.netns, |netns| *netns == port.netns)
            && any_of(&self.protocols, |protocol| *protocol == port.protocol)
            && any_of(&self.ports, |range| port.local.is_some_and(|local| range.has(local.port)))
            && any_of(&self.destinations, |destination| {
                port.remote.is_some_and(|remote| destination.has(remote))
            })
            && self.matches_holder(process)
    }

    /// Whether a process that takes or holds ports is shown: by its number, name, user and container.
    pub fn matches_holder(&self, process: Option<&Process>) -> bool {
        any_of(&self.pids, |pid| process.is_some_and(|process| process.pid == *pid))
            && any_of(&self.uids, |uid| process.is_some_and(|process| process.uid == Some(*uid)))
            && any_of(&self.names, |name| process.is_some_and(|process| has_name(process, name)))
            && any_of(&self.containers, |wanted| {
                process
                    .and_then(|process| process.container.as_ref())
                    .is_some_and(|container| is_container(container, wanted))
            })
    }
}

fn any_of<T>(wanted: &[T], matches: impl FnMut(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(matches)
}

/// By the name at the call, that of its program, and that of the file that was executed. The kernel cuts a
/// name after 15 bytes, so a longer one is compared with what it keeps of it: one that is the program's only
/// where the file is not known.
fn has_name(process: &Process, wanted: &str) -> bool {
    let file = process.executable.as_deref().and_then(|path| path.rsplit('/').next());
    let cut_by_kernel = |name: &str| {
        wanted.len() > COMM_BYTES
            && name.len() == COMM_BYTES
            && wanted.as_bytes().starts_with(name.as_bytes())
    };
    let exec_name = process.exec_name.as_deref();
    let was_renamed = exec_name.is_some();
    process.name == wanted
        || exec_name == Some(wanted)
        || file == Some(wanted)
        || ((file.is_none() || was_renamed) && cut_by_kernel(&process.name))
}

fn is_container(container: &Container, wanted: &str) -> bool {
    container.id == wanted
        || container.name.as_deref() == Some(wanted)
        || (wanted.len() >= CONTAINER_ID_BYTES && container.id.starts_with(wanted))
}

/// Whether the first `length` bits of two addresses of one family are the same.
fn same_network(network: IpAddr, address: IpAddr, length: u8) -> bool {
    fn masked(bits: u128, width: u32, length: u8) -> u128 {
        // A shift by the whole width is not defined, so the empty prefix is its own case.
        if length == 0 { 0 } else { bits >> (width - u32::from(length)) }
    }
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            masked(network.to_bits().into(), 32, length)
                == masked(address.to_bits().into(), 32, length)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            masked(network.to_bits(), 128, length) == masked(address.to_bits(), 128, length)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests;
