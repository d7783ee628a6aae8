//! `check`: how much of the ports is used, for monitoring systems.

mod remote;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use self::remote::Serve;
use super::end_signals::EndSignals;
use super::{event_loop, output};
use crate::ask::Remote;
use crate::check::kept::{Kept, Place};
use crate::check::{self, Question, Status, json, text};
use crate::cli::Refused;
use crate::config::{CheckConfig, Format, Target};
use crate::kernel::netns::{self, Namespace};
use crate::kernel::rights::as_caller;
use crate::queued_writer::{QueuedWriter, WholeLines, unbuffered_output};
use crate::sandbox::{Sandbox, Task};
use crate::source::settings;

/// Bytes that wait for a reader before it is not checked again until they are read.
const QUEUE_BYTES: usize = 64 << 10;

/// Checks once, or again and again until told to stop. What fails is an answer too: UNKNOWN.
///
/// # Errors
/// When the answer can't be written.
pub fn run(config: &CheckConfig, sandbox: Sandbox) -> Result<ExitCode> {
    event_loop()?.block_on(async {
        // First of all: until then they end the process without a word.
        let again = config.interval.map(|every| anyhow::Ok((every, EndSignals::catch()?)));
        let again = again.transpose()?;
        // Before it is confined: the file may be another user's.
        let serve = Serve::of(config);
        confine(config, sandbox);
        if let Some((every, signals)) = again {
            return repeat(config, &serve, every, signals).await;
        }
        let (status, line) = answer(config, &serve).await?;
        print(&line).or_else(|error| match error.kind() {
            // Not 0, as for other commands: that would be an answer.
            io::ErrorKind::BrokenPipe => Err(anyhow!("standard output: nobody reads it")),
            _ => Err(error).context("can't write to standard output"),
        })?;
        Ok(ExitCode::from(status.exit_code()))
    })
}

fn confine(config: &CheckConfig, sandbox: Sandbox) {
    let namespaces = config.all_netns || !config.netns.is_empty();
    sandbox.enter(&match &config.from {
        Some(Remote::Unix(socket)) => Task::Ask { socket: Some(socket) },
        Some(Remote::Http(..)) => Task::Ask { socket: None },
        None => Task::List { namespaces, keeps: config.max_age.is_some() },
    });
}

/// Answers a call that makes no sense.
pub fn refuse(refused: &Refused) -> ExitCode {
    let format = if refused.json { Format::Json } else { Format::Table };
    // There is nowhere left to tell that this failed.
    let _ = unknown(format, &refused.reason).map(|line| print(&line));
    ExitCode::from(Status::Unknown.exit_code())
}

async fn repeat(
    config: &CheckConfig,
    serve: &Result<Option<Serve<'_>>>,
    every: Duration,
    mut signals: EndSignals,
) -> Result<ExitCode> {
    const CANT_WRITE: &str = "can't write to standard output";
    let out = WholeLines::new(unbuffered_output().context(CANT_WRITE)?);
    let mut out = QueuedWriter::new(out);
    let mut due = tokio::time::interval(every);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Whether there is something of which it is not known whether it could be written.
    let mut is_waiting = false;
    loop {
        let has_room = out.pending_bytes() < QUEUE_BYTES;
        tokio::select! {
            () = signals.next() => break,
            () = out.room(1), if is_waiting => {
                is_waiting = false;
                out.flush().context(CANT_WRITE)?;
            }
            _ = due.tick(), if has_room => {
                let (_, line) = answer(config, serve).await?;
                writeln!(out, "{line}").context(CANT_WRITE)?;
                is_waiting = true;
            }
        }
    }
    output::finish(&Target::StandardOutput, Some(out)).await?;
    Ok(ExitCode::SUCCESS)
}

async fn answer(
    config: &CheckConfig,
    serve: &Result<Option<Serve<'_>>>,
) -> Result<(Status, String)> {
    let failed = |error: &anyhow::Error| {
        anyhow::Ok((Status::Unknown, unknown(config.format, &format!("{error:#}"))?))
    };
    match (serve, config.max_age) {
        (Err(error), _) => failed(error),
        (Ok(Some(serve)), _) => serve.check(config).await.or_else(|error| failed(&error)),
        (Ok(None), None) => look(config),
        (Ok(None), Some(max_age)) => kept(config, max_age),
    }
}

/// What is there now, as a line.
fn look(config: &CheckConfig) -> Result<(Status, String)> {
    Ok(match question(config) {
        Ok(question) => {
            let answer = check::look(question);
            let line = match config.format {
                Format::Json => json::render(&answer).context("can't write JSON")?,
                Format::Table => text::render(&answer),
            };
            (answer.status(), line)
        }
        Err(error) => (Status::Unknown, unknown(config.format, &format!("{error:#}"))?),
    })
}

/// The last answer if it is young enough, else a new one; with its age.
fn kept(config: &CheckConfig, max_age: Duration) -> Result<(Status, String)> {
    let place = asked(config).and_then(|asked| as_caller(|| Place::find(asked)));
    let last = place.as_ref().map(|place| place.last(max_age));
    if let Ok(Ok(Some(Kept { status, line, age }))) = last {
        return Ok((status, with_age(config.format, &line, age)?));
    }
    let (status, line) = look(config)?;
    // What could not be told may be told the next time.
    let kept = match (place, status) {
        (_, Status::Unknown) => Ok(()),
        (Ok(place), _) => place.keep(status, &line),
        (Err(error), _) => Err(error),
    };
    let line = with_age(config.format, &line, Duration::ZERO)?;
    let Err(error) = kept else { return Ok((status, line)) };
    let reason = format!("{error:#}");
    let line = match config.format {
        Format::Json => json::with_member(&line, "notKept", &reason).context("can't write JSON")?,
        Format::Table => text::with_note(&line, &format!("not kept: {reason}")),
    };
    Ok((status, line))
}

fn with_age(format: Format, line: &str, age: Duration) -> Result<String> {
    let seconds = age.as_secs();
    match format {
        Format::Json => json::with_member(line, "ageSeconds", &seconds).context("can't write JSON"),
        Format::Table if age.is_zero() => Ok(line.to_owned()),
        Format::Table => Ok(text::with_note(line, &format!("{seconds} s old"))),
    }
}

/// All that the answer depends on but what is to be found out.
fn asked(config: &CheckConfig) -> Result<String> {
    let mut places = vec![(netns::own_inode()?, netns::own_cookie())];
    // What a path or a number stands for may change. One that is gone has no last answer.
    for namespace in if config.all_netns { Vec::new() } else { namespaces(config)?.0 } {
        places.push((namespace.inode, namespace.run(|| Ok(netns::own_cookie()))?));
    }
    let config = CheckConfig { max_age: None, ..config.clone() };
    Ok(format!("{} {places:?} {config:?}", env!("CARGO_PKG_VERSION")))
}

fn unknown(format: Format, reason: &str) -> Result<String> {
    match format {
        Format::Json => json::unknown(reason).context("can't write JSON"),
        Format::Table => Ok(text::unknown(reason)),
    }
}

fn print(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(format!("{line}\n").as_bytes())?;
    output.flush()
}

fn question(config: &CheckConfig) -> Result<Question> {
    let (namespaces, missing) = namespaces(config)?;
    Ok(Question {
        namespaces,
        all: config.all_netns,
        missing,
        terms: config.terms,
        always_processes: config.format == Format::Json,
    })
}

/// Where to look, and what is not seen then.
fn namespaces(config: &CheckConfig) -> Result<(Vec<Namespace>, Vec<String>)> {
    if config.all_netns {
        let listing = netns::list()?;
        let missing = match listing.hidden_processes {
            0 => Vec::new(),
            count => {
                vec![format!("the namespaces of {count} processes are hidden without privileges")]
            }
        };
        return Ok((listing.namespaces, missing));
    }
    if config.netns.is_empty() {
        return Ok((vec![Namespace::own()?], Vec::new()));
    }
    let mut namespaces: Vec<Namespace> = Vec::new();
    for text in &config.netns {
        let found = settings::resolve(text).with_context(|| format!("--netns {text}"))?;
        if namespaces.iter().all(|known| known.inode != found.inode) {
            namespaces.push(found);
        }
    }
    Ok((namespaces, Vec::new()))
}
