//! The observer of a run: what `live` is, with a sink that counts.

use std::io;

use anyhow::{Context as _, Error, Result, bail};
use hdrhistogram::Histogram;

use crate::{
    cli::Color,
    command::live,
    config::{Lines, LiveConfig, Output},
    filter::Filter,
    probe::Backend,
    recording,
    report::{Body, Report, Sink},
    sandbox::Sandbox,
    stress::{
        MILESTONES, MOST_CONNECTIONS, Observed,
        parts::{Line, ObserveJob, say},
        samples::{Samples, drain},
    },
};

/// How large a recording may get: that of `record`.
const MOST_BYTES: u64 = 2 << 30;

/// The most sockets that are accounted: as many connections as are ever made, and TIME_WAIT entries beside.
const MOST_HOLDINGS: usize = 2 * MOST_CONNECTIONS as usize;

/// A sample of searches is as long as this, or has as many searches.
const SAMPLE_NS: u64 = 100_000_000;
const SAMPLE_SEARCHES: u64 = 1_000;

/// Observes until it is told to stop by SIGTERM, then says what it saw.
///
/// # Errors
/// When it can't be observed, or recorded.
pub fn run(job: ObserveJob) -> Result<()> {
    let backend = match &job.backend {
        None => None,
        Some(name) => match Backend::ALL.into_iter().find(|one| one.name() == name) {
            None => bail!("no backend is called {name}"),
            found => found,
        },
    };
    let destinations = job.to.map(|to| to.to_string().parse().map_err(Error::msg)).transpose()?;
    let filter = Filter {
        netns: vec![job.netns],
        pids: job.pids,
        destinations: destinations.into_iter().collect(),
        ..Filter::default()
    };
    let recording = job.record.map(|path| recording::Options {
        path,
        keep: None,
        max_size: MOST_BYTES,
        group: None,
    });
    let config = LiveConfig {
        backend,
        duration: None,
        states: false,
        buffer_size: job.buffer_size,
        recording,
        is_silent: true,
        program: None,
        pools: None,
        lines: Lines {
            filter,
            closing: false,
            max_holdings: MOST_HOLDINGS,
            ..Lines::everything(Output::resolve(true, Color::Never))
        },
    };
    let sandbox = if job.is_confined { Sandbox::On } else { Sandbox::Off };
    let counting =
        Counting { seen: Observed::default(), searched: times()?, searches: Searches::new()? };
    live::counted(&config, Box::new(counting), sandbox)
}

/// How long things took, in nanoseconds.
fn times() -> Result<Histogram<u64>> {
    Histogram::new_with_max(60_000_000_000, 2).context("can't count times")
}

/// Searches since the last sample, and samples.
struct Searches {
    searched: Histogram<u64>,
    since_ns: u64,
    last_ns: u64,
    samples: Option<Samples>,
}

impl Searches {
    fn new() -> Result<Self> {
        Ok(Self { searched: times()?, since_ns: 0, last_ns: 0, samples: None })
    }

    /// Takes one in, of the last of so many ports that were taken.
    fn take(&mut self, time_ns: u64, acquired: u64, search_ns: u64) {
        if self.samples.is_none() {
            self.samples = Some(Samples::begin(time_ns));
            self.since_ns = time_ns;
        }
        self.searched.saturating_record(search_ns);
        self.last_ns = time_ns;
        let is_due = time_ns.saturating_sub(self.since_ns) >= SAMPLE_NS;
        if is_due || self.searched.len() >= SAMPLE_SEARCHES {
            self.finish(acquired);
        }
    }

    /// Finishes a sample.
    fn finish(&mut self, acquired: u64) {
        let Some(samples) = &mut self.samples else { return };
        if self.searched.is_empty() {
            return;
        }
        samples.push(self.last_ns, acquired, 0, &drain(&mut self.searched));
        self.since_ns = self.last_ns;
    }
}

/// Counts what it is told of.
struct Counting {
    seen: Observed,
    searched: Histogram<u64>,
    searches: Searches,
}

impl Counting {
    fn take(&mut self, report: &Report) -> Option<Line> {
        let seen = &mut self.seen;
        match &report.body {
            Body::Start(start) => {
                start.backend.clone_into(&mut seen.backend);
                seen.not_seen.clone_from(&start.missing);
                return Some(Line::Observing);
            }
            Body::Acquire { search_ns, .. } => {
                seen.acquired += 1;
                if let Some(ns) = search_ns {
                    self.searched.saturating_record(*ns);
                    self.searches.take(report.time_ns, seen.acquired, *ns);
                }
                if MILESTONES.contains(&seen.acquired) && !self.searched.is_empty() {
                    let p50_ns = self.searched.value_at_quantile(0.5);
                    return Some(Line::Searched { connections: seen.acquired, p50_ns });
                }
            }
            Body::Exhausted { story, repeated, errno, .. } => {
                seen.exhausted += 1 + repeated;
                *seen.refused.entry(*errno).or_default() += 1 + repeated;
                if seen.full.is_none() {
                    let space = story.as_ref().map(|story| &story.space);
                    seen.full = space.map(|space| (space.used, space.capacity));
                }
            }
            Body::Lost { count, .. } => seen.lost += count,
            Body::Stop(_) => {
                self.searches.finish(seen.acquired);
                seen.searches =
                    self.searches.samples.as_ref().map(Samples::all).unwrap_or_default();
                return Some(Line::Observed(seen.clone()));
            }
            _ => {}
        }
        None
    }
}

impl Sink for Counting {
    fn set_offset(&mut self, _offset_ns: i64) {}

    fn report(&mut self, report: &Report) -> io::Result<()> {
        match self.take(report) {
            Some(line) => say(&line).map_err(io::Error::other),
            None => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
