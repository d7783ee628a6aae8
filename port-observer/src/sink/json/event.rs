//! From reports to the JSON's types.

use std::num::NonZero;

use serde_json::value::RawValue;

use super::pool::Pool;
use super::processes::Objects;
use super::rare::{Rare, Start, Stop};
use super::space::{Cause, Holders, Space};
use super::summary::Summary;
use super::types::{Frequent, Place};
use crate::report::{Body, PoolEvent};
use crate::words::{
    conflicts::{self, Refused},
    errno::ErrorName,
    refusals,
};

/// An event of a line. Of two types, since a type is written the slower the more it can be.
pub(super) enum Event<'a> {
    /// What happens all the time. The only text in it that others chose is in its process, whose
    /// object is made.
    Frequent(Frequent<'a>),
    /// What happens now and then.
    Rare(Rare<'a>),
}

impl<'a> Event<'a> {
    /// The event of a report, with the objects of its process and of its holders.
    pub(super) fn new(body: &'a Body, process: Option<&'a RawValue>, holders: &'a Objects) -> Self {
        match *body {
            Body::Existing { ref port, state } => {
                let place = Place::new(port, process);
                let state = state.name();
                Self::Frequent(Frequent::Existing { via: "existing", state, place })
            }
            Body::Acquire { ref port, via, requested_port, search_ns, ref space } => {
                let (via, place) = (via.name(), Place::new(port, process));
                match space {
                    None => {
                        Self::Frequent(Frequent::Acquire { via, requested_port, place, search_ns })
                    }
                    Some(space) => {
                        let space = Space(space);
                        Self::Rare(Rare::Acquire { via, requested_port, place, search_ns, space })
                    }
                }
            }
            Body::TimeWait { ref port } => {
                Self::Frequent(Frequent::TimeWait { place: Place::new(port, process) })
            }
            Body::Release { ref port, reason, held_ns } => {
                let place = Place::new(port, process);
                Self::Frequent(Frequent::Release { reason: reason.name(), held_ns, place })
            }
            Body::State { ref port, old, new } => {
                let place = Place::new(port, process);
                Self::Frequent(Frequent::State { old: old.name(), new: new.name(), place })
            }
            Body::Start(ref start) => Self::Rare(Rare::Start(Start::new(start))),
            Body::Exhausted { ref port, via, errno, search_ns, ref story, repeated } => {
                Self::Rare(Rare::Exhausted {
                    via: via.name(),
                    errno: ErrorName(errno),
                    place: Place::new(port, process),
                    search_ns,
                    space: story.as_ref().map(|story| Space(&story.space)),
                    holders: story.as_ref().map(|story| Holders::new(&story.holders, holders)),
                    cause: story.as_ref().and_then(|story| story.cause.as_ref()).map(Cause),
                    repeated: NonZero::new(repeated),
                })
            }
            Body::Conflict { ref port, via, errno, holders: ref held_by, repeated } => {
                Self::Rare(Rare::Conflict {
                    via: via.name(),
                    errno: ErrorName(errno),
                    place: Place::new(port, process),
                    // Somebody has the port, so that none is nobody known.
                    holders: (!held_by.is_empty()).then(|| Holders::new(held_by, holders)),
                    remedy: port.local.map_or_else(Vec::new, |_| {
                        let caller = port.caller.as_ref().map(|caller| &*caller.process);
                        let call = Refused { via, protocol: port.protocol, caller };
                        conflicts::remedies(held_by, call)
                    }),
                    repeated: NonZero::new(repeated),
                })
            }
            Body::Refused { ref port, via, errno, refusal, repeated } => {
                Self::Rare(Rare::Refused {
                    via: via.name(),
                    errno: ErrorName(errno),
                    reason: refusal.name(),
                    place: Place::new(port, process),
                    remedy: refusals::remedies(refusal, port.local, port.remote),
                    repeated: NonZero::new(repeated),
                })
            }
            Body::Threshold { ref space, level } => {
                Self::Rare(Rare::Threshold { space: Space(space), level: level.name() })
            }
            Body::Pool(ref of) => {
                let line = Pool::new(of, process, holders);
                Self::Rare(match of.event {
                    PoolEvent::Threshold { .. } => Rare::PoolThreshold(line),
                    PoolEvent::Exhausted { .. } => Rare::PoolExhausted(line),
                    PoolEvent::WrongRange { .. } => Rare::PoolWrongRange(line),
                    PoolEvent::Taken { .. } => Rare::PoolTaken(line),
                })
            }
            Body::Summary(ref summary) => Self::Rare(Rare::Summary(Summary::new(summary, holders))),
            Body::Lost { count, place, kind, caller: _ } => {
                Self::Rare(Rare::Lost { count, place: place.name(), kind: kind.name(), process })
            }
            Body::Stop(ref stop) => Self::Rare(Rare::Stop(Stop::new(stop))),
        }
    }
}
