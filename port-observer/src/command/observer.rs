//! From a configuration to a source of events: which backend, and what completes it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use aya_log::EbpfLogger;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::stream::Stream;
use crate::{
    config::LiveConfig,
    event::{Event, Protocol},
    kernel::{
        clock,
        netns::{self, Namespace},
        sysctl,
    },
    probe::{self, Attached, Backend},
    process::ProcFs,
    report::EphemeralRange,
    source::{
        completion::{Completion, Lists, Round},
        poll::{Poll, Scope},
        ring::Ring,
    },
};

/// How often sockets are listed and compared.
const ROUND: Duration = Duration::from_secs(1);
/// With very many sockets less often: a round may take one part in so many of the time.
const ROUND_COST: u32 = 20;

/// A backend at work.
pub struct Observer {
    source: Source,
    missing: Vec<String>,
    ranges: Vec<EphemeralRange>,
    /// Only these network namespaces; empty: all.
    netns: Vec<u32>,
    protocols: Vec<Protocol>,
}

enum Source {
    Kernel(Box<Kernel>),
    Poll(Box<Polling>),
}

struct Polling {
    poll: Poll,
    round: Interval,
    is_due: bool,
}

struct Kernel {
    ring: Ring,
    completion: Option<Completion>,
    /// When the next look at the kernel's lists is due.
    next_round: Instant,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    /// Last: dropping it detaches the probes.
    attached: Attached,
}

impl Observer {
    /// Starts the backend that is asked for, or the best that loads. Must be called inside the
    /// runtime.
    ///
    /// # Errors
    /// When it, or any, can't be used: what is missing and how to get it.
    pub fn start(config: &LiveConfig) -> Result<Self> {
        let netns = config.filter.netns.clone();
        let protocols = config.filter.protocols.clone();
        let ranges = ephemeral_ranges(&netns)?;
        let options = options(config, &ranges);
        let (source, missing) = match config.backend {
            None => match best(&options) {
                Ok(found) => found,
                Err(error) => {
                    log::warn!(
                        "{error:#}; socket diagnostics are compared once a second instead \
                         (`port-observer doctor` says more)"
                    );
                    poll(&netns, &protocols)?
                }
            },
            Some(Backend::Poll) => poll(&netns, &protocols)?,
            Some(backend) => kernel(backend, &options)?,
        };
        Ok(Self { source, missing, ranges, netns, protocols })
    }

    /// Which backend it is.
    pub fn backend(&self) -> Backend {
        match &self.source {
            Source::Kernel(kernel) => kernel.attached.backend,
            Source::Poll(_) => Backend::Poll,
        }
    }

    /// What it can't see, a sentence each.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// The ephemeral ranges when observing began.
    pub fn ranges(&self) -> &[EphemeralRange] {
        &self.ranges
    }

    /// Hands over at most `limit` events; returns how many there were.
    ///
    /// # Errors
    /// The stream's.
    pub fn drain(&mut self, limit: usize, stream: &mut Stream) -> Result<usize> {
        match &mut self.source {
            Source::Kernel(kernel) => {
                drain(&mut kernel.ring, &mut kernel.completion, limit, stream)
            }
            Source::Poll(polling) if polling.is_due => {
                polling.is_due = false;
                let events = polling.poll.round()?;
                let count = events.len();
                events.into_iter().try_for_each(|event| stream.event(event))?;
                Ok(count)
            }
            Source::Poll(_) => Ok(0),
        }
    }

    /// Returns when it is time to drain again.
    ///
    /// # Errors
    /// When the kernel refuses the wait.
    pub async fn wait(&mut self) -> Result<()> {
        match &mut self.source {
            Source::Kernel(kernel) => kernel.ring.wait().await,
            Source::Poll(polling) => {
                polling.round.tick().await;
                polling.is_due = true;
                Ok(())
            }
        }
    }

    /// What is due once a second: losses, and what diagnostics complete.
    ///
    /// # Errors
    /// When the kernel's counters can't be read, or the stream's.
    pub fn tick(&mut self, stream: &mut Stream) -> Result<()> {
        let Source::Kernel(kernel) = &mut self.source else { return Ok(()) };
        for loss in kernel.ring.losses()? {
            stream.event(loss)?;
        }
        if let Some(logger) = &mut kernel.logger {
            logger.flush();
        }
        if kernel.completion.is_some() && kernel.next_round <= Instant::now() {
            let began = Instant::now();
            let time_ns = clock::now_boot_ns()?;
            let lists = Lists {
                time_waits: stream.ledger().holdings().time_waits().len() > 0,
                udp: self.protocols.is_empty() || self.protocols.contains(&Protocol::Udp),
            };
            let round = Round::look(time_ns, namespaces(&self.netns)?.iter(), lists);
            // What the programs told before the look comes first: else it would be found twice.
            drain(&mut kernel.ring, &mut kernel.completion, usize::MAX, stream)?;
            if let Some(completion) = &mut kernel.completion {
                for event in complete(completion, &round, stream) {
                    stream.event(event)?;
                }
            }
            kernel.next_round = began + ROUND.max(began.elapsed() * ROUND_COST);
        }
        stream.flush()
    }

    /// Detaches, and hands over what is left.
    ///
    /// # Errors
    /// The stream's.
    pub fn finish(self, stream: &mut Stream) -> Result<()> {
        let kernel = match self.source {
            Source::Kernel(kernel) => kernel,
            Source::Poll(mut polling) => {
                let events = polling.poll.round()?;
                return events.into_iter().try_for_each(|event| stream.event(event));
            }
        };
        let Kernel { mut ring, mut completion, attached, .. } = *kernel;
        drop(attached);
        while drain(&mut ring, &mut completion, usize::MAX, stream)? > 0 {}
        for loss in ring.losses()? {
            stream.event(loss)?;
        }
        Ok(())
    }
}

/// From the ring buffer to the stream; returns how many events there were.
fn drain(
    ring: &mut Ring,
    completion: &mut Option<Completion>,
    limit: usize,
    stream: &mut Stream,
) -> Result<usize> {
    let mut result = Ok(());
    let count = ring.drain(limit, |mut event| {
        if let Some(completion) = completion {
            completion.pass(&mut event);
        }
        if result.is_ok() {
            result = stream.event(event);
        }
    });
    result.map(|()| count)
}

/// The namespaces to look into: those asked for, else all.
fn namespaces(only: &[u32]) -> Result<Vec<Namespace>> {
    let mut namespaces = netns::list()?.namespaces;
    namespaces.retain(|namespace| only.is_empty() || only.contains(&namespace.inode));
    Ok(namespaces)
}

fn ephemeral_ranges(only: &[u32]) -> Result<Vec<EphemeralRange>> {
    let mut ranges = Vec::new();
    for namespace in namespaces(only)? {
        match sysctl::ports(&namespace) {
            Ok(ports) => ranges.push(EphemeralRange {
                netns: namespace.inode,
                min: ports.ephemeral.min,
                max: ports.ephemeral.max,
            }),
            Err(error) => {
                log::debug!("the range of namespace {} is not known: {error:#}", namespace.inode);
            }
        }
    }
    Ok(ranges)
}

fn options(config: &LiveConfig, ranges: &[EphemeralRange]) -> probe::Options {
    let protocol = match config.filter.protocols[..] {
        [Protocol::Tcp] => Some(libc::IPPROTO_TCP as u32),
        [Protocol::Udp] => Some(libc::IPPROTO_UDP as u32),
        _ => None,
    };
    probe::Options {
        buffer_size: config.buffer_size,
        netns: config.filter.netns.clone(),
        protocol,
        states: config.states,
        ranges: ranges.iter().map(|range| (range.min, range.max)).collect(),
        log_level: log::max_level() as u8,
    }
}

/// The best backend that loads.
fn best(options: &probe::Options) -> Result<(Source, Vec<String>)> {
    let mut last = None;
    for backend in [Backend::Fexit, Backend::Kprobe, Backend::Tracepoint] {
        match kernel(backend, options) {
            Ok(found) => return Ok(found),
            Err(error) => {
                log::info!("{error:#}");
                last = Some(error);
            }
        }
    }
    // One reason is enough: they are mostly the same, and `doctor` tells them all.
    Err(last.context("there is no other backend")?)
}

fn kernel(backend: Backend, options: &probe::Options) -> Result<(Source, Vec<String>)> {
    let mut attached = probe::attach(backend, options)
        .with_context(|| format!("the {} backend can't be used", backend.name()))?;
    let ring = Ring::new(&mut attached.ebpf)?;
    // At lower levels the programs have no log statements left.
    let logger = (log::max_level() >= log::LevelFilter::Debug)
        .then(|| EbpfLogger::init(&mut attached.ebpf).context("can't read the programs' own log"))
        .transpose()?;
    let completion = (backend == Backend::Tracepoint).then(Completion::default);
    let missing = std::mem::take(&mut attached.missing);
    Ok((
        Source::Kernel(Box::new(Kernel {
            ring,
            completion,
            next_round: Instant::now(),
            logger,
            attached,
        })),
        missing,
    ))
}

/// Socket diagnostics compared, of the namespaces asked for or all that may be looked into.
fn poll(netns: &[u32], protocols: &[Protocol]) -> Result<(Source, Vec<String>)> {
    let scope = if netns.is_empty() { Scope::default() } else { Scope::Only(netns.to_vec()) };
    let mut missing: Vec<String> = Backend::Poll.missing().iter().map(|&m| m.to_owned()).collect();
    if scope == Scope::Own {
        missing.push("other network namespaces: looking into them takes root".to_owned());
    }
    let mut poll = Poll::new(scope, protocols);
    // The first round is what the next one is compared with.
    poll.round().context("the sockets that are there can't be listed")?;
    let limits = poll.limits();
    missing.extend(limits.unreadable.iter().cloned());
    missing.extend(limits.fallback.iter().cloned());
    let mut round = interval(ROUND);
    round.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Ok((Source::Poll(Box::new(Polling { poll, round, is_due: false })), missing))
}

/// What socket diagnostics show beyond what the programs told.
fn complete(completion: &mut Completion, round: &Round, stream: &mut Stream) -> Vec<Event> {
    let new = completion.unknown(round);
    let processes = ProcFs::default();
    let owners = if new.is_empty() { None } else { processes.socket_owners(&new).ok() };
    completion.compare(round, stream.ledger().holdings().time_waits(), |socket| {
        processes.task(*owners.as_ref()?.pids.get(&socket.inode)?)
    })
}
