//! The thread that writes: commits at least once a second, waits out a full disk, follows when its
//! file is moved away, and leaves waiting for a slow disk to [`super::disk`].

use std::{
    sync::{Arc, atomic::Ordering, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use super::{
    claim::Whereabouts,
    disk::{Log, Storage},
    entry::{Entry, Input},
    faults::may_pass,
    recorder::{Message, Moment, Options, RunStart, Shared},
    say::say,
    target::{Now, Target, lost_entry},
};

/// How often it is tried whether a full disk has room again, or a new file can be begun.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is looked whether the file is still at its path.
const LOOK: Duration = Duration::from_millis(200);

pub(super) struct Writer {
    /// `None`: it is gone, and another could not be begun so far.
    target: Option<Target>,
    options: Options,
    receiver: mpsc::Receiver<Message>,
    shared: Arc<Shared>,
    storage: fn(Log) -> Box<dyn Storage>,
    state: State,
    run: Option<Box<RunStart>>,
    /// The beginning of the run is to be written into this file.
    is_unstarted: bool,
    /// It was written into one before.
    has_started: bool,
    now: Now,
    /// A checkpoint was asked for and has not come.
    has_asked: bool,
    /// What was held before this file was begun is not in it.
    lacks_holdings: bool,
    /// Entries that were not recorded, or are gone with a file, since the last checkpoint.
    lost: u64,
    looked: Instant,
    retained: Instant,
    /// The file was moved, and its log could not be copied into it so far.
    is_gone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Recording,
    /// The disk is full, or there is no file; tried again then.
    Paused {
        retry: Instant,
    },
    /// There is room again: what is held now is asked for.
    Resuming,
    /// Nothing more can be written.
    Failed,
}

impl Writer {
    pub(super) fn open(
        options: Options,
        receiver: mpsc::Receiver<Message>,
        shared: Arc<Shared>,
        storage: fn(Log) -> Box<dyn Storage>,
    ) -> Result<Self> {
        let target = Target::open(&options, &shared, storage)?;
        Ok(Self {
            target: Some(target),
            options,
            receiver,
            shared,
            storage,
            state: State::Recording,
            run: None,
            is_unstarted: false,
            has_started: false,
            now: Now::default(),
            has_asked: false,
            lacks_holdings: false,
            lost: 0,
            looked: Instant::now(),
            retained: Instant::now(),
            is_gone: false,
        })
    }

    /// Writes until the other side is gone.
    pub(super) fn run(mut self) {
        loop {
            let wait = self.wait();
            let message = self.receiver.recv_timeout(wait);
            if self.looked.elapsed() >= LOOK {
                self.look();
            }
            let result = match message {
                Ok(message) => self.take(message),
                Err(mpsc::RecvTimeoutError::Timeout) => self.rest(),
                Err(mpsc::RecvTimeoutError::Disconnected) => return self.end(),
            };
            self.handle(result);
        }
    }

    fn wait(&self) -> Duration {
        let now = Instant::now();
        let target = self.target.as_ref();
        let wait = match (self.state, target.and_then(Target::due)) {
            (State::Paused { retry }, _) => retry.saturating_duration_since(now),
            (_, Some(due)) => due.saturating_duration_since(now),
            (_, None) if self.is_busy() => Duration::ZERO,
            (_, None) => RETRY,
        };
        wait.min(LOOK)
    }

    fn take(&mut self, message: Message) -> rusqlite::Result<()> {
        if let Message::Entries(entries) = &message {
            self.shared.queued.fetch_sub(entries.len(), Ordering::Relaxed);
            self.follow(entries);
        }
        match (message, self.state) {
            (Message::Start(run), _) => {
                self.now = Now { time_ns: run.time_ns, offset_ns: run.offset_ns };
                (self.run, self.is_unstarted) = (Some(run), true);
                if self.state == State::Recording { self.start() } else { Ok(()) }
            }
            (Message::Entries(entries), State::Recording) => self.write(&entries),
            (Message::Checkpoint(moment), State::Recording | State::Resuming) => {
                self.now = Now { time_ns: moment.time_ns, offset_ns: moment.offset_ns };
                self.lost += moment.lost;
                self.checkpoint(&moment)
            }
            (Message::Checkpoint(moment), _) => {
                self.lost += moment.lost;
                Ok(())
            }
            (Message::Stop { time_ns, observed_ns }, _) => self.stop(time_ns, observed_ns),
            (Message::Entries(entries), _) => {
                self.lost += entries.len() as u64;
                self.rest()
            }
            #[cfg(test)]
            (Message::Panic, _) => panic!("asked to"),
        }
    }

    /// Which time it is for the run.
    fn follow(&mut self, entries: &[Entry]) {
        for entry in entries {
            if let Input::Clock(offset_ns) = entry.input {
                self.now.offset_ns = offset_ns;
            }
            self.now.time_ns = self.now.time_ns.max(entry.time_ns);
        }
    }

    /// Nothing came: what else is due.
    fn rest(&mut self) -> rusqlite::Result<()> {
        let Some(target) = &mut self.target else {
            let is_due = matches!(self.state, State::Paused { retry } if Instant::now() >= retry);
            if is_due && let Err(error) = self.begin_file() {
                log::debug!("no new file can be begun: {error:#}");
                self.state = State::Paused { retry: Instant::now() + RETRY };
            }
            return Ok(());
        };
        match self.state {
            State::Recording => {
                if target.due().is_some_and(|due| Instant::now() >= due) {
                    target.commit()?;
                }
                // Deleting is a transaction of its own: what is written but not due has its turn first.
                let is_committed = target.due().is_none();
                if is_committed && (self.retained.elapsed() >= RETRY || self.is_busy()) {
                    self.retain()
                } else {
                    Ok(())
                }
            }
            State::Paused { retry } if Instant::now() >= retry => {
                target.try_room()?;
                self.state = State::Resuming;
                self.ask();
                Ok(())
            }
            State::Paused { .. } | State::Resuming | State::Failed => Ok(()),
        }
    }

    fn start(&mut self) -> rusqlite::Result<()> {
        if let (true, Some(run), Some(target)) = (self.is_unstarted, &self.run, &mut self.target) {
            target.start(run, self.has_started.then_some(self.now))?;
            (self.is_unstarted, self.has_started) = (false, true);
        }
        Ok(())
    }

    fn write(&mut self, entries: &[Entry]) -> rusqlite::Result<()> {
        let Some(target) = &mut self.target else { return Ok(()) };
        if target.write(entries)? { self.retain() } else { Ok(()) }
    }

    fn is_busy(&self) -> bool {
        self.target.as_ref().is_some_and(Target::is_busy)
    }

    fn retain(&mut self) -> rusqlite::Result<()> {
        self.retained = Instant::now();
        let Some(target) = &mut self.target else { return Ok(()) };
        if target.retain()? && !self.has_asked {
            self.ask();
        }
        Ok(())
    }

    fn checkpoint(&mut self, moment: &Moment) -> rusqlite::Result<()> {
        self.start()?;
        let lost = self.lost;
        let is_gap = lost > 0 || self.lacks_holdings;
        let Some(target) = &mut self.target else { return Ok(()) };
        target.checkpoint(moment, lost, is_gap)?;
        self.shared.lost.fetch_add(lost, Ordering::Relaxed);
        (self.lost, self.has_asked, self.lacks_holdings) = (0, false, false);
        if self.state == State::Resuming {
            self.state = State::Recording;
            self.say(&format!("goes on; {lost} events in between are missing"));
        }
        Ok(())
    }

    fn stop(&mut self, time_ns: u64, observed_ns: u64) -> rusqlite::Result<()> {
        self.look();
        let is_writing = matches!(self.state, State::Recording | State::Resuming);
        let Some(target) = self.target.as_mut().filter(|_| is_writing) else { return Ok(()) };
        if self.lost > 0 {
            // No checkpoint comes anymore that would say so.
            target.write(&[lost_entry(time_ns, self.lost)])?;
        }
        target.stop(time_ns, observed_ns)?;
        self.shared.lost.fetch_add(std::mem::take(&mut self.lost), Ordering::Relaxed);
        Ok(())
    }

    /// The other side is gone.
    fn end(mut self) {
        let result = self.target.as_mut().map_or(Ok(()), Target::commit);
        self.handle(result);
        self.look();
        self.shared.lost.fetch_add(self.lost, Ordering::Relaxed);
        if self.target.is_none() {
            self.fail(anyhow!(
                "no new file could be begun in place of the one that was moved or removed; {} events \
                 are missing",
                self.lost
            ));
        } else if self.is_gone {
            self.fail(anyhow!(
                "the file was moved while somebody read it: the end of the recording is still in the \
                 log that was left at its old place"
            ));
        }
    }

    /// Asks the other side what is held.
    fn ask(&mut self) {
        self.has_asked = true;
        self.shared.wants_checkpoint.store(true, Ordering::Relaxed);
    }

    /// Looks whether the file is still at its path, and begins another there if not.
    fn look(&mut self) {
        self.looked = Instant::now();
        let is_failed = self.state == State::Failed;
        let Some(target) = self.target.as_mut().filter(|_| !is_failed) else { return };
        if !target.has_disk() {
            self.fail(anyhow!("the thread that waits for the disk ended unexpectedly"));
            return;
        }
        match target.look() {
            None => {}
            Some(Whereabouts::Here) => self.is_gone = false,
            Some(gone @ Whereabouts::Removed) => {
                let with_it = target.unseen();
                target.roll_back();
                self.lost += with_it;
                self.say(&format!(
                    "has lost its file, which was removed: {with_it} events of the last \
                                   moment are missing"
                ));
                self.follow_to_new_file(&gone);
            }
            Some(gone @ Whereabouts::Moved(_)) => self.complete(&gone),
        }
    }

    /// Completes a file that was moved, and begins another. If somebody reads it for long, it is
    /// written to until that is possible.
    fn complete(&mut self, gone: &Whereabouts) {
        let Some(target) = &mut self.target else { return };
        let place = match gone {
            Whereabouts::Moved(Some(path)) => format!("which was moved to {}", path.display()),
            _ => "which was moved".to_owned(),
        };
        match target.complete() {
            Ok(true) => {
                self.say(&format!("has completed its file, {place}"));
                self.follow_to_new_file(gone);
            }
            Ok(false) if self.is_gone => {}
            Ok(false) => {
                self.is_gone = true;
                self.say(&format!("goes on in its file, {place}, while somebody reads it"));
            }
            Err(error) => {
                self.is_gone = true;
                self.handle(Err(error));
            }
        }
    }

    fn follow_to_new_file(&mut self, gone: &Whereabouts) {
        if let Some(target) = self.target.take() {
            target.leave(gone);
        }
        self.is_gone = false;
        if let Err(error) = self.begin_file() {
            self.state = State::Paused { retry: Instant::now() + RETRY };
            self.say(&format!(
                "is paused: no new file can be begun: {error:#}; it is tried again every second"
            ));
        }
    }

    /// Begins a file at the path, for the run that is under way.
    fn begin_file(&mut self) -> Result<()> {
        self.target = Some(Target::open(&self.options, &self.shared, self.storage)?);
        self.is_unstarted = self.run.is_some();
        self.lacks_holdings = true;
        if let Err(error) = self.start() {
            self.handle(Err(error));
            return Ok(());
        }
        self.ask();
        if let State::Paused { .. } = self.state {
            self.state = State::Resuming;
        } else {
            self.say("goes on in a new file");
        }
        Ok(())
    }

    fn handle(&mut self, result: rusqlite::Result<()>) {
        let Err(error) = result else { return };
        let mut why = error.to_string();
        if let Some(target) = &mut self.target {
            why = target.explained(&error);
            self.lost += target.roll_back();
        }
        if !may_pass(&error) {
            self.fail(anyhow!(error));
            return;
        }
        if self.state == State::Recording {
            self.say(&format!("is paused: {why}; it goes on when there is room"));
        }
        self.state = State::Paused { retry: Instant::now() + RETRY };
    }

    /// Nothing more can be recorded.
    fn fail(&mut self, error: anyhow::Error) {
        self.state = State::Failed;
        let path = self.options.path.display();
        self.shared.fail(error.context(format!("can't go on recording into {path}")));
    }

    fn say(&self, what: &str) {
        say(&self.options.path, what);
    }
}
