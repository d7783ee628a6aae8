//! The answer from the kernel programs that `live` has: their first scan, and where TIME_WAIT entries
//! are in the way a look at who connects there.

use std::{
    collections::HashMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{super::event_loop, Known};
use crate::{
    config::Lines,
    event::{Endpoint, Via},
    pipeline::{BATCH, Stream},
    probe::Backend,
    process::Process,
    report::{Body, Report, Sink},
    sandbox::{Sandbox, Task},
    sink::Output,
    source::{Looks, Observer, Options, Source as _},
    why::{self, Answer, Call, How, Question, Verdict},
};

/// How long it is looked who connects to a destination whose TIME_WAIT entries are nobody's.
const WATCH: Duration = Duration::from_secs(2);
/// How long the first scan may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Room for events between the kernel and this program.
const BUFFER_BYTES: u32 = 4 << 20;
/// So many callers are noted.
const MOST_CALLERS: usize = 1000;

/// Answers.
///
/// # Errors
/// When no kernel programs can be used, or what they list is not enough.
pub(super) fn answer(
    question: &Question,
    known: &Known<'_>,
    output: Output,
    sandbox: Sandbox,
) -> Result<Answer> {
    event_loop()?.block_on(observe(question, known, output, sandbox))
}

async fn observe(
    question: &Question,
    known: &Known<'_>,
    output: Output,
    sandbox: Sandbox,
) -> Result<Answer> {
    let mut observer = match start(question) {
        Ok(observer) => observer,
        Err(error) => {
            // What comes instead reads lists.
            sandbox.enter(&Task::List { namespaces: true, keeps: false });
            return Err(error);
        }
    };
    sandbox.enter(&Task::Follow { backend: observer.backend(), recording: None, command: None });
    let knows_binds = observer.knows_binds();
    if !knows_binds {
        bail!("this kernel has no iterators over sockets");
    }
    let callers = Callers::of(question);
    let mut stream = Stream::of_host(&Lines::everything(output), &observer, callers)?;
    let began = Instant::now();
    let mut is_watching = false;
    let until_listed = loop {
        stream.take_in(&mut observer, BATCH)?;
        if stream.ledger().knows_all() {
            let found = look(question, known, &mut stream)?;
            if is_watching || !is_worth_watching(&found) {
                break found;
            }
            is_watching = true;
            watch(&mut observer, &mut stream).await?;
            continue;
        }
        if began.elapsed() > PATIENCE {
            bail!("what is held could not be listed within {} s", PATIENCE.as_secs());
        }
        let _ = tokio::time::timeout(Duration::from_millis(50), observer.ready()).await;
    };
    Ok(until_listed)
}

/// The best backend that loads.
fn start(question: &Question) -> Result<Observer> {
    let options = |backend| Options {
        backend: Some(backend),
        looks: Looks { netns: vec![question.netns], protocols: vec![question.protocol] },
        buffer_size: BUFFER_BYTES,
        states: false,
    };
    let mut last = None;
    for backend in [Backend::Fexit, Backend::Kprobe, Backend::Tracepoint] {
        match Observer::start(options(backend)) {
            Ok(observer) => return Ok(observer),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("there is no backend")?)
}

/// What is so now.
fn look(question: &Question, known: &Known<'_>, stream: &mut Stream<Callers>) -> Result<Answer> {
    let now_ns = stream.now_ns()?;
    let (ledger, callers) = stream.both();
    ledger.advance(now_ns);
    if ledger.holdings().settings_of(question.netns).is_none() {
        bail!("the network namespace was not found among those of processes and names");
    }
    let seen = callers.seen.values().cloned().collect();
    let lost = ledger.totals().lost;
    let mut facts = known.facts(ledger.holdings(), question, seen, true);
    if lost > 0 {
        facts
            .missing
            .push(format!("{lost} events that were lost, or sockets beyond what is counted"));
    }
    Ok(why::answer(question.clone(), &facts))
}

/// TIME_WAIT entries are in the way, and nobody knows whose they are.
fn is_worth_watching(answer: &Answer) -> bool {
    let is_nobodys = |holder: &why::Holder| holder.name.is_none() || holder.likely;
    answer.verdict == Verdict::Exhausted
        && answer
            .blocked
            .iter()
            .any(|one| one.how == How::TimeWait && one.holders.iter().any(is_nobodys))
}

async fn watch(observer: &mut Observer, stream: &mut Stream<Callers>) -> Result<()> {
    let began = Instant::now();
    while let Some(left) = WATCH.checked_sub(began.elapsed()) {
        if let Ok(ready) = tokio::time::timeout(left, observer.ready()).await {
            ready?;
        }
        stream.take_in(observer, BATCH)?;
    }
    Ok(())
}

/// Who calls connect() to one destination.
struct Callers {
    destination: Option<Endpoint>,
    seen: HashMap<(u32, u64), Arc<Process>>,
}

impl Callers {
    fn of(question: &Question) -> Self {
        let destination = match question.call {
            Call::Connect { destination, .. } => Some(destination),
            Call::Bind { .. } => None,
        };
        Self { destination, seen: HashMap::new() }
    }
}

impl Sink for Callers {
    fn set_offset(&mut self, _offset_ns: i64) {}

    fn report(&mut self, report: &Report) -> io::Result<()> {
        let port = match &report.body {
            Body::Acquire { port, via: Via::Connect, .. }
            | Body::Exhausted { port, via: Via::Connect, .. } => port,
            _ => return Ok(()),
        };
        if self.destination.is_some()
            && port.remote == self.destination
            && self.seen.len() < MOST_CALLERS
            && let Some(caller) = &port.caller
        {
            let process = &caller.process;
            self.seen.insert((process.pid, process.start_time_ns), Arc::clone(process));
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
