//! Exit codes and messages of the program itself, as far as they need no kernel.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn run(arguments: &[&str]) -> std::io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_port-observer"))
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("RUST_LOG")
        .output()
}

#[test]
fn wrong_usage_exits_with_2_and_writes_nothing_to_standard_output() {
    for arguments in [
        &[][..],
        &["live", "--port", "0"],
        &["live", "--frobnicate"],
        &["live", "--warning", "90", "--critical", "80"],
        &["live", "--no-existing", "--events", "existing"],
        &["snapshot", "--port", "2-1"],
        &["frobnicate"],
    ] {
        let output = run(arguments).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_and_version_go_to_standard_output_and_exit_with_0() {
    for arguments in [&["--help"][..], &["live", "--help"], &["--version"]] {
        let output = run(arguments).unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_failure_exits_with_1_and_is_said_once_with_all_its_causes() {
    for command in ["live", "snapshot"] {
        let output = run(&[command, "--netns", "no-such-namespace"]).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(message.starts_with("port-observer: --netns no-such-namespace: "), "{message}");
        assert!(message.contains("no network namespace \"no-such-namespace\""), "{message}");
        assert!(message.contains("ip netns list"), "{message}");
    }
}

#[test]
fn a_screen_without_a_terminal_is_refused_with_what_to_use_in_its_place() {
    for (arguments, instead) in [
        (&["top"][..], ["port-observer snapshot", "port-observer live"]),
        (&["top", "--replay", "ports.db"], ["port-observer report", "port-observer replay"]),
    ] {
        let output = run(arguments).unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stdout.is_empty());
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(message.contains("top needs a terminal"), "{message}");
        assert!(instead.iter().all(|command| message.contains(command)), "{message}");
    }
}

#[test]
fn a_check_that_makes_no_sense_is_unknown_on_standard_output() {
    for (arguments, reason) in [
        (&["check", "--range", "5-4"][..], "the range ends (4) before it begins (5)"),
        (&["check", "--range", "0"], "'0' is not a port"),
        (&["check", "--warning", "90"], "--warning (90) must be below --critical (85)"),
        (&["check", "-w", "20:10"], "the range ends (10) before it begins (20)"),
        (&["check", "--critical", "much"], "write a percentage from 0 to 100"),
        (&["check", "--per-destination", "--protocol", "udp"], "--per-destination is about TCP"),
        (&["check", "--netns", "a", "--all-netns"], "cannot be used with"),
        (&["check", "--netns", "no-such"], "no network namespace \"no-such\""),
        (&["check", "--netns", "1"], "no network namespace \"1\""),
        (&["check", "--interval", "soon"], "write it as 90s"),
        (&["check", "--max-age", "0s"], "write it as 90s"),
        (&["check", "--max-age", "5s", "--interval", "5s"], "cannot be used with"),
        (&["--color", "never", "check", "now"], "unexpected argument 'now'"),
        (&["--color=never", "check", "--frobnicate"], "unexpected argument '--frobnicate'"),
    ] {
        let output = run(arguments).unwrap();
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with("PORTS UNKNOWN - ") && text.lines().count() == 1, "{text}");
        assert!(text.contains(reason) && !text.contains('|'), "{text}");
        let output = run(&[arguments, &["--json"]].concat()).unwrap();
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(json["status"], "unknown");
        assert!(json["message"].as_str().unwrap().contains(reason), "{json}");
    }
    let help = run(&["check", "--help"]).unwrap();
    assert_eq!(help.status.code(), Some(0));
    assert!(help.stdout.starts_with(b"Check once"));
}

#[test]
fn a_check_that_can_not_be_told_is_unknown() {
    let run = |output: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_port-observer"));
        let command = command.args(["check", "--range", "1-65535"]).stdout(output);
        let output = command.stderr(Stdio::piped()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let (code, message) = run(full.into());
    assert_eq!(code, Some(3), "{message}");
    assert!(message.contains("can't write to standard output"), "{message}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (code, message) = run(writer.into());
    assert_eq!(code, Some(3), "{message}");
    assert!(message.contains("nobody reads it"), "{message}");
}

#[test]
fn a_check_that_repeats_ends_with_0_by_a_signal_whether_its_output_is_read_or_not() {
    // From when on the signal is caught is seen in /proc.
    let catches = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap_or_default().trim(), 16).unwrap_or(0);
        caught & 1 << (Signal::SIGTERM as u32 - 1) != 0
    };
    for reads in [false, true] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_port-observer"))
            .args(["check", "--json", "--interval", "100ms"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        if reads {
            let output = child.stdout.as_mut().unwrap();
            BufReader::new(output).read_line(&mut String::new()).unwrap();
        } else {
            while !catches(child.id()) {
                assert!(child.try_wait().unwrap().is_none(), "it has ended");
                std::thread::sleep(Duration::from_micros(100));
            }
        }
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "read: {reads}");
    }
}

#[test]
fn a_check_that_repeats_ends_with_0_when_its_reader_has_left() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_port-observer"))
        .args(["check", "--interval", "100ms"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..2 {
        assert!(lines.next().unwrap().unwrap().starts_with("PORTS "));
    }
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
