//! What calls were refused, by kind: the end of a run is told of it.

use std::{net::IpAddr, sync::Arc};

use super::{Body, EventType, Port, SpaceKind};
use crate::{
    event::{Protocol, Via},
    process::Process,
};

/// Kinds that are told apart; calls of others are counted alone.
const MOST_KINDS: usize = 64;

/// Calls that were refused a port, by kind.
#[derive(Clone, Debug, Default)]
pub struct FailedCalls {
    /// In the order of their first call.
    pub kinds: Vec<FailedKind>,
    /// Calls of kinds that found no place.
    pub others: u64,
    /// Ports that were taken meanwhile.
    pub taken: u64,
}

/// Calls of one kind: that wanted the same, and were refused it for the same reason.
#[derive(Clone, Debug)]
pub struct FailedKind {
    /// How many.
    pub calls: u64,
    /// The first whose reason is known, or else the first; it stands for itself alone.
    pub body: Body,
    /// Who made the first.
    pub process: Option<Arc<Process>>,
    /// How many processes made them; of more than a few dozen, so many.
    pub processes: usize,
    kind: Kind,
    /// Processes that made them: their ids.
    seen: Vec<u32>,
}

/// Processes of one kind of call that are told apart.
const MOST_PROCESSES: usize = 64;

/// What calls of one kind have in common.
#[derive(Clone, Debug, PartialEq)]
struct Kind {
    event: EventType,
    via: Via,
    errno: i32,
    netns: u32,
    protocol: Protocol,
    space: Option<SpaceKind>,
    address: Option<IpAddr>,
    /// The port that was asked for, 0: any.
    port: u16,
}

impl FailedCalls {
    /// Counts what a line is about.
    pub fn note(&mut self, body: &Body) {
        if matches!(body, Body::Acquire { .. }) {
            self.taken += 1;
        }
        let Some((kind, port, repeated)) = kind(body) else { return };
        let calls = repeated.saturating_add(1);
        let process = port.caller.as_ref().map(|caller| &caller.process);
        let known = self.kinds.iter().position(|known| known.kind == kind);
        let at = known.unwrap_or(self.kinds.len());
        if at == MOST_KINDS {
            self.others = self.others.saturating_add(calls);
            return;
        }
        if known.is_none() {
            let process = process.cloned();
            let body = alone(body);
            self.kinds.push(FailedKind {
                calls: 0,
                body,
                process,
                processes: 0,
                kind,
                seen: Vec::new(),
            });
        }
        let refusal = &mut self.kinds[at];
        refusal.calls = refusal.calls.saturating_add(calls);
        if !is_explained(&refusal.body) && is_explained(body) {
            refusal.body = alone(body);
        }
        let pid = process.map_or(0, |process| process.pid);
        if refusal.seen.len() < MOST_PROCESSES && !refusal.seen.contains(&pid) {
            refusal.seen.push(pid);
            refusal.processes = refusal.seen.len();
        }
    }

    /// All calls that were refused.
    pub fn calls(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.calls).fold(self.others, u64::saturating_add)
    }
}

/// Of a call that was refused: its kind, its port, how many more calls the line stands for.
fn kind(body: &Body) -> Option<(Kind, &Port, u64)> {
    let (port, via, errno, space, repeated) = match body {
        Body::Exhausted { port, via, errno, story, repeated, .. } => {
            (port, *via, *errno, story.as_ref().map(|story| story.space.kind), *repeated)
        }
        Body::Conflict { port, via, errno, repeated, .. }
        | Body::Refused { port, via, errno, repeated, .. } => (port, *via, *errno, None, *repeated),
        Body::Start(_)
        | Body::Existing { .. }
        | Body::Acquire { .. }
        | Body::TimeWait { .. }
        | Body::Release { .. }
        | Body::Threshold { .. }
        | Body::Pool(_)
        | Body::Summary(_)
        | Body::State { .. }
        | Body::Lost { .. }
        | Body::Stop(_) => return None,
    };
    // Without a space: by where to. What connect() was refused had a port no more than all ports.
    let to = if via == Via::Connect { port.remote } else { port.local };
    let asked = if space.is_some() { None } else { to };
    let kind = Kind {
        event: body.event_type(),
        via,
        errno,
        netns: port.netns,
        protocol: port.protocol,
        space,
        address: asked.map(|asked| asked.address),
        port: asked.map_or(0, |asked| asked.port),
    };
    Some((kind, port, repeated))
}

/// The line for one call alone.
fn alone(body: &Body) -> Body {
    let mut body = body.clone();
    if let Body::Exhausted { repeated, .. }
    | Body::Conflict { repeated, .. }
    | Body::Refused { repeated, .. } = &mut body
    {
        *repeated = 0;
    }
    body
}

fn is_explained(body: &Body) -> bool {
    match body {
        Body::Exhausted { story, .. } => story.as_ref().is_some_and(|story| story.cause.is_some()),
        Body::Conflict { holders, .. } => !holders.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::Endpoint, process::Caller};

    fn port(local: u16, remote: Option<u16>, pid: u32) -> Port {
        let at = |port| Endpoint::new([127, 0, 0, 1].into(), port);
        let process = Arc::new(Process { pid, ..Process::default() });
        Port {
            netns: 1,
            protocol: Protocol::Tcp,
            local: Some(at(local)),
            remote: remote.map(at),
            caller: Some(Caller { process, tid: pid }),
        }
    }

    fn connect(to: u16, pid: u32, repeated: u64) -> Body {
        let (port, via, errno) = (port(0, Some(to), pid), Via::Connect, libc::EADDRNOTAVAIL);
        Body::Exhausted { port, via, errno, search_ns: None, story: None, repeated }
    }

    fn bind(to: u16, pid: u32) -> Body {
        let (port, via, errno) = (port(to, None, pid), Via::Bind, libc::EADDRINUSE);
        Body::Conflict { port, via, errno, holders: Vec::new(), repeated: 0 }
    }

    #[test]
    fn calls_of_one_kind_are_counted_together_with_those_that_a_line_stands_for() {
        let mut failed = FailedCalls::default();
        for body in [connect(80, 7, 0), connect(80, 8, 9), connect(81, 7, 0), bind(80, 7)] {
            failed.note(&body);
        }
        let calls: Vec<_> = failed.kinds.iter().map(|one| (one.calls, one.processes)).collect();
        assert_eq!(calls, [(11, 2), (1, 1), (1, 1)]);
        assert_eq!((failed.calls(), failed.taken), (13, 0));
        assert_eq!(failed.kinds[0].process.as_ref().unwrap().pid, 7);
        let Body::Exhausted { repeated: 0, .. } = failed.kinds[0].body else { panic!() };
    }

    #[test]
    fn kinds_are_bounded_and_no_call_is_uncounted() {
        let mut failed = FailedCalls::default();
        for to in 1..=1_000 {
            failed.note(&bind(to, to.into()));
            failed.note(&bind(1, to.into()));
        }
        assert_eq!(failed.kinds.len(), MOST_KINDS);
        assert_eq!(failed.calls(), 2_000);
        assert_eq!(failed.kinds[0].calls, 1_001);
        assert_eq!(failed.kinds[0].processes, MOST_PROCESSES);
    }

    #[test]
    fn the_first_line_with_a_reason_stands_for_its_kind() {
        let mut failed = FailedCalls::default();
        failed.note(&bind(80, 7));
        let Body::Conflict { port, via, errno, repeated, .. } = bind(80, 8) else { panic!() };
        let holders = vec![super::super::Holder::new(None, super::super::Counts::default())];
        failed.note(&Body::Conflict { port, via, errno, holders, repeated });
        assert!(is_explained(&failed.kinds[0].body));
    }
}
