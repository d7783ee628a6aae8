//! The process tree that alone is shown, and what becomes of its calls.

use std::{collections::HashSet, net::IpAddr};

use crate::{
    event::{Endpoint, Event, Protocol},
    process::{Process, Tree},
    report::{Body, FailedCalls, Port, Space, SpaceKind},
};

/// Spaces that the tree has used are remembered up to so many.
const MOST_SPACES: usize = 4096;

/// A process tree: what it was refused, and the spaces that it uses, of which thresholds are shown.
pub(super) struct Watched {
    tree: Tree,
    spaces: HashSet<Key>,
    failed: FailedCalls,
}

/// A space: its namespace, its protocol, its source, and of a space of connect() its destination.
type Key = (u32, Protocol, IpAddr, Option<Endpoint>);

impl Watched {
    pub(super) fn new(tree: Tree) -> Self {
        Self { tree, spaces: HashSet::new(), failed: FailedCalls::default() }
    }

    pub(super) fn take_in(&mut self, event: &Event) {
        self.tree.take_in(event);
    }

    /// Whether a line is about the tree, and takes note of it. Lines about the observation itself are
    /// about every process.
    pub(super) fn note(&mut self, body: &Body) -> bool {
        if let Body::Threshold { space, .. } = body {
            return self.uses(space);
        }
        let Some(port) = body.port() else { return true };
        let caller = port.caller.as_ref();
        if !caller.is_some_and(|caller| self.tree.has(&caller.process)) {
            return false;
        }
        self.failed.note(body);
        self.use_space_of(port);
        true
    }

    /// Whether a space is one of those that the tree uses.
    pub(super) fn uses(&self, space: &Space) -> bool {
        let key = match space.kind {
            SpaceKind::Connect { source, destination } => {
                key(space.netns, space.protocol, source, Some(destination))
            }
            SpaceKind::Bind { address } => key(space.netns, space.protocol, address, None),
        };
        self.spaces.contains(&key)
    }

    /// Whether a process that a line was about is of the tree.
    pub(super) fn knows(&self, process: &Process) -> bool {
        self.tree.knows(process)
    }

    pub(super) fn failed(&self) -> &FailedCalls {
        &self.failed
    }

    fn use_space_of(&mut self, port: &Port) {
        let Some(local) = port.local else { return };
        if self.spaces.len() >= MOST_SPACES {
            self.spaces.clear();
        }
        self.spaces.insert(key(port.netns, port.protocol, local.address, port.remote));
    }
}

fn key(netns: u32, protocol: Protocol, source: IpAddr, destination: Option<Endpoint>) -> Key {
    let destination = destination.map(|to| Endpoint::new(to.address, to.port));
    (netns, protocol, source.to_canonical(), destination)
}
