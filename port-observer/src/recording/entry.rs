//! What the ledger takes in, flat: as it is recorded.

use super::row::{Row, RowType, Whose};
use crate::{
    event::{Event, LossKind, LossPlace, NamespaceSettings},
    process::Caller,
    report::{Body, Report},
};

/// One thing that the ledger takes in.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// When: of the event itself, or when it was taken in (`CLOCK_BOOTTIME`).
    pub time_ns: u64,
    /// What.
    pub input: Input,
}

/// What the ledger takes in.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// About a socket, or a port that a scan found held.
    Socket(Row),
    /// The settings of a namespace.
    Namespace(Box<NamespaceSettings>),
    /// A namespace is gone.
    NamespaceGone(u32),
    /// A scan begins.
    ScanBegins,
    /// A scan is over; the namespaces that it could not look into.
    ScanEnded(Vec<u32>),
    /// Events did not arrive.
    Lost {
        /// How many.
        count: u64,
        /// Where.
        place: LossPlace,
        /// Of which wire kind.
        kind: LossKind,
        /// Whose they were, where that is known.
        caller: Option<Whose>,
    },
    /// A second has passed.
    Tick,
    /// The wall clock was set: realtime less boottime from now on.
    Clock(i64),
}

impl Entry {
    /// What of an event is recorded. `now_ns`: the time of one that has none of its own. Nothing of
    /// the beginnings of processes: who called is recorded with the call.
    pub fn of(now_ns: u64, event: &Event) -> Option<Self> {
        let (time_ns, input) = match event {
            Event::Socket(event) => (event.time_ns, Input::Socket(Row::of_socket(event))),
            Event::Existing(existing) => {
                (existing.time_ns, Input::Socket(Row::of_existing(existing)))
            }
            // What the ledger concludes from a listing is recorded, not the list.
            Event::Exec(_) | Event::Fork(_) | Event::Listing(_) => return None,
            Event::ScanBegins => (now_ns, Input::ScanBegins),
            Event::ScanEnded { skipped } => (now_ns, Input::ScanEnded(skipped.clone())),
            Event::Namespace(settings) => (now_ns, Input::Namespace(settings.clone())),
            Event::NamespaceGone(netns) => (now_ns, Input::NamespaceGone(*netns)),
            Event::Lost { count, place, kind, task: _ } => {
                (now_ns, Input::Lost { count: *count, place: *place, kind: *kind, caller: None })
            }
        };
        Some(Self { time_ns, input })
    }

    /// A second has passed.
    pub fn tick(time_ns: u64) -> Self {
        Self { time_ns, input: Input::Tick }
    }

    /// The wall clock was set.
    pub fn clock(time_ns: u64, offset_ns: i64) -> Self {
        Self { time_ns, input: Input::Clock(offset_ns) }
    }

    /// Who called, as was found out while it was taken in; of a port that was let go, whose it was.
    pub fn set_caller(&mut self, caller: Option<Caller>, reports: &[Report]) {
        let row = match &mut self.input {
            Input::Socket(row) => row,
            Input::Lost { caller: whose, .. } => {
                *whose = caller.map(Whose);
                return;
            }
            _ => return,
        };
        let owner = || {
            reports.iter().rev().find_map(|told| match (&told.body, row.row_type) {
                (Body::TimeWait { port }, RowType::TimeWait)
                | (Body::Release { port, .. }, RowType::Release) => port.caller.clone(),
                _ => None,
            })
        };
        row.caller = caller.or_else(owner).map(Whose);
    }

    /// The event that the ledger is to take in; `None`: it is none, or makes no sense.
    pub fn event(&self) -> Option<Event> {
        Some(match &self.input {
            Input::Socket(row) => return row.event(self.time_ns),
            Input::Namespace(settings) => Event::Namespace(settings.clone()),
            Input::NamespaceGone(netns) => Event::NamespaceGone(*netns),
            Input::ScanBegins => Event::ScanBegins,
            Input::ScanEnded(skipped) => Event::ScanEnded { skipped: skipped.clone() },
            Input::Lost { count, place, kind, caller } => {
                let task = caller.as_ref().map(Whose::task);
                Event::Lost { count: *count, place: *place, kind: *kind, task }
            }
            Input::Tick | Input::Clock(_) => return None,
        })
    }

    /// Who called; of a release or TIME_WAIT, whose port it is.
    pub fn caller(&self) -> Option<&Caller> {
        match &self.input {
            Input::Socket(Row { caller, .. }) | Input::Lost { caller, .. } => {
                caller.as_ref().map(|Whose(caller)| caller)
            }
            _ => None,
        }
    }
}
