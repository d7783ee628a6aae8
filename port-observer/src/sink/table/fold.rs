//! On a screen, calls that fail alike again and again are told by a line each second: a storm of equal
//! lines says nothing that the first did not, and pushes everything else off the screen.

use std::{
    mem,
    time::{Duration, Instant},
};

use foldhash::{HashMap, HashSet};

use crate::{
    event::{Endpoint, Protocol, Via},
    report::{Body, EventType, Port},
};

/// How often those that are held back are told.
const EVERY: Duration = Duration::from_secs(1);
/// After so long a call is told in full again: its story may be another by now.
const AGAIN: Duration = Duration::from_secs(10);
/// So many lines of one process in that time are told in full, of whatever addresses and ports.
const DIFFERING: usize = 20;
/// How many kinds of calls are held back at a time. When there are more, they are told.
const KEPT: usize = 1024;

/// Calls that fail alike: of one process, by one call, for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Call {
    event: EventType,
    netns: u32,
    protocol: Protocol,
    process: Option<(u32, u64)>,
    via: Via,
    errno: i32,
}

/// What they asked for; `None`: several, where there are too many to tell apart.
type Ends = Option<(Option<Endpoint>, Option<Endpoint>)>;

/// Lines that are held back.
#[derive(Clone, Debug)]
pub(super) struct Folded {
    /// What the lines have been about; of several, the last of them.
    pub(super) port: Port,
    /// When the last was.
    pub(super) time_ns: u64,
    /// Of which type they are.
    pub(super) event: EventType,
    /// How many calls.
    pub(super) count: u64,
    /// They asked for different addresses and ports.
    pub(super) is_differing: bool,
}

#[derive(Debug)]
struct Held {
    folded: Folded,
    /// When it was told in full, and when last at all: by the events and by the clock.
    first_ns: u64,
    told_ns: u64,
    told_at: Instant,
}

/// The calls that were told lately, with those that are held back since.
#[derive(Debug, Default)]
pub(super) struct Fold {
    held: HashMap<(Call, Ends), Held>,
    /// By call, for what ends it was told.
    told: HashMap<Call, HashSet<Ends>>,
    /// When the first of those held back was told last, by its event and by the clock: none is due for
    /// [`EVERY`] after that.
    oldest: Option<(u64, Instant)>,
}

impl Fold {
    /// Whether the line of a report is held back. If not, it is to be told.
    pub(super) fn holds_back(&mut self, time_ns: u64, body: &Body) -> bool {
        let Some((call, ends, port, count)) = parts(body) else { return false };
        let told = self.told.entry(call.clone()).or_default();
        let ends = if told.contains(&Some(ends)) || told.len() < DIFFERING {
            told.insert(Some(ends));
            Some(ends)
        } else {
            None
        };
        if let Some(held) = self.held.get_mut(&(call.clone(), ends)) {
            held.folded.count = held.folded.count.saturating_add(count);
            held.folded.time_ns = held.folded.time_ns.max(time_ns);
            held.folded.port = port.clone();
            return true;
        }
        let is_differing = ends.is_none();
        let event = call.event;
        let count = if is_differing { count } else { 0 };
        let folded = Folded { port: port.clone(), time_ns, event, count, is_differing };
        let told_at = Instant::now();
        self.oldest.get_or_insert((time_ns, told_at));
        let held = Held { folded, first_ns: time_ns, told_ns: time_ns, told_at };
        self.held.insert((call, ends), held);
        is_differing
    }

    /// What is to be told now of what is held back: by the time of an event, or by the clock.
    pub(super) fn due(&mut self, time_ns: Option<u64>) -> Vec<Folded> {
        let Some((oldest_ns, oldest_at)) = self.oldest else { return Vec::new() };
        let now = Instant::now();
        let is_full = self.held.len() > KEPT;
        let is_time = time_ns.is_some_and(|time_ns| since(oldest_ns, time_ns) >= EVERY);
        if !is_full && !is_time && now - oldest_at < EVERY {
            return Vec::new();
        }
        let mut due = Vec::new();
        self.held.retain(|_, held| {
            let since = |then| time_ns.map_or(Duration::ZERO, |now| since(then, now));
            let is_due = since(held.told_ns) >= EVERY || now - held.told_at >= EVERY;
            if !is_due && !is_full {
                return true;
            }
            // Nothing came for a second: the next is told in full.
            let is_over = held.folded.count == 0 || since(held.first_ns) >= AGAIN || is_full;
            if held.folded.count > 0 {
                held.told_ns = time_ns.unwrap_or(held.folded.time_ns);
                held.told_at = now;
                due.push(held.folded.clone());
                held.folded.count = 0;
            }
            !is_over
        });
        let held = &self.held;
        self.told.retain(|call, ends| {
            ends.retain(|ends| held.contains_key(&(call.clone(), *ends)));
            !ends.is_empty() || held.contains_key(&(call.clone(), None))
        });
        let oldest_ns = self.held.values().map(|held| held.told_ns).min();
        self.oldest = oldest_ns.zip(self.held.values().map(|held| held.told_at).min());
        due.sort_by_key(|folded| folded.time_ns);
        due
    }

    /// All that is held back: no more will come.
    pub(super) fn rest(&mut self) -> Vec<Folded> {
        self.told.clear();
        self.oldest = None;
        let held = mem::take(&mut self.held).into_values().map(|held| held.folded);
        let mut rest: Vec<Folded> = held.filter(|folded| folded.count > 0).collect();
        rest.sort_by_key(|folded| folded.time_ns);
        rest
    }
}

fn since(then_ns: u64, now_ns: u64) -> Duration {
    Duration::from_nanos(now_ns.saturating_sub(then_ns))
}

/// Of a call that failed: what it has in common with others, what it asked for, and for how many it stands.
#[expect(clippy::type_complexity, reason = "taken apart at once")]
fn parts(body: &Body) -> Option<(Call, (Option<Endpoint>, Option<Endpoint>), &Port, u64)> {
    let (port, via, errno, repeated) = match body {
        Body::Exhausted { port, via, errno, repeated, .. }
        | Body::Conflict { port, via, errno, repeated, .. }
        | Body::Refused { port, via, errno, repeated, .. } => (port, *via, *errno, *repeated),
        Body::Existing { .. }
        | Body::Acquire { .. }
        | Body::TimeWait { .. }
        | Body::Release { .. }
        | Body::State { .. }
        | Body::Start(_)
        | Body::Threshold { .. }
        | Body::Pool(_)
        | Body::Summary(_)
        | Body::Lost { .. }
        | Body::Stop(_) => return None,
    };
    let process = port.caller.as_ref().map(|caller| &caller.process);
    let call = Call {
        event: body.event_type(),
        netns: port.netns,
        protocol: port.protocol,
        process: process.map(|process| (process.pid, process.start_time_ns)),
        via,
        errno,
    };
    Some((call, (port.local, port.remote), port, repeated.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::process::{Caller, Process};

    const SECOND: u64 = 1_000_000_000;

    fn refused(pid: u32, to: u16, errno: i32, repeated: u64) -> Body {
        let process = Arc::new(Process { pid, ..Process::default() });
        let port = Port {
            netns: 7,
            protocol: Protocol::Tcp,
            local: None,
            remote: Some(Endpoint::new([10, 0, 0, 1].into(), to)),
            caller: Some(Caller { process, tid: pid }),
        };
        Body::Exhausted { port, via: Via::Connect, errno, search_ns: None, story: None, repeated }
    }

    fn counts(folded: &[Folded]) -> Vec<u64> {
        folded.iter().map(|folded| folded.count).collect()
    }

    #[test]
    fn the_first_is_told_and_then_how_many_more_each_second() {
        let mut fold = Fold::default();
        let call = refused(1, 443, 99, 0);
        assert!(!fold.holds_back(0, &call));
        for n in 1..500 {
            assert!(fold.holds_back(n, &call));
        }
        assert_eq!(counts(&fold.due(Some(SECOND - 1))), [0; 0]);
        assert_eq!(counts(&fold.due(Some(SECOND))), [499]);
        // One that stands for more counts for all.
        assert!(fold.holds_back(SECOND + 1, &refused(1, 443, 99, 41)));
        assert_eq!(counts(&fold.due(Some(2 * SECOND))), [42]);
        // After a second without any the next is told.
        assert_eq!(counts(&fold.due(Some(3 * SECOND))), [0; 0]);
        assert!(fold.held.is_empty() && !fold.holds_back(3 * SECOND, &call));
    }

    #[test]
    fn what_differs_is_told_by_itself() {
        let mut fold = Fold::default();
        assert!(!fold.holds_back(0, &refused(1, 443, 99, 0)));
        for other in [refused(2, 443, 99, 0), refused(1, 80, 99, 0), refused(1, 443, 98, 0)] {
            assert!(!fold.holds_back(0, &other));
        }
        let acquired = Body::TimeWait { port: refused(1, 443, 99, 0).port().unwrap().clone() };
        assert!(!fold.holds_back(0, &acquired) && !fold.holds_back(0, &acquired));
    }

    #[test]
    fn of_very_many_destinations_a_few_are_told() {
        let mut fold = Fold::default();
        let told = (0..360).filter(|to| !fold.holds_back(0, &refused(1, *to, 99, 0))).count();
        assert_eq!(told, DIFFERING);
        let [others] = &fold.rest()[..] else { panic!("one line") };
        assert_eq!((others.count, others.is_differing), (340, true));
    }

    #[test]
    fn nothing_is_lost_at_the_end_or_where_there_are_too_many() {
        let mut fold = Fold::default();
        let (mut calls, mut told) = (0, 0);
        for pid in 0..3_000 {
            for _ in 0..3 {
                calls += 1;
                let call = refused(pid, 443, 99, 0);
                told += u64::from(!fold.holds_back(0, &call));
                told += counts(&fold.due(Some(0))).iter().sum::<u64>();
                assert!(fold.held.len() <= KEPT + 1 && fold.told.len() <= KEPT + 1);
            }
        }
        told += counts(&fold.rest()).iter().sum::<u64>();
        assert_eq!(told, calls);
    }

    #[test]
    fn a_long_storm_is_told_in_full_now_and_then() {
        let mut fold = Fold::default();
        let call = refused(1, 443, 99, 0);
        let told = (0..600).filter(|n| {
            let time_ns = n * SECOND / 10;
            fold.due(Some(time_ns));
            !fold.holds_back(time_ns, &call)
        });
        assert_eq!(told.count(), 6);
    }
}
