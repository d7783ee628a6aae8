//! What a later scan has found and nobody has told of. A loss is why such a scan runs, so most of it
//! is what was lost; but calls go on meanwhile, and the scan may see the port of one before the call
//! has told of it. So what is found is told as `existing` when the scan has ended, or when something
//! else than its call is the next that is heard of it.

use foldhash::HashMap;

use super::{Ledger, lists::Index, port, socket::Known};
use crate::{
    event::{Flow, Kind, SocketId, TcpState, Via},
    report::{Body, Report},
};

/// The sockets that the scan under way has found, and how.
#[derive(Debug, Default)]
pub struct Untold {
    sockets: HashMap<SocketId, Found>,
    /// How many were added.
    count: usize,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    /// Which one it was.
    order: usize,
    time_ns: u64,
    state: TcpState,
}

impl Untold {
    pub(super) fn add(&mut self, socket: SocketId, time_ns: u64, state: TcpState) {
        self.sockets.insert(socket, Found { order: self.count, time_ns, state });
        self.count += 1;
    }
}

impl Ledger {
    /// What this event makes of a socket that is not told yet; whether it is still known.
    pub(super) fn settle(
        &mut self,
        (socket, known): Known,
        flow: &Flow,
        kind: &Kind,
        out: &mut Vec<Report>,
    ) -> Option<Index> {
        let index = known?;
        if !self.scan.untold.sockets.contains_key(&socket) {
            return known;
        }
        let holding = self.holdings.get(index);
        let kind = if let Kind::Again(kind) = kind { kind } else { kind };
        match kind {
            Kind::Acquire { via, .. } if holding.place.is_at(flow) => {
                // connect() on a socket that was bound before is not the call that took its port.
                if *via != Via::Connect || holding.sharing.connect_bind {
                    self.scan.untold.sockets.remove(&socket);
                    self.holdings.remove(index);
                    return None;
                }
            }
            Kind::Acquire { .. }
            | Kind::Inherit { .. }
            | Kind::TimeWait { .. }
            | Kind::Release { .. } => self.tell_found(socket, out),
            Kind::Exhausted { .. }
            | Kind::Conflict { .. }
            | Kind::Refused { .. }
            | Kind::Accept { .. }
            | Kind::Listen
            | Kind::FinReceived
            | Kind::Rehash
            | Kind::Again(_)
            | Kind::State { .. }
            | Kind::Listed { .. }
            | Kind::InTheWay { .. } => {}
        }
        known
    }

    /// Tells of this one, unless that is done.
    pub(super) fn tell_found(&mut self, socket: SocketId, out: &mut Vec<Report>) {
        if let Some(found) = self.scan.untold.sockets.remove(&socket) {
            self.existed(socket, found, out);
        }
    }

    /// Tells of all that is left.
    pub(super) fn tell_all_found(&mut self, out: &mut Vec<Report>) {
        let untold = std::mem::take(&mut self.scan.untold).sockets;
        let mut untold: Vec<(SocketId, Found)> = untold.into_iter().collect();
        untold.sort_unstable_by_key(|(_, found)| found.order);
        for (socket, found) in untold {
            self.existed(socket, found, out);
        }
    }

    fn existed(&mut self, socket: SocketId, found: Found, out: &mut Vec<Report>) {
        if let Some(index) = self.holdings.find(socket) {
            let Found { time_ns, state, .. } = found;
            let body = Body::Existing { port: port(self.holdings.get(index)), state };
            out.push(Report { time_ns, body });
        }
    }
}
