//! A program of the user's is followed until it ends, or has met a limit for a while.

use std::{
    collections::HashSet,
    fs::{File, read_link},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};

use super::{
    Message, Run,
    orders::{listen_to_orders, wait_for_go},
    range_here,
    tally::Tally,
};
use crate::{
    kernel::clock::now_boot_ns,
    stress::{
        Outcome, Plan, Refusals,
        conclude::Seen,
        evidence::{self, Counters, Evidence, Group},
        parts::{End, Job, Line, ProgramJob, Progress, say},
        place::{self, Part},
        program,
    },
};

/// How often it is looked at, at most.
const LOOK: Duration = Duration::from_millis(20);
/// And no more than this part of the time.
const SHARE: u32 = 10;
/// How long it may have met a limit, and got no further, before that is the end.
const MET: Duration = Duration::from_secs(10);

/// Its processes, and whether and how it has ended.
trait Followed {
    /// Those of the program, and those of the server that it was given.
    fn pids(&self) -> [Vec<u32>; 2];
    /// Where its end is not told of: what that is, once none of its processes is there.
    fn gone(&self) -> Option<End>;
    /// The control group that it is in at first.
    fn group(&self) -> Group;
    /// One of its processes is held at its end, and was looked at.
    fn go_on(&mut self);
}

/// A command that was started here.
struct Started {
    part: Part,
    /// Processes that were here before, of which all that descend are none of it.
    others: HashSet<u32>,
    server: HashSet<u32>,
}

impl Followed for Started {
    fn pids(&self) -> [Vec<u32>; 2] {
        let parents = program::processes();
        let is_other = |pid: &u32| *pid == 1 || *pid == self.part.pid();
        let others = program::tree(&parents, &self.others);
        let server = program::tree(&parents, &self.server);
        let pids = parents.into_keys().filter(|pid| !is_other(pid) && !others.contains(pid));
        let mut pids: Vec<u32> = pids.collect();
        pids.sort_unstable();
        [pids, server]
    }

    fn gone(&self) -> Option<End> {
        None
    }

    fn group(&self) -> Group {
        Group::of(self.part.pid())
    }

    fn go_on(&mut self) {
        self.part.go();
    }
}

/// A process that ran before.
struct Running(u32);

impl Followed for Running {
    fn pids(&self) -> [Vec<u32>; 2] {
        [program::running(self.0).unwrap_or_default(), Vec::new()]
    }

    fn gone(&self) -> Option<End> {
        Some(End::Exited { how: "it is gone".to_owned(), is_success: true })
    }

    fn group(&self) -> Group {
        Group::of(self.0)
    }

    fn go_on(&mut self) {}
}

impl Run {
    /// Starts the program in the place, and follows it.
    pub(super) fn follow(&mut self, command: Vec<String>) -> Result<Outcome> {
        let server: HashSet<u32> = self.server_pids().into_iter().collect();
        let others = program::processes().into_keys().filter(|&pid| pid != 1).collect();
        let job = Job::Program(ProgramJob { command, nofile: self.plan.nofile });
        let part = place::start(&job, &[], self.to.clone(), Message::Program)?;
        follow(&self.plan, &self.messages, &mut Started { part, others, server })
    }
}

/// Watches a process that runs already, in its network namespace, and says what came of it.
///
/// # Errors
/// When it does not run, or its namespace can't be entered.
pub fn watch(plan: &Plan, pid: u32) -> Result<()> {
    let path = format!("/proc/{pid}/ns/net");
    let namespace = File::open(&path).with_context(|| format!("can't open {path}"))?;
    if read_link("/proc/self/ns/net").ok() != read_link(&path).ok() {
        setns(namespace, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("can't enter the network namespace of process {pid}"))?;
    }
    let (to, messages) = channel();
    listen_to_orders(to)?;
    say(&Line::Ready)?;
    if !wait_for_go(&messages) {
        return Ok(());
    }
    let outcome = follow(plan, &messages, &mut Running(pid))?;
    say(&Line::Over(Box::new(outcome)))?;
    wait_for_go(&messages);
    Ok(())
}

fn follow(
    plan: &Plan,
    messages: &Receiver<Message>,
    program: &mut dyn Followed,
) -> Result<Outcome> {
    let [_, server] = program.pids();
    let server = server.first().map_or_else(Group::default, |&pid| Group::of(pid));
    let since = Counters::read(server).of_clients(program.group());
    let mut tally = Tally::begin(false, now_boot_ns()?)?;
    let mut best = Best::default();
    let (began, mut grew, mut is_held) = (Instant::now(), Instant::now(), false);
    let mut met_since: Option<Instant> = None;
    let end = loop {
        let look = Instant::now();
        let [pids, server] = program.pids();
        // Looked at after its end, it has nothing: what was seen before counts.
        let ended = if pids.is_empty() { program.gone() } else { None };
        let evidence = evidence::of_program(plan, [&pids, &server], &since);
        met_since = match has_met(plan, &best.known(), &evidence) {
            true => met_since.or_else(|| Some(Instant::now())),
            false => None,
        };
        if best.take(evidence, now_boot_ns()?) {
            grew = Instant::now();
        }
        tally.take(best.progress());
        if let Some(end) = ended {
            break end;
        }
        if began.elapsed() >= plan.duration {
            break End::Duration;
        }
        if evidence::is_memory_short() {
            break End::Memory;
        }
        let is_met = met_since.is_some_and(|since| since.elapsed() >= MET);
        if is_met && grew.elapsed() >= MET {
            break End::Stalled;
        }
        if is_held {
            program.go_on();
        }
        say(&Line::Progress(tally.all()))?;
        is_held = false;
        match messages.recv_timeout(LOOK.max(look.elapsed() * SHARE)) {
            Ok(Message::Stop) => break End::Told,
            Ok(Message::Program(Some(Ok(Line::Held { refused })))) => {
                (best.refused, is_held) = (refused, true);
            }
            Ok(Message::Program(Some(Ok(Line::Exited { how, is_success, refused })))) => {
                best.refused = refused;
                tally.take(best.progress());
                break End::Exited { how, is_success };
            }
            Ok(Message::Program(Some(Ok(Line::Failed { why })))) => bail!("{why}"),
            Ok(Message::Program(Some(Err(error)))) => return Err(error),
            Ok(Message::Program(None)) => bail!("who runs the program is gone"),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("nobody gives orders any more"),
        }
    };
    let (connections, seconds) = tally.breaking_point();
    let (progress, known) = (tally.all(), best.known());
    let evidence = best.evidence;
    let verdict = Seen { plan, end: &end, progress: &known, evidence: &evidence }.conclude();
    Ok(Outcome {
        plan: plan.clone(),
        range: range_here(),
        began_ns: tally.began_ns(),
        seconds,
        connections,
        refused: progress.refused,
        retried: 0,
        clients: evidence.client.processes,
        end,
        milestones: tally.milestones(),
        samples: tally.samples(),
        verdict,
        evidence,
        health: None,
    })
}

/// The moment with the most sockets, and what has been counted since.
#[derive(Default)]
struct Best {
    evidence: Evidence,
    now: u64,
    at_ns: u64,
    peak: u64,
    peak_ns: u64,
    refused: Refusals,
}

impl Best {
    /// Takes in what is seen now. Whether it is more than before.
    fn take(&mut self, mut seen: Evidence, at_ns: u64) -> bool {
        let of = |one: &Evidence| {
            let program = one.program.unwrap_or_default();
            (program.sockets, one.client.descriptors.0, one.ports_used)
        };
        let program = seen.program.unwrap_or_default();
        (self.now, self.at_ns) = (program.connections, at_ns);
        if self.now > self.peak {
            (self.peak, self.peak_ns) = (self.now, at_ns);
        }
        let is_more = of(&seen) > of(&self.evidence);
        if is_more || self.evidence.program.is_none() {
            seen.count_at_least(&self.evidence);
            self.evidence = seen;
        } else {
            self.evidence.count_at_least(&seen);
        }
        is_more
    }

    fn progress(&self) -> Progress {
        Progress {
            at_ns: self.at_ns,
            worked: self.now,
            peak: self.peak,
            peak_ns: self.peak_ns,
            refused: self.refused.clone(),
            ..Progress::default()
        }
    }

    /// The same without what is not sure: that connect() had no port, and not no such address, is known to the
    /// observer alone.
    fn known(&self) -> Progress {
        let mut progress = self.progress();
        progress.refused.remove(&libc::EADDRNOTAVAIL);
        progress
    }
}

/// Whether it has reached a limit, of those that show at every moment.
fn has_met(plan: &Plan, progress: &Progress, evidence: &Evidence) -> bool {
    let seen = Seen { plan, end: &End::Stalled, progress, evidence };
    seen.conclude().limit.shows_at_every_moment()
}
