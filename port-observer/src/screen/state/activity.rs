//! What happened lately: counted from reports as they come, in bounded memory.

use std::{io, sync::Arc};

use foldhash::HashMap;

use super::{failures::Failures, timeline::Timeline};
use crate::{
    event::{Protocol, Via},
    ledger::SpaceKey,
    process::Process,
    report::{Body, Port, Report, Sink, SpaceKind, Start},
};

/// A process by its number and when it started; `None`: those of whom nothing is known.
pub type ProcessKey = Option<(u32, u64)>;

/// How many processes and how many spaces are kept apart.
const KEPT: usize = 4_096;
/// Those of which nothing came for so many seconds make room.
const IDLE_SECONDS: u64 = 300;
/// Over so many of the last calls the search is averaged.
const SEARCHES: f64 = 32.0;

/// The key of a process.
pub fn key_of(process: Option<&Process>) -> ProcessKey {
    process.map(|process| (process.pid, process.start_time_ns))
}

/// What a process did.
#[derive(Clone, Debug, Default)]
pub struct ProcessActivity {
    /// Ports that it took.
    pub taken: Timeline,
    /// Calls that failed for want of a port.
    pub failures: u64,
    process: Option<Arc<Process>>,
    /// When it last took a port, or was refused one.
    last: u64,
    /// In which namespaces, the latest last.
    netns: Vec<u32>,
}

/// How many namespaces of a process are remembered.
const NAMESPACES: usize = 8;

impl ProcessActivity {
    /// Who.
    pub fn process(&self) -> Option<&Arc<Process>> {
        self.process.as_ref()
    }

    /// Whether it took a port, or was refused one, in this namespace lately.
    pub fn was_in(&self, netns: u32) -> bool {
        self.netns.contains(&netns)
    }
}

/// What connect() did in a space.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpaceActivity {
    /// How long the kernel searched for a port of late, if that is measured.
    pub search_ns: Option<f64>,
    /// The port that was chosen last.
    pub last_port: Option<u16>,
    /// Calls that failed.
    pub failures: u64,
    second: u64,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    /// The first line of the run.
    pub start: Option<Start>,
    /// Reports about ports.
    pub events: Timeline,
    /// Events that were lost.
    pub lost: u64,
    /// Calls that failed.
    pub failures: Failures,
    /// Realtime less boottime.
    pub offset_ns: i64,
    /// The first second of which something is known.
    pub since: u64,
    processes: HashMap<ProcessKey, ProcessActivity>,
    spaces: HashMap<SpaceKey, SpaceActivity>,
}

/// Whole seconds since boot.
pub fn second(time_ns: u64) -> u64 {
    time_ns / 1_000_000_000
}

impl Sink for Activity {
    fn set_offset(&mut self, offset_ns: i64) {
        self.offset_ns = offset_ns;
    }

    /// What is known is of the run before.
    fn begin(&mut self, _first_offset_ns: i64) {
        *self = Self { offset_ns: self.offset_ns, ..Self::default() };
    }

    fn report(&mut self, report: &Report) -> io::Result<()> {
        self.take(report);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Activity {
    /// Takes a report.
    pub fn take(&mut self, report: &Report) {
        let second = second(report.time_ns);
        match &report.body {
            Body::Start(start) => {
                self.start = Some(start.clone());
                self.since = second;
            }
            Body::Lost { count, .. } => self.lost = self.lost.saturating_add(*count),
            Body::Acquire { port, via, requested_port, search_ns, .. } => {
                self.events.add(second);
                if let Some(process) = self.process(port, second) {
                    process.taken.add(second);
                }
                if *via == Via::Connect && requested_port.is_none_or(|port| port == 0) {
                    self.chosen(port, *search_ns, second);
                }
            }
            Body::Exhausted { port, repeated, .. }
            | Body::Conflict { port, repeated, .. }
            | Body::Refused { port, repeated, .. } => {
                self.events.add(second);
                let count = repeated.saturating_add(1);
                if let Some(process) = self.process(port, second) {
                    process.failures = process.failures.saturating_add(count);
                }
                self.failures.take(report);
                self.refused(&report.body, second, count);
            }
            Body::TimeWait { .. } | Body::Release { .. } => self.events.add(second),
            Body::Existing { .. }
            | Body::Threshold { .. }
            | Body::Pool(_)
            | Body::Summary(_)
            | Body::State { .. }
            | Body::Stop(_) => {}
        }
    }

    fn process(&mut self, port: &Port, second: u64) -> Option<&mut ProcessActivity> {
        let process = port.caller.as_ref().map(|caller| &caller.process);
        let key = key_of(process.map(Arc::as_ref));
        if self.processes.len() >= KEPT && !self.processes.contains_key(&key) {
            self.processes.retain(|_, one| one.last + IDLE_SECONDS > second);
            if self.processes.len() >= KEPT {
                return None;
            }
        }
        let found = self.processes.entry(key).or_default();
        found.process = process.cloned();
        found.last = second;
        if found.netns.last() != Some(&port.netns) {
            found.netns.retain(|netns| *netns != port.netns);
            if found.netns.len() >= NAMESPACES {
                found.netns.remove(0);
            }
            found.netns.push(port.netns);
        }
        Some(found)
    }

    fn space(&mut self, key: SpaceKey, second: u64) -> Option<&mut SpaceActivity> {
        if self.spaces.len() >= KEPT && !self.spaces.contains_key(&key) {
            self.spaces.retain(|_, one| one.second + IDLE_SECONDS > second);
            if self.spaces.len() >= KEPT {
                return None;
            }
        }
        let found = self.spaces.entry(key).or_default();
        found.second = second;
        Some(found)
    }

    fn chosen(&mut self, port: &Port, search_ns: Option<u64>, second: u64) {
        let (Some(local), Some(destination), Protocol::Tcp) =
            (port.local, port.remote, port.protocol)
        else {
            return;
        };
        let kind = SpaceKind::Connect { source: local.address, destination };
        let key = SpaceKey { netns: port.netns, protocol: port.protocol, kind };
        let Some(space) = self.space(key, second) else { return };
        space.last_port = Some(local.port);
        if let Some(search_ns) = search_ns {
            #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a search")]
            let search_ns = search_ns as f64;
            let before = space.search_ns.unwrap_or(search_ns);
            space.search_ns = Some(before + (search_ns - before) / SEARCHES);
        }
    }

    fn refused(&mut self, body: &Body, second: u64, count: u64) {
        let Body::Exhausted { story: Some(story), .. } = body else { return };
        let space = &story.space;
        let key = SpaceKey::from(space);
        if let Some(space) = self.space(key, second) {
            space.failures = space.failures.saturating_add(count);
        }
    }

    /// What a process did, if anything.
    pub fn of_process(&self, key: &ProcessKey) -> Option<&ProcessActivity> {
        self.processes.get(key)
    }

    /// All processes that did something.
    pub fn processes(&self) -> impl Iterator<Item = (&ProcessKey, &ProcessActivity)> {
        self.processes.iter()
    }

    /// What happened in a space, if anything.
    pub fn of_space(&self, key: &SpaceKey) -> Option<&SpaceActivity> {
        self.spaces.get(key)
    }
}
