//! The kernel programs at work, and all that completes them: scans, settings, diagnostics.

mod counted;
mod intake;
mod listing;
mod positions;
mod ring;
mod scan;
mod scans;

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::Result;
use aya_log::EbpfLogger;

pub use self::ring::Ring;
use self::{
    intake::Intake,
    listing::Lists,
    scan::Scan,
    scans::{For, Scans},
};
use super::{
    Source,
    observer::{Looks, ROUND, ROUND_COST},
    poll::Scope,
    settings::Settings,
};
use crate::{
    event::{Ask, Event, Listing, LossKind, LossPlace, Protocol, TcpState},
    kernel::{
        clock::{self, Budget, Cost},
        netns::Namespace,
    },
    probe::{Attached, Backend, Iterators, Observed},
};

/// How often losses are looked at while something happens.
const LOSSES: Duration = Duration::from_millis(250);
/// How often when it is quiet.
const QUIET_LOSSES: Duration = Duration::from_secs(5);
/// How long a scan goes on before anything else has its turn.
const SLICE: Duration = Duration::from_millis(20);
/// Where everything else takes longer, a scan has one part in so many of the time: it is to come to an end
/// also where more happens than can be taken in.
const SLICE_COST: u32 = 8;
/// But no longer than this at once: what happens meanwhile has to fit into the ring buffer.
const LONGEST_SLICE: Duration = Duration::from_millis(200);
/// Listing for an answer may take one part in so many of the time.
const ANSWER_COST: u32 = 4;
/// And of so much time ahead: calls are often refused at the same time in several places.
const ANSWERS_AHEAD: Duration = Duration::from_secs(2);
/// How long after a scan that failed the next is tried.
const RETRY: Duration = Duration::from_secs(30);
/// How long nothing is looked at when it is quiet.
const WAIT: Duration = Duration::from_secs(1);

/// A backend of kernel programs.
pub struct Kernel {
    intake: Intake,
    scans: Scans,
    looks: Looks,
    has_begun: bool,
    /// What the ledger knows of TIME_WAIT entries, where they are listed.
    time_waits: usize,
    /// Ends that the ledger missed, since losses were last looked at.
    missed: u64,
    /// When losses were last looked at.
    losses_seen: Instant,
    /// When the next look at the kernel's lists is due.
    next_round: Instant,
    /// A look that waits for what was told before it.
    listed: Option<Box<Listing>>,
    /// What listing for answers may cost.
    answers: Budget,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    /// Last: dropping it detaches the probes.
    attached: Attached,
}

impl Kernel {
    pub(super) fn new(
        ring: Ring,
        observed: Observed,
        logger: Option<EbpfLogger<&'static dyn log::Log>>,
        looks: Looks,
        attached: Attached,
    ) -> Self {
        let now = Instant::now();
        let settings = Settings::new(looks.netns.clone(), looks.scope() == Scope::Own);
        // Where no program tells the end of TIME_WAIT, its entries have no identity either.
        let names_time_waits = attached.backend != Backend::Tracepoint;
        let intake = Intake::new(ring, settings, observed, names_time_waits);
        Self {
            intake,
            scans: Scans::none_yet(),
            looks,
            has_begun: false,
            time_waits: 0,
            missed: 0,
            losses_seen: now,
            next_round: now,
            listed: None,
            answers: Budget::new(ANSWER_COST, ANSWERS_AHEAD),
            logger,
            attached,
        }
    }

    pub(super) fn attached(&self) -> &Attached {
        &self.attached
    }

    /// Whether its own programs list what is held already, and say how it was taken.
    pub(super) fn lists_by_programs(&mut self) -> bool {
        Iterators::of(&mut self.attached.ebpf).is_some()
    }

    /// Whether what its events do not tell is listed, see [`Event::Listing`].
    pub(super) fn lists(&self) -> bool {
        self.attached.backend == Backend::Tracepoint
    }

    fn look_after(&mut self, out: &mut Vec<Event>) -> Result<()> {
        self.intake.look_at_settings(out);
        let pause = if self.intake.is_busy { LOSSES } else { QUIET_LOSSES };
        if self.losses_seen.elapsed() >= pause {
            self.losses_seen = Instant::now();
            let mut losses = self.intake.ring.losses()?;
            losses.extend(self.intake.ring.counted(false)?);
            self.intake.is_busy = self.intake.ring.is_counting();
            losses.extend(self.missed_ends(&losses));
            for loss in &losses {
                if let Event::Lost { kind, .. } = loss
                    && kind.needs_a_scan()
                {
                    self.scans.want(For::Loss);
                }
            }
            out.append(&mut losses);
        }
        if std::mem::take(&mut self.intake.has_new_ports) {
            self.scans.want(For::Completeness);
        }
        self.scan(out)
    }

    /// What shows to have been lost, beside what was counted when it was lost.
    fn missed_ends(&mut self, counted: &[Event]) -> Option<Event> {
        let count = std::mem::take(&mut self.missed);
        let is_counted = counted.iter().any(|event| matches!(event, Event::Lost { .. }))
            || self.scans.wanted == Some(For::Loss)
            || self.scans.is_under_way();
        let place = LossPlace::KernelProgram;
        (count > 0 && !is_counted).then_some(Event::Lost {
            count,
            place,
            kind: LossKind::Release,
            task: None,
        })
    }

    /// Goes on with the scan that is under way, or begins one if it is time.
    fn scan(&mut self, out: &mut Vec<Event>) -> Result<()> {
        let cost = Cost::begin();
        let mut slice = (self.scans.left.elapsed() / SLICE_COST).clamp(SLICE, LONGEST_SLICE);
        if !self.scans.is_under_way() {
            if !self.scans.is_due(Instant::now()) {
                return Ok(());
            }
            self.scans.wanted = None;
            self.scans.spent = Duration::ZERO;
            self.begin_scan(out)?;
            slice = SLICE;
        }
        let reading = Cost::begin();
        while self.scans.current.is_some() && reading.so_far() < slice {
            self.scan_on();
        }
        self.hand_over_found(out);
        self.scans.spent += cost.so_far();
        self.scans.left = Instant::now();
        Ok(())
    }

    fn begin_scan(&mut self, out: &mut Vec<Event>) -> Result<()> {
        // What can't be had yet and ends a socket is told within the scan: the list does not bring it back.
        let _ = self.intake.catch_up(out);
        out.push(Event::ScanBegins);
        let Some(mut iterators) = Iterators::of(&mut self.attached.ebpf) else {
            let found = scan::diagnostics(self.looks.scope(), &self.looks.protocols);
            let Some((existing, looked)) = log_failure(found) else {
                self.give_up();
                return Ok(());
            };
            // The end of any TIME_WAIT entry is to be told.
            let entries = existing.iter().filter(|one| one.state == TcpState::TIME_WAIT);
            self.intake.observed.add(entries.map(|one| one.flow.local.port));
            self.scans.found = existing;
            self.scans.read = Some(looked);
            return Ok(());
        };
        let namespaces = self.intake.settings.namespaces()?;
        let scan = Scan::new(&mut iterators, namespaces, &self.looks.protocols);
        self.scans.current = log_failure(scan);
        if self.scans.current.is_none() {
            self.give_up();
        }
        Ok(())
    }

    /// Tries again later. Nothing is concluded from what the scan did not show.
    fn give_up(&mut self) {
        self.scans.current = None;
        self.scans.want(For::Completeness);
        self.scans.next = Instant::now() + RETRY;
        self.scans.read = Some(HashSet::new());
    }

    fn scan_on(&mut self) {
        let Some(scan) = &mut self.scans.current else { return };
        let Some(mut iterators) = Iterators::of(&mut self.attached.ebpf) else { return };
        match log_failure(scan.chunk(&mut iterators)) {
            None => self.give_up(),
            Some(Some(mut existing)) => self.scans.found.append(&mut existing),
            Some(None) => {
                self.scans.read = Some(scan.looked().clone());
                self.scans.current = None;
            }
        }
    }

    /// Hands over what was found, and the end of the scan if that was all, unless something that was told
    /// before can't be had yet: a socket that it ends would be told as found, and one that it begins as gone.
    fn hand_over_found(&mut self, out: &mut Vec<Event>) {
        if !self.intake.catch_up(out) {
            return;
        }
        let found = std::mem::take(&mut self.scans.found);
        self.intake.hand_over(found, out);
        let Some(looked) = self.scans.read.take() else { return };
        self.scans.has_shown |= !looked.is_empty();
        let skipped = self.intake.settings.unseen(&looked);
        out.push(Event::ScanEnded { skipped });
        self.scans.ended = Some(Instant::now());
    }

    /// Lists what an answer waits for, if that may be done again.
    fn answer(
        &mut self,
        netns: u32,
        look: impl FnOnce(&Namespace) -> Result<Listing>,
    ) -> Option<Listing> {
        let cost = Cost::begin();
        if !self.answers.has_some() {
            return None;
        }
        let listing = look(self.intake.settings.namespace(netns)?);
        let listing = listing.inspect_err(|error| {
            log::debug!("sockets of namespace {netns} can't be listed: {error:#}");
        });
        self.answers.spend(cost.so_far());
        listing.ok()
    }

    /// Lists what no program tells, if it is time to.
    fn list(&mut self, out: &mut Vec<Event>) -> Result<()> {
        if self.listed.is_none() {
            self.listed = self.look()?.map(Box::new);
        }
        // What the programs told before the look comes first: else it would be found twice.
        if self.listed.is_some() && self.intake.catch_up(out) {
            out.extend(self.listed.take().map(Event::Listing));
        }
        Ok(())
    }

    fn look(&mut self) -> Result<Option<Listing>> {
        if !self.lists() || Instant::now() < self.next_round {
            return Ok(None);
        }
        let (began, cost) = (Instant::now(), Cost::begin());
        let protocols = &self.looks.protocols;
        let lists = Lists {
            time_waits: self.time_waits,
            // Else all that was there before would be told as taken.
            udp: self.scans.has_shown
                && (protocols.is_empty() || protocols.contains(&Protocol::Udp)),
        };
        let time_ns = clock::now_boot_ns()?;
        let listing = listing::look(time_ns, self.intake.settings.namespaces()?.iter(), lists);
        self.next_round = began + ROUND.max(cost.so_far() * ROUND_COST);
        Ok(Some(listing))
    }
}

impl Source for Kernel {
    async fn ready(&mut self) -> Result<()> {
        if self.scans.is_under_way() || self.listed.is_some() {
            // Signals and timers have their turn.
            tokio::task::yield_now().await;
            return Ok(());
        }
        let wait = if self.intake.is_busy || self.scans.wanted.is_some() { LOSSES } else { WAIT };
        match tokio::time::timeout(wait, self.intake.ring.wait()).await {
            Ok(ready) => ready,
            Err(_) => Ok(()),
        }
    }

    /// First settings and the beginning of the first scan; then events, and what else is due.
    fn next(&mut self, most: usize, out: &mut Vec<Event>) -> Result<()> {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        if std::mem::replace(&mut self.has_begun, true) {
            self.intake.pass(most, out);
        } else {
            self.scans.want(For::Completeness);
        }
        self.look_after(out)?;
        self.list(out)
    }

    fn ask(&mut self, ask: Ask) -> Option<Listing> {
        match ask {
            Ask::Lists { time_waits } => self.time_waits = time_waits,
            Ask::Scan { missed } => self.missed += missed,
            Ask::States { netns, protocol, time_ns } => {
                let look = |one: &_| listing::states(time_ns, one, protocol);
                return self.answer(netns, look);
            }
            Ask::Port { netns, protocol, port, time_ns } => {
                let look = |one: &_| listing::on_port(time_ns, one, protocol, port);
                return self.answer(netns, look);
            }
        }
        None
    }

    /// Detaches, and hands over what is left. A scan under way concludes nothing.
    fn finish(self, out: &mut Vec<Event>) -> Result<()> {
        let Self { mut intake, attached, .. } = self;
        drop(attached);
        while intake.pass(usize::MAX, out) > 0 {}
        out.extend(intake.ring.losses()?);
        out.extend(intake.ring.counted(true)?);
        Ok(())
    }
}

fn log_failure<T>(result: Result<T>) -> Option<T> {
    result
        .inspect_err(|error| log::warn!("what is held already could not be listed: {error:#}"))
        .ok()
}
