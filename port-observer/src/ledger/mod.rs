//! Who holds which port: events in, reports out.

mod accounts;
mod acquire;
mod answers;
mod by_name;
mod census;
mod checkpoint;
mod fill;
mod held;
mod history;
mod holders;
mod holding;
mod holdings;
mod in_the_way;
mod lists;
mod namespaces;
mod place;
mod reconcile;
pub mod rules;
mod scan;
mod socket;
mod spaces;
mod story;
mod summary;
mod threshold;
mod untold;

use crate::{
    event::{Event, Flow, LossKind, LossPlace, Reason},
    process::Caller,
    report::{Body, Port, Report, Stop, Thresholds},
};
pub use census::Census;
pub use checkpoint::{Checkpoint, Held};
pub use held::HeldBucket;
pub use history::History;
pub use holders::{HeldPort, PlaceUse};
pub use holding::{Holding, Holds, Role};
pub use holdings::Holdings;
pub use reconcile::Concluded;
pub use spaces::SpaceKey;

/// What the ledger is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// A successful bind() keeps connect() from a port for as long as anybody holds it, as in Linux
    /// up to 6.17; later only while a holder is there that connect() did not choose
    /// (`tw_connect_bind`).
    pub sticky: bool,
    /// From which use of a space on a warning is told, in percent.
    pub warning: f64,
    /// From which use on it is critical.
    pub critical: f64,
    /// At most so many holdings are accounted.
    pub max_holdings: usize,
    /// With each port that the kernel chose, the space that it was chosen from.
    pub spaces: bool,
    /// How many holders the story of a failed call has.
    pub holders: usize,
    /// The source lists what its events do not tell, see [`Ledger::conclude`].
    pub listings: bool,
}

impl Options {
    fn thresholds(&self) -> Thresholds {
        Thresholds { warning: self.warning, critical: self.critical }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sticky: false,
            warning: 70.0,
            critical: 85.0,
            max_holdings: 1_000_000,
            spaces: false,
            holders: story::HOLDERS,
            listings: false,
        }
    }
}

/// The state of all ports that were seen taken.
#[derive(Debug)]
pub struct Ledger {
    options: Options,
    holdings: Holdings,
    totals: Totals,
    scan: scan::Scan,
    reconcile: Option<reconcile::Reconcile>,
    missed: reconcile::Missed,
    answers: answers::Answers,
    failures: summary::Failures,
    told_within: story::ToldWithin,
    /// Ports that found no place in the ledger since that was last told.
    unaccounted: u64,
    /// Ends of sockets that nobody told of: another socket has their address.
    unseen_ends: u64,
    /// When the first event came.
    began_ns: Option<u64>,
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

impl Ledger {
    /// An empty ledger.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            holdings: Holdings::new(options.max_holdings, options.sticky),
            totals: Totals::default(),
            scan: scan::Scan::default(),
            reconcile: options.listings.then(reconcile::Reconcile::default),
            missed: reconcile::Missed::default(),
            answers: answers::Answers::default(),
            failures: summary::Failures::default(),
            told_within: story::ToldWithin::default(),
            unaccounted: 0,
            unseen_ends: 0,
            began_ns: None,
        }
    }

    /// What happened so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The holdings, for comparison with the kernel's own list.
    pub fn holdings(&self) -> &Holdings {
        &self.holdings
    }

    /// Time has gone by: what is asked for now is to be of this moment.
    pub fn advance(&mut self, now_ns: u64) {
        self.holdings.advance(now_ns);
    }

    /// Takes in one event and hands out what it means, in order. `now_ns` (`CLOCK_BOOTTIME`) is the
    /// time of events that have none of their own. `caller`: the process of the event's task.
    pub fn apply(
        &mut self,
        now_ns: u64,
        event: Event,
        caller: Option<Caller>,
        out: &mut Vec<Report>,
    ) {
        match event {
            Event::Socket(event) => {
                self.began_ns.get_or_insert(event.time_ns);
                self.holdings.advance(event.time_ns);
                self.socket(event, caller, out);
            }
            // Who a caller is was found out before, and what a listing shows is events of its own.
            Event::Exec(_) | Event::Fork(_) | Event::Listing(_) => {}
            Event::ScanBegins => self.scan.begin(),
            Event::Existing(existing) => {
                self.began_ns.get_or_insert(existing.time_ns);
                self.holdings.advance(existing.time_ns);
                self.existing(*existing, caller, out);
            }
            Event::ScanEnded { skipped } => self.scan_ended(now_ns, &skipped, out),
            Event::Namespace(settings) => self.holdings.set_namespace(*settings),
            Event::NamespaceGone(netns) => {
                self.answers.forget(netns);
                self.holdings.forget_namespace(netns);
            }
            Event::Lost { count, place, kind, task: _ } => {
                self.totals.lost = self.totals.lost.saturating_add(count);
                let body = Body::Lost { count, place, kind, caller };
                out.push(Report { time_ns: now_ns, body });
            }
        }
    }

    /// What is due about once a second, when nothing else happens too.
    pub fn tick(&mut self, now_ns: u64, out: &mut Vec<Report>) {
        self.holdings.advance(now_ns);
        self.check_alarmed(now_ns, out);
        self.holdings.forget_old_spaces();
        if self.unaccounted > 0 {
            let count = std::mem::take(&mut self.unaccounted);
            self.totals.lost = self.totals.lost.saturating_add(count);
            let body = Body::Lost {
                count,
                place: LossPlace::Ledger,
                kind: LossKind::Acquire,
                caller: None,
            };
            out.push(Report { time_ns: now_ns, body });
        }
    }

    /// Keeps a holding, if there is room.
    fn keep(&mut self, mut holding: Holding, binds: bool) -> Option<u32> {
        holding.seen = self.scan.number();
        let socket = holding.socket;
        if binds {
            self.scan.bound(&holding);
        }
        let kept = self.holdings.insert(holding, binds);
        if kept.is_none() {
            self.unaccounted += 1;
            self.scan.passed_on(socket);
        }
        kept
    }

    /// The port is free: what is told of it.
    fn freed(&mut self, time_ns: u64, holding: &Holding, reason: Reason, out: &mut Vec<Report>) {
        self.scan.released(holding);
        let is_late = reason == Reason::TimeWaitReused && holding.has_expired(time_ns);
        let reason = if is_late { Reason::TimeWaitExpired } else { reason };
        if holding.role == Role::Owner {
            self.totals.released += 1;
            out.push(Report { time_ns, body: release(time_ns, holding, reason) });
        }
        self.check_after_release(time_ns, holding, out);
    }
}

/// A port of which only the place is known.
fn place(flow: &Flow, caller: Option<Caller>) -> Port {
    Port {
        netns: flow.netns,
        protocol: flow.protocol,
        local: Some(flow.local),
        remote: flow.remote,
        caller,
    }
}

fn port(holding: &Holding) -> Port {
    place(&holding.flow(), holding.caller())
}

fn release(time_ns: u64, holding: &Holding, reason: Reason) -> Body {
    let held_ns = holding.since_ns().map(|since| time_ns.saturating_sub(since));
    Body::Release { port: port(holding), reason, held_ns }
}

#[cfg(test)]
mod tests;
