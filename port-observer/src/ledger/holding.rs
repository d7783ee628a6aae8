//! One socket, or the TIME_WAIT entry that succeeds it, that keeps a port.

use std::{num::NonZeroU64, sync::Arc};

use super::{
    SpaceKey,
    lists::{Index, Links, NONE},
    place::Place,
};
use crate::{
    event::{Flow, Protocol, Reuse, Sharing, SocketId, TIME_WAIT_NS, TcpState},
    process::{Caller, Process},
    report::{SpaceKind, Standing},
};

/// How late its timer may be, at least: it fires in steps of up to 1.7 s.
const LATE_NS: u64 = 5_000_000_000;

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
}

/// Of [`Sharing`], what the ledger asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shares {
    /// connect() chose the port.
    pub connect_bind: bool,
    /// An IPv6 wildcard that leaves IPv4 alone.
    pub ipv6_only: bool,
}

impl From<Sharing> for Shares {
    fn from(Sharing { connect_bind, ipv6_only, .. }: Sharing) -> Self {
        Self { connect_bind, ipv6_only }
    }
}

/// One socket, or the TIME_WAIT entry that succeeds it, that keeps a port. There may be a million.
#[derive(Clone, Debug)]
pub struct Holding {
    /// Its identity; 0 for a TIME_WAIT entry of a source that does not know it: its flow is its key.
    pub socket: SocketId,
    /// Where.
    pub(super) place: Place,
    process: Option<Arc<Process>>,
    /// The thread that took the port, if its process is known.
    tid: u32,
    since_ns: Option<NonZeroU64>,
    /// When TIME_WAIT began.
    pub began_ns: u64,
    /// What it is to the port.
    pub role: Role,
    /// What keeps the port.
    pub holds: Holds,
    /// The state of a connection, as it was last listed; no event tells how it changes.
    pub connection: TcpState,
    /// Who else may have the port.
    pub sharing: Shares,
    /// When TIME_WAIT may be taken over.
    pub reuse: Reuse,
    /// TIME_WAIT is old enough to be taken over.
    pub ripe: bool,
    /// The last scan that found it.
    pub seen: u32,
    /// The space that it is a member of.
    pub(super) space: Index,
    pub(super) in_bucket: Links,
}

impl Holding {
    /// It is in TIME_WAIT for longer than there is one: a minute, and in FIN_WAIT2 up to another one before.
    pub fn is_overdue(&self, now_ns: u64) -> bool {
        let longest = if self.reuse.fin_wait2 { 2 * TIME_WAIT_NS } else { TIME_WAIT_NS };
        self.holds == Holds::TimeWait && self.began_ns.saturating_add(longest + LATE_NS) < now_ns
    }

    /// It was in TIME_WAIT for as long as that lasts: it has expired, whatever shows that it is gone.
    pub(super) fn has_expired(&self, now_ns: u64) -> bool {
        self.holds == Holds::TimeWait
            && !self.reuse.fin_wait2
            && now_ns >= self.began_ns.saturating_add(TIME_WAIT_NS)
    }

    /// A socket that keeps the port of `flow`.
    pub fn new(socket: SocketId, flow: Flow, holds: Holds) -> Self {
        Self {
            socket,
            place: Place::from(&flow),
            process: None,
            tid: 0,
            since_ns: None,
            began_ns: 0,
            role: Role::Owner,
            holds,
            connection: TcpState::ESTABLISHED,
            sharing: Shares::default(),
            reuse: Reuse::default(),
            ripe: false,
            seen: 0,
            space: NONE,
            in_bucket: Links::default(),
        }
    }

    /// As what it counts.
    pub fn standing(&self) -> Standing {
        match self.holds {
            Holds::Bound => Standing::Bound,
            Holds::Listening => Standing::Listening,
            Holds::TimeWait => Standing::TimeWait,
            Holds::Connected => Standing::of(self.connection),
        }
    }

    /// Where it is.
    pub fn flow(&self) -> Flow {
        self.place.flow()
    }

    /// Who took the port, if known.
    pub fn caller(&self) -> Option<Caller> {
        self.process.clone().map(|process| Caller { process, tid: self.tid })
    }

    /// The process of its caller.
    pub fn process(&self) -> Option<&Arc<Process>> {
        self.process.as_ref()
    }

    /// This is who took the port.
    pub(super) fn set_caller(&mut self, caller: Option<Caller>) {
        self.tid = caller.as_ref().map_or(0, |caller| caller.tid);
        self.process = caller.map(|caller| caller.process);
    }

    /// When the port was taken (`CLOCK_BOOTTIME`), if that was seen.
    pub fn since_ns(&self) -> Option<u64> {
        self.since_ns.map(NonZeroU64::get)
    }

    /// The port was seen taken then.
    pub(super) fn taken_at(&mut self, time_ns: u64) {
        self.since_ns = NonZeroU64::new(time_ns);
    }

    /// Whether connect() chose the port for this destination: it shares the port with others.
    pub(super) fn is_member(&self) -> bool {
        self.sharing.connect_bind
            && self.place.protocol() == Protocol::Tcp
            && self.place.has_remote()
    }

    /// The space whose choice gave it its port.
    pub(super) fn space_key(&self) -> Option<SpaceKey> {
        if !self.is_member() {
            return None;
        }
        let Flow { netns, protocol, local, remote } = self.flow();
        let kind = SpaceKind::Connect { source: local.address, destination: remote? };
        Some(SpaceKey { netns, protocol, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::Holding;

    #[test]
    fn a_holding_is_small() {
        assert_eq!(size_of::<Holding>(), 88);
    }
}
