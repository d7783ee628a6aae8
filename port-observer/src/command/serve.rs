//! `serve`: observes, and answers over HTTP until told to stop.

mod answers;
mod failed;
mod leased;
mod leasing;
mod map;
mod sockets;
mod supervisor;
mod textfile;
mod top;

use std::{sync::Arc, time::Duration};

use anyhow::{Result, bail};
use tokio::time::{MissedTickBehavior, interval};

use self::{
    answers::Answers, failed::Failed, leased::Leased, sockets::Told, supervisor::Supervisor,
    textfile::Textfile,
};
use super::{event_loop, live::first_line, pools, replay, report};
use crate::{
    config::ServeConfig,
    kernel::{clock, netns, rights::as_caller},
    metrics::{Counters, Own},
    notice,
    pipeline::{BATCH, Stream},
    recording::Recorder,
    sandbox::{Recording, Sandbox, Task},
    serve::{
        self, Feed, History, Journal, Past, Pools, Questions, Reports, Server, guard::Tokens,
        listen::Bound,
    },
    source::{Observer, Source as _},
};

/// What takes the reports.
type Sinks = (Counters, (Failed, Feed));

/// Serves until told to stop.
///
/// # Errors
/// When it can't listen or observe, or the recording can't be written.
pub fn run(config: ServeConfig, sandbox: Sandbox) -> Result<()> {
    let runtime = event_loop()?;
    runtime.block_on(serve(&config, sandbox))
}

async fn serve(config: &ServeConfig, sandbox: Sandbox) -> Result<()> {
    let mut told = Told::catch()?;
    let tokens = config.tokens.clone().map(|path| as_caller(|| Tokens::read(path))).transpose()?;
    // Before anything that takes time: who connects waits for the first answer.
    let bound = as_caller(|| sockets::bind(config, tokens.as_ref()))?;
    let places: Vec<String> = bound.iter().map(Bound::place).collect();
    let mut observer = Observer::start(config.live.observed())?;
    confine(config, &observer, &bound, sandbox);

    let offset_ns = clock::offset_ns()?;
    let started = Duration::from_nanos(clock::now_boot_ns()?.saturating_add_signed(offset_ns));
    let journal = Journal::new();
    let has = |is_trusted| bound.iter().any(|bound| bound.is_trusted() == is_trusted);
    let feed = Feed::new(Arc::clone(&journal), has(true), has(false));
    let mut stream = Stream::of_host(
        &config.live.lines,
        &observer,
        (Counters::default(), (Failed::default(), feed)),
    )?;
    stream.is_silent();
    if let Some(recording) = config.live.recording.clone() {
        let is_sticky = observer.is_blocking_sticky();
        stream.record_into(as_caller(|| Recorder::open(recording, is_sticky))?);
    }
    let netns = netns::own_inode()?;
    let (questions, asked) = serve::questions();
    let start = first_line(&observer)?;
    let answers = Answers::new(Own::new(&start, started), &start, netns, config.max_series);
    stream.start(start)?;
    let reports = config.live.recording.as_ref().map(|recording| {
        let file = recording.path.clone();
        let history = History::by(move || report::history::written(&file));
        let file = recording.path.clone();
        Reports::by(move |asked| report::written(&file, asked), history)
    });
    // What is wrong is said before anybody asks.
    let declared = config.pools.as_ref().map(|of| pools::declared(&of.files)).transpose()?;
    let declared = declared.unwrap_or_default();
    let past = config.live.recording.as_ref().map(|recording| {
        let (file, lines, pools) =
            (recording.path.clone(), config.live.lines.clone(), declared.clone());
        Past::by(move |from_ns, sink| {
            replay::lines_since(&file, from_ns, lines.clone(), pools.clone(), sink)
        })
    });
    let pools = match &config.pools {
        Some(of) => {
            let watch = pools::watch(declared, Some(netns), &config.live.lines);
            stream.watch_pools(watch, observer.named());
            let (pools, asked) = Pools::new();
            leasing::start(of, asked)?;
            Some(pools)
        }
        None => None,
    };
    let leased = pools.clone().map(Leased::new);
    let options = serve::Options { bound, journal, questions, reports, past, pools };
    let server = Server::start(options)?;
    notice::say(format_args!("serving on {}", places.join(" and ")));
    let textfile = config.textfile.clone().map(Textfile::new);
    let mut serving = Serving {
        observer: &mut observer,
        stream: &mut stream,
        answers,
        textfile,
        leased,
        config,
        tokens: tokens.as_deref(),
        supervisor: Supervisor::new(),
    };
    let watched = serving.watch(asked, &server, &mut told).await;
    serving.supervisor.stopping();

    let ended = stream.end(observer, watched);
    // The last line is in the journal: clients get it.
    server.finish();
    ended
}

fn confine(config: &ServeConfig, observer: &Observer, bound: &[Bound], sandbox: Sandbox) {
    let recording = config.live.recording.as_ref();
    let beside = recording.map(|to| Recording { path: &to.path, has_group: to.group.is_some() });
    sandbox.enter(&Task::Serve {
        backend: observer.backend(),
        recording: beside,
        textfile: config.textfile.as_deref(),
        removes: bound.iter().any(Bound::is_file),
        leases: config.pools.is_some(),
    });
}

/// Everything that the loop looks after.
struct Serving<'a> {
    observer: &'a mut Observer,
    stream: &'a mut Stream<Sinks>,
    answers: Answers,
    textfile: Option<Textfile>,
    leased: Option<Leased>,
    config: &'a ServeConfig,
    tokens: Option<&'a Tokens>,
    supervisor: Supervisor,
}

impl Serving<'_> {
    /// Takes events in and answers questions until told to stop.
    async fn watch(
        &mut self,
        mut asked: Questions,
        server: &Server,
        told: &mut Told,
    ) -> Result<()> {
        let mut second = interval(Duration::from_secs(1));
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watchdog = self.supervisor.watchdog();
        loop {
            self.stream.take_in(self.observer, BATCH)?;
            self.stream.flush()?;
            if self.stream.ledger().knows_all() {
                self.supervisor.ready();
            }
            tokio::select! {
                ready = self.observer.ready() => ready?,
                _ = second.tick() => self.tick(server)?,
                _ = watchdog.tick() => self.supervisor.is_alive(),
                Some(question) = asked.recv() => {
                    let leases = self.leased.as_ref();
                    self.answers.answer(question, self.stream, leases)?;
                }
                is_end = told.next() => {
                    if is_end {
                        return Ok(());
                    }
                    self.reload();
                }
            }
        }
    }

    fn tick(&mut self, server: &Server) -> Result<()> {
        self.stream.tick()?;
        if let Some(leased) = &mut self.leased {
            leased.tick();
        }
        if server.has_failed() {
            bail!("the server ended");
        }
        if let Some(textfile) = &mut self.textfile
            && textfile.is_due()
        {
            let leases = self.leased.as_ref().and_then(Leased::counts);
            textfile.write(&self.answers.metrics(self.stream, leases)?);
        }
        let totals = self.stream.ledger().totals();
        self.supervisor.status(&totals);
        Ok(())
    }

    fn reload(&mut self) {
        self.supervisor.reloading();
        if let Some(tokens) = self.tokens
            && let Err(error) = as_caller(|| tokens.read_again())
        {
            log::error!("{error:#}; the tokens that were read before go on being taken");
        }
        if let Some(of) = &self.config.pools {
            match pools::watched(&of.files, &self.config.live.lines) {
                Ok(watch) => self.stream.watch_pools(watch, &[]),
                Err(error) => {
                    log::error!("{error:#}; the pools that were read before go on being watched");
                }
            }
        }
        self.supervisor.reloaded();
    }
}
