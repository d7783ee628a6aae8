//! What the tests run on: the program, the backend, the machine.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;
use std::{env, fs, io, thread};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// What the program sees the kernel with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Function probes by BPF trampolines.
    Fexit,
    /// Function probes by kprobes.
    Kprobe,
    /// Tracepoints and cgroup programs, completed from socket diagnostics.
    Tracepoint,
}

impl Backend {
    /// The backend that `PORT_OBSERVER_BACKEND` names; `tracepoint` when it is not set.
    pub fn chosen() -> Self {
        match env::var("PORT_OBSERVER_BACKEND").as_deref() {
            Ok("fexit") => Self::Fexit,
            Ok("kprobe") => Self::Kprobe,
            Ok("tracepoint") | Err(_) => Self::Tracepoint,
            Ok(other) => panic!("PORT_OBSERVER_BACKEND is {other}: not fexit, kprobe, tracepoint"),
        }
    }

    /// The name for `--backend`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fexit => "fexit",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }

    /// It sees every acquire and release when it happens.
    pub fn is_exact(self) -> bool {
        match self {
            Self::Fexit | Self::Kprobe => true,
            Self::Tracepoint => false,
        }
    }
}

/// The tests run in a virtual machine that was made for them.
pub fn in_virtual_machine() -> bool {
    env::var_os("PORT_OBSERVER_IN_VM").is_some()
}

/// A backend that does not load is a failure: it was asked for by name, or it is known to load.
pub fn must_load() -> bool {
    in_virtual_machine() || env::var_os("PORT_OBSERVER_BACKEND").is_some()
}

/// How long to wait for what has to come; emulated processors are slow, and so is a busy machine.
pub fn patience() -> Duration {
    Duration::from_secs(if in_virtual_machine() { 90 } else { 60 })
}

/// The program under test: `PORT_OBSERVER`, or the one in the target directory of this test.
pub fn program() -> Result<PathBuf> {
    if let Some(path) = env::var_os("PORT_OBSERVER") {
        return Ok(path.into());
    }
    beside_this_test("port-observer")
        .context("build it with `cargo build --package port-observer`, or set PORT_OBSERVER")
}

/// A binary in the directory of this test or the one above, as Cargo lays them out.
pub fn beside_this_test(name: &str) -> Result<PathBuf> {
    let test = env::current_exe().context("find this test's own path")?;
    let found = test.ancestors().skip(1).take(2).map(|directory| directory.join(name));
    match found.into_iter().find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!("there is no `{name}` beside {} or one directory up", test.display()),
    }
}

/// Where the unified cgroup hierarchy is mounted, for the calling thread.
pub fn cgroup2() -> Result<PathBuf> {
    let mounts = read("/proc/thread-self/mounts")?;
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = fields.find(|fields| fields.get(2) == Some(&"cgroup2"));
    mount.map(|fields| fields[1].into()).context("no cgroup2 hierarchy is mounted")
}

/// A small text file, with its path in the error.
pub fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// Held for reading while a descriptor is closed, for writing while a process is made: between
/// fork and exec a child holds all descriptors, so that no close is the last one.
static DESCRIPTORS: RwLock<()> = RwLock::new(());

/// Makes a process. Nothing else may: see `DESCRIPTORS`.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let _guard = DESCRIPTORS.write().unwrap_or_else(PoisonError::into_inner);
    // exec is over for the parent while the child is still closing: its sockets are closed before.
    let numbers = fs::read_dir("/proc/self/fd")?.flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let known = numbers.max().unwrap_or(0);
    // SAFETY: between fork and exec only getsockopt() and close() are called, which are system
    // calls and nothing else; the descriptors are the child's own copies.
    unsafe {
        command.pre_exec(move || {
            close_sockets(known);
            Ok(())
        })
    };
    #[expect(clippy::disallowed_methods, reason = "the one place that has the guard")]
    command.spawn()
}

/// Makes a process and waits for its end, with all that it wrote.
pub fn output(command: &mut Command) -> io::Result<Output> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    spawn(command)?.wait_with_output()
}

/// The same of one that is to end by itself within this time: after it, it is killed and the test fails.
pub fn output_within(time: Duration, command: &mut Command) -> io::Result<Output> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = spawn(command)?;
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    let (end, ended) = mpsc::channel::<()>();
    let killer = thread::spawn(move || {
        let is_late = ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
        // Its number is its own until the wait for it is over, which ends the channel.
        is_late.then(|| kill(pid, Signal::SIGKILL))
    });
    let output = child.wait_with_output();
    drop(end);
    let killed = killer.join().expect("the thread that waits");
    match killed {
        None => output,
        Some(_) => Err(io::Error::other(format!("it did not end within {time:?}: {output:?}"))),
    }
}

/// Closes all sockets of a process that has just been forked. More descriptors may be open than were
/// known before the fork, for other threads open sockets meanwhile, thousands where a range is filled.
/// None are closed meanwhile, and the lowest free number is given out: those above have few gaps.
fn close_sockets(known: i32) {
    let mut unused = 0;
    for descriptor in 3.. {
        match is_socket(descriptor) {
            Some(true) => {
                // SAFETY: the descriptor is this process's own copy.
                unsafe { libc::close(descriptor) };
                unused = 0;
            }
            Some(false) => unused = 0,
            None => unused += 1,
        }
        if descriptor > known && unused > 256 {
            return;
        }
    }
}

/// Whether an open descriptor is a socket.
fn is_socket(descriptor: i32) -> Option<bool> {
    let mut value: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    let at = (&raw mut value).cast();
    // SAFETY: the kernel writes at most `length` bytes to `value`.
    let result = unsafe {
        libc::getsockopt(descriptor, libc::SOL_SOCKET, libc::SO_TYPE, at, &raw mut length)
    };
    match result {
        0 => Some(true),
        _ => (Errno::last() != Errno::EBADF).then_some(false),
    }
}

/// Drops something that has a descriptor, for good.
pub fn close<T>(owner: T) {
    let _guard = DESCRIPTORS.read().unwrap_or_else(PoisonError::into_inner);
    drop(owner);
}
