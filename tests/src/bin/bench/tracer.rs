//! A tracer at work: the program, or bpftrace.

use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, CpuSet, sched_setaffinity, setns};
use nix::sys::signal::{Signal, kill};
use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde_json::Value;
use tests::system;

use crate::Setup;

/// How long a tracer may take to start or to end. Emulated processors are slow.
const PATIENCE: Duration = Duration::from_secs(60);
/// A tracer that sleeps this long has nothing to do.
const QUIET: Duration = Duration::from_millis(150);
/// bpftrace's program for the same job: each state change with process and ports.
const BPFTRACE: &str = "tracepoint:sock:inet_sock_set_state \
    { printf(\"%d %d %d %d %d\\n\", pid, args->oldstate, args->newstate, args->sport, args->dport); }";

/// Runs its arguments in its own place, with tracefs.
const TRACEFS: &str = "mountpoint -q /sys/kernel/tracing \
    || mount -t tracefs tracefs /sys/kernel/tracing; exec \"$@\"";

/// Where a tracer's output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Nowhere.
    Null,
    /// To whoever asks for a line.
    Pipe,
}

/// A running tracer. It is killed when this is dropped.
pub struct Tracer {
    child: Child,
    output: Option<BufReader<ChildStdout>>,
}

impl Tracer {
    /// Starts the program on a processor of its own and waits until it observes.
    pub fn observer(setup: &Setup, arguments: &[&str], output: Output) -> Result<Self> {
        Self::observer_on(setup, arguments, output, Some(setup.place.tracer))
    }

    /// The same on that processor, or on any.
    pub fn observer_on(
        setup: &Setup,
        arguments: &[&str],
        output: Output,
        processor: Option<usize>,
    ) -> Result<Self> {
        let mut command = Command::new(&setup.program);
        command.args(["live", "--json", "--backend", &setup.backend]).args(arguments);
        let mut tracer = Self::start(setup, command, output, processor)?;
        if output == Output::Pipe {
            let first = tracer.line()?;
            if first["type"] != "start" {
                bail!("the program's first line is {first}");
            }
        }
        tracer.wait_quiet()?;
        Ok(tracer)
    }

    /// The same with bpftrace.
    pub fn bpftrace(setup: &Setup, program: &std::path::Path) -> Result<Self> {
        // It needs tracefs, which it gets in a mount namespace of its own.
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", TRACEFS, "sh"]);
        command.arg(program).args(["-e", BPFTRACE]);
        let mut tracer = Self::start(setup, command, Output::Null, Some(setup.place.tracer))?;
        tracer.wait_quiet()?;
        Ok(tracer)
    }

    fn start(
        setup: &Setup,
        mut command: Command,
        output: Output,
        processor: Option<usize>,
    ) -> Result<Self> {
        let to = if output == Output::Null { Stdio::null() } else { Stdio::piped() };
        command.stdin(Stdio::null()).stdout(to).stderr(Stdio::inherit());
        let home = setup.place.home.try_clone().context("copy a descriptor")?;
        let mut allowed = CpuSet::new();
        for one in processor.map_or(setup.place.traffic..=setup.place.tracer, |one| one..=one) {
            allowed.set(one).context("a processor's number")?;
        }
        // SAFETY: between fork and exec only system calls, which are async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                // It ends with this program, however that ends.
                nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
                setns(home.as_fd(), CloneFlags::CLONE_NEWNET)?;
                sched_setaffinity(Pid::from_raw(0), &allowed)?;
                Ok(())
            });
        }
        let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
        let output = child.stdout.take().map(BufReader::new);
        Ok(Self { child, output })
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// The next line of its output.
    pub fn line(&mut self) -> Result<Value> {
        let output = self.output.as_mut().context("its output goes nowhere")?;
        let mut line = String::new();
        output.read_line(&mut line).context("read its output")?;
        if line.is_empty() {
            bail!("it ended: {:?}", self.child.wait());
        }
        serde_json::from_str(&line).with_context(|| format!("it wrote {line:?}"))
    }

    /// Its processor time so far, in seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let clock = clock_getcpuclockid(self.pid()).context("the tracer's clock")?;
        Ok(Duration::from(clock_gettime(clock).context("the tracer's clock")?).as_secs_f64())
    }

    /// Waits until it has attached its programs and has done what there is to do.
    pub fn wait_quiet(&mut self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        let mut since = Instant::now();
        let mut before = (0, 0.0);
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().context("wait for the tracer")? {
                bail!("the tracer ended: {status}");
            }
            let programs = crate::programs::ids(self.pid())?.len();
            let (seen, seconds) = before;
            let now = self.cpu_seconds()?;
            let sleeps = self.state()? == 'S';
            // A look around once a second is no work.
            if programs == 0 || programs != seen || !sleeps || now - seconds > 0.002 {
                since = Instant::now();
            } else if since.elapsed() > QUIET {
                return Ok(());
            }
            before = (programs, now);
            sleep(Duration::from_millis(5));
        }
        bail!("the tracer was not quiet within {PATIENCE:?}")
    }

    fn state(&self) -> Result<char> {
        let stat = system::read(format!("/proc/{}/stat", self.pid()))?;
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        state.with_context(|| format!("/proc/{}/stat is {stat:?}", self.pid()))
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid(), signal).with_context(|| format!("send {signal} to the tracer"))
    }

    /// Ends it, and returns its last line, if its output is read.
    pub fn stop(mut self) -> Result<Option<Value>> {
        self.signal(Signal::SIGINT)?;
        let mut last = None;
        if self.output.is_some() {
            let end = Instant::now() + PATIENCE;
            while last.as_ref().is_none_or(|line: &Value| line["type"] != "stop") {
                last = Some(self.line()?);
                if Instant::now() > end {
                    bail!("the tracer did not end within {PATIENCE:?}");
                }
            }
        }
        let end = Instant::now() + PATIENCE;
        loop {
            match self.child.try_wait().context("wait for the tracer")? {
                Some(status) if status.success() => return Ok(last),
                Some(status) => bail!("the tracer ended with {status}"),
                None if Instant::now() > end => bail!("the tracer did not end within {PATIENCE:?}"),
                None => sleep(Duration::from_millis(2)),
            }
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
