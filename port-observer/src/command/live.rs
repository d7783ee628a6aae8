//! `live`: streams events as they happen. `record`, into a file.

use std::{io::IsTerminal as _, pin::pin, time::Duration};

use anyhow::{Context as _, Result};
use tokio::time::{MissedTickBehavior, interval};

use super::{end_signals::EndSignals, output};
use crate::{
    config::LiveConfig,
    kernel::{netns, rights::as_caller},
    notice,
    pipeline::Stream,
    queued_writer::QueuedWriter,
    recording::Recorder,
    report::{Nowhere, Sink, Start},
    sandbox::{Recording, Sandbox, Task},
    sink,
    source::{Observer, Source as _},
};

/// How many events are taken in before signals and timers are looked at.
const BATCH: usize = 8192;

/// Runs until told to stop.
///
/// # Errors
/// When no backend can be used, or the output or the recording can't be written.
pub fn run(config: LiveConfig, sandbox: Sandbox) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start the event loop")?
        .block_on(async {
            let (sink, queue): (Box<dyn Sink>, _) = if config.is_silent {
                (Box::new(Nowhere), None)
            } else {
                sink::standard_output(config.lines.output, netns::own_inode().ok())?
            };
            let output = (sink, queue.clone());
            let observed = live(config, output, sandbox).await;
            observed.and(output::finish(queue).await)
        })
}

async fn live(
    config: LiveConfig,
    (sink, queue): (Box<dyn Sink>, Option<QueuedWriter>),
    sandbox: Sandbox,
) -> Result<()> {
    let mut signals = EndSignals::catch()?;
    let mut observer = Observer::start(config.observed())?;
    let recording = config.recording;
    let beside =
        recording.as_ref().map(|to| Recording { path: &to.path, has_group: to.group.is_some() });
    sandbox.enter(&Task::Follow { backend: observer.backend(), recording: beside });
    let mut stream = Stream::of_host(&config.lines, &observer, sink)?;
    stream.drop_when_full(queue);
    if config.is_silent {
        stream.is_silent();
    }
    if let Some(recording) = recording {
        if config.is_silent && std::io::stderr().is_terminal() {
            let path = recording.path.display();
            notice::say(format_args!("recording into {path}; Ctrl-C ends it"));
        }
        stream.record_into(as_caller(|| Recorder::open(recording, observer.is_blocking_sticky()))?);
    }
    stream.end_after(config.duration);
    let watched = watch(&mut observer, &mut stream, &mut signals).await;
    let observed = stream.observed();
    let finished = stream.take_rest(observer);
    let stopped = stream.stop(observed);
    // What was recorded is to be safe, whatever became of the lines.
    let missing = stream.take_recorder().map_or(Ok(0), Recorder::finish)?;
    if missing > 0 {
        log::warn!("{missing} events are missing in the recording");
    }
    watched.and(finished).and(stopped)
}

/// Takes events in until told to stop.
async fn watch(
    observer: &mut Observer,
    stream: &mut Stream<impl Sink>,
    signals: &mut EndSignals,
) -> Result<()> {
    stream.start(first_line(observer)?)?;
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stream.is_done() {
        stream.take_in(observer, BATCH)?;
        stream.flush()?;
        if stream.is_done() {
            break;
        }
        stream.summarize()?;
        let left = stream.time_left().unwrap_or(Duration::MAX);
        let left = left.min(stream.until_summary().unwrap_or(Duration::MAX));
        let mut end = pin!(tokio::time::sleep(left.min(Duration::from_secs(86400))));
        tokio::select! {
            ready = observer.ready() => ready?,
            _ = second.tick() => stream.tick()?,
            () = signals.next() => break,
            () = &mut end => {}
        }
    }
    Ok(())
}

pub(super) fn first_line(observer: &Observer) -> Result<Start> {
    let name = nix::sys::utsname::uname().context("can't read the host's name")?;
    Ok(Start {
        host: name.nodename().to_string_lossy().into_owned(),
        kernel: name.release().to_string_lossy().into_owned(),
        version: env!("CARGO_PKG_VERSION").into(),
        backend: observer.backend().name(),
        exact: observer.backend().is_exact(),
        missing: observer.missing().to_vec(),
        ephemeral_range: observer.ranges().to_vec(),
    })
}
