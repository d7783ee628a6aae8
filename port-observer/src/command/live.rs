//! `live`: streams events as they happen. `record`, into a file. Both until they are told to stop, or while
//! a command runs.

mod beside;
mod until;

use std::{io::IsTerminal as _, pin::pin, process::ExitCode, time::Duration};

use anyhow::Result;
use tokio::time::{MissedTickBehavior, interval};

use self::until::Until;
use super::{end_signals::EndSignals, event_loop, output, pools};
use crate::{
    child::Child,
    config::LiveConfig,
    kernel::{netns, release, rights::as_caller},
    notice,
    pipeline::{BATCH, Stream},
    probe::Backend,
    process::Tree,
    queued_writer::QueuedWriter,
    recording::Recorder,
    report::{FailedCalls, Nowhere, Sink, Start},
    sandbox::{Recording, Sandbox, Task},
    sink::table::failed::Seen,
    source::{Observer, Source as _},
};

/// How many at once when a command has ended: more than the kernel's buffer holds by default.
const LAST_BATCH: usize = 1 << 18;

/// With a command.
const POLL_MISSES_PROCESSES: &str = "which processes are the command's is looked up while they and \
    their parents live: what ends within a second is not shown";

/// What was observed.
struct Observed {
    /// Whether all could be written and recorded.
    result: Result<()>,
    time: Duration,
    failed: FailedCalls,
    seen: Seen,
}

/// Runs until told to stop, or while the command runs: then the exit code is the command's.
///
/// # Errors
/// When no backend can be used, or the output or the recording can't be written.
pub fn run(config: LiveConfig, sandbox: Sandbox) -> Result<ExitCode> {
    let (sink, queue): (Box<dyn Sink>, _) =
        if config.is_silent { (Box::new(Nowhere), None) } else { output::open(&config.lines)? };
    // Before this process changes anything of itself that a command would inherit.
    let child = config.program.as_ref().map(Child::fork).transpose()?;
    let runtime = event_loop()?;
    let to = config.lines.to.clone();
    let output = (sink, queue.clone());
    runtime.block_on(async {
        if let Some(child) = child {
            return beside::run(config, output, sandbox, child).await;
        }
        let mut until = Until::Told(EndSignals::catch()?);
        let observed = live(&config, output, sandbox, &mut until).await;
        let observed = observed.and_then(|observed| observed.result);
        observed.and(output::finish(&to, queue).await)?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Observes until told to stop, silently but for what a sink does with it.
///
/// # Errors
/// As for [`run`].
pub(super) fn counted(config: &LiveConfig, sink: Box<dyn Sink>, sandbox: Sandbox) -> Result<()> {
    event_loop()?.block_on(async {
        let mut until = Until::Told(EndSignals::catch()?);
        live(config, (sink, None), sandbox, &mut until).await?.result
    })
}

async fn live(
    config: &LiveConfig,
    (sink, queue): (Box<dyn Sink>, Option<QueuedWriter>),
    sandbox: Sandbox,
    until: &mut Until,
) -> Result<Observed> {
    let lines = &config.lines;
    let pools = config.pools.as_ref().map(|files| pools::watched(files, lines)).transpose()?;
    let mut observer = Observer::start(config.observed())?;
    let backend = observer.backend();
    let recording = config.recording.clone();
    let beside =
        recording.as_ref().map(|to| Recording { path: &to.path, has_group: to.group.is_some() });
    let command = until.command().map(|child| child.pid());
    sandbox.enter(&Task::Follow { backend, recording: beside, command });
    let mut stream = Stream::of_host(&config.lines, &observer, sink)?;
    stream.drop_when_full(queue);
    if let Some(pools) = pools {
        stream.watch_pools(pools, observer.named());
    }
    if config.is_silent {
        stream.is_silent();
    }
    if let Some(pid) = command {
        stream.watch(Tree::new(pid, backend != Backend::Poll));
    }
    if let Some(recording) = recording {
        if config.is_silent && command.is_none() && std::io::stderr().is_terminal() {
            let path = recording.path.display();
            notice::say(format_args!("recording into {path}; Ctrl-C ends it"));
        }
        stream.record_into(as_caller(|| Recorder::open(recording, observer.is_blocking_sticky()))?);
    }
    stream.end_after(config.duration);
    let mut watched = watch(&mut observer, &mut stream, until).await;
    if command.is_some() && watched.is_ok() {
        // While what it was refused can still be asked about.
        watched = stream.take_in(&mut observer, LAST_BATCH);
    }
    let time = stream.observed();
    let result = stream.end(observer, watched);
    let seen = Seen { sees_failures: backend != Backend::Poll, lost: stream.lost() };
    Ok(Observed { result, time, failed: stream.failed(), seen })
}

/// Takes events in until it is time to stop.
async fn watch(
    observer: &mut Observer,
    stream: &mut Stream<impl Sink>,
    until: &mut Until,
) -> Result<()> {
    let mut start = first_line(observer)?;
    if until.command().is_some() && observer.backend() == Backend::Poll {
        start.missing.push(POLL_MISSES_PROCESSES.to_owned());
    }
    stream.start(start)?;
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stream.is_done() {
        stream.take_in(observer, BATCH)?;
        stream.flush()?;
        if stream.is_done() {
            break;
        }
        if let Some(child) = until.command().filter(|child| !child.is_released())
            && stream.ledger().knows_all()
        {
            child.release();
        }
        stream.summarize()?;
        let left = stream.time_left().unwrap_or(Duration::MAX);
        let left = left.min(stream.until_summary().unwrap_or(Duration::MAX));
        let mut end = pin!(tokio::time::sleep(left.min(Duration::from_secs(86400))));
        tokio::select! {
            ready = observer.ready() => ready?,
            _ = second.tick() => stream.tick()?,
            told = until.next() => return told,
            () = &mut end => {}
        }
    }
    Ok(())
}

pub(super) fn first_line(observer: &Observer) -> Result<Start> {
    let (host, kernel) = release::host()?;
    Ok(Start {
        host,
        kernel,
        version: env!("CARGO_PKG_VERSION").into(),
        backend: observer.backend().name(),
        exact: observer.backend().is_exact(),
        missing: observer.missing().to_vec(),
        ephemeral_range: observer.ranges().to_vec(),
        netns: netns::own_inode().ok(),
    })
}
