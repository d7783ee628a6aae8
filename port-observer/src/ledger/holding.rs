//! One socket, or the TIME_WAIT entry that succeeds it, that keeps a port.

use super::{
    SpaceKey,
    lists::{Index, Links, NONE},
};
use crate::{
    event::{Flow, Protocol, Reuse, Sharing, SocketId},
    report::{Caller, SpaceKind},
};

/// What a socket is to its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It took the port, or is the TIME_WAIT entry of one that did.
    Owner,
    /// A listener's accepted child: its port was not taken anew.
    Child,
}

/// What keeps the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// A socket that is neither connected nor listening.
    Bound,
    /// A listener.
    Listening,
    /// A connection.
    Connected,
    /// A TIME_WAIT entry.
    TimeWait,
    /// A connection that one side has closed.
    Other,
}

/// One socket, or the TIME_WAIT entry that succeeds it, that keeps a port.
#[derive(Clone, Debug)]
pub struct Holding {
    /// Its identity; 0 for a TIME_WAIT entry of a source that does not know it: its flow is its key.
    pub socket: SocketId,
    /// Where.
    pub flow: Flow,
    /// Who took the port, if known.
    pub caller: Option<Caller>,
    /// When the port was taken (`CLOCK_BOOTTIME`), if that was seen.
    pub since_ns: Option<u64>,
    /// When TIME_WAIT began.
    pub began_ns: u64,
    /// What it is to the port.
    pub role: Role,
    /// What keeps the port.
    pub holds: Holds,
    /// Who else may have the port.
    pub sharing: Sharing,
    /// When TIME_WAIT may be taken over.
    pub reuse: Reuse,
    /// TIME_WAIT is old enough to be taken over.
    pub ripe: bool,
    /// The last scan that found it.
    pub seen: u32,
    /// The space that it is a member of.
    pub(super) space: Index,
    pub(super) in_bucket: Links,
    pub(super) in_space: Links,
}

impl Holding {
    /// A socket that keeps the port of `flow`.
    pub fn new(socket: SocketId, flow: Flow, holds: Holds) -> Self {
        Self {
            socket,
            flow,
            caller: None,
            since_ns: None,
            began_ns: 0,
            role: Role::Owner,
            holds,
            sharing: Sharing::default(),
            reuse: Reuse::default(),
            ripe: false,
            seen: 0,
            space: NONE,
            in_bucket: Links::default(),
            in_space: Links::default(),
        }
    }

    /// Whether connect() chose the port for this destination: it shares the port with others.
    pub(super) fn is_member(&self) -> bool {
        self.sharing.connect_bind
            && self.flow.protocol == Protocol::Tcp
            && self.flow.remote.is_some()
    }
    /// The space whose choice gave it its port.
    pub(super) fn space_key(&self) -> Option<SpaceKey> {
        if !self.is_member() {
            return None;
        }
        let Flow { netns, protocol, local, remote } = self.flow;
        let kind = SpaceKind::Connect { source: local.address, destination: remote? };
        Some(SpaceKey { netns, protocol, kind })
    }
}
