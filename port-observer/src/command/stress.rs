//! `stress`: looks for the limit of connections, in a place of its own.

mod answer;
mod observe;
mod part;

use std::{
    cmp::Reverse,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use tokio::{
    runtime::Runtime,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};

use self::answer::Answer;
pub use self::part::run as part;
use super::{end_signals::EndSignals, event_loop};
use crate::{
    config::StressConfig,
    kernel::release,
    sandbox::Sandbox,
    source::settings,
    stress::{
        Observed, Outcome, Plan,
        json::Told,
        parts::{End, Job, Line, ObserveJob},
        place::{self, Part},
        program::{self, Program},
        text,
        variations::{self, HardLimit, Mitigation, Row},
    },
};

/// How long the observer may take to attach.
const ATTACHING: Duration = Duration::from_secs(60);
/// And to say what it saw.
const ENDING: Duration = Duration::from_secs(20);

/// How long the report may take once a signal has ended it.
const LAST: Duration = Duration::from_secs(30);

/// What reaches this process.
enum Message {
    /// The first process of the place said something, or ended.
    Run(Option<Result<Line>>),
    /// The observer did.
    Observer(Option<Result<Line>>),
}

/// Tries it, and says which limit was met.
///
/// # Errors
/// When the place can't be made, the server does not start, or the answer can't be written.
pub fn run(config: &StressConfig, sandbox: Sandbox) -> Result<ExitCode> {
    let time = Timestamp::now().to_string();
    let answer = Answer::prepare(config)?;
    let mut runs = Runs { config, runtime: event_loop()?, is_told: false };
    let (outcome, observed) = runs.run(&config.plan, Some(sandbox), "")?;
    let variations = runs.variations(&outcome)?;
    let mitigations = runs.mitigations(&outcome)?;
    let hard_limits = runs.hard_limits(&outcome)?;
    let (host, kernel) = release::host()?;
    let told = Told {
        time,
        host,
        kernel,
        outcome: &outcome,
        observed: observed.as_ref().map_err(String::as_str),
        variations: &variations,
        mitigations: &mitigations,
        hard_limits: &hard_limits,
        compared: answer.old.as_ref().map(|old| old.against(&outcome)),
    };
    answer.write(&told, config.format)?;
    match config.expect {
        Some(expected) if outcome.connections < expected => {
            bail!("{} connections, and {expected} were expected", outcome.connections)
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Runs one after the other, until a signal ends one.
struct Runs<'a> {
    config: &'a StressConfig,
    runtime: Runtime,
    is_told: bool,
}

impl Runs<'_> {
    fn run(
        &mut self,
        plan: &Plan,
        observed: Option<Sandbox>,
        name: &str,
    ) -> Result<(Outcome, Result<Observed, String>)> {
        let made = self.runtime.block_on(OneRun::set(self.config, plan, observed, name)?)?;
        self.is_told |= made.0.end == End::Told;
        Ok(made)
    }

    /// The next run. `None`: a signal has ended one before.
    fn next(&mut self, plan: &Plan, name: &str) -> Result<Option<Outcome>> {
        if self.is_told {
            return Ok(None);
        }
        Ok(Some(self.run(plan, None, name)?.0))
    }

    /// What came of variations, if they were asked for.
    fn variations(&mut self, outcome: &Outcome) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        if self.config.variations {
            for (name, plan) in variations::variations(&outcome.plan, outcome.range) {
                rows.extend(self.next(&plan, name)?.map(|after| Row::of(name, &after)));
            }
        }
        Ok(rows)
    }

    /// What could help, tried if that was asked for, the one that brought most first.
    fn mitigations(&mut self, outcome: &Outcome) -> Result<Vec<Mitigation>> {
        let changes = match self.config.mitigations {
            true => variations::changes(&outcome.plan, outcome.range, outcome.verdict.limit),
            false => Vec::new(),
        };
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        // Bounded as they are, so that it is compared with the same.
        let Some(before) = self.next(&variations::bounded(&outcome.plan), "as it is")? else {
            return Ok(Vec::new());
        };
        let mut tried = Vec::new();
        for change in changes {
            let after = self.next(&change.plan, change.name)?;
            tried.extend(after.map(|after| change.brought(&before, &after)));
        }
        tried.sort_by_key(|one| Reverse(one.after));
        Ok(tried)
    }

    /// How many connections this and other configurations are good for, if that was asked for.
    fn hard_limits(&mut self, outcome: &Outcome) -> Result<Vec<HardLimit>> {
        let mut limits = Vec::new();
        if self.config.mitigations {
            for (name, plan) in variations::configurations(&outcome.plan, outcome.range) {
                limits.extend(self.next(&plan, &name)?.map(|after| HardLimit::of(&name, &after)));
            }
        }
        if !limits.is_empty() {
            limits.insert(0, HardLimit::of("as it is", outcome));
        }
        Ok(limits)
    }
}

/// One run.
struct OneRun<'a> {
    config: &'a StressConfig,
    /// Which of several it is.
    name: &'a str,
    first: Part,
    observer: Result<Part, String>,
    messages: UnboundedReceiver<Message>,
    /// Processes that run already, if these alone are observed.
    watched: Vec<u32>,
    /// It is observed from outside, and the observer is confined or not.
    observed: Option<Sandbox>,
}

impl<'a> OneRun<'a> {
    /// Makes the place of a run; what comes of it.
    fn set(
        config: &'a StressConfig,
        plan: &Plan,
        observed: Option<Sandbox>,
        name: &'a str,
    ) -> Result<impl Future<Output = Result<(Outcome, Result<Observed, String>)>> + use<'a>> {
        let (to, forwarded) = channel();
        let watched = match plan.program {
            Some(Program::Running(pid)) => program::running(pid)?,
            _ => Vec::new(),
        };
        let job = Job::Run(plan.clone());
        let first = match plan.has_place() {
            true => place::start_in_new(&job, to.clone(), Message::Run)?,
            false => place::start(&job, &[], to.clone(), Message::Run)?,
        };
        let (told, messages) = unbounded_channel();
        let forward = move || while forwarded.recv().is_ok_and(|one| told.send(one).is_ok()) {};
        thread::Builder::new().name("messages".to_owned()).spawn(forward).context("can't read")?;
        let observer = Err("not observed".to_owned());
        let one = Self { config, name, first, observer, messages, observed, watched };
        Ok(async move { one.run(&to).await })
    }
}

impl OneRun<'_> {
    async fn run(
        mut self,
        to: &std::sync::mpsc::Sender<Message>,
    ) -> Result<(Outcome, Result<Observed, String>)> {
        let mut signals = EndSignals::catch()?;
        tokio::select! {
            ready = self.wait_until_ready() => ready?,
            () = signals.next() => bail!("ended before it began"),
        }
        if self.observed.is_some() {
            self.observer = self.observe(to).map_err(|error| format!("{error:#}"));
        }
        if self.observer.is_ok() {
            tokio::select! {
                failed = self.wait_for_observer() => if let Some(why) = failed {
                    self.observer = Err(why);
                },
                () = signals.next() => bail!("ended before it began"),
            }
        }
        self.first.go();
        let (mut outcome, searched, mut seen) = self.watch(&mut signals).await?;
        if let Ok(observer) = &self.observer {
            observer.terminate();
            if seen.is_none() {
                seen = self.wait_for_observed().await;
            }
        }
        self.first.stop();
        for (connections, p50_ns) in searched {
            let of = |one: &&mut crate::stress::Milestone| one.connections == connections;
            if let Some(milestone) = outcome.milestones.iter_mut().find(of) {
                milestone.search_p50_seconds = Some(p50_ns as f64 / 1e9);
            }
        }
        if let Some(seen) = &seen {
            outcome.take_observed(seen);
        }
        let missing = match &self.observer {
            Ok(_) => "it ended without a word".to_owned(),
            Err(why) => why.clone(),
        };
        Ok((outcome, seen.ok_or(missing)))
    }

    /// Waits until the place stands.
    async fn wait_until_ready(&mut self) -> Result<()> {
        loop {
            match self.messages.recv().await {
                Some(Message::Run(Some(Ok(Line::Ready)))) => return Ok(()),
                Some(Message::Run(said)) => failed(said)?,
                Some(Message::Observer(_)) => {}
                None => bail!("the first process of the namespace is gone"),
            }
        }
    }

    fn observe(&self, to: &std::sync::mpsc::Sender<Message>) -> Result<Part> {
        let path = format!("/proc/{}/ns/net", self.first.pid());
        let job = Job::Observe(ObserveJob {
            netns: settings::resolve(&path)?.inode,
            pids: self.watched.clone(),
            to: self.config.plan.target,
            backend: self.config.backend.map(|backend| backend.name().to_owned()),
            buffer_size: self.config.buffer_size,
            record: self.config.record.clone(),
            is_confined: self.observed == Some(Sandbox::On),
        });
        place::start(&job, &[], to.clone(), Message::Observer)
    }

    /// Waits until the observer observes. Something: why it does not.
    async fn wait_for_observer(&mut self) -> Option<String> {
        let until = Instant::now() + ATTACHING;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.messages.recv()).await {
                Ok(Some(Message::Observer(Some(Ok(Line::Observing))))) => return None,
                Ok(Some(Message::Observer(said))) => {
                    return failed(said).err().map(|error| format!("{error:#}"));
                }
                Ok(Some(Message::Run(None)) | None) | Err(_) => {
                    return Some("it did not begin".to_owned());
                }
                Ok(Some(Message::Run(_))) => {}
            }
        }
    }

    /// Takes in what is said until the run is over: with how long the kernel searched, at numbers of
    /// connections, and what the observer saw if it has said so already.
    async fn watch(
        &mut self,
        signals: &mut EndSignals,
    ) -> Result<(Outcome, Vec<(u64, u64)>, Option<Observed>)> {
        // What a program writes goes there too.
        let is_command = matches!(self.config.plan.program, Some(Program::Command(_)));
        let is_shown = io::stderr().is_terminal() && !is_command;
        let (mut searched, mut seen) = (Vec::new(), None);
        let mut until = None;
        let clear = || {
            if is_shown {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
        };
        loop {
            let message = tokio::select! {
                message = self.messages.recv() => message,
                () = signals.next() => {
                    if until.is_some() {
                        bail!("ended before its report");
                    }
                    self.first.stop();
                    until = Some(tokio::time::Instant::now() + LAST);
                    continue;
                }
                () = at(until) => bail!("no report came within {} s of the signal", LAST.as_secs()),
            };
            match message {
                Some(Message::Run(Some(Ok(Line::Progress(progress))))) => {
                    if is_shown {
                        let text = text::progress(&progress, self.name);
                        let _ = write!(io::stderr(), "\r{text}\x1b[K");
                    }
                }
                Some(Message::Run(Some(Ok(Line::Over(outcome))))) => {
                    clear();
                    return Ok((*outcome, searched, seen));
                }
                Some(Message::Run(said)) => {
                    clear();
                    failed(said)?;
                }
                Some(Message::Observer(Some(Ok(line)))) => match line {
                    Line::Searched { connections, p50_ns } => searched.push((connections, p50_ns)),
                    Line::Observed(what) => seen = Some(what),
                    Line::Failed { why } => self.observer = Err(why),
                    _ => {}
                },
                Some(Message::Observer(_)) => {}
                None => bail!("the first process of the namespace is gone"),
            }
        }
    }

    async fn wait_for_observed(&mut self) -> Option<Observed> {
        let until = Instant::now() + ENDING;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.messages.recv()).await {
                Ok(Some(Message::Observer(Some(Ok(Line::Observed(what)))))) => return Some(what),
                Ok(Some(Message::Observer(None)) | None) | Err(_) => return None,
                Ok(Some(_)) => {}
            }
        }
    }
}

/// Returns then; never, where there is no such time.
async fn at(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The error of a part that said so, or ended.
fn failed(said: Option<Result<Line>>) -> Result<()> {
    match said {
        Some(Ok(Line::Failed { why })) => bail!("{why}"),
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(error),
        None => bail!("a process of the run ended without a word"),
    }
}
