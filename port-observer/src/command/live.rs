//! `live`: streams events as they happen. `record`, into a file.

use std::{
    io::{IsTerminal as _, Write as _},
    pin::pin,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};

use super::{
    observer::Observer, processes::Processes, signals::HangUp, stream::Stream, time::Time,
};
use crate::{
    config::{Format, LiveConfig},
    kernel::netns,
    recording::{self, Recorder},
    report::Start,
    sink,
};

/// How many events are taken in before signals and timers are looked at.
const BATCH: usize = 8192;

/// Runs until told to stop.
///
/// # Errors
/// When no backend can be used, or the output can't be written.
pub fn run(config: LiveConfig) -> Result<()> {
    observe(config, None)
}

/// The same, and records it; without `--json` prints nothing.
///
/// # Errors
/// The same, or when it can't be recorded.
pub(super) fn observe(config: LiveConfig, recording: Option<recording::Options>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start the event loop")?
        .block_on(live(config, recording))
}

async fn live(config: LiveConfig, recording: Option<recording::Options>) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("can't wait for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("can't wait for SIGTERM")?;
    let mut hang_up = HangUp::catch()?;
    let home = netns::own_inode().ok();
    let mut observer = Observer::start(&config)?;
    let is_silent = recording.is_some() && config.lines.output.format != Format::Json;
    let sink = if is_silent {
        Box::new(sink::Nowhere)
    } else {
        sink::standard_output(config.lines.output, home)?
    };
    let (who, sticky) = (Processes::seeded(), observer.is_blocking_sticky());
    let mut stream = Stream::new(&config.lines, sticky, who, Time::Kernel, sink)?;
    if is_silent {
        stream.is_silent();
    }
    if let Some(recording) = recording {
        if is_silent && std::io::stderr().is_terminal() {
            let path = recording.path.display();
            let _ = writeln!(std::io::stderr(), "recording into {path}; Ctrl-C ends it");
        }
        stream.record_into(Recorder::open(recording, sticky)?);
    }
    stream.end_after(config.duration);
    stream.start(first_line(&observer)?)?;
    observer.begin(&mut stream)?;

    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !stream.is_done() {
        observer.drain(BATCH, &mut stream)?;
        stream.flush()?;
        if stream.is_done() {
            break;
        }
        stream.summarize()?;
        let left = stream.time_left().unwrap_or(Duration::MAX);
        let left = left.min(stream.until_summary().unwrap_or(Duration::MAX));
        let mut end = pin!(tokio::time::sleep(left.min(Duration::from_secs(86400))));
        tokio::select! {
            ready = observer.wait() => ready?,
            _ = second.tick() => {
                observer.tick(&mut stream)?;
                stream.tick()?;
            }
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = hang_up.recv() => break,
            () = &mut end => {}
        }
    }
    let observed = stream.observed();
    observer.finish(&mut stream)?;
    let stopped = stream.stop(observed);
    // What was recorded is to be safe, whatever became of the lines.
    let missing = stream.take_recorder().map_or(Ok(0), Recorder::finish)?;
    if missing > 0 {
        log::warn!("{missing} events are missing in the recording");
    }
    stopped
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
