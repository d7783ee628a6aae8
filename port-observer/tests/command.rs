//! `live -- CMD` and `record FILE -- CMD`, as far as they need no privileges: when the command begins, what
//! is its own, and how it and the observer end.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::{self, SigHandler, Signal, kill};
use nix::unistd::{Pid, getuid};

fn observer(words: &[&str], command: &[&str]) -> Command {
    let mut all = Command::new(env!("CARGO_BIN_EXE_port-observer"));
    all.args(words).args(["--backend", "poll", "--"]).args(command);
    all.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env_remove("RUST_LOG");
    // SAFETY: between fork and exec, and neither allocates nor runs code of this process.
    unsafe {
        all.pre_exec(|| {
            // Whoever runs these tests, as nohup does, may ignore them; a shell can't trap what is ignored.
            for number in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
                signal::signal(number, SigHandler::SigDfl)?;
            }
            Ok(())
        });
    }
    all
}

fn run(words: &[&str], command: &[&str]) -> (Output, String) {
    let output = observer(words, command).output().expect("run it");
    let errors = String::from_utf8(output.stderr.clone()).expect("text");
    (output, errors)
}

/// Starts a shell script that says a line when it is ready.
fn started(words: &[&str], script: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = observer(words, &["sh", "-c", script]).spawn().expect("start it");
    let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    output.read_line(&mut line).expect("its first line");
    assert_eq!(line, "ready\n");
    (child, output)
}

fn send(child: &Child, number: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), number).expect("signal it");
}

#[test]
fn the_exit_code_is_the_commands_or_says_why_it_did_not_run() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    for (command, code, said) in [
        (&["sh", "-c", "exit 0"][..], 0, "sh ended after"),
        (&["sh", "-c", "exit 2"], 2, "sh ended with exit code 2 after"),
        (&["sh", "-c", "kill -TERM $$"], 143, "sh was ended by SIGTERM after"),
        (&["sh", "-c", "kill -KILL $$"], 137, "sh was ended by SIGKILL after"),
        (&["no-such-command"], 127, "can't run no-such-command: No such file or directory"),
        (&[""], 127, "can't run : No such file or directory"),
        (&[path], 126, "Permission denied"),
        (&["/"], 126, "can't run /: Permission denied"),
    ] {
        let (output, errors) = run(&["live"], command);
        assert_eq!(output.status.code(), Some(code), "{command:?}: {errors}");
        assert!(output.stdout.is_empty(), "{command:?}");
        assert!(errors.contains(said), "{command:?}: {errors}");
    }
}

#[test]
fn the_command_has_its_own_input_and_output_and_arguments() {
    let mut child = observer(&["live", "--json"], &["cat", "-", "--", "/dev/null"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"through\0it\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"through\0it\n");
    let errors = String::from_utf8(output.stderr).unwrap();
    let types: Vec<String> = errors
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).expect(line)["type"].to_string()
        })
        .collect();
    assert_eq!(
        (types.first().unwrap().as_str(), types.last().unwrap().as_str()),
        ("\"start\"", "\"stop\"")
    );
}

#[test]
fn signals_are_passed_on_and_the_observer_ends_with_the_command() {
    for (name, number) in [
        ("HUP", Signal::SIGHUP),
        ("INT", Signal::SIGINT),
        ("QUIT", Signal::SIGQUIT),
        ("TERM", Signal::SIGTERM),
        ("USR1", Signal::SIGUSR1),
    ] {
        let script = format!(
            "trap 'echo {name}; exit 9' {name}; echo ready; for _ in $(seq 600); do sleep 0.05; done"
        );
        let (mut child, mut output) = started(&["live"], &script);
        send(&child, number);
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, format!("{name}\n"));
        assert_eq!(child.wait().unwrap().code(), Some(9), "{name}");
    }
    let (mut child, _output) = started(&["live"], "echo ready; exec sleep 60");
    send(&child, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn descendants_are_not_waited_for() {
    let mut command = observer(&["live"], &["sh", "-c", "sleep 60 >&- 2>&- & echo $!; exit 4"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let pid: i32 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it still runs");
}

#[test]
fn the_command_goes_on_when_the_time_is_over() {
    let (output, errors) =
        run(&["live", "--duration", "100ms"], &["sh", "-c", "sleep 0.6; echo done; exit 5"]);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(5), &b"done\n"[..]));
    assert!(errors.contains("sh still runs after") && errors.contains("waits for sh"), "{errors}");
}

#[test]
fn a_command_does_not_begin_where_it_can_not_be_observed() {
    let directory = tempfile::tempdir().unwrap();
    let touched = directory.path().join("touched");
    let recording = directory.path().join("missing/ports.db");
    let touch = ["touch", touched.to_str().unwrap()];
    for words in [
        &["record", recording.to_str().unwrap()][..],
        &["live", "--record", recording.to_str().unwrap()],
        &["live", "--output", recording.to_str().unwrap()],
        &["live", "--netns", "no-such-namespace"],
    ] {
        let (output, errors) = run(words, &touch);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {errors}");
        assert!(!errors.is_empty() && !touched.exists(), "{words:?}: {errors}");
    }
}

#[test]
fn what_is_recorded_is_whole_and_standard_output_is_the_commands() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ports.db");
    let (output, errors) =
        run(&["record", file.to_str().unwrap()], &["sh", "-c", "echo own; exit 6"]);
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(6), &b"own\n"[..]), "{errors}");
    assert!(errors.contains("sh ended with exit code 6"), "{errors}");
    let replay = Command::new(env!("CARGO_BIN_EXE_port-observer"))
        .args(["replay", "--json", file.to_str().unwrap()])
        .output()
        .unwrap();
    let text = String::from_utf8(replay.stdout).unwrap();
    assert!(text.lines().last().unwrap().contains("\"type\":\"stop\""), "{text}");
}

#[test]
fn another_user_is_become_as_sudo_does_by_root_alone() {
    let words = ["live", "--user", "nobody"];
    let script = "id -un; id -gn; echo $HOME $USER $LOGNAME $SHELL; grep ^CapEff /proc/self/status";
    let (output, errors) = run(&words, &["sh", "-c", script]);
    if !getuid().is_root() {
        assert_eq!(output.status.code(), Some(1));
        assert!(errors.contains("only root runs a command as another user"), "{errors}");
        return;
    }
    assert!(output.status.success(), "{errors}");
    let user = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let (home, shell) = (user.dir.display(), user.shell.display());
    let group = nix::unistd::Group::from_gid(user.gid).unwrap().unwrap().name;
    let expected =
        format!("nobody\n{group}\n{home} nobody nobody {shell}\nCapEff:\t0000000000000000\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    // It is still signalled.
    let (mut child, _output) = started(&words, "echo ready; exec sleep 60");
    send(&child, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

#[test]
fn wrong_usage_exits_with_2() {
    let touched = tempfile::tempdir().unwrap();
    let touched = touched.path().join("touched");
    let touch = ["touch", touched.to_str().unwrap()];
    for words in [&["live", "--user", "no such user"][..], &["live", "--frobnicate"], &["top"]] {
        let (output, errors) = run(words, &touch);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {errors}");
    }
    assert!(!Path::new(&touched).exists());
    for words in [&["live", "--"][..], &["record", "a.db", "--"], &["live", "--user", "root"]] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_port-observer")).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(!Path::new("a.db").exists());
    }
}
