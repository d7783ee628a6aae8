//! What a running command may still do: the status of each of its threads (proc_pid_status(5)).

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, pipe, setgid, setgroups, setuid};
use tests::child::{Guarded, Traffic};
use tests::lines::Body;
use tests::net::{SERVER, in_namespace};
use tests::observer::{Observer, until};
use tests::recording::{Directory, output};
use tests::socket::{local, tcp};
use tests::system::{Backend, must_load, program, spawn};
use tests::tmux::{Terminal, backend};

// Bits of capabilities (include/uapi/linux/capability.h).
const DAC_READ_SEARCH: u64 = 1 << 2;
const NET_ADMIN: u64 = 1 << 12;
const SYS_PTRACE: u64 = 1 << 19;
const SYS_ADMIN: u64 = 1 << 21;
const SYS_RESOURCE: u64 = 1 << 24;
const PERFMON: u64 = 1 << 38;
const BPF: u64 = 1 << 39;

const NOBODY: u32 = 65_534;

/// The fields of a thread's status.
type Status = BTreeMap<String, String>;

fn status(path: &Path) -> Option<Status> {
    let text = fs::read_to_string(path.join("status")).ok()?;
    let field = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    };
    Some(text.lines().filter_map(field).collect())
}

/// Of each thread that a process has now.
fn threads(pid: u32) -> Vec<Status> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process's threads");
    tasks.flatten().filter_map(|task| status(&task.path())).collect()
}

fn set(status: &Status, field: &str) -> u64 {
    u64::from_str_radix(&status[field], 16).unwrap_or_else(|error| panic!("{field}: {error}"))
}

/// What this test may, and what it starts may at most.
fn own(capabilities: u64) -> u64 {
    capabilities & set(&status(Path::new("/proc/self")).expect("the own status"), "CapEff")
}

/// The kernel keeps all of bpf() for CAP_BPF.
fn is_bpf_closed() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's release");
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let is_old = (numbers.next(), numbers.next()) < (Some(5), Some(19));
    let setting = fs::read_to_string("/proc/sys/kernel/unprivileged_bpf_disabled");
    is_old && setting.is_ok_and(|value| value.trim() != "0")
}

/// What `live`, `top` and `record` keep.
fn following() -> u64 {
    let bpf = if is_bpf_closed() { BPF } else { 0 };
    own(DAC_READ_SEARCH | SYS_PTRACE | SYS_ADMIN | bpf)
}

/// The process has these capabilities, each of its threads these or none, and all are confined.
fn assert_confined(pid: u32, capabilities: u64) -> usize {
    let threads = threads(pid);
    assert!(!threads.is_empty());
    for status in &threads {
        let is_helper = status["Pid"] != pid.to_string() && set(status, "CapEff") == 0;
        let left = if is_helper { 0 } else { capabilities };
        for (field, expected) in
            [("CapEff", left), ("CapPrm", left), ("CapInh", 0), ("CapAmb", 0), ("CapBnd", 0)]
        {
            let found = set(status, field);
            assert_eq!(found, expected, "{field}: {found:x} and not {expected:x}: {status:?}");
        }
        assert_eq!((&*status["NoNewPrivs"], &*status["Seccomp"]), ("1", "2"), "{status:?}");
    }
    threads.len()
}

/// Seccomp comes last.
fn wait_confined(pid: u32) {
    until("the process is confined", || threads(pid).iter().any(|status| status["Seccomp"] == "2"));
}

/// The backend is known to load, or it is tried.
fn can_observe() -> bool {
    must_load() || Observer::shared().is_some()
}

fn start(arguments: &[&str], output: impl Into<Stdio>) -> Guarded {
    let mut command = Command::new(program().expect("the program"));
    command.args(arguments).stdin(Stdio::null()).stdout(output);
    Guarded(spawn(&mut command).unwrap_or_else(|error| panic!("{command:?}: {error}")))
}

/// Runs a command that writes into a pipe which is full, so that it stands still when it has done its
/// work; then lets it end.
fn assert_once(arguments: &[&str], capabilities: u64) {
    let (reader, writer) = pipe().expect("a pipe");
    let flags = fcntl(&writer, FcntlArg::F_GETFL).expect("the pipe's flags");
    let flags = OFlag::from_bits_retain(flags);
    fcntl(&writer, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).expect("set the pipe's flags");
    let mut file = File::from(writer.try_clone().expect("the pipe twice"));
    while file.write(&[b'\n'; 4096]).is_ok() {}
    while file.write(b"\n").is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(flags)).expect("set the pipe's flags");
    drop(file);
    let mut child = start(arguments, writer);
    wait_confined(child.0.id());
    assert_confined(child.0.id(), capabilities);
    let mut text = String::new();
    File::from(reader).read_to_string(&mut text).expect("read what it writes");
    let status = child.0.wait().expect("wait for it");
    assert_eq!(status.code(), Some(0), "{arguments:?}: {}", text.trim_start());
    assert!(!text.trim().is_empty(), "{arguments:?} wrote nothing");
}

fn interrupt(mut child: Guarded) {
    kill(Pid::from_raw(child.0.id().cast_signed()), Signal::SIGINT).expect("interrupt it");
    assert_eq!(child.0.wait().expect("wait for it").code(), Some(0));
}

#[test]
fn live_keeps_what_it_needs_and_sees_all_that_it_saw() {
    // It sees namespaces that do not exist yet.
    let Some(observer) = Observer::own(&["--states"]) else { return };
    assert_confined(observer.pid(), following());
    in_namespace(|inode| {
        let position = observer.position();
        let _server = tcp().bind(SERVER).listen();
        let mut traffic = Traffic::start(&["exit", "4242", "127.0.0.1:80"]);
        traffic.go_on();
        let taken = traffic.taken().expect("a connection");
        traffic.wait();
        // The executable of another user's process took CAP_SYS_PTRACE, before it ended or not; that
        // of one that runs always does.
        let mut holder = Traffic::start(&["wait", "127.0.0.1:80"]);
        holder.go_on();
        let held = holder.taken().expect("a connection");
        let has = |port: u16| {
            let found = observer.wait_lines(position, |lines| {
                lines.iter().find_map(|line| match &line.body {
                    Body::Acquire(one) if one.netns == inode && one.local.port == port => {
                        Some(one.process.is_some())
                    }
                    _ => None,
                })
            });
            assert!(found.expect("its acquire"), "nobody took {port}");
        };
        has(taken.port());
        has(held.port());
    });
    // Settings are read each second, losses, scans and lists of sockets have had their turn.
    thread::sleep(Duration::from_secs(3));
    assert_confined(observer.pid(), following());
    let ended = observer.interrupted();
    assert!(!ended.errors.contains("not permitted"), "{}", ended.errors);
    assert!(!ended.errors.contains("not implemented"), "{}", ended.errors);
}

#[test]
fn record_and_all_its_threads_keep_what_they_need() {
    if !can_observe() {
        return;
    }
    let directory = Directory::make();
    let file = directory.file("ports.db");
    let backend = backend();
    let recorder = start(&[&["record", &file][..], &backend].concat(), Stdio::null());
    wait_confined(recorder.0.id());
    until("its threads run", || threads(recorder.0.id()).len() >= 3);
    in_namespace(|_| drop(tcp().bind(local(4000))));
    thread::sleep(Duration::from_secs(2));
    assert!(assert_confined(recorder.0.id(), following()) >= 3);
    interrupt(recorder);
    assert_once(&["replay", &file, "--json"], 0);
    assert_once(&["report", &file], 0);
    let page = directory.file("page.html");
    output(&["report", &file, "--html", &page]);
    assert!(fs::metadata(&page).expect("the page").len() > 1000);
}

#[test]
fn a_recording_goes_where_only_roots_rights_lead() {
    if !can_observe() {
        return;
    }
    let directory = Directory::make();
    let home = directory.path().join("home");
    fs::create_dir(&home).expect("make a directory");
    fs::set_permissions(&home, Permissions::from_mode(0o700)).expect("set its mode");
    std::os::unix::fs::chown(&home, Some(NOBODY), Some(NOBODY)).expect("give it away");
    let file = directory.file("home/ports.db");
    let arguments = [&["record", &file, "--duration", "2s"][..], &backend()].concat();
    output(&arguments);
    let replayed = output(&["replay", &file, "--json"]);
    assert!(String::from_utf8_lossy(&replayed).contains("\"stop\""));
}

#[test]
fn commands_that_look_once_keep_what_they_need() {
    let list = own(BPF | PERFMON | DAC_READ_SEARCH | SYS_PTRACE | memlock());
    in_namespace(|_| {
        let _server = tcp().bind(SERVER).listen();
        assert_once(&["check", "--json"], list);
        let all = list | own(SYS_ADMIN);
        assert_once(&["check", "--all-netns", "--json"], all);
        assert_once(&["snapshot", "--json"], all);
    });
    let repeated = start(&["check", "--interval", "1s"], Stdio::null());
    wait_confined(repeated.0.id());
    thread::sleep(Duration::from_secs(2));
    assert_confined(repeated.0.id(), list);
    interrupt(repeated);
}

/// Programs count as locked memory.
fn memlock() -> u64 {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's release");
    if release.starts_with("5.10.") { SYS_RESOURCE } else { 0 }
}

#[test]
fn doctor_keeps_what_attaches_programs() {
    let attaches = BPF | PERFMON | NET_ADMIN | SYS_ADMIN;
    assert_once(&["doctor"], own(attaches | DAC_READ_SEARCH | SYS_PTRACE | memlock()));
}

#[test]
fn top_keeps_what_it_needs() {
    let Some(terminal) = Terminal::open(80, 24) else { return };
    match terminal.top(&backend()) {
        Ok(()) => {}
        Err(error) if must_load() => panic!("{error:#}"),
        Err(error) => return println!("skipped: {error:#}"),
    }
    let shell: u32 = terminal.property("#{pane_pid}").parse().expect("the shell's pid");
    let descendants = |pid: u32| {
        let path = format!("/proc/{pid}/task/{pid}/children");
        let text = fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()).collect::<Vec<_>>()
    };
    let mut pids = vec![shell];
    let mut top = None;
    while let Some(pid) = pids.pop() {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        top = top.or((name.trim() == "port-observer").then_some(pid));
        pids.extend(descendants(pid));
    }
    let top = top.expect("top runs in the terminal");
    assert_confined(top, following());
    terminal.keys(&["2", "3", "4", "?"]);
    thread::sleep(Duration::from_secs(2));
    assert_confined(top, following());
    terminal.keys(&["Escape", "C-z"]);
    terminal.sees("the shell", |screen| screen.contains("Stopped"));
    terminal.keys(&["fg", "Enter"]);
    terminal.sees("top again", |screen| screen.contains("processes"));
    terminal.keys(&["q"]);
}

#[test]
fn no_sandbox_leaves_everything() {
    let Some(observer) = Observer::own(&["--no-sandbox"]) else { return };
    let mine = status(Path::new("/proc/self")).expect("the own status");
    let theirs = status(Path::new(&format!("/proc/{}", observer.pid()))).expect("its status");
    for field in ["CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp"] {
        assert_eq!(theirs[field], mine[field], "{field}");
    }
    drop(observer.interrupted());
}

/// The program with these capabilities in its file, as setcap makes them (`struct vfs_cap_data`,
/// include/uapi/linux/capability.h: revision 2, effective). `None`: the file system has none.
fn with_file_capabilities(directory: &Directory, capabilities: u64) -> Option<PathBuf> {
    let copy = directory.path().join("port-observer");
    fs::copy(program().expect("the program"), &copy).expect("copy the program");
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).expect("let others run it");
    let [low, high] = [capabilities, capabilities >> 32].map(|half| (half as u32).to_le_bytes());
    let data = [&0x0200_0001u32.to_le_bytes()[..], &low, &[0; 4], &high, &[0; 4]].concat();
    let file = File::open(&copy).expect("open the copy");
    let name = CString::new("security.capability").expect("a name");
    // SAFETY: name and data live through the call, and the length is the data's.
    let result = unsafe {
        let data = data.as_ptr().cast();
        libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), data, 20, 0)
    };
    if result != 0 {
        println!("skipped: no capabilities in files: {}", std::io::Error::last_os_error());
        return None;
    }
    Some(copy)
}

/// Runs the copy as nobody.
fn as_nobody(program: &Path, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/");
    // Before Linux 5.11 programs and maps count as locked memory, which nobody may have little of.
    let counts = memlock() != 0;
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            if counts {
                setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY)?;
            }
            setgroups(&[])?;
            setgid(Gid::from_raw(NOBODY))?;
            Ok(setuid(Uid::from_raw(NOBODY))?)
        });
    }
    tests::system::output(&mut command).unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

#[test]
fn capabilities_of_the_file_open_no_file_that_its_user_may_not() {
    if !can_observe() {
        return;
    }
    let directory = Directory::make();
    let advised = own(BPF | PERFMON | NET_ADMIN | SYS_PTRACE | DAC_READ_SEARCH);
    let Some(copy) = with_file_capabilities(&directory, advised) else { return };
    let arguments = [&["--duration", "1s"][..], &backend()].concat();
    let file = directory.file("ports.db");
    output(&[&["record", &file][..], &arguments].concat());
    fs::set_permissions(&file, Permissions::from_mode(0o000)).expect("close it");
    let refused = |arguments: &[&str]| {
        let output = as_nobody(&copy, arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
        errors
    };
    refused(&["replay", &file]);
    refused(&["report", &file]);
    // Root reads it.
    output(&["replay", &file]);
    // Into a directory that nobody else may look into, though CAP_DAC_READ_SEARCH would.
    let closed = directory.path().join("closed");
    fs::create_dir(&closed).expect("make a directory");
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).expect("close it");
    let own = closed.join("own");
    fs::create_dir(&own).expect("make a directory");
    std::os::unix::fs::chown(&own, Some(NOBODY), Some(NOBODY)).expect("give it away");
    let into = directory.file("closed/own/ports.db");
    let backend = match Backend::chosen() {
        // kernel.perf_event_paranoid may close it: any will do.
        Backend::Kprobe => "poll",
        chosen => chosen.name(),
    };
    refused(&["record", &into, "--duration", "1s", "--backend", backend]);
    // What it is for goes on.
    let live = as_nobody(&copy, &["live", "--json", "--duration", "1s", "--backend", backend]);
    let errors = String::from_utf8_lossy(&live.stderr).into_owned();
    assert_eq!(live.status.code(), Some(0), "{errors}");
    assert!(String::from_utf8_lossy(&live.stdout).contains("\"stop\""), "{errors}");
}
