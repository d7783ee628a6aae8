//! The kernel programs at work, and all that completes them: scans, settings, diagnostics.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::Result;
use aya_log::EbpfLogger;

use super::{
    super::stream::Stream,
    Looks, ROUND, ROUND_COST,
    intake::{Intake, udp_holder},
    unseen::Unseen,
};
use crate::{
    event::{Event, LossPlace, Protocol, TcpState},
    kernel::clock,
    probe::{Attached, Iterators, Observed},
    process::ProcFs,
    source::{
        completion::{Completion, Lists, Round, UdpHolder},
        poll::Scope,
        ring::Ring,
        scan::{self, Scan},
        settings::Settings,
    },
};

/// How often losses are looked at while something happens.
const LOSSES: Duration = Duration::from_millis(250);
/// How often when it is quiet.
const QUIET_LOSSES: Duration = Duration::from_secs(5);
/// How long a scan goes on before anything else has its turn.
const SLICE: Duration = Duration::from_millis(20);
/// How long after a scan another may begin: after a loss all is to be right again within a second.
const PAUSE: Duration = Duration::from_millis(250);
/// Where scans take long, those after a loss may take one part in so many of the time.
const LOSS_COST: u32 = 4;
/// How long after a scan that failed the next is tried.
const RETRY: Duration = Duration::from_secs(30);
/// How long nothing is looked at when it is quiet.
const WAIT: Duration = Duration::from_secs(1);
/// What the ledger has no use for, so that its loss needs no scan.
const IDLE_KINDS: [&str; 3] = ["exec", "fork", "state"];

pub(super) struct Kernel {
    intake: Intake,
    scans: Scans,
    looks: Looks,
    unseen: Unseen,
    /// When losses were last looked at.
    losses_seen: Instant,
    /// When the next look at the kernel's lists is due.
    next_round: Instant,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    /// Last: dropping it detaches the probes.
    attached: Attached,
}

/// When to look at what is there.
struct Scans {
    current: Option<Scan>,
    /// What the next one is needed for, and from this moment on at the earliest.
    wanted: Option<For>,
    next: Instant,
    /// When the last one ended.
    ended: Option<Instant>,
    /// One has shown what was there.
    has_shown: bool,
    /// What the current one has taken so far, or the last one took.
    spent: Duration,
}

/// What a scan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum For {
    /// The first account, or ports that nobody has told of.
    Completeness,
    /// An account that is wrong until then.
    Loss,
}

impl Scans {
    fn want(&mut self, what: For) {
        self.wanted = self.wanted.max(Some(what));
    }

    /// It is time for the next one.
    fn is_due(&self, now: Instant) -> bool {
        let cost = match self.wanted {
            None => return false,
            Some(For::Completeness) => ROUND_COST,
            Some(For::Loss) => LOSS_COST,
        };
        let pause = PAUSE.max(self.spent * cost);
        now >= self.next && self.ended.is_none_or(|ended| now >= ended + pause)
    }
}

impl Kernel {
    pub(super) fn new(
        ring: Ring,
        observed: Observed,
        completion: Option<Completion>,
        logger: Option<EbpfLogger<&'static dyn log::Log>>,
        looks: Looks,
        attached: Attached,
    ) -> Self {
        let now = Instant::now();
        let settings = Settings::new(looks.netns.clone(), looks.scope() == Scope::Own);
        let spent = Duration::ZERO;
        let scans =
            Scans { current: None, wanted: None, next: now, ended: None, has_shown: false, spent };
        let intake = Intake::new(ring, settings, completion, observed);
        Self {
            intake,
            scans,
            looks,
            unseen: Unseen::new(now),
            losses_seen: now,
            next_round: now,
            logger,
            attached,
        }
    }

    pub(super) fn attached(&self) -> &Attached {
        &self.attached
    }

    /// Settings, and the beginning of the first scan.
    pub(super) fn begin(&mut self, stream: &mut Stream) -> Result<()> {
        self.scans.want(For::Completeness);
        self.look_after(stream)
    }

    /// Events, then what else is due.
    pub(super) fn drain(&mut self, limit: usize, stream: &mut Stream) -> Result<usize> {
        let count = self.intake.pass(limit, stream)?;
        self.look_after(stream)?;
        Ok(count)
    }

    pub(super) async fn wait(&mut self) -> Result<()> {
        if self.scans.current.is_some() {
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

    fn look_after(&mut self, stream: &mut Stream) -> Result<()> {
        self.intake.look_at_settings(stream)?;
        let pause = if self.intake.is_busy { LOSSES } else { QUIET_LOSSES };
        if self.losses_seen.elapsed() >= pause {
            self.losses_seen = Instant::now();
            let mut losses = self.intake.ring.losses()?;
            losses.extend(self.intake.ring.counted(false)?);
            self.intake.is_busy = self.intake.ring.is_counting();
            losses.extend(self.unseen_ends(&losses, stream)?);
            for loss in losses {
                if let Event::Lost { kind, .. } = &loss
                    && !IDLE_KINDS.contains(kind)
                {
                    self.scans.want(For::Loss);
                }
                stream.event(loss)?;
            }
        }
        if std::mem::take(&mut self.intake.has_new_ports) {
            self.scans.want(For::Completeness);
        }
        self.scan(stream)
    }

    /// What shows to have been lost, beside what was counted when it was lost.
    fn unseen_ends(&mut self, counted: &[Event], stream: &mut Stream) -> Result<Option<Event>> {
        if self.intake.completion.is_some() {
            // Where diagnostics complete what is told, not every end is told.
            return Ok(None);
        }
        let count = self.unseen.count(stream.ledger(), Instant::now(), clock::now_boot_ns()?);
        let is_counted = counted.iter().any(|event| matches!(event, Event::Lost { .. }))
            || self.scans.wanted == Some(For::Loss)
            || self.scans.current.is_some();
        let place = LossPlace::KernelProgram;
        Ok((count > 0 && !is_counted).then_some(Event::Lost {
            count,
            place,
            kind: "release",
            task: None,
        }))
    }

    /// Goes on with the scan that is under way, or begins one if it is time.
    fn scan(&mut self, stream: &mut Stream) -> Result<()> {
        let began = Instant::now();
        if self.scans.current.is_none() {
            if !self.scans.is_due(began) {
                return Ok(());
            }
            self.scans.wanted = None;
            self.scans.spent = Duration::ZERO;
            self.begin_scan(stream)?;
        }
        while self.scans.current.is_some() && began.elapsed() < SLICE {
            self.scan_on(stream)?;
        }
        self.scans.spent += began.elapsed();
        if self.scans.current.is_none() {
            self.scans.ended = Some(Instant::now());
        }
        Ok(())
    }

    fn begin_scan(&mut self, stream: &mut Stream) -> Result<()> {
        self.intake.pass(usize::MAX, stream)?;
        stream.event(Event::ScanBegins)?;
        let Some(mut iterators) = Iterators::of(&mut self.attached.ebpf) else {
            let found = scan::diagnostics(self.looks.scope(), &self.looks.protocols);
            let Some((existing, looked)) = log_failure(found) else {
                return self.give_up(stream);
            };
            // The end of any TIME_WAIT entry is to be told.
            let entries = existing.iter().filter(|one| one.state == TcpState::TIME_WAIT);
            self.intake.observed.add(entries.map(|one| one.flow.local.port));
            self.intake.hand_over(existing, stream)?;
            return self.end_scan(&looked, stream);
        };
        let namespaces = self.intake.settings.namespaces()?;
        let scan = Scan::new(&mut iterators, namespaces, &self.looks.protocols);
        self.scans.current = log_failure(scan);
        if self.scans.current.is_none() { self.give_up(stream) } else { Ok(()) }
    }

    /// Tries again later. Nothing is concluded from what the scan did not show.
    fn give_up(&mut self, stream: &mut Stream) -> Result<()> {
        self.scans.current = None;
        self.scans.want(For::Completeness);
        self.scans.next = Instant::now() + RETRY;
        self.end_scan(&HashSet::new(), stream)
    }

    fn scan_on(&mut self, stream: &mut Stream) -> Result<()> {
        let Some(scan) = &mut self.scans.current else { return Ok(()) };
        let Some(mut iterators) = Iterators::of(&mut self.attached.ebpf) else { return Ok(()) };
        match log_failure(scan.chunk(&mut iterators)) {
            None => self.give_up(stream)?,
            Some(Some(existing)) => self.intake.hand_over(existing, stream)?,
            Some(None) => {
                let looked = scan.looked().clone();
                self.scans.current = None;
                self.end_scan(&looked, stream)?;
            }
        }
        Ok(())
    }

    fn end_scan(&mut self, looked: &HashSet<u32>, stream: &mut Stream) -> Result<()> {
        self.intake.pass(usize::MAX, stream)?;
        self.scans.has_shown |= !looked.is_empty();
        let skipped = self.intake.settings.unseen(looked);
        stream.event(Event::ScanEnded { skipped })
    }

    /// What is due once a second: what diagnostics complete.
    pub(super) fn tick(&mut self, stream: &mut Stream) -> Result<()> {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        if self.intake.completion.is_none() || Instant::now() < self.next_round {
            return Ok(());
        }
        let began = Instant::now();
        let time_ns = clock::now_boot_ns()?;
        let protocols = &self.looks.protocols;
        let lists = Lists {
            time_waits: stream.ledger().holdings().time_waits().len(),
            // Else all that was there before would be told as taken.
            udp: self.scans.has_shown
                && (protocols.is_empty() || protocols.contains(&Protocol::Udp)),
        };
        let round = Round::look(time_ns, self.intake.settings.namespaces()?.iter(), lists);
        // What the programs told before the look comes first: else it would be found twice.
        self.intake.pass(usize::MAX, stream)?;
        if let Some(completion) = &mut self.intake.completion {
            for event in complete(completion, &round, stream) {
                stream.event(event)?;
            }
        }
        self.next_round = began + ROUND.max(began.elapsed() * ROUND_COST);
        Ok(())
    }

    /// Detaches, and hands over what is left. A scan under way concludes nothing.
    pub(super) fn finish(self, stream: &mut Stream) -> Result<()> {
        let Self { mut intake, attached, .. } = self;
        drop(attached);
        while intake.pass(usize::MAX, stream)? > 0 {}
        let mut left = intake.ring.losses()?;
        left.extend(intake.ring.counted(true)?);
        left.into_iter().try_for_each(|event| stream.event(event))
    }
}

fn log_failure<T>(result: Result<T>) -> Option<T> {
    result
        .inspect_err(|error| log::warn!("what is held already could not be listed: {error:#}"))
        .ok()
}

/// What socket diagnostics show beyond what the programs told.
fn complete(completion: &mut Completion, round: &Round, stream: &mut Stream) -> Vec<Event> {
    let holdings = stream.ledger().holdings();
    let udp: Vec<UdpHolder> = holdings.udp().map(udp_holder).collect();
    let processes = ProcFs::default();
    completion.compare(round, holdings.time_waits(), &udp, |sockets| {
        let pids = processes.socket_owners(sockets).map(|owners| owners.pids).unwrap_or_default();
        pids.into_iter().filter_map(|(inode, pid)| Some((inode, processes.task(pid)?))).collect()
    })
}
