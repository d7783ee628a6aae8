//! A running `port-observer live --json`, its lines collected as they come.

use std::collections::HashSet;
use std::env;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};
use std::{fs, thread};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lines::{Body, Line, Order, Start};
use crate::system::{self, Backend};

/// How soon it is looked again whether something has happened that no line tells.
const LOOK: Duration = Duration::from_millis(2);

/// An observer. It is killed when this is dropped, and when this process ends.
pub struct Observer {
    pid: Pid,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<Line>,
    watched: Option<HashSet<u32>>,
    order: Order,
    fault: Option<String>,
    errors: String,
    ended: Option<ExitStatus>,
}

/// What an observer left when it ended.
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// All that it wrote to standard output.
    pub lines: Vec<Line>,
    /// All that it wrote to standard error.
    pub errors: String,
}

impl Observer {
    /// The one that all scenarios of this test binary share. `None`: this machine can't run it and
    /// nobody asked for it by name; the reason is printed.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Observer>> = OnceLock::new();
        SHARED.get_or_init(|| Self::own(&[])).as_ref()
    }

    /// Another one with arguments of its own; `None` as for [`Observer::shared`].
    pub fn own(arguments: &[&str]) -> Option<Self> {
        match Self::start(arguments) {
            Ok(observer) => Some(observer),
            Err(error) if system::must_load() => panic!("{error:#}"),
            Err(error) => {
                println!("skipped: {error:#}");
                None
            }
        }
    }

    /// Starts `live --json` with the chosen backend and waits for its `start` line.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        Self::with_backend(Backend::chosen().name(), arguments)
    }

    /// The same with a named backend.
    pub fn with_backend(backend: &str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(system::program()?);
        command.args(["live", "--json", "--backend", backend]).args(arguments);
        let is_alone =
            system::in_virtual_machine() || env::var_os("PORT_OBSERVER_CONNECTS").is_some();
        if !is_alone && !arguments.contains(&"--buffer-size") {
            // Beside the load test, what reads the lines is slower than what writes them.
            command.args(["--buffer-size", "64MiB"]);
        }
        let described = format!("{command:?}");
        // One at a time: the kernel attaches probes one after the other, and slowly.
        static STARTING: Mutex<()> = Mutex::new(());
        let _guard = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = Arc::new(Shared::default());
        let pid = collect(command, &shared).with_context(|| format!("start {described}"))?;
        let observer = Self { pid, shared };
        observer
            .wait(|state| state.start().is_some().then_some(()))
            .with_context(|| format!("wait for the first line of {described}"))?;
        Ok(observer)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }

    /// The first line.
    pub fn first_line(&self) -> Start {
        let state = self.shared.lock();
        state.start().expect("an observer exists once its start line came").clone()
    }

    /// How many lines have come so far.
    pub fn position(&self) -> usize {
        self.shared.lock().lines.len()
    }

    /// Keeps from now on only lines of watched namespaces, this one among them. What else goes on
    /// on the machine is checked and dropped.
    pub fn watch(&self, netns: u32) {
        self.shared.lock().watched.get_or_insert_default().insert(netns);
    }

    /// Waits until `found` returns something of the lines after `position`.
    ///
    /// # Errors
    /// Time is up, the observer ended, or its stream is not as it should be.
    pub fn wait_lines<T>(
        &self,
        position: usize,
        found: impl FnMut(&[Line]) -> Option<T>,
    ) -> Result<T> {
        self.wait_lines_within(system::patience(), position, found)
    }

    /// The same, with a time of its own.
    ///
    /// # Errors
    /// The same.
    pub fn wait_lines_within<T>(
        &self,
        time: Duration,
        position: usize,
        mut found: impl FnMut(&[Line]) -> Option<T>,
    ) -> Result<T> {
        self.wait_within(time, |state| found(&state.lines[position..]))
    }

    fn wait<T>(&self, found: impl FnMut(&State) -> Option<T>) -> Result<T> {
        self.wait_within(system::patience(), found)
    }

    fn wait_within<T>(
        &self,
        time: Duration,
        mut found: impl FnMut(&State) -> Option<T>,
    ) -> Result<T> {
        let end = Instant::now() + time;
        let mut state = self.shared.lock();
        loop {
            if let Some(fault) = &state.fault {
                bail!("the observer's stream is wrong: {fault}\n{}", state.errors);
            }
            if let Some(found) = found(&state) {
                return Ok(found);
            }
            if let Some(status) = state.ended {
                bail!("the observer ended ({status}): {}", state.errors.trim_end());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("it did not come within {time:?}. {}", state.errors);
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Sends a signal to it.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal).expect("signal the observer");
    }

    /// Stops it with SIGSTOP and waits until it stands still.
    pub fn stopped(&self) {
        self.signal(Signal::SIGSTOP);
        let path = format!("/proc/{}/task", self.pid);
        until("all threads of the observer are stopped", || {
            fs::read_dir(&path).expect("the observer's threads").all(|thread| {
                let stat = thread.and_then(|t| fs::read_to_string(t.path().join("stat")));
                // The state follows the name, which is in parentheses.
                stat.is_ok_and(|s| s.rsplit(')').next().is_some_and(|s| s.starts_with(" T")))
            })
        });
    }

    /// Waits for its end.
    pub fn ended(self) -> Ended {
        self.ended_within(system::patience())
    }

    /// The same, with a time of its own.
    pub fn ended_within(self, time: Duration) -> Ended {
        let status = self.wait_within(time, |state| state.ended);
        let status = status.unwrap_or_else(|error| panic!("wait for its end: {error:#}"));
        let mut state = self.shared.lock();
        Ended {
            status,
            lines: std::mem::take(&mut state.lines),
            errors: std::mem::take(&mut state.errors),
        }
    }

    /// Ends it with SIGINT. All that happened before is in the lines.
    pub fn interrupted(self) -> Ended {
        self.interrupted_within(system::patience())
    }

    /// The same, with a time of its own for what it has yet to write.
    pub fn interrupted_within(self, time: Duration) -> Ended {
        self.signal(Signal::SIGINT);
        let ended = self.ended_within(time);
        assert_eq!(ended.status.code(), Some(0), "after SIGINT: {}", ended.errors);
        assert!(matches!(ended.lines.last(), Some(Line { body: Body::Stop(_), .. })));
        ended
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        if self.shared.lock().ended.is_none() {
            // It is reaped only by the thread that reads it, so that the pid is still its own.
            let _ = kill(self.pid, Signal::SIGKILL);
        }
    }
}

impl State {
    fn start(&self) -> Option<&Start> {
        match &self.lines.first()?.body {
            Body::Start(start) => Some(start),
            _ => None,
        }
    }

    fn keeps(&self, line: &Line) -> bool {
        match (line.netns(), &self.watched) {
            (Some(netns), Some(watched)) => watched.contains(&netns),
            _ => true,
        }
    }

    /// Takes a line; returns whether that changed anything.
    fn take(&mut self, text: &str) -> bool {
        let line = Line::parse(text).and_then(|line| self.order.check(&line).map(|()| line));
        match line {
            Ok(line) if self.keeps(&line) => self.lines.push(line),
            Ok(_) => return false,
            Err(error) => {
                self.fault.get_or_insert(format!("{error:#}"));
            }
        }
        true
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State) -> bool) {
        if change(&mut self.lock()) {
            self.changed.notify_all();
        }
    }
}

/// Runs the command on a thread that lives as long as it: the kernel sends the signal at the
/// parent's death when the *thread* dies that made the process (prctl(2), PR_SET_PDEATHSIG).
fn collect(mut command: Command, shared: &Arc<Shared>) -> Result<Pid> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Not the namespace that the calling test has made for itself.
    let namespace = fs::File::open("/proc/self/ns/net").context("open /proc/self/ns/net")?;
    // SAFETY: between fork and exec only setns() and prctl() are called: async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            setns(&namespace, CloneFlags::CLONE_NEWNET)?;
            Ok(set_pdeathsig(Signal::SIGKILL)?)
        });
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let shared = Arc::clone(shared);
    thread::spawn(move || match system::spawn(&mut command) {
        Err(error) => {
            let _ = sender.send(Err(error));
        }
        Ok(child) => {
            let _ = sender.send(Ok(Pid::from_raw(child.id().cast_signed())));
            read_to_the_end(child, &shared);
        }
    });
    Ok(receiver.recv()??)
}

fn read_to_the_end(mut child: Child, shared: &Arc<Shared>) {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let errors = Arc::clone(shared);
    let errors = thread::spawn(move || {
        for line in BufReader::new(stderr.expect("standard error is a pipe")).lines() {
            errors.change(|state| {
                state.errors.push_str(&line.unwrap_or_default());
                state.errors.push('\n');
                true
            });
        }
    });
    let mut stdout = stdout.expect("standard output is a pipe");
    // Read apart from parsed: a pipe that is full would stop the observer.
    let (sender, receiver) = mpsc::channel::<Vec<u8>>();
    let parsing = Arc::clone(shared);
    let parser = thread::spawn(move || parse(&receiver, &parsing));
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = stdout.read(&mut buffer) {
        let _ = sender.send(buffer[..length].to_vec());
    }
    drop(sender);
    let _ = (parser.join(), errors.join());
    let status = child.wait().expect("wait for the observer");
    shared.change(|state| {
        state.ended = Some(status);
        true
    });
}

fn parse(chunks: &mpsc::Receiver<Vec<u8>>, shared: &Shared) {
    let mut rest = Vec::new();
    for chunk in chunks {
        rest.extend(chunk);
        let complete = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let lines = String::from_utf8_lossy(&rest[..complete]).into_owned();
        rest.drain(..complete);
        for line in lines.lines() {
            shared.change(|state| state.take(line));
        }
    }
    if !rest.is_empty() {
        let text = String::from_utf8_lossy(&rest);
        shared.change(|state| state.take(&text));
    }
}

/// Waits until `done` is true.
pub fn until(what: &str, done: impl FnMut() -> bool) {
    until_within(what, system::patience(), done);
}

/// The same, with a time of its own.
pub fn until_within(what: &str, time: Duration, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        let waited = began.elapsed();
        assert!(waited < time, "waited in vain until {what}");
        // The longer it takes the less often: an emulated processor's time leaps while it rests.
        thread::sleep((waited / 16).clamp(LOOK, 100 * LOOK));
    }
}
