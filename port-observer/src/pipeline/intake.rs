//! From a source into the ledger: who called, what listings show, and what is recorded of it.

use std::time::Duration;

use anyhow::Result;
use foldhash::HashMap;

use super::Stream;
use crate::{
    event::{Ask, Event, Kind, Listing},
    kernel::clock::{Budget, Cost},
    ledger::Concluded,
    process::{Caller, ProcessTable},
    recording::{Entry, Recorder},
    report::Sink,
    source::Source,
};

/// One part in so many of the time, and that of so much time ahead.
pub(super) const OPENERS_COST: u32 = 4;
pub(super) const OPENERS_AHEAD: Duration = Duration::from_secs(12);

/// The same of looking at the states of connections while no answer is due.
pub(super) const STATES_COST: u32 = 100;
/// What a look that found nothing to do counts as.
const NO_LOOK: Duration = Duration::from_millis(2);

/// Memory for so many events is kept between two rounds.
const KEPT_EVENTS: usize = 16_384;

/// Who has the sockets of a listing open is to be found.
#[derive(Clone, Copy)]
enum Openers {
    /// Whatever that costs: they took ports that no event told of.
    ForPorts,
    /// Within a budget, for an answer.
    Budgeted,
    /// Not.
    None,
}

impl<S: Sink> Stream<S> {
    /// Takes in what a source has, about `most` events at most, and writes what it means.
    ///
    /// # Errors
    /// The source's, or when the output can't be written; what the source had is taken in anyhow.
    pub fn take_in(&mut self, source: &mut impl Source, most: usize) -> Result<()> {
        // Of what happened before this moment, all that is told is in when the ledger is asked.
        let now_ns = self.time.now_ns()?;
        let mut events = std::mem::take(&mut self.events);
        let had = source.next(most, &mut events);
        let mut result = self.take_all(events, |ask| source.ask(ask));
        if let Some(ask) = self.ledger.ask(now_ns)
            && let Some(listing) = source.ask(ask)
        {
            result = result.and(self.conclude(&listing, Openers::ForPorts));
        }
        result.and(self.look_at_states(source, now_ns)).and(had)
    }

    /// Sees to it that the states of connections that are shown are not old, within what that may cost.
    fn look_at_states(&mut self, source: &mut impl Source, now_ns: u64) -> Result<()> {
        if !self.ledger.knows_all() || !self.states.as_ref().is_some_and(Budget::has_some) {
            return Ok(());
        }
        let cost = Cost::begin();
        let ask = self.ledger.stalest(now_ns);
        let has_asked = ask.is_some();
        let result = match ask.and_then(|ask| source.ask(ask)) {
            Some(listing) => self.conclude(&listing, Openers::None),
            None => Ok(()),
        };
        if let Some(states) = &mut self.states {
            states.spend(if has_asked { cost.so_far() } else { NO_LOOK });
        }
        result
    }

    /// Ends: takes in what is left of the source, writes the last line, and closes the recording, each
    /// whatever became of the others. `watched`: how observing went until then.
    ///
    /// # Errors
    /// That of the recording first, then `watched`, then those of [`Stream::take_in`] and
    /// [`Stream::stop`].
    pub fn end(&mut self, source: impl Source, watched: Result<()>) -> Result<()> {
        let observed = self.observed();
        let mut events = std::mem::take(&mut self.events);
        let had = source.finish(&mut events);
        let finished = self.take_all(events, |_| None).and(had);
        let stopped = self.stop(observed);
        // What was recorded is to be safe, whatever became of the lines.
        let recorded = self.recorder.take().map_or(Ok(0), Recorder::finish);
        if let Ok(missing @ 1..) = recorded {
            log::warn!("{missing} events are missing in the recording");
        }
        recorded.map(drop).and(watched).and(finished).and(stopped)
    }

    /// All of them, whatever becomes of the lines: they are recorded too. Keeps the memory.
    fn take_all(
        &mut self,
        mut events: Vec<Event>,
        mut answer: impl FnMut(Ask) -> Option<Listing>,
    ) -> Result<()> {
        let mut result = Ok(());
        for event in events.drain(..) {
            if let Some(listing) = self.ledger.needs(&event).and_then(&mut answer) {
                let taken = self.conclude(&listing, Openers::Budgeted);
                result = result.and(taken);
            }
            let taken = self.event(event);
            result = result.and(taken);
        }
        events.shrink_to(KEPT_EVENTS);
        self.events = events;
        result
    }

    fn event(&mut self, mut event: Event) -> Result<()> {
        if let Event::Listing(listing) = &event {
            return self.conclude(listing, Openers::ForPorts);
        }
        if !self.ledger.correct(&mut event) {
            return Ok(());
        }
        let caller = self.who.caller(&event);
        if let Some(watched) = self.printer.watched() {
            watched.take_in(&event);
        }
        self.event_of(event, caller)
    }

    /// Takes in what a listing shows to have happened.
    fn conclude(&mut self, listing: &Listing, openers: Openers) -> Result<()> {
        let mut concluded = self.ledger.conclude(listing);
        let find = |who: &ProcessTable| {
            let inodes = concluded.iter().map(|one| one.inode);
            who.openers(&inodes.filter(|inode| *inode != 0).collect())
        };
        let (openers, all_seen) = match openers {
            Openers::ForPorts => find(&self.who),
            Openers::Budgeted if self.openers.has_some() => {
                let cost = Cost::begin();
                let found = find(&self.who);
                self.openers.spend(cost.so_far());
                found
            }
            Openers::Budgeted | Openers::None => (HashMap::default(), false),
        };
        let mut result = Ok(());
        for one in &mut concluded {
            let Event::Socket(event) = &mut one.event else { continue };
            let opener = openers.get(&one.inode).cloned();
            match &mut event.kind {
                Kind::InTheWay { task, is_nobodys, .. } => {
                    // Where the files of some process may not be read, it may be that one's.
                    *is_nobodys &= all_seen && opener.is_none();
                    *task = opener;
                }
                Kind::Acquire { task, .. } | Kind::Listed { task, .. } => *task = opener,
                _ => {}
            }
        }
        for Concluded { event, .. } in concluded {
            let caller = self.who.caller(&event);
            if !self.ledger.is_news(&event, caller.as_ref()) {
                continue;
            }
            let taken = self.event_of(event, caller);
            result = result.and(taken);
        }
        result
    }

    /// Takes in one event whose caller is known, and writes what it means.
    pub(super) fn event_of(&mut self, event: Event, caller: Option<Caller>) -> Result<()> {
        let has_time = matches!(
            event,
            Event::Socket(_) | Event::Existing(_) | Event::Exec(_) | Event::Fork(_)
        );
        let now_ns = if has_time { 0 } else { self.time.now_ns()? };
        let mut reports = std::mem::take(&mut self.reports);
        let entry = self.recorder.as_ref().and_then(|_| Entry::of(now_ns, &event));
        let entry = entry.map(|entry| (entry, caller.clone()));
        if let Event::Namespace(settings) = &event {
            self.printer.sink().name(settings.netns, &settings.names);
        }
        let named = match &event {
            Event::Namespace(settings) => Some((settings.netns, true)),
            Event::NamespaceGone(netns) => Some((*netns, false)),
            _ => None,
        };
        self.ledger.apply(now_ns, event, caller, &mut reports);
        if let Some((netns, is_there)) = named {
            self.name_pools(netns, is_there);
        }
        if let Some(recorder) = &mut self.recorder
            && let Some((mut entry, caller)) = entry
        {
            entry.set_caller(caller, &reports);
            recorder.push(entry);
        }
        self.print_all(reports)
    }
}
