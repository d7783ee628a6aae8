//! What the kernel's own lists show, joined with what events told.
//!
//! The source hands over every event that the kernel told before it read a part of a list ahead of
//! that part. So what the list shows and the ledger does not know is news, unless it was released
//! since the scan began; and what was known when the scan began and was not found is gone.

use foldhash::{HashMap, HashSet};

use super::{Holding, Holds, Ledger, Role, place::Place, port, untold::Untold};
use crate::{
    event::{Existing, Flow, Protocol, Reason, SocketId, TcpState},
    process::Caller,
    report::{Body, Report},
};

/// A port with more holders is a server's, whose connections are not told of.
const MANY_HOLDERS: usize = 1_000;

/// The scan under way, or the last one.
#[derive(Debug, Default)]
pub struct Scan {
    number: u32,
    is_running: bool,
    /// One has ended, or was given up.
    has_ended: bool,
    /// Let go since it began.
    released: HashSet<SocketId>,
    released_flows: HashSet<Flow>,
    /// Sockets that were known and of which something was told since it began, and when that was
    /// (`CLOCK_BOOTTIME`).
    changed: HashMap<SocketId, u64>,
    /// Namespaces and TCP ports that were bound since it began, and when that was last.
    bound: HashMap<(u32, u16), u64>,
    /// TIME_WAIT entries that it found and of which only the sockets before them are known.
    succeeded: Vec<(SocketId, Existing)>,
    /// Namespaces and ports with a listener.
    listening: HashSet<(u32, u16)>,
    pub(super) untold: Untold,
}

impl Scan {
    pub(super) fn begin(&mut self) {
        // What was told and not accounted before the first one is not news to it.
        let released =
            if self.number == 0 { std::mem::take(&mut self.released) } else { HashSet::default() };
        *self = Self {
            number: self.number + 1,
            is_running: true,
            has_ended: self.has_ended,
            released,
            ..Self::default()
        };
    }

    /// What a holding that comes now is marked with.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    fn is_first(&self) -> bool {
        self.number == 1
    }

    pub(super) fn released(&mut self, holding: &Holding) {
        if !self.is_running {
            return;
        }
        if holding.socket.0 == 0 {
            self.released_flows.insert(holding.flow());
        } else {
            self.released.insert(holding.socket);
        }
    }

    /// What a list shows of this socket has become another thing.
    pub(super) fn changed(&mut self, socket: SocketId, time_ns: u64) {
        if self.is_running {
            self.changed.insert(socket, time_ns);
        }
    }

    /// A bind() has succeeded on the port of this holding.
    pub(super) fn bound(&mut self, holding: &Holding) {
        if self.is_running
            && let (netns, Protocol::Tcp, port) = holding.place.port()
            && let Some(time_ns) = holding.since_ns()
        {
            self.bound.insert((netns, port), time_ns);
        }
    }

    /// Whether a bind() has succeeded on the port of `found` after the list was read that shows it.
    fn is_bound_since(&self, found: &Existing) -> bool {
        let port = (found.flow.netns, found.flow.local.port);
        self.bound.get(&port).is_some_and(|time_ns| *time_ns >= found.time_ns)
    }

    /// Whether what is known of a holding was told after the list was read that shows `found`. A list is
    /// handed over some time after it was read; meanwhile its address, and with it its port, may have become
    /// another socket's.
    fn is_older(&self, found: &Existing, holding: &Holding) -> bool {
        let read_ns = Some(found.time_ns);
        holding.since_ns() >= read_ns
            || (holding.holds == Holds::TimeWait && holding.began_ns >= found.time_ns)
            || self.changed.get(&holding.socket).copied() >= read_ns
    }

    /// A socket has let go of its port without a word of its own, or was told of and not accounted.
    pub(super) fn passed_on(&mut self, socket: SocketId) {
        if self.is_running || self.number == 0 {
            self.released.insert(socket);
        }
    }

    /// Whether the scan under way, and no event, has made this holding known.
    pub(super) fn is_new(&self, holding: &Holding) -> bool {
        self.is_running && holding.since_ns().is_none() && holding.seen == self.number
    }
}

impl Ledger {
    /// Whether what was held before is in, as far as it can be listed: until then, counts are too low.
    pub fn knows_all(&self) -> bool {
        self.scan.has_ended
    }

    /// It is, from elsewhere than a scan.
    pub(super) fn all_is_known(&mut self) {
        self.scan.has_ended = true;
    }

    /// What was held before is known once a scan has ended: one runs, or comes.
    pub(super) fn scan_is_due(&self) -> bool {
        self.options.listings || self.scan.number > 0
    }

    /// A port that a scan found held.
    pub(super) fn existing(
        &mut self,
        found: Existing,
        caller: Option<Caller>,
        out: &mut Vec<Report>,
    ) {
        if found.state == TcpState::LISTEN {
            self.scan.listening.insert((found.flow.netns, found.flow.local.port));
        }
        let socket = found.socket.unwrap_or(SocketId(0));
        let known = match found.socket {
            Some(socket) => self.holdings.find(socket),
            None => self.holdings.find_flow(&found.flow),
        };
        match known {
            Some(index) if self.scan.is_older(&found, self.holdings.get(index)) => {
                let number = self.scan.number;
                self.holdings.get_mut(index).seen = number;
                return;
            }
            Some(index) if self.holdings.get(index).place.is_at(&found.flow) => {
                self.refresh(index, found, caller);
                return;
            }
            Some(index) => self.ended_before(found.time_ns, socket, index, out),
            None if self.has_successor(&found) || self.is_stale(&found) => return,
            None => {}
        }
        if let Some(index) = self.under_another_name(&found) {
            let number = self.scan.number;
            let holding = self.holdings.get_mut(index);
            holding.seen = number;
            if found.reuse.is_some() && holding.holds != Holds::TimeWait {
                self.scan.succeeded.push((holding.socket, found));
            }
            return;
        }
        let mut holding = Holding::new(socket, found.flow, holds(&found));
        if holding.holds == Holds::Connected {
            holding.connection = found.state;
        }
        holding.sharing = found.sharing.into();
        if self.options.sticky {
            // These kernels do not keep who chose the port, but mark it once somebody bound it.
            holding.sharing.connect_bind = found.blocked == Some(false);
        }
        if found.blocked.is_none() {
            // Nobody can say, so it is taken for the usual: who connects has not bound before.
            holding.sharing.connect_bind = found.flow.remote.is_some();
        }
        if self.is_accepted(&holding) {
            holding.role = Role::Child;
        }
        holding.set_caller(caller);
        if let Some(reuse) = found.reuse {
            holding.reuse = reuse;
            holding.began_ns = found.time_ns;
        }
        holding.seen = self.scan.number;
        let told = (holding.role == Role::Owner).then(|| port(&holding));
        let binds = found.blocked.unwrap_or(!holding.sharing.connect_bind);
        match self.holdings.insert(holding, binds && found.flow.protocol == Protocol::Tcp) {
            Some(index) => self.holdings.ripens(index),
            None if self.scan.is_first() => self.unaccounted += 1,
            // That there was no room for it was counted when it was told, or when it was lost.
            None => return,
        }
        if let Some(port) = told {
            if !self.scan.is_first() && socket.0 != 0 && found.reuse.is_none() {
                self.scan.untold.add(socket, found.time_ns, found.state);
                return;
            }
            let body = Body::Existing { port, state: found.state };
            out.push(Report { time_ns: found.time_ns, body });
        }
    }

    /// Whether it has its port from a listener. A scan finds listeners first; of those that came
    /// after, events told before what is found on their port.
    fn is_accepted(&self, holding: &Holding) -> bool {
        let flow = &holding.flow();
        flow.remote.is_some()
            && flow.protocol == Protocol::Tcp
            && !holding.sharing.connect_bind
            && (self.scan.listening.contains(&(flow.netns, flow.local.port))
                || self.holdings.listening_on(flow).is_some())
    }

    /// It was let go after the list was read, or while.
    fn is_stale(&self, found: &Existing) -> bool {
        match found.socket {
            Some(socket) => self.scan.released.contains(&socket),
            None => self.scan.released_flows.contains(&found.flow),
        }
    }

    /// TIME_WAIT was told to succeed this socket before the scan began, and had not yet when the list was
    /// read: the socket stands for its entry.
    fn has_successor(&mut self, found: &Existing) -> bool {
        let flow = &found.flow;
        let port = found.socket.and_then(|socket| self.holdings.succeeded_on(socket));
        if port != Some(flow.local.port) {
            return false;
        }
        let is_entry = |(_, holding): &(u32, &Holding)| {
            holding.holds == Holds::TimeWait && holding.flow() == *flow
        };
        let entry = self.holdings.on_port(flow).take(MANY_HOLDERS).find(is_entry);
        if let Some((index, _)) = entry {
            self.holdings.get_mut(index).seen = self.scan.number;
        }
        true
    }

    /// A holding of the same flow that the source knows by another identity: a UDP port that was
    /// found by diagnostics, or a connection whose TIME_WAIT is not told yet.
    fn under_another_name(&self, found: &Existing) -> Option<u32> {
        let flow = &found.flow;
        if flow.protocol == Protocol::Tcp && found.socket.is_some() && found.reuse.is_none() {
            return None;
        }
        let is_other = |holding: &Holding| {
            holding.flow() == *flow && (holding.seen != self.scan.number || found.socket.is_none())
        };
        self.holdings
            .on_port(flow)
            .take(MANY_HOLDERS)
            .find(|(_, holding)| is_other(holding))
            .map(|(index, _)| index)
    }

    /// What a scan shows of a holding that is known.
    fn refresh(&mut self, index: u32, found: Existing, caller: Option<Caller>) {
        let number = self.scan.number;
        let sticky = self.options.sticky;
        let is_bound_since = self.scan.is_bound_since(&found);
        let holding = self.holdings.get_mut(index);
        holding.seen = number;
        if caller.is_some() && holding.process().is_none() {
            holding.set_caller(caller);
        }
        let is_ripening = found.reuse.is_some_and(|reuse| reuse != holding.reuse);
        if let Some(reuse) = found.reuse {
            if holding.reuse.fin_wait2 && !reuse.fin_wait2 {
                // That the peer's FIN came was not told. It came before.
                holding.began_ns = found.time_ns;
            }
            holding.reuse = reuse;
        }
        let holds = holds(&found);
        // A refused connect() leaves the peer's address without its port.
        let is_left_over = found.flow.remote.is_some_and(|remote| remote.port == 0);
        let is_moved = holding.flow() != found.flow && !is_left_over;
        let is_shared = holding.sharing.connect_bind;
        let is_shared_now = if sticky { is_shared } else { found.sharing.connect_bind };
        let knows_sharing = found.blocked.is_some();
        if is_moved || (knows_sharing && is_shared != is_shared_now) {
            self.holdings.correct(index, |holding| {
                if is_moved {
                    holding.place = Place::from(&found.flow);
                }
                holding.sharing.connect_bind = is_shared_now;
                holding.holds = holds;
            });
        } else {
            holding.holds = holds;
        }
        if sticky && let Some(blocked) = found.blocked {
            self.holdings.set_bound(index, blocked || is_bound_since);
        }
        if is_ripening {
            self.holdings.ripens(index);
        }
    }

    /// A holding has ended, and another socket has its address. TIME_WAIT may have come after it.
    pub(super) fn ended_before(
        &mut self,
        time_ns: u64,
        socket: SocketId,
        index: u32,
        out: &mut Vec<Report>,
    ) {
        self.tell_found(socket, out);
        let succeeded = &mut self.scan.succeeded;
        if let Some(at) = succeeded.iter().position(|(before, _)| *before == socket) {
            let (_, entry) = succeeded.swap_remove(at);
            self.succeeded(time_ns, socket, &entry, out);
        } else {
            let gone = self.holdings.remove(index);
            self.freed(time_ns, &gone, Reason::Reconciled, out);
        }
    }

    /// All events of before the list was read are in: that TIME_WAIT succeeds the socket was lost.
    fn succeeded(
        &mut self,
        time_ns: u64,
        socket: SocketId,
        entry: &Existing,
        out: &mut Vec<Report>,
    ) {
        let Some(index) = self.holdings.find(socket) else { return };
        let holding = self.holdings.get(index);
        if holding.flow() != entry.flow || holding.holds == Holds::TimeWait {
            return;
        }
        let reuse = entry.reuse.unwrap_or_default();
        self.holdings.to_time_wait(index, entry.socket, entry.flow, reuse);
        let holding = self.holdings.get(index);
        if holding.role == Role::Owner {
            out.push(Report { time_ns, body: Body::TimeWait { port: port(holding) } });
        }
    }

    /// What was known before the scan and was not found is gone; when, is not known.
    pub(super) fn scan_ended(&mut self, now_ns: u64, skipped: &[u32], out: &mut Vec<Report>) {
        if !self.scan.is_running {
            return;
        }
        self.scan.is_running = false;
        self.scan.has_ended = true;
        self.tell_all_found(out);
        for (socket, found) in std::mem::take(&mut self.scan.succeeded) {
            self.succeeded(now_ns, socket, &found, out);
        }
        let number = self.scan.number;
        let is_gone =
            |holding: &Holding| holding.seen != number && !skipped.contains(&holding.place.netns());
        let gone: Vec<u32> = self.holdings.select(is_gone);
        for index in gone {
            let holding = self.holdings.remove(index);
            self.freed(now_ns, &holding, Reason::Reconciled, out);
        }
        self.scan.released = HashSet::default();
        self.scan.released_flows = HashSet::default();
        self.scan.changed = HashMap::default();
        self.scan.bound = HashMap::default();
        self.scan.listening = HashSet::default();
    }
}

fn holds(found: &Existing) -> Holds {
    if found.reuse.is_some() {
        return Holds::TimeWait;
    }
    match found.state {
        TcpState::LISTEN => Holds::Listening,
        TcpState::CLOSE | TcpState::BOUND_INACTIVE => Holds::Bound,
        TcpState::TIME_WAIT => Holds::TimeWait,
        _ => Holds::Connected,
    }
}
