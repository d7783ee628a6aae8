//! What is observed while a command runs, and what is said when it has ended.

use std::{io::ErrorKind, process::ExitCode};

use anyhow::{Context as _, Result};

use super::{Observed, live, until::Until};
use crate::{
    child::{Child, End, Program},
    command::output,
    config::{Format, LiveConfig},
    notice,
    queued_writer::QueuedWriter,
    report::Sink,
    sandbox::Sandbox,
    sink::table::failed,
    words::figures::duration,
};

/// Observes until the command ends, or no longer; ends when the command does.
///
/// # Errors
/// When it can't be observed: the command has not begun then, and never will. Whatever fails once it has
/// begun is said, and the exit code is still the command's.
pub(super) async fn run(
    config: LiveConfig,
    (sink, queue): (Box<dyn Sink>, Option<QueuedWriter>),
    sandbox: Sandbox,
    child: Child,
) -> Result<ExitCode> {
    let mut until = Until::Ended(child);
    let observed = live(&config, (sink, queue.clone()), sandbox, &mut until).await;
    let finished = output::finish_all(&config.lines.to, queue).await;
    let Until::Ended(mut child) = until else { return Ok(ExitCode::FAILURE) };
    let program = config.program.as_ref().context("there is no command")?;
    let has_begun = child.is_released() || child.end().is_some();
    let mut observed = observed;
    if !has_begun {
        // Dropped, the child ends.
        let all = observed.and_then(|mut observed| {
            std::mem::replace(&mut observed.result, Ok(()))?;
            Ok(observed)
        });
        observed = Ok(all.with_context(|| format!("{program} was not run"))?);
        // --duration was over first.
        child.release();
    }
    let is_for_people = config.is_silent || config.lines.output.format == Format::Table;
    let is_running = child.end().is_none();
    match observed {
        Ok(observed) => {
            let is_executed = !matches!(child.end(), Some(End::NotExecuted(_)));
            if is_for_people && is_executed {
                close(program, child.end(), &observed);
            }
            report(observed.result.and(finished));
        }
        Err(error) => report(Err(error)),
    }
    if is_running {
        notice::say(format_args!("port-observer: waits for {program} to end"));
    }
    let end = child.ended().await?;
    if let End::NotExecuted(error) = &end {
        let help = match error.kind() {
            ErrorKind::NotFound => "; is it installed, and its directory in PATH?",
            ErrorKind::PermissionDenied => "; is it a program, and may this user execute it?",
            _ => "",
        };
        notice::say(format_args!("port-observer: can't run {program}: {error}{help}"));
    }
    Ok(ExitCode::from(end.exit_code()))
}

/// What was refused, why and what to change.
fn close(program: &Program, end: Option<&End>, observed: &Observed) {
    let how = end.map_or_else(|| "still runs".to_owned(), End::words);
    let time = duration(u64::try_from(observed.time.as_nanos()).unwrap_or(u64::MAX));
    let what = format!("port-observer: {program} {how} after {time}");
    for line in failed::lines(&what, &observed.failed, observed.seen) {
        notice::say(line);
    }
}

/// Who has stopped reading the lines has seen enough of them.
fn report(result: Result<()>) {
    if let Err(error) = result
        && !crate::command::is_closed_pipe(&error)
    {
        notice::error(&error);
    }
}
