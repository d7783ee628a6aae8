//! The place of a run: namespaces of its own, and how its processes are started.

use std::{
    fs,
    io::{BufReader, Write as _},
    net::{IpAddr, Ipv6Addr},
    os::{
        fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
        unix::process::CommandExt as _,
    },
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::Sender,
    thread,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        signal::{Signal, kill},
        socket::{AddressFamily, SockFlag, SockType, socket},
    },
    unistd::{ForkResult, Pid, fork, getgid, getppid, getuid, setsid},
};
use serde::Serialize;

use super::{
    Plan,
    parts::{self, Line},
};

/// The hidden command that a part of a run is started by.
pub const COMMAND: &str = "stress-part";

/// Settings of a network namespace that decide about limits, under /proc/sys.
const SETTINGS: [&str; 10] = [
    "net/ipv4/ip_local_port_range",
    "net/ipv4/ip_local_reserved_ports",
    "net/ipv4/tcp_tw_reuse",
    "net/ipv4/tcp_tw_reuse_delay",
    "net/ipv4/tcp_max_tw_buckets",
    "net/ipv4/tcp_fin_timeout",
    "net/ipv4/tcp_max_syn_backlog",
    "net/ipv4/tcp_syncookies",
    "net/ipv4/tcp_abort_on_overflow",
    "net/core/somaxconn",
];

/// A process of a run. Dropped, it is killed and reaped.
#[derive(Debug)]
pub struct Part {
    child: Child,
    orders: Option<ChildStdin>,
}

impl Part {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it SIGTERM.
    pub fn terminate(&self) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
    }

    /// Tells it to stop.
    pub fn stop(&mut self) {
        self.orders = None;
    }

    /// Gives it an order: a line that says no more than that it is there.
    pub fn go(&mut self) {
        if let Some(orders) = &mut self.orders {
            let _ = orders.write_all(b"\"go\"\n").and_then(|()| orders.flush());
        }
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Values of the host's settings for a place, as they are now. Those that are not there are left out.
pub fn settings_of_host() -> Vec<(String, String)> {
    let value = |name: &str| fs::read_to_string(Path::new("/proc/sys").join(name)).ok();
    SETTINGS
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), value(name)?.trim().to_owned())))
        .collect()
}

/// Starts a part in the same place. It keeps `kept` descriptors open. Each line that it says goes through
/// `told` into the channel, and its end as `None`.
///
/// # Errors
/// When the kernel refuses a process.
pub fn start<T: Send + 'static>(
    job: &impl Serialize,
    kept: &[BorrowedFd<'_>],
    to: Sender<T>,
    told: impl Fn(Option<Result<Line>>) -> T + Send + 'static,
) -> Result<Part> {
    let parent = Pid::this();
    let kept: Vec<RawFd> = kept.iter().map(|fd| fd.as_raw_fd()).collect();
    let mut command = this_program()?;
    // SAFETY: only system calls, none of which takes a lock or allocates.
    unsafe {
        command.pre_exec(move || {
            end_with(parent)?;
            for &fd in &kept {
                super::server::keep(BorrowedFd::borrow_raw(fd))?;
            }
            Ok(())
        });
    }
    begin(command, job, to, told)
}

/// Starts the first process of a new place: the child that is returned waits for it, and both end when
/// either or this process does.
///
/// # Errors
/// When the kernel refuses namespaces.
pub fn start_in_new<T: Send + 'static>(
    job: &impl Serialize,
    to: Sender<T>,
    told: impl Fn(Option<Result<Line>>) -> T + Send + 'static,
) -> Result<Part> {
    let parent = Pid::this();
    let mut command = this_program()?;
    let as_user = (!may_unshare()).then(|| {
        let map = |id: u32| format!("0 {id} 1").into_bytes();
        (map(getuid().as_raw()), map(getgid().as_raw()))
    });
    // SAFETY: only system calls, none of which takes a lock or allocates; fork() in a process of one thread.
    unsafe {
        command.pre_exec(move || enter_new(parent, as_user.as_ref()));
    }
    begin(command, job, to, told)
        .context("can't make a network namespace of its own: it takes root, or user namespaces")
}

fn this_program() -> Result<Command> {
    let program = std::env::current_exe().context("can't find this program's own file")?;
    let mut command = Command::new(program);
    command.arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(command)
}

fn begin<T: Send + 'static>(
    mut command: Command,
    job: &impl Serialize,
    to: Sender<T>,
    told: impl Fn(Option<Result<Line>>) -> T + Send + 'static,
) -> Result<Part> {
    let mut child = command.spawn().context("can't start a process of this program")?;
    let (orders, lines) = (child.stdin.take(), child.stdout.take());
    let mut part = Part { child, orders };
    if let Some(orders) = &mut part.orders {
        parts::write(orders, job)?;
    }
    if let Some(lines) = lines {
        let reader = move || forward(lines, &to, told);
        thread::Builder::new().name("lines".to_owned()).spawn(reader).context("can't read")?;
    }
    Ok(part)
}

fn forward<T>(lines: ChildStdout, to: &Sender<T>, told: impl Fn(Option<Result<Line>>) -> T) {
    let mut lines = BufReader::new(lines);
    loop {
        match parts::read::<Line>(&mut lines) {
            Ok(Some(line)) => {
                if to.send(told(Some(Ok(line)))).is_err() {
                    return;
                }
            }
            Ok(None) => break,
            Err(error) => {
                let _ = to.send(told(Some(Err(error))));
                break;
            }
        }
    }
    let _ = to.send(told(None));
}

/// Of all in a control group or on the host, the calling process is the one to kill where memory runs out: 1,000 goes
/// before all (proc_pid_oom_score_adj(5)).
pub fn set_oom_score(score: u16) {
    if let Err(error) = fs::write("/proc/self/oom_score_adj", score.to_string()) {
        log::debug!("can't set oom_score_adj: {error}");
    }
}

/// Whether this process may make namespaces without one of users.
fn may_unshare() -> bool {
    caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_ADMIN).unwrap_or(false)
}

/// The calling process is killed when its parent ends.
fn end_with(parent: Pid) -> std::io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // It may have ended before that.
    if getppid() != parent {
        return Err(std::io::Error::from_raw_os_error(libc::ESRCH));
    }
    Ok(())
}

/// Makes the namespaces, and becomes the first process of that of processes. The process in between waits
/// for it, and never returns.
fn enter_new(parent: Pid, as_user: Option<&(Vec<u8>, Vec<u8>)>) -> std::io::Result<()> {
    end_with(parent)?;
    // Signals of the terminal are for the one that prints.
    setsid()?;
    let mut flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    if as_user.is_some() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags)?;
    if let Some((users, groups)) = as_user {
        write_to(c"/proc/self/setgroups", b"deny")?;
        write_to(c"/proc/self/uid_map", users)?;
        write_to(c"/proc/self/gid_map", groups)?;
    }
    // SAFETY: a process of one thread.
    match unsafe { fork() }? {
        ForkResult::Child => {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            Ok(())
        }
        ForkResult::Parent { child } => {
            // The one who started it waits until the descriptor that tells of errors is closed, and for the
            // end of standard output.
            // SAFETY: this process uses no descriptor any more.
            unsafe {
                libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
            }
            let mut status = 0;
            // SAFETY: the kernel writes an int; _exit runs no code of this process.
            unsafe {
                while libc::waitpid(child.as_raw(), &raw mut status, 0) < 0 {
                    if nix::errno::Errno::last() != nix::errno::Errno::EINTR {
                        break;
                    }
                }
                libc::_exit(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 1 })
            }
        }
    }
}

/// Writes a file of /proc without allocating.
fn write_to(path: &std::ffi::CStr, bytes: &[u8]) -> std::io::Result<()> {
    // SAFETY: the path ends with a zero, the bytes are as many as is said, and the descriptor is closed here.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd < 0 {
            return Err(std::io::Error::last_os_error());
        }
        let written = libc::write(fd, bytes.as_ptr().cast(), bytes.len());
        let error = std::io::Error::last_os_error();
        libc::close(fd);
        if written < 0 { Err(error) } else { Ok(()) }
    }
}

/// Furnishes the place that this process is the first of: its own /proc, the loopback device, addresses,
/// settings.
///
/// # Errors
/// When the kernel refuses one of them.
pub fn furnish(plan: &Plan) -> Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("can't have mounts of its own")?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), flags, none).context("can't mount /proc")?;
    bring_loopback_up()?;
    for (name, value) in &plan.settings {
        let path = Path::new("/proc/sys").join(name);
        // Of an older kernel, or not there in this namespace: then the host's is in force too.
        if let Err(error) = fs::write(&path, value) {
            log::debug!("can't set {name} to {value}: {error}");
        }
    }
    let set = |name: &str, value: String| {
        fs::write(Path::new("/proc/sys").join(name), &value)
            .with_context(|| format!("can't set {name} to {value:?}"))
    };
    if let Some((min, max)) = plan.range {
        set("net/ipv4/ip_local_port_range", format!("{min} {max}"))?;
    }
    if let Some(reuse) = plan.tw_reuse {
        set("net/ipv4/tcp_tw_reuse", reuse.to_string())?;
    }
    if plan.ipv6 {
        let sources = (0..plan.sources).map(|number| plan.source(number));
        let destinations = (0..plan.destinations).map(|number| plan.destination(number));
        for address in sources.chain(destinations).chain([plan.probe_source()]) {
            if let IpAddr::V6(address) = address {
                add_address(address)?;
            }
        }
    }
    Ok(())
}

fn ioctl_socket(family: AddressFamily) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(family, SockType::Datagram, flags, None).context("can't make a socket")
}

fn bring_loopback_up() -> Result<()> {
    let socket = ioctl_socket(AddressFamily::Inet)?;
    // SAFETY: all zeros are an ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the kernel reads an ifreq.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    nix::errno::Errno::result(result).context("can't bring the loopback device up")?;
    Ok(())
}

/// `struct in6_ifreq` (include/uapi/linux/ipv6.h).
#[repr(C)]
struct AddressRequest {
    address: [u8; 16],
    prefix: u32,
    interface: libc::c_int,
}

/// Gives the loopback device an address.
fn add_address(address: Ipv6Addr) -> Result<()> {
    let socket = ioctl_socket(AddressFamily::Inet6).context("is IPv6 switched off?")?;
    // The loopback device is the first of each namespace (LOOPBACK_IFINDEX).
    let request = AddressRequest { address: address.octets(), prefix: 128, interface: 1 };
    // SAFETY: the kernel reads an in6_ifreq.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFADDR, &raw const request) };
    match nix::errno::Errno::result(result) {
        Ok(_) => Ok(()),
        Err(errno) => bail!("can't give the loopback device {address}: {errno}"),
    }
}
