//! Starts a program, and holds it with all that it has open until that has been looked at: where one of its
//! calls fails for want of something, and where one of its processes ends. A moment later there may be
//! nothing to see.

mod calls;
mod open;

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString},
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::{
        ptrace::{self, Options},
        resource::{Resource, setrlimit},
        signal::{SigHandler, Signal, signal},
        wait::WaitStatus,
    },
    unistd::{ForkResult, Pid, dup2_stdin, dup2_stdout, execvp, fork, pipe2, setpgid},
};

use self::{
    calls::{Call, Filter},
    open::Open,
};
use super::{
    evidence::hard_limit,
    outcome::Refusals,
    parts::{Line, ProgramJob, say},
};

/// A program that fails again and again for the same is not looked at more often.
const AGAIN: Duration = Duration::from_secs(1);

/// What the gate says that a program waits at before it is executed.
const IS_TRACED: u8 = 1;

/// Runs it, until it has ended.
///
/// # Errors
/// When it can't be started, or nobody listens any more.
pub fn run(job: &ProgramJob) -> Result<()> {
    if let Some(limit) = job.nofile {
        let hard = hard_limit();
        ensure!(limit <= hard, "can't set RLIMIT_NOFILE to {limit}: the hard limit is {hard}");
    }
    let words = job.command.iter().map(|word| CString::new(word.as_bytes()));
    let words = words.collect::<Result<Vec<_>, _>>().context("the command has a zero byte")?;
    let Some(name) = words.first() else { bail!("there is no command") };
    let (waits, goes) = pipe2(OFlag::O_CLOEXEC).context("can't make a pipe")?;
    let (told, tells) = pipe2(OFlag::O_CLOEXEC).context("can't make a pipe")?;
    let nothing = File::open("/dev/null").context("can't open /dev/null")?;
    let filter = Filter::new();
    // SAFETY: this process has one thread: no lock is held that the child could wait for.
    let program = match unsafe { fork() }.context("can't make a process")? {
        ForkResult::Child => {
            drop(goes);
            let failed = execute(name, &words, job.nofile, &filter, &waits, &nothing);
            let _ = nix::unistd::write(&tells, &(failed as i32).to_ne_bytes());
            // SAFETY: it ends this process, and runs no code of it.
            unsafe { libc::_exit(127) }
        }
        ForkResult::Parent { child } => child,
    };
    drop((tells, waits));
    let options = Options::PTRACE_O_EXITKILL
        | Options::PTRACE_O_TRACEEXIT
        | Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACESECCOMP
        | Options::PTRACE_O_TRACESYSGOOD;
    let gate = match ptrace::seize(program, options) {
        Ok(()) => IS_TRACED,
        Err(errno) => {
            log::warn!("what the program has at a limit is looked at late: ptrace: {errno}");
            0
        }
    };
    File::from(goes).write_all(&[gate]).context("the program's process is gone")?;
    let mut traced = Traced {
        program,
        refused: Refusals::new(),
        looked: BTreeMap::new(),
        open: Open::default(),
    };
    let ended = traced.follow()?;
    let mut errno = [0; 4];
    if File::from(told).read_exact(&mut errno).is_ok() {
        let errno = io::Error::from_raw_os_error(i32::from_ne_bytes(errno));
        return Err(errno).with_context(|| format!("can't run {}", job.command[0]));
    }
    say(&ended)
}

/// Becomes the program, once that is let go; why it did not. What it writes goes to standard error: the report
/// has standard output.
fn execute(
    name: &CStr,
    words: &[CString],
    nofile: Option<u64>,
    filter: &Filter,
    gate: &OwnedFd,
    nothing: &File,
) -> Errno {
    let made = || {
        // As a shell would start it, and not as Rust and this program have set them.
        for number in [Signal::SIGPIPE, Signal::SIGXFSZ] {
            // SAFETY: the usual disposition runs no code of this process.
            unsafe { signal(number, SigHandler::SigDfl) }?;
        }
        let mut is_traced = [0];
        nix::unistd::read(gate, &mut is_traced)?;
        setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        dup2_stdin(nothing)?;
        dup2_stdout(io::stderr())?;
        if let Some(limit) = nofile {
            setrlimit(Resource::RLIMIT_NOFILE, limit, limit)?;
        }
        // Without one who traces it, calls that it stops at would fail.
        if is_traced == [IS_TRACED] {
            // Where that is refused too, it is still held at its end.
            let _ = filter.load();
        }
        execvp(name, words)
    };
    match made() {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}

struct Traced {
    program: Pid,
    /// Calls that failed for want of something.
    refused: Refusals,
    /// When it was last looked at for an error.
    looked: BTreeMap<i32, Instant>,
    open: Open,
}

impl Traced {
    /// Lets its processes go on after each stop, until the first of them has ended: how it did.
    fn follow(&mut self) -> Result<Line> {
        loop {
            let (pid, raw) = match wait() {
                Ok(found) => found,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno).context("can't wait for the program"),
            };
            // Signals of real time have no name.
            let Ok(status) = WaitStatus::from_raw(pid, raw) else {
                if libc::WIFSTOPPED(raw) {
                    pass_on(pid, libc::WSTOPSIG(raw));
                    continue;
                }
                if pid == self.program {
                    return Ok(self.ended(format!("signal {}", libc::WTERMSIG(raw)), false));
                }
                self.open.ended(pid);
                continue;
            };
            match status {
                WaitStatus::Exited(pid, code) if pid == self.program => {
                    return Ok(self.ended(format!("exit status {code}"), code == 0));
                }
                WaitStatus::Signaled(pid, signal, _) if pid == self.program => {
                    return Ok(self.ended(signal.to_string(), false));
                }
                WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) => self.open.ended(pid),
                WaitStatus::PtraceEvent(pid, signal, event) => match event {
                    libc::PTRACE_EVENT_SECCOMP => self.begins(pid)?,
                    libc::PTRACE_EVENT_STOP if stops(signal) => listen(pid),
                    libc::PTRACE_EVENT_EXIT => {
                        let is_last = pid == self.program && self.open.of(pid) > 0;
                        if self.open.ends(pid) || is_last {
                            self.hold()?;
                        }
                        let _ = ptrace::cont(pid, None);
                    }
                    _ => drop(ptrace::cont(pid, None)),
                },
                WaitStatus::PtraceSyscall(pid) => {
                    match calls::returns(pid) {
                        Some(Ok(descriptor)) => self.open.made(pid, descriptor),
                        Some(Err(errno)) if is_for_want(errno) => self.refused(errno)?,
                        _ => {}
                    }
                    let _ = ptrace::cont(pid, None);
                }
                WaitStatus::Stopped(pid, signal) => drop(ptrace::cont(pid, signal)),
                _ => {}
            }
        }
    }

    fn ended(&self, how: String, is_success: bool) -> Line {
        Line::Exited { how, is_success, refused: self.refused.clone() }
    }

    /// A call begins. Before the first is closed of more sockets than there were, they are looked at.
    fn begins(&mut self, pid: Pid) -> Result<()> {
        let Some(Call::Close(descriptor)) = calls::begins(pid).inspect(|call| {
            self.open.calls(pid, matches!(call, Call::Other { makes_socket: true }));
        }) else {
            let _ = ptrace::syscall(pid, None);
            return Ok(());
        };
        if self.open.closes(pid, descriptor) {
            self.hold()?;
        }
        let _ = ptrace::cont(pid, None);
        Ok(())
    }

    fn refused(&mut self, errno: Errno) -> Result<()> {
        *self.refused.entry(errno as i32).or_default() += 1;
        let is_late =
            self.looked.get(&(errno as i32)).is_none_or(|looked| looked.elapsed() >= AGAIN);
        if is_late {
            self.hold()?;
            self.looked.insert(errno as i32, Instant::now());
        }
        Ok(())
    }

    /// Says that one of its processes is held, and waits until it has been looked at.
    fn hold(&self) -> Result<()> {
        say(&Line::Held { refused: self.refused.clone() })?;
        let mut order = String::new();
        match io::stdin().read_line(&mut order) {
            Ok(length) if length > 0 => Ok(()),
            _ => bail!("ended before the program"),
        }
    }
}

/// Whether a call failed because something is used up.
fn is_for_want(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::EADDRNOTAVAIL
    )
}

/// Waits for the next stop or end of a process.
fn wait() -> nix::Result<(Pid, libc::c_int)> {
    let mut status = 0;
    // SAFETY: the kernel writes an int.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
    Errno::result(pid).map(|pid| (Pid::from_raw(pid), status))
}

/// Lets a process go on with the signal that it was stopped for.
fn pass_on(pid: Pid, signal: libc::c_int) {
    // SAFETY: the request takes a number in place of an address.
    unsafe {
        libc::ptrace(libc::PTRACE_CONT, pid.as_raw(), 0, libc::c_long::from(signal));
    }
}

fn stops(signal: Signal) -> bool {
    matches!(signal, Signal::SIGSTOP | Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU)
}

/// Lets a process that a signal has stopped stay so, until another lets it go on.
fn listen(pid: Pid) {
    // SAFETY: the request takes neither address nor data.
    unsafe {
        libc::ptrace(libc::PTRACE_LISTEN, pid.as_raw(), 0, 0);
    }
}
