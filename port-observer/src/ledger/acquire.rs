//! What a port that a call has got changes in the ledger.

use super::{
    Holding, Holds, Ledger, Role, SpaceKey, holding::Shares, lists::NONE, place::Place, port,
    socket::Known,
};
use crate::{
    event::{Flow, Protocol, Reason, Sharing, Via},
    process::Caller,
    report::{Body, Report},
};

/// What a call for a port came to.
pub(super) struct Call {
    pub(super) via: Via,
    pub(super) requested_port: Option<u16>,
    pub(super) search_ns: Option<u64>,
    pub(super) caller: Option<Caller>,
    pub(super) sharing: Sharing,
}

impl Ledger {
    /// A call has taken a port, or given the socket a destination.
    pub(super) fn acquired(
        &mut self,
        time_ns: u64,
        (socket, known): Known,
        flow: Flow,
        call: Call,
        out: &mut Vec<Report>,
    ) {
        self.holdings.take_succeeded(socket);
        if let Some(index) = self.holdings.find_flow(&flow) {
            let taken_over = self.holdings.remove(index);
            self.freed(time_ns, &taken_over, Reason::TimeWaitReused, out);
        }
        let caller = call.caller;
        if let Some(index) = known {
            let known = self.holdings.get_mut(index);
            let is_new = self.scan.is_new(known);
            if is_new {
                // The scan found it while the call was under way.
                if caller.is_some() {
                    known.set_caller(caller.clone());
                }
                known.taken_at(time_ns);
            }
            if known.role == Role::Owner && call.via != Via::Bind {
                // connect() on a bound socket: the port is not new, its destination is.
                self.scan.changed(socket, time_ns);
                self.connected(index, flow);
                return;
            }
            if is_new {
                return;
            }
            // A socket is bound once: this is another one.
            self.ended_unseen(time_ns, socket, index, out);
        }
        self.totals.acquired += 1;
        let by_connect = call.via == Via::Connect;
        let holds = match (call.via, flow.protocol) {
            (Via::Connect, _) => Holds::Connected,
            (Via::Autobind | Via::Listen, Protocol::Tcp) => Holds::Listening,
            // Found with its destination.
            (Via::Autobind, Protocol::Udp) if flow.remote.is_some() => Holds::Connected,
            (Via::Bind | Via::Autobind | Via::Listen, _) => Holds::Bound,
        };
        let mut holding = Holding::new(socket, flow, holds);
        holding.set_caller(caller);
        holding.taken_at(time_ns);
        holding.sharing = Shares { connect_bind: by_connect, ..call.sharing.into() };
        let port = port(&holding);
        let kept = self.keep(holding, !by_connect);
        let key = match call.requested_port {
            Some(0) => SpaceKey::asked(call.via, &flow),
            _ if by_connect || call.via == Via::Autobind => SpaceKey::asked(call.via, &flow),
            _ => None,
        };
        if let Some(key) = key
            && !by_connect
        {
            self.holdings.touch_bind(key);
        }
        let space = match key {
            Some(key) if self.options.spaces => self.holdings.space(&key).map(Box::new),
            _ => None,
        };
        let Call { via, requested_port, search_ns, .. } = call;
        let body = Body::Acquire { port, via, requested_port, search_ns, space };
        out.push(Report { time_ns, body });
        let Some(key) = key else { return };
        match kept.map(|index| self.holdings.get(index).space) {
            // It has joined the space that it was chosen from.
            Some(space) if by_connect && space != NONE => {
                self.check_found(time_ns, key, Some(space), out);
            }
            _ => self.check(time_ns, key, out),
        }
    }

    /// A socket that has its port has a destination from now on.
    fn connected(&mut self, index: u32, flow: Flow) {
        let holding = self.holdings.get(index);
        if holding.is_member() {
            // Told twice, or found by a scan while the call was under way.
            return;
        }
        let is_connect_bind = holding.sharing.connect_bind;
        let change = |holding: &mut Holding| {
            holding.place = Place::from(&flow);
            if holding.holds == Holds::Bound {
                holding.holds = Holds::Connected;
            }
        };
        if is_connect_bind {
            self.holdings.correct(index, change);
        } else {
            // It is counted by its port alone.
            change(self.holdings.get_mut(index));
        }
    }
}
