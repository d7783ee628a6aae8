//! What an event of a socket changes in the ledger, and what is told of it.

use super::{Holding, Holds, Ledger, Role, SpaceKey, Who, acquire::Call, place, port};
use crate::{
    event::{Flow, Kind, Reason, Reuse, Sharing, SocketEvent, SocketId},
    report::{Body, Report},
};

impl<W: Who> Ledger<W> {
    pub(super) fn socket(&mut self, event: SocketEvent, out: &mut Vec<Report>) {
        let SocketEvent { time_ns, socket, flow, kind } = event;
        self.end_another(time_ns, socket, &flow, &kind, out);
        match kind {
            Kind::Acquire { via, requested_port, search_ns, task, sharing } => {
                let call = Call { via, requested_port, search_ns, task, sharing };
                self.acquired(time_ns, socket, flow, call, out);
            }
            Kind::CallStart { task } => self.holdings.start(socket, task),
            Kind::Exhausted { via, errno, search_ns, task } => {
                self.holdings.take_start(socket);
                self.totals.exhausted += 1;
                let port = place(&flow, task.map(|task| self.caller(&task)));
                let story = self.story(via, &flow);
                let cause = story.as_ref().and_then(|story| story.cause.as_ref());
                self.failures.add(&port, via, errno, cause.map(|cause| cause.kind));
                let body = Body::Exhausted { port, via, errno, search_ns, story };
                out.push(Report { time_ns, body });
                if let Some(key) = SpaceKey::asked(via, &flow) {
                    self.check(time_ns, key, out);
                }
            }
            Kind::Conflict { via, errno, task } => {
                self.holdings.take_start(socket);
                let port = place(&flow, task.map(|task| self.caller(&task)));
                let holders = self.in_the_way(via, &flow);
                self.failures.add(&port, via, errno, None);
                out.push(Report { time_ns, body: Body::Conflict { port, via, errno, holders } });
            }
            Kind::Inherit { listener, sharing } => {
                self.inherited(time_ns, socket, flow, listener, sharing);
            }
            Kind::Accept { task } => {
                if let Some(index) = self.holdings.find(socket) {
                    let caller = Some(self.caller(&task));
                    self.holdings.get_mut(index).caller = caller;
                }
            }
            Kind::Listen => {
                if let Some(index) = self.holdings.find(socket) {
                    self.holdings.get_mut(index).holds = Holds::Listening;
                }
            }
            Kind::TimeWait { successor, done, reuse } => {
                self.time_wait(time_ns, socket, flow, (successor, done, reuse), out);
            }
            Kind::FinReceived => {
                let found = self.holdings.find(socket).or_else(|| self.holdings.find_flow(&flow));
                if let Some(index) = found {
                    let holding = self.holdings.get_mut(index);
                    holding.reuse.fin_wait2 = false;
                    holding.began_ns = time_ns;
                    self.holdings.ripens(index);
                }
            }
            Kind::Release { reason } => self.released(time_ns, socket, &flow, reason, out),
            Kind::Again(kind) => {
                let known = self.holdings.find(socket);
                let is_news = match *kind {
                    Kind::Acquire { .. } => {
                        known.is_none_or(|index| self.holdings.get(index).role != Role::Owner)
                    }
                    Kind::Release { .. } => {
                        known.is_some() || self.holdings.take_succeeded(socket).is_some()
                    }
                    _ => true,
                };
                if is_news && (known.is_some() || !matches!(*kind, Kind::Release { .. })) {
                    self.socket(SocketEvent { time_ns, socket, flow, kind: *kind }, out);
                }
            }
            Kind::State { old, new } => {
                let known = self.holdings.find(socket);
                let caller = known.and_then(|index| self.holdings.get(index).caller.clone());
                let port = place(&flow, caller);
                out.push(Report { time_ns, body: Body::State { port, old, new } });
            }
        }
    }

    /// A holding at this address that keeps another port is another socket's: its release was lost.
    fn end_another(
        &mut self,
        time_ns: u64,
        socket: SocketId,
        flow: &Flow,
        kind: &Kind,
        out: &mut Vec<Report>,
    ) {
        if !matches!(
            kind,
            Kind::Acquire { .. }
                | Kind::Inherit { .. }
                | Kind::TimeWait { .. }
                | Kind::Release { .. }
                | Kind::Again(_)
        ) {
            return;
        }
        let port = |flow: &Flow| (flow.netns, flow.protocol, flow.local.port);
        if let Some(index) = self.holdings.find(socket)
            && port(&self.holdings.get(index).flow) != port(flow)
        {
            self.ended_unseen(time_ns, socket, index, out);
        }
    }

    fn inherited(
        &mut self,
        time_ns: u64,
        socket: SocketId,
        flow: Flow,
        listener: SocketId,
        sharing: Sharing,
    ) {
        self.holdings.take_succeeded(socket);
        if let Some(index) = self.holdings.find(socket) {
            // A socket that connected to itself passes through SYN_RECV too.
            if self.holdings.get(index).role == Role::Owner {
                return;
            }
            self.holdings.remove(index);
        }
        let mut child = Holding::new(socket, flow, Holds::Connected);
        child.role = Role::Child;
        child.since_ns = Some(time_ns);
        child.sharing = Sharing { connect_bind: false, ..sharing };
        if let Some(index) = self.holdings.find(listener) {
            let listener = self.holdings.get_mut(index);
            listener.holds = Holds::Listening;
            child.caller = listener.caller.clone();
        } else {
            child.caller = self.holdings.listening_on(&flow).and_then(|like| like.caller.clone());
        }
        // Its listener did bind the port, which stays so while anybody holds it.
        self.keep(child, true);
    }

    fn time_wait(
        &mut self,
        time_ns: u64,
        socket: SocketId,
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
        let index = match self.holdings.find(socket) {
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
        socket: SocketId,
        flow: &Flow,
        reason: Reason,
        out: &mut Vec<Report>,
    ) {
        self.holdings.take_start(socket);
        if let Some(port) = self.holdings.take_succeeded(socket)
            && port == flow.local.port
        {
            return;
        }
        let found = self.holdings.find(socket).or_else(|| self.holdings.find_flow(flow));
        if let Some(index) = found {
            let gone = self.holdings.remove(index);
            self.freed(time_ns, &gone, reason, out);
            return;
        }
        self.scan.passed_on(socket);
        self.totals.released += 1;
        let port = place(flow, None);
        out.push(Report { time_ns, body: Body::Release { port, reason, held_ns: None } });
    }
}
