//! A command that is run to be observed (`live -- CMD`): forked before the process changes anything of
//! itself, held at a gate until observing has begun, then executed as the caller would have.
//!
//! As perf does: the child waits on a pipe. A parent that goes away, for whatever reason, closes the
//! pipe, and a child that reads its end never executes anything.

mod end;
mod inherited;
mod program;
mod signals;

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::AsFd as _,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    fcntl::OFlag,
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, getpgrp, pipe2, tcgetpgrp},
};
use tokio::io::{Interest, unix::AsyncFd};

pub use self::{end::End, program::Program};

/// What a child says before it waits at the gate: it has become the user that was asked for.
const READY: u8 = 0;

/// The command's process, from its fork to its end. Dropped before it was let go, it is killed and
/// reaped.
pub struct Child {
    pid: Pid,
    /// Who waits for a byte of this has not executed anything yet; `None`: it was let go.
    gate: Option<File>,
    /// Where the child says why it could not execute the command; its end without a word says that it
    /// did.
    report: File,
    /// Signals of this process, which are blocked.
    signals: Arc<SignalFd>,
    /// The same, once it is waited for.
    awaited: Option<AsyncFd<Arc<SignalFd>>>,
    /// To see whether this process group is the terminal's foreground; `None`: there is no terminal.
    terminal: Option<File>,
    end: Option<End>,
}

impl Child {
    /// Forks. The child has become the user that was asked for when this returns.
    ///
    /// From now on this process is not ended by signals: [`Child::ended`] passes them on.
    ///
    /// # Errors
    /// When the kernel refuses, there are other threads, or the user can't be become.
    pub fn fork(program: &Program) -> Result<Self> {
        let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        if threads > 1 {
            bail!("can't fork for {program}: this process has {threads} threads");
        }
        let (gate, opener) = pipe2(OFlag::O_CLOEXEC).context("can't make a pipe")?;
        let (report, reporter) = pipe2(OFlag::O_CLOEXEC).context("can't make a pipe")?;
        // SAFETY: there is no other thread whose locks could be held in the child.
        let forked = unsafe { fork() }.with_context(|| format!("can't fork for {program}"))?;
        let pid = match forked {
            ForkResult::Child => {
                drop((opener, report));
                program.wait_and_execute(gate.into(), reporter.into())
            }
            ForkResult::Parent { child } => child,
        };
        drop((gate, reporter));
        let mut child = Self {
            pid,
            gate: Some(opener.into()),
            report: report.into(),
            signals: Arc::new(block_signals()?),
            awaited: None,
            terminal: File::open("/dev/tty").ok(),
            end: None,
        };
        child.wait_until_ready(program)?;
        Ok(child)
    }

    fn wait_until_ready(&mut self, program: &Program) -> Result<()> {
        let mut first = [0];
        match self.report.read(&mut first) {
            Ok(1) if first == [READY] => Ok(()),
            Ok(1) => {
                let error =
                    self.reported().unwrap_or_else(|| io::Error::other("it does not say why"));
                Err(error).with_context(|| program.cant_become())
            }
            // Ended by a signal, as its end will tell.
            Ok(_) => Ok(()),
            Err(error) => {
                Err(error).context("can't read from the process that is to be the command")
            }
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw().cast_unsigned()
    }

    /// Whether it was let go.
    pub fn is_released(&self) -> bool {
        self.gate.is_none()
    }

    /// How it ended, if it is known to have.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Lets it execute the command. Signals that came before are passed on first, so that a command that
    /// was to be ended by then never begins.
    pub fn release(&mut self) {
        pass_on(&self.signals, self.pid);
        if let Some(mut gate) = self.gate.take() {
            // One that is gone is told of by its end.
            let _ = gate.write_all(&[0]);
        }
    }

    /// Returns when it has ended. Until then passes on what signals come, and stops when it stops.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub async fn ended(&mut self) -> Result<End> {
        loop {
            if let Some(end) = self.look()? {
                return Ok(end);
            }
            let awaited = match self.awaited.take() {
                Some(awaited) => Ok(awaited),
                // SAFETY: it owns its descriptor and keeps it open and the same.
                None => unsafe {
                    let signals = Arc::clone(&self.signals);
                    AsyncFd::register_with_interest(signals, Interest::READABLE)
                },
            };
            let awaited = awaited.context("can't wait for signals")?;
            let mut ready = self.awaited.insert(awaited).readable().await?;
            // Before they are read: what comes then is told of again.
            ready.clear_ready();
            pass_on(&self.signals, self.pid);
        }
    }

    /// How it ended, if it has.
    fn look(&mut self) -> Result<Option<End>> {
        while self.end.is_none() {
            let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
            match waitpid(self.pid, Some(flags)).context("can't wait for the command's end")? {
                WaitStatus::Exited(_, code) => {
                    let failure = self.reported();
                    let failure = failure.map(|error| End::NotExecuted(Arc::new(error)));
                    self.end = Some(failure.unwrap_or(End::Exited(code)));
                }
                WaitStatus::Signaled(_, signal, _) => self.end = Some(End::Signaled(signal as i32)),
                WaitStatus::Stopped(..) => self.stop_too(),
                _ => return Ok(None),
            }
        }
        Ok(self.end.clone())
    }

    /// The shell waits for this process: if that does not stop with the command, there is no prompt.
    fn stop_too(&self) {
        let foreground = self.terminal.as_ref().and_then(|tty| tcgetpgrp(tty.as_fd()).ok());
        if foreground == Some(getpgrp()) {
            let _ = kill(Pid::this(), Signal::SIGSTOP);
        }
    }

    /// What the child said before it ended.
    fn reported(&mut self) -> Option<io::Error> {
        let mut errno = [0; 4];
        self.report.read_exact(&mut errno).ok()?;
        Some(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.gate.is_some() && self.end.is_none() {
            let _ = kill(self.pid, Signal::SIGKILL);
            let _ = waitpid(self.pid, None);
        }
    }
}

/// From now on signals that are passed on, and the end of children, are read from a descriptor.
fn block_signals() -> Result<SignalFd> {
    let mut mask: SigSet = signals::PASSED_ON.into_iter().collect();
    mask.add(Signal::SIGCHLD);
    mask.thread_block().context("can't block signals")?;
    inherited::notice_ends_of_children();
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("can't read signals from a descriptor")
}

/// Passes on what has come.
fn pass_on(signals: &SignalFd, to: Pid) {
    while let Ok(Some(info)) = signals.read_signal() {
        if let Some(signal) = signals::to_pass_on(&info, to) {
            // One that has ended is not reaped before it is looked at, so that the number is its own.
            let _ = kill(to, signal);
        }
    }
}
