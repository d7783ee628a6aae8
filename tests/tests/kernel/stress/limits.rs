//! Limits that take something of the kernel, or of the machine, to meet them.

mod machine;

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, Output},
};

use serde_json::Value;
use tests::system;

use super::{LONGEST, command, connections, limit};

/// Its answer, of a command that was changed.
fn answer_of(command: &mut Command) -> Value {
    let output: Output = system::output_within(LONGEST, command).expect("run stress");
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{output:?}");
    let answer = serde_json::from_slice(&output.stdout).expect("one JSON object");
    println!("{answer}");
    answer
}

fn reason(answer: &Value) -> &str {
    answer["breaking_point"]["reasons"][0].as_str().expect("a reason")
}

/// Has the command run under a filter that does this with connect().
fn filter_connect(command: &mut Command, action: u32) {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let number = u32::try_from(libc::SYS_connect).expect("a small number");
    let mut filter = [
        // `nr`, the first of struct seccomp_data.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        libc::sock_filter {
            jf: 1,
            ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number)
        },
        statement(libc::BPF_RET | libc::BPF_K, action),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ];
    let set = move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the kernel copies a program of as many instructions as is said.
        let result = unsafe {
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
        };
        Ok(nix::errno::Errno::result(result).map(drop)?)
    };
    // SAFETY: between fork and exec only prctl() is called.
    unsafe { command.pre_exec(set) };
}

#[test]
fn a_filter_of_system_calls_is_told_by_what_it_refuses() {
    let with = |action: u32| {
        let mut stress = command(&["--connections", "100"]);
        filter_connect(&mut stress, action);
        answer_of(&mut stress)
    };
    for (errno, name) in [(libc::EPERM, "EPERM"), (libc::EACCES, "EACCES")] {
        let refused = with(libc::SECCOMP_RET_ERRNO | errno.cast_unsigned());
        assert_eq!((limit(&refused), connections(&refused)), ("seccomp", 0));
        assert_eq!(refused["breaking_point"]["errno"], name);
        let told = format!("refuses connect() with {name}");
        assert!(reason(&refused).contains(&told), "{}", reason(&refused));
    }
    let killed = with(libc::SECCOMP_RET_KILL_PROCESS);
    assert_eq!(limit(&killed), "seccomp");
    assert!(reason(&killed).contains("SIGSYS"), "{}", reason(&killed));
    // One that lets all through, which most containers have, is no limit.
    let harmless = with(libc::SECCOMP_RET_ALLOW);
    assert_eq!((limit(&harmless), connections(&harmless)), ("requested", 100));
}

/// A server that makes a process for each connection, which runs as a user that has no others.
const FORKS: &str = "exec busybox httpd -f -p 8000 -u 47321:47321";

/// What stress is called with for it: it has a short queue, which no more than this rate keeps empty.
const OF_FORKS: [&str; 6] = ["--server", FORKS, "--server-port", "8000", "--rate", "40"];

/// What is on this machine and in the virtual ones.
fn has_busybox() -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|directory| directory.join("busybox").exists());
    if !found {
        println!("skipped: there is no busybox, whose server is taken");
    }
    found
}

#[test]
fn threads_of_a_user_are_named_where_the_server_makes_no_more() {
    if !has_busybox() {
        return;
    }
    let mut stress = command(&OF_FORKS);
    // Of root it is no limit, nor of what connects.
    let set = || {
        use nix::sys::resource::{Resource, setrlimit};
        Ok(setrlimit(Resource::RLIMIT_NPROC, 20, 20)?)
    };
    // SAFETY: between fork and exec only setrlimit() is called.
    unsafe { stress.pre_exec(set) };
    let answer = answer_of(&mut stress);
    assert_eq!(limit(&answer), "threads", "{answer}");
    assert_eq!(connections(&answer), 19, "and the one that listens");
    assert!(reason(&answer).contains("has 20 of 20 threads (RLIMIT_NPROC)"), "{answer}");
    assert_eq!(answer["server"]["alive"], true);
}
