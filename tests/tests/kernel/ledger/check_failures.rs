//! `check` where something is in its way: it says so, or says that it does not know.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, fs, process, thread};

use nix::sched::{CloneFlags, unshare};
use tests::child::Traffic;
use tests::net::{SERVER, ephemeral_range, in_namespace};
use tests::socket::{local, tcp, udp};
use tests::system;

use super::check::{Check, answer, connect};

/// Part of a seccomp filter (struct seccomp_data: the call's number at 0, the low halves of its
/// arguments from 16 on).
fn step(code: u32, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf, k }
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
/// Skips so many steps unless it is equal.
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

/// Lets a command have no socket diagnostics, as a container's seccomp filter does.
fn without_diagnostics(command: &mut Command) {
    filter(
        command,
        vec![
            step(LOAD, 0, 0),
            step(EQUAL, 5, libc::SYS_socket as u32),
            step(LOAD, 0, 16),
            step(EQUAL, 3, libc::AF_NETLINK as u32),
            step(LOAD, 0, 32),
            step(EQUAL, 1, libc::NETLINK_SOCK_DIAG as u32),
            step(RETURN, 0, REFUSE),
            step(RETURN, 0, libc::SECCOMP_RET_ALLOW),
        ],
    );
}

/// Lets a command load no kernel programs.
fn without_bpf(command: &mut Command) {
    filter(
        command,
        vec![
            step(LOAD, 0, 0),
            step(EQUAL, 1, libc::SYS_bpf as u32),
            step(RETURN, 0, REFUSE),
            step(RETURN, 0, libc::SECCOMP_RET_ALLOW),
        ],
    );
}

fn filter(command: &mut Command, mut code: Vec<libc::sock_filter>) {
    // SAFETY: prctl() alone is called between fork and exec, with a program that lives in the closure.
    unsafe {
        command.pre_exec(move || {
            let filter = libc::sock_fprog { len: code.len() as u16, filter: code.as_mut_ptr() };
            // SECCOMP_MODE_FILTER is 2.
            let (on, zero, mode) = (1 as libc::c_ulong, 0 as libc::c_ulong, 2 as libc::c_ulong);
            if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, on, zero, zero, zero) != 0
                || libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter, zero, zero) != 0
            {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

fn read(answer: (i32, String)) -> (i32, Check) {
    let (code, text) = answer;
    (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

fn check(arguments: &[&str]) -> Command {
    let mut command = Command::new(system::program().expect("the program"));
    command.arg("check").args(arguments);
    command
}

#[test]
fn without_diagnostics_the_same_is_read_from_proc_and_that_is_said() {
    in_namespace(|_| {
        ephemeral_range(40_000, 40_099);
        let server = tcp().bind(SERVER).listen();
        let mut held = Vec::new();
        connect(&mut held, &server, 70);
        let _udp: Vec<_> = (0..9).map(|_| udp().bind(local(0))).collect();
        for (protocol, used) in [("tcp", 70), ("udp", 9)] {
            let arguments = ["--json", "--protocol", protocol];
            let (code, expected) = read(answer(check(&arguments)));
            let mut command = check(&arguments);
            without_diagnostics(&mut command);
            let (same_code, seen) = read(answer(command));
            assert_eq!((same_code, seen.used_ports), (code, used));
            assert_eq!((seen.used_ports, seen.connections), (expected.used_ports, used as usize));
            assert_eq!(
                (&*expected.sources.sockets, &*seen.sources.sockets),
                ("sock_diag", "proc_net")
            );
            let said = seen.missing.iter().find(|one| one.contains("/proc/net stands in"));
            let said = said.unwrap_or_else(|| panic!("{:?}", seen.missing));
            assert!(said.contains("Operation not permitted"), "{said}");
            assert_eq!(said.contains("only bound"), protocol == "tcp", "{said}");
            assert!(!seen.states.contains_key("bound"));
        }
        let mut command = check(&[]);
        without_diagnostics(&mut command);
        let (code, line) = answer(command);
        assert!(
            code == 1 && line.contains("[not seen: TCP sockets that are only bound: "),
            "{line}"
        );
    });
}

#[test]
fn an_iterator_finds_the_processes_of_many_sockets_that_a_walk_over_proc_finds() {
    in_namespace(|_| {
        ephemeral_range(1024, 65_535);
        // So many that the iterator is worth it.
        let mut children: Vec<Traffic> = (1..=9u8)
            .map(|number| Traffic::start(&["pairs", "480", &format!("127.0.0.{number}:80")]))
            .collect();
        assert!(children.iter_mut().all(|child| child.taken().is_some()));
        let (_, iterated) = read(answer(check(&["--json"])));
        let mut command = check(&["--json"]);
        without_bpf(&mut command);
        let (_, walked) = read(answer(command));
        assert_eq!(walked.sources.processes.as_deref(), Some("proc"));
        assert_eq!(walked.connections, 9 * 480);
        assert_eq!(walked.top_processes, iterated.top_processes);
        let mut pids: Vec<u32> = walked.top_processes.iter().filter_map(|one| one.pid).collect();
        let mut expected: Vec<u32> = children.iter().map(Traffic::pid).collect();
        pids.sort_unstable();
        expected.sort_unstable();
        assert_eq!(pids, expected);
        assert!(walked.top_processes.iter().all(|one| one.count == 480 && one.name == "traffic"));
        match iterated.sources.processes.as_deref() {
            Some("bpf_iterator") => {}
            other if system::must_load() => panic!("{other:?}"),
            other => println!("skipped: no iterator is loaded here, {other:?}"),
        }
    });
}

#[test]
fn a_line_of_proc_that_is_garbage_makes_it_unknown() {
    let directory = env::temp_dir().join(format!("garbage-{}", process::id()));
    fs::create_dir(&directory).expect("make a directory");
    let good = "   0: 0100007F:9C40 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        \
                0 4711 1 0000000000000000 20 4 30 10 -1";
    for (garbage, code) in [(None, 0), (Some("   1: 0100007F:9C4"), 3), (Some("\u{0}\u{0}"), 3)] {
        let lines: Vec<&str> =
            ["  sl  local_address"].into_iter().chain([good]).chain(garbage).collect();
        fs::write(directory.join("tcp"), lines.join("\n") + "\n")
            .expect("write what /proc/net/tcp shall be");
        in_namespace(|_| {
            ephemeral_range(40_000, 40_099);
            // Over the lists of the thread that the program will be.
            let mut command = Command::new("sh");
            let mount = "mount --bind \"$1\" /proc/$$/task/$$/net && exec \"$2\" check --json";
            command
                .args(["-c", mount, "sh"])
                .arg(&directory)
                .arg(system::program().expect("the program"));
            // SAFETY: unshare() and mount() alone are called between fork and exec.
            unsafe {
                command.pre_exec(|| {
                    unshare(CloneFlags::CLONE_NEWNS)?;
                    let flags = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
                    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?;
                    Ok(())
                });
            }
            without_diagnostics(&mut command);
            let (exited, seen) = read(answer(command));
            assert_eq!((exited, seen.used_ports), (code, 1), "{garbage:?}: {}", seen.message);
            let is_said = seen.message.contains("1 records about sockets made no sense");
            assert_eq!(
                (is_said, &*seen.status),
                (code == 3, if code == 3 { "unknown" } else { "ok" })
            );
        });
    }
    let _ = fs::remove_dir_all(&directory);
}

#[test]
fn namespaces_that_end_meanwhile_are_not_missed_of_all_and_are_unknown_of_those_named() {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut short = Command::new("sleep");
                short.arg("0.01").stdin(Stdio::null());
                // SAFETY: unshare() alone is called between fork and exec.
                unsafe { short.pre_exec(|| Ok(unshare(CloneFlags::CLONE_NEWNET)?)) };
                let _ = system::spawn(&mut short).and_then(|mut child| child.wait());
            }
        });
        let mut ended = 0;
        for _ in 0..30 {
            let (code, text) = answer(check(&["--all-netns", "--json"]));
            let seen: serde_json::Value = serde_json::from_str(&text).expect("an object");
            let failures = seen["failures"].as_array().map_or(0, Vec::len);
            if code == 3 || failures > 0 {
                stop.store(true, Ordering::Relaxed);
                panic!("{code}: {text}");
            }
            let mut gone = Command::new("sleep");
            gone.arg("0").stdin(Stdio::null());
            let mut child = system::spawn(&mut gone).expect("a process");
            let path = format!("/proc/{}/ns/net", child.id());
            child.wait().expect("its end");
            let (code, line) = answer(check(&["--netns", &path]));
            ended += i32::from(code == 3 && line.contains(&path));
            thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Relaxed);
        assert_eq!(ended, 30);
    });
}
