//! What an event of a socket changes in the ledger, and what is told of it.

use super::{
    Holding, Holds, Ledger, Role, SpaceKey, acquire::Call, answers::OnPort, holding::Shares,
    lists::Index, place, place::Place, port,
};
use crate::{
    event::{Flow, Kind, Reason, Repeated, Reuse, Sharing, SocketEvent, SocketId},
    process::Caller,
    report::{Body, Port, Report},
};

/// A socket, and its holding if it has one.
pub(super) type Known = (SocketId, Option<Index>);

impl Ledger {
    pub(super) fn socket(
        &mut self,
        event: SocketEvent,
        caller: Option<Caller>,
        out: &mut Vec<Report>,
    ) {
        let SocketEvent { time_ns, socket, flow, kind } = event;
        let mut known = self.holdings.find(socket);
        known = self.settle((socket, known), &flow, &kind, out);
        if let Some(index) = known
            && self.is_another(index, &flow, &kind)
        {
            self.ended_unseen(time_ns, socket, index, out);
            known = self.holdings.find(socket);
        }
        match kind {
            Kind::Acquire { via, requested_port, search_ns, task: _, sharing } => {
                let call = Call { via, requested_port, search_ns, caller, sharing };
                self.acquired(time_ns, (socket, known), flow, call, out);
            }
            Kind::Exhausted { via, errno, search_ns, own_range, task: _, repeated } => {
                let count = repeated.calls.saturating_add(1);
                self.totals.exhausted = self.totals.exhausted.saturating_add(count);
                let port = asked(&flow, caller, repeated);
                let story = match repeated {
                    Repeated { differing: true, .. } => None,
                    // Recordings had the number alone once.
                    Repeated { calls: 0, late: false, .. } => self.story(via, &flow, own_range),
                    _ => self.story_then(via, &flow, own_range),
                };
                // What was held before is not all known yet: that ports seem to be left says nothing.
                let is_early = self.scan_is_due() && !self.knows_all();
                let story = story.filter(|story| !is_early || story.space.headroom == 0);
                let cause = story.as_ref().and_then(|story| story.cause.as_ref());
                self.failures.add(&port, via, errno, cause.map(|cause| cause.kind), count);
                let repeats = repeated.calls;
                let body =
                    Body::Exhausted { port, via, errno, search_ns, story, repeated: repeats };
                out.push(Report { time_ns, body });
                if let Some(key) = SpaceKey::asked(via, &flow).filter(|_| !repeated.differing) {
                    self.check(time_ns, key, out);
                }
            }
            Kind::Conflict { via, errno, task: _, repeated } => {
                let port = asked(&flow, caller, repeated);
                let holders = if repeated.differing {
                    Vec::new()
                } else {
                    self.in_the_way(time_ns, via, &flow)
                };
                let count = repeated.calls.saturating_add(1);
                self.failures.add(&port, via, errno, None, count);
                let repeated = repeated.calls;
                let body = Body::Conflict { port, via, errno, holders, repeated };
                out.push(Report { time_ns, body });
            }
            Kind::Refused { via, errno, refusal, task: _, repeated } => {
                let port = asked(&flow, caller, repeated);
                let count = repeated.calls.saturating_add(1);
                self.failures.add(&port, via, errno, None, count);
                let repeated = repeated.calls;
                let body = Body::Refused { port, via, errno, refusal, repeated };
                out.push(Report { time_ns, body });
            }
            Kind::Inherit { listener, sharing } => {
                if let Some(index) = self.holdings.find_flow(&flow) {
                    let taken_over = self.holdings.remove(index);
                    self.freed(time_ns, &taken_over, Reason::TimeWaitReused, out);
                }
                self.inherited(time_ns, (socket, known), flow, listener, sharing);
            }
            Kind::Accept { task: _ } => {
                if let Some(index) = known {
                    self.holdings.get_mut(index).set_caller(caller);
                }
            }
            Kind::Listen => {
                if let Some(index) = known {
                    self.scan.changed(socket, time_ns);
                    self.holdings.get_mut(index).holds = Holds::Listening;
                }
            }
            Kind::TimeWait { successor, done, reuse } => {
                self.time_wait(time_ns, (socket, known), flow, (successor, done, reuse), out);
            }
            Kind::FinReceived => {
                let found = known.or_else(|| self.holdings.find_flow(&flow));
                if let Some(index) = found {
                    let holding = self.holdings.get_mut(index);
                    holding.reuse.fin_wait2 = false;
                    holding.began_ns = time_ns;
                    self.holdings.ripens(index);
                }
            }
            Kind::Rehash => {
                if let Some(index) = known
                    && self.holdings.get(index).place.is_at(&flow)
                {
                    self.scan.changed(socket, time_ns);
                    self.holdings.correct(index, |holding| holding.place = Place::from(&flow));
                }
            }
            Kind::Release { reason } => self.released(time_ns, (socket, known), &flow, reason, out),
            Kind::Again(kind) => {
                let is_news = match *kind {
                    Kind::Acquire { .. } => {
                        known.is_none_or(|index| self.holdings.get(index).role != Role::Owner)
                    }
                    Kind::TimeWait { .. } => known.is_some(),
                    Kind::Release { .. } => {
                        known.is_some() || self.holdings.take_succeeded(socket).is_some()
                    }
                    _ => true,
                };
                if is_news && (known.is_some() || !matches!(*kind, Kind::Release { .. })) {
                    self.socket(SocketEvent { time_ns, socket, flow, kind: *kind }, caller, out);
                }
            }
            Kind::InTheWay { state, is_nobodys, task: _ } => {
                self.answers.found(time_ns, OnPort { flow, state, is_nobodys, caller });
            }
            Kind::Listed { state, task: _ } => {
                if let Some(index) = known {
                    self.holdings.get_mut(index).connection = state;
                    self.holdings.opened_by(index, caller.map(|caller| caller.process));
                }
            }
            Kind::State { old, new } => {
                let caller = known.and_then(|index| self.holdings.get(index).caller());
                let port = place(&flow, caller);
                out.push(Report { time_ns, body: Body::State { port, old, new } });
            }
        }
    }

    /// The end of a holding was not told: another socket has its address.
    pub(super) fn ended_unseen(
        &mut self,
        time_ns: u64,
        socket: SocketId,
        index: Index,
        out: &mut Vec<Report>,
    ) {
        let holding = self.holdings.get(index);
        // The end of what a scan found may be one that no program tells of.
        self.unseen_ends += u64::from(holding.role == Role::Owner && holding.since_ns().is_some());
        self.ended_before(time_ns, socket, index, out);
    }

    /// A holding at this address that keeps another port is another socket's: its release was lost.
    fn is_another(&self, index: Index, flow: &Flow, kind: &Kind) -> bool {
        matches!(
            kind,
            Kind::Acquire { .. }
                | Kind::Inherit { .. }
                | Kind::TimeWait { .. }
                | Kind::Release { .. }
                | Kind::Again(_)
        ) && !self.holdings.get(index).place.is_at(flow)
    }

    fn inherited(
        &mut self,
        time_ns: u64,
        (socket, known): Known,
        flow: Flow,
        listener: SocketId,
        sharing: Sharing,
    ) {
        self.holdings.take_succeeded(socket);
        if let Some(index) = known {
            // A socket that connected to itself passes through SYN_RECV too.
            if self.holdings.get(index).role == Role::Owner {
                return;
            }
            self.holdings.remove(index);
        }
        let mut child = Holding::new(socket, flow, Holds::Connected);
        child.role = Role::Child;
        child.taken_at(time_ns);
        child.sharing = Shares { connect_bind: false, ..sharing.into() };
        if let Some(index) = self.holdings.find(listener) {
            let listener = self.holdings.get_mut(index);
            listener.holds = Holds::Listening;
            child.set_caller(listener.caller());
        } else {
            let like = self.holdings.listening_on(&flow);
            child.set_caller(like.and_then(Holding::caller));
        }
        // Its listener did bind the port, which stays so while anybody holds it.
        self.keep(child, true);
    }

    fn time_wait(
        &mut self,
        time_ns: u64,
        (socket, known): Known,
        flow: Flow,
        (successor, done, reuse): (Option<SocketId>, bool, Reuse),
        out: &mut Vec<Report>,
    ) {
        if successor.is_none()
            && let Some(index) = self.holdings.find_flow(&flow)
        {
            // A scan has found the entry before it was told.
            self.holdings.remove(index);
        }
        if self.holdings.take_succeeded(socket).is_some() && successor.is_none() {
            return;
        }
        let index = match known {
            Some(index) => {
                self.holdings.to_time_wait(index, successor, flow, reuse);
                let number = self.scan.number();
                self.holdings.get_mut(index).seen = number;
                Some(index)
            }
            None => {
                let id = successor.unwrap_or(SocketId(0));
                let mut entry = Holding::new(id, flow, Holds::TimeWait);
                entry.began_ns = time_ns;
                entry.reuse = reuse;
                // Whoever bound its port is not known: then connect() chose it.
                entry.sharing.connect_bind = true;
                entry.seen = self.scan.number();
                let index = self.holdings.insert(entry, false);
                self.unaccounted += u64::from(index.is_none());
                if let Some(index) = index {
                    self.holdings.ripens(index);
                }
                index
            }
        };
        if !done {
            self.holdings.succeed(socket, flow.local.port);
        }
        self.scan.passed_on(socket);
        let told = match index.map(|index| self.holdings.get(index)) {
            Some(holding) if holding.role == Role::Owner => port(holding),
            Some(_) => return,
            None => place(&flow, None),
        };
        out.push(Report { time_ns, body: Body::TimeWait { port: told } });
    }

    fn released(
        &mut self,
        time_ns: u64,
        (socket, known): Known,
        flow: &Flow,
        reason: Reason,
        out: &mut Vec<Report>,
    ) {
        if let Some(port) = self.holdings.take_succeeded(socket)
            && port == flow.local.port
        {
            return;
        }
        let found = known.or_else(|| self.holdings.find_flow(flow));
        if let Some(index) = found {
            let gone = self.holdings.remove(index);
            self.freed(time_ns, &gone, reason, out);
            return;
        }
        self.scan.passed_on(socket);
        if self.holdings.is_servers(flow) {
            return;
        }
        self.totals.released += 1;
        let port = place(flow, None);
        out.push(Report { time_ns, body: Body::Release { port, reason, held_ns: None } });
    }
}

/// What a call that failed asked for.
fn asked(flow: &Flow, caller: Option<Caller>, repeated: Repeated) -> Port {
    let mut port = place(flow, caller);
    if repeated.differing {
        (port.local, port.remote) = (None, None);
    }
    port
}
