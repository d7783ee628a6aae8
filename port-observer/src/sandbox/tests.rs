//! What a confined process can't do any more. Each test confines a process of its own: the test
//! program, run again for this test alone.

use std::{
    env, fs,
    io::Error,
    net::UdpSocket,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Command, Stdio},
    ptr,
};

use super::*;

/// Set in the process that confines itself.
const CONFINED: &str = "PORT_OBSERVER_TEST_CONFINED";

/// Runs `inside` in a process of its own, that of the test `name`.
fn in_own_process(name: &str, inside: impl FnOnce()) {
    if env::var_os(CONFINED).is_some() {
        return inside();
    }
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("sandbox::tests::{name}")])
        .env(CONFINED, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
}

/// What a system call that fails leaves; 0: it did not fail.
fn errno(result: impl Into<i64>) -> i32 {
    if result.into() >= 0 { 0 } else { Error::last_os_error().raw_os_error().unwrap_or(0) }
}

fn error_of<T>(result: std::io::Result<T>) -> i32 {
    result.err().and_then(|error| error.raw_os_error()).unwrap_or(0)
}

/// The values of a field in the status of each thread.
fn statuses(field: &str) -> Vec<String> {
    let of = |path: std::path::PathBuf| {
        let status = fs::read_to_string(path.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("{field}: {status}")).trim().to_owned()
    };
    fs::read_dir("/proc/self/task").unwrap().map(|entry| of(entry.unwrap().path())).collect()
}

const FOLLOW: Task<'_> = Task::Follow { backend: Backend::Fexit, recording: None, command: None };

#[test]
fn a_confined_process_runs_no_program_and_makes_none() {
    in_own_process("a_confined_process_runs_no_program_and_makes_none", || {
        Sandbox::On.enter(&FOLLOW);
        if !Support::read().seccomp {
            println!("skipped: no seccomp");
            return;
        }
        let arguments = [c"/bin/true".as_ptr(), ptr::null()];
        // SAFETY: a path and an array that ends with a null pointer.
        let executed = unsafe { libc::execve(arguments[0], arguments.as_ptr(), ptr::null()) };
        assert_eq!(errno(executed), libc::ENOSYS);
        // SAFETY: a child would do nothing but end.
        let forked = unsafe { libc::fork() };
        if forked == 0 {
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) };
        }
        assert_eq!(errno(forked), libc::EPERM);
        assert_eq!(error_of(Command::new("/bin/true").status()), libc::EPERM);
    });
}

#[test]
fn a_confined_process_does_nothing_to_others_and_changes_nothing() {
    in_own_process("a_confined_process_does_nothing_to_others_and_changes_nothing", || {
        let file = tempfile::NamedTempFile::new().unwrap();
        Sandbox::On.enter(&FOLLOW);
        if !Support::read().seccomp {
            println!("skipped: no seccomp");
            return;
        }
        let none = ptr::null::<libc::c_char>();
        // SAFETY: none of these has anything to read or write, were it allowed.
        unsafe {
            assert_eq!(errno(libc::ptrace(libc::PTRACE_ATTACH, 1, 0, 0)), libc::ENOSYS);
            assert_eq!(errno(libc::kill(1, 0)), libc::EPERM);
            assert_eq!(errno(libc::kill(std::process::id().cast_signed(), 0)), 0);
            assert_eq!(errno(libc::mount(none, none, none, 0, ptr::null())), libc::ENOSYS);
            assert_eq!(errno(libc::unshare(libc::CLONE_NEWUSER)), libc::ENOSYS);
            assert_eq!(errno(libc::setns(0, libc::CLONE_NEWNS)), libc::EPERM);
            assert_eq!(errno(libc::setuid(65_534)), libc::ENOSYS);
            assert_eq!(errno(libc::ioctl(0, libc::TIOCSTI, c"x".as_ptr())), libc::EPERM);
            assert_eq!(errno(libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0)), libc::EPERM);
            for (call, expected) in [
                (libc::SYS_init_module, libc::ENOSYS),
                (libc::SYS_kexec_load, libc::ENOSYS),
                (libc::SYS_io_uring_setup, libc::ENOSYS),
                (libc::SYS_perf_event_open, libc::ENOSYS),
                (libc::SYS_clone3, libc::ENOSYS),
                (libc::SYS_openat2, libc::ENOSYS),
            ] {
                assert_eq!(errno(libc::syscall(call, 0, 0, 0, 0, 0)), expected, "{call}");
            }
            // Loading a program; looking one up is answered by the kernel.
            assert_eq!(errno(libc::syscall(libc::SYS_bpf, 5, 0, 0)), libc::EPERM);
            assert_ne!(errno(libc::syscall(libc::SYS_bpf, 1, 0, 0)), 0);
        }
        assert_eq!(error_of(UdpSocket::bind("127.0.0.1:0")), libc::EPERM);
        assert_eq!(error_of(fs::write(file.path(), "x")), libc::EPERM);
        assert_eq!(error_of(fs::remove_file(file.path())), libc::ENOSYS);
        assert_eq!(fs::read(file.path()).unwrap(), b"");
        // Threads are started all the same, and are confined too.
        let read = |field| move || statuses(field);
        for (field, value) in [("Seccomp", "2"), ("CapBnd", "0000000000000000")] {
            let found = std::thread::spawn(read(field)).join().unwrap();
            let is_right = |one: &&String| *one == value;
            // The thread that runs all tests was there before the sandbox: of it only seccomp's.
            assert!(found.len() > 2 && found.iter().filter(is_right).count() >= found.len() - 1);
            assert!(field != "Seccomp" || found.iter().all(|one| one == value), "{found:?}");
        }
    });
}

#[test]
fn a_task_that_reads_a_recording_has_that_and_the_page_alone() {
    in_own_process("a_task_that_reads_a_recording_has_that_and_the_page_alone", || {
        let [recordings, pages, others] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let (recording, page) = (recordings.path().join("r.db"), pages.path().join("page.html"));
        let other = others.path().join("other");
        fs::write(&recording, "r").unwrap();
        fs::write(&other, "o").unwrap();
        let support = Support::read();
        Sandbox::On.enter(&Task::Replay { recording: &recording, page: Some(&page) });
        assert_eq!(fs::read(&recording).unwrap(), b"r");
        fs::write(&page, "p").unwrap();
        fs::write(recordings.path().join("r.db-shm"), "").unwrap();
        let thread = |field| {
            let path = "/proc/thread-self/status";
            let text = fs::read_to_string(path).ok()?;
            let line = text.lines().find(|line| line.starts_with(field))?;
            Some(line.split_ascii_whitespace().last()?.to_owned())
        };
        if support.landlock.is_some() {
            assert_eq!(error_of(fs::read(&other)), libc::EACCES);
            assert_eq!(error_of(fs::read("/etc/passwd")), libc::EACCES);
            assert_eq!(error_of(fs::write(others.path().join("new"), "")), libc::EACCES);
        } else {
            println!("skipped: no Landlock");
            assert_eq!(thread("CapEff:").unwrap(), "0000000000000000");
        }
        if support.seccomp {
            assert_eq!(error_of(UdpSocket::bind("127.0.0.1:0")), libc::ENOSYS);
            // SAFETY: takes numbers.
            assert_eq!(errno(unsafe { libc::setns(0, libc::CLONE_NEWNET) }), libc::ENOSYS);
        }
        assert_eq!(caps::read(None, caps::CapSet::Permitted).unwrap().len(), 0);
    });
}

#[test]
fn a_task_that_tries_calls_sends_on_the_sockets_that_it_has_and_opens_nothing() {
    in_own_process(
        "a_task_that_tries_calls_sends_on_the_sockets_that_it_has_and_opens_nothing",
        || {
            let [one, other] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
            one.connect(other.local_addr().unwrap()).unwrap();
            let support = Support::read();
            Sandbox::On.enter(&Task::Trial);
            one.send(b"x").unwrap();
            let (length, from) = other.recv_from(&mut [0; 9]).unwrap();
            assert_eq!((length, other.send_to(b"yy", from).unwrap()), (1, 2));
            assert_eq!(one.recv(&mut [0; 9]).unwrap(), 2);
            std::thread::spawn(move || one.send(b"z").unwrap()).join().unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let interrupt = runtime.unwrap().block_on(async {
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).map(drop)
            });
            interrupt.unwrap();
            if support.seccomp {
                assert_eq!(error_of(UdpSocket::bind("127.0.0.1:0")), libc::ENOSYS);
                assert_eq!(error_of(other.connect(from)), libc::ENOSYS);
                assert_eq!(error_of(fs::write("/tmp/x", "x")), libc::EPERM);
                // SAFETY: takes numbers.
                assert_eq!(errno(unsafe { libc::setns(0, libc::CLONE_NEWNET) }), libc::ENOSYS);
            }
            if support.landlock.is_some() {
                assert_eq!(error_of(fs::read("/etc/passwd")), libc::EACCES);
            }
            assert_eq!(caps::read(None, caps::CapSet::Permitted).unwrap().len(), 0);
        },
    );
}

#[test]
fn a_process_that_runs_a_command_signals_and_reaps_that_alone() {
    in_own_process("a_process_that_runs_a_command_signals_and_reaps_that_alone", || {
        // Each ends with its standard input, when this process does.
        let start = |uid| {
            let mut command = Command::new("cat");
            command.stdin(Stdio::piped()).uid(uid).spawn().unwrap()
        };
        let uid = nix::unistd::getuid();
        // Of another user, which takes CAP_KILL.
        let mut own = start(if uid.is_root() { 65_534 } else { uid.as_raw() });
        let mut other = start(uid.as_raw());
        let has_seccomp = Support::read().seccomp;
        let command = Some(own.id());
        Sandbox::On.enter(&Task::Follow { backend: Backend::Fexit, recording: None, command });
        if has_seccomp {
            assert_eq!(error_of(other.kill()), libc::EPERM);
        } else {
            println!("skipped: no seccomp");
        }
        // SAFETY: takes numbers.
        unsafe { assert_eq!(errno(libc::kill(own.id().cast_signed(), libc::SIGTERM)), 0) };
        assert_eq!(own.wait().unwrap().signal(), Some(libc::SIGTERM));
        assert_eq!(Command::new("true").status().is_err(), has_seccomp);
        drop(other.stdin.take());
        assert!(other.wait().unwrap().success());
    });
}

#[test]
fn without_the_sandbox_nothing_is_given_up() {
    in_own_process("without_the_sandbox_nothing_is_given_up", || {
        let fields = ["CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp"];
        let before = fields.map(statuses);
        Sandbox::Off.enter(&FOLLOW);
        assert_eq!(fields.map(statuses), before);
        assert!(Command::new("true").status().unwrap().success());
    });
}
