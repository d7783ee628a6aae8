//! A command's output, and its end: the reader gets what was written for it, and can't hold the command up.

use std::{
    fs::File,
    future,
    io::{self, Write as _},
};

use anyhow::{Context as _, Result};

use super::end_signals::EndSignals;
use crate::{
    config::{Lines, Target},
    kernel::{netns, rights::as_caller},
    queued_writer::QueuedWriter,
    report::Sink,
    sink,
};

/// Writes an answer to standard output. The exit code is an answer too, where nobody reads it.
///
/// # Errors
/// When it can't be written.
pub(super) fn answer(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("can't write to standard output"),
    }
}

/// The sink that writes lines where they were asked for, and the queue in front of it.
///
/// # Errors
/// When it can't be written to.
pub(super) fn open(lines: &Lines) -> Result<(Box<dyn Sink>, Option<QueuedWriter>)> {
    let home = netns::own_inode().ok();
    let opened = match &lines.to {
        Target::StandardOutput => sink::standard_output(lines.output, home),
        Target::StandardError => sink::standard_error(lines.output, home),
        Target::File(path) => as_caller(|| File::create(path))
            .and_then(|file| sink::lines_to(file, false, lines.output, home)),
    };
    opened.with_context(|| format!("can't write to {}", lines.to))
}

/// Waits until the reader has taken all, for as long as it goes on reading. Another signal ends the wait.
/// What it did not take is dropped, and said.
///
/// # Errors
/// When it can't be written.
pub(super) async fn finish(target: &Target, queue: Option<QueuedWriter>) -> Result<()> {
    let mut signals = EndSignals::catch()?;
    finish_unless(signals.next(), target, queue).await
}

/// The same, and no signal ends the wait.
///
/// # Errors
/// The same.
pub(super) async fn finish_all(target: &Target, queue: Option<QueuedWriter>) -> Result<()> {
    finish_unless(future::pending(), target, queue).await
}

async fn finish_unless(
    given_up: impl Future<Output = ()>,
    target: &Target,
    queue: Option<QueuedWriter>,
) -> Result<()> {
    let Some(queue) = queue else { return Ok(()) };
    let lines = queue.finish(given_up).await.with_context(|| format!("can't write to {target}"))?;
    if lines > 0 {
        log::warn!("the reader of {target} stalled: it did not get the last {lines} lines");
    }
    Ok(())
}

/// Waits until the reader of standard output has taken all, however long that takes, or a signal comes.
pub(super) async fn wait(queue: Option<&QueuedWriter>, signals: &mut EndSignals) {
    let Some(queue) = queue else { return };
    tokio::select! {
        () = signals.next() => {}
        () = queue.room(1) => {}
    }
}
