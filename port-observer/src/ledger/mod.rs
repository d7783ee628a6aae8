//! Who holds which port: events in, reports out.

mod holdings;

use std::sync::Arc;

use crate::{
    event::{Event, Exec, Flow, Fork, Kind, Reason, SocketEvent, Task, Via},
    process::Process,
    report::{Body, Caller, Port, Report, Stop},
};
pub use holdings::{Holding, Holdings, Role};

/// Who a task is. The ledger asks; somebody who may look into /proc answers.
pub trait Who {
    /// The process of a task, with all that is known of it.
    fn resolve(&mut self, task: &Task) -> Arc<Process>;
    /// A process began a program.
    fn exec(&mut self, exec: &Exec);
    /// A process was born.
    fn fork(&mut self, fork: &Fork);
}

/// The state of all ports that were seen taken.
pub struct Ledger<W> {
    who: W,
    holdings: Holdings,
    totals: Totals,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Ports taken.
    pub acquired: u64,
    /// Ports given back.
    pub released: u64,
    /// Calls that found no free port.
    pub exhausted: u64,
    /// Events lost anywhere.
    pub lost: u64,
}

impl Totals {
    /// The last line's numbers.
    pub fn stop(&self, events: u64, duration_seconds: f64) -> Stop {
        let Self { acquired, released, exhausted, lost } = *self;
        Stop { events, lost, duration_seconds, acquired, released, exhausted }
    }
}

impl<W: Who> Ledger<W> {
    /// An empty ledger.
    pub fn new(who: W) -> Self {
        Self { who, holdings: Holdings::default(), totals: Totals::default() }
    }

    /// What happened so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Who is who.
    pub fn who(&mut self) -> &mut W {
        &mut self.who
    }

    /// The holdings, for comparison with the kernel's own list.
    pub fn holdings(&self) -> &Holdings {
        &self.holdings
    }

    /// Takes in one event and hands out what it means, in order.
    pub fn apply(&mut self, now_ns: u64, event: Event, out: &mut Vec<Report>) {
        match event {
            Event::Socket(event) => self.socket(event, out),
            Event::Exec(exec) => self.who.exec(&exec),
            Event::Fork(fork) => self.who.fork(&fork),
            Event::ScanBegins
            | Event::Existing(_)
            | Event::ScanEnded { .. }
            | Event::Namespace(_)
            | Event::NamespaceGone(_) => {}
            Event::Lost { count, place, kind } => {
                self.totals.lost += count;
                out.push(Report { time_ns: now_ns, body: Body::Lost { count, place, kind } });
            }
        }
    }

    fn socket(&mut self, event: SocketEvent, out: &mut Vec<Report>) {
        let SocketEvent { time_ns, socket, flow, kind } = event;
        let mut say = |body| out.push(Report { time_ns, body });
        if let Kind::Acquire { .. }
        | Kind::Inherit { .. }
        | Kind::TimeWait { .. }
        | Kind::Release { .. }
        | Kind::Again(_) = kind
            && let Some(gone) = self.holdings.remove_other_port(socket, &flow)
            && gone.role == Role::Owner
        {
            // Its release was lost, and its address is another socket's by now.
            self.totals.released += 1;
            say(release(time_ns, &gone, Reason::Reconciled));
        }
        match kind {
            Kind::Acquire { via, requested_port, search_ns, task, sharing: _ } => {
                let started = self.holdings.take_start(socket);
                if let Some(taken_over) = self.holdings.time_wait_without_socket(&flow) {
                    self.totals.released += 1;
                    say(release(time_ns, &taken_over, Reason::TimeWaitReused));
                }
                if let Some(known) = self.holdings.get_mut(socket)
                    && known.role == Role::Owner
                {
                    if via != Via::Bind {
                        // connect() on a bound socket: the port is not new, its destination is.
                        known.flow = flow;
                        return;
                    }
                    // A socket is bound once: this is another one.
                    self.totals.released += 1;
                    say(release(time_ns, known, Reason::Reconciled));
                }
                let caller = task.or(started).map(|task| self.caller(&task));
                self.totals.acquired += 1;
                let holding = Holding { flow, caller, since_ns: Some(time_ns), role: Role::Owner };
                say(Body::Acquire {
                    port: port(&holding),
                    via,
                    requested_port,
                    search_ns,
                    space: None,
                });
                self.holdings.insert(socket, holding);
            }
            Kind::Listen | Kind::Accept { .. } | Kind::FinReceived => {}
            Kind::CallStart { task } => self.holdings.start(socket, task),
            Kind::Exhausted { via, errno, search_ns, task } => {
                self.holdings.take_start(socket);
                self.totals.exhausted += 1;
                let port = self.failed(&flow, task.as_ref());
                say(Body::Exhausted { port, via, errno, search_ns, story: None });
            }
            Kind::Conflict { via, errno, task } => {
                self.holdings.take_start(socket);
                let port = self.failed(&flow, task.as_ref());
                say(Body::Conflict { port, via, errno, holders: Vec::new() });
            }
            Kind::Inherit { .. } => {
                // A socket that connected to itself passes through SYN_RECV too.
                if self.holdings.get_mut(socket).is_none_or(|known| known.role != Role::Owner) {
                    let since_ns = Some(time_ns);
                    let holding = Holding { flow, caller: None, since_ns, role: Role::Child };
                    self.holdings.insert(socket, holding);
                }
            }
            Kind::TimeWait { successor, done, reuse: _ } => {
                let holding = self.holdings.succeed(socket, successor, done, flow, time_ns);
                if holding.role != Role::Child {
                    say(Body::TimeWait { port: port(&holding) });
                }
            }
            Kind::Release { reason } => {
                self.holdings.take_start(socket);
                let found = self
                    .holdings
                    .remove(socket)
                    .or_else(|| self.holdings.time_wait_without_socket(&flow));
                let Some(holding) = found else {
                    self.totals.released += 1;
                    let port = Port {
                        netns: flow.netns,
                        protocol: flow.protocol,
                        local: Some(flow.local),
                        remote: flow.remote,
                        caller: None,
                    };
                    say(Body::Release { port, reason, held_ns: None });
                    return;
                };
                if holding.role == Role::Owner {
                    self.totals.released += 1;
                    say(release(time_ns, &holding, reason));
                }
            }
            Kind::Again(kind) => {
                let role = self.holdings.get_mut(socket).map(|known| known.role);
                let is_news = match *kind {
                    Kind::Acquire { .. } => role != Some(Role::Owner),
                    Kind::Release { .. } => role.is_some(),
                    _ => true,
                };
                if is_news {
                    self.socket(SocketEvent { time_ns, socket, flow, kind: *kind }, out);
                }
            }
            Kind::State { old, new } => {
                let caller = self.holdings.get_mut(socket).and_then(|h| h.caller.clone());
                let mut port = self.failed(&flow, None);
                port.caller = caller;
                say(Body::State { port, old, new });
            }
        }
    }

    fn caller(&mut self, task: &Task) -> Caller {
        Caller { process: self.who.resolve(task), tid: task.tid }
    }

    /// The port of a call that took none.
    fn failed(&mut self, flow: &Flow, task: Option<&Task>) -> Port {
        Port {
            netns: flow.netns,
            protocol: flow.protocol,
            local: Some(flow.local),
            remote: flow.remote,
            caller: task.map(|task| self.caller(task)),
        }
    }
}

fn port(holding: &Holding) -> Port {
    Port {
        netns: holding.flow.netns,
        protocol: holding.flow.protocol,
        local: Some(holding.flow.local),
        remote: holding.flow.remote,
        caller: holding.caller.clone(),
    }
}

fn release(time_ns: u64, holding: &Holding, reason: Reason) -> Body {
    let held_ns = holding.since_ns.map(|since| time_ns.saturating_sub(since));
    Body::Release { port: port(holding), reason, held_ns }
}

#[cfg(test)]
mod tests;
