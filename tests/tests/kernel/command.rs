//! `live -- CMD`: a command that is run and observed.

use std::{
    fs,
    process::{Command, Output, Stdio},
};

use nix::errno::Errno;
use tests::{
    lines::{Body, Line},
    net::{ephemeral_range, in_namespace, sysctl},
    observer::until,
    recording::Directory,
    socket::{local, tcp},
    system::{Backend, beside_this_test, must_load, program, spawn},
};

/// `live` with these arguments and a shell script as the command, in the calling thread's network
/// namespace.
fn live(arguments: &[&str], script: &str) -> Command {
    let mut command = Command::new(program().expect("the program"));
    command.args(["live", "--backend", Backend::chosen().name()]).args(arguments);
    command.args(["--", "sh", "-c", script]).stdin(Stdio::null()).env_remove("RUST_LOG");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Its end. `None`: this machine has no such backend, as is printed.
fn ended(child: std::process::Child) -> Option<(Output, String)> {
    let output = child.wait_with_output().expect("its end");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if errors.contains("was not run") && !must_load() {
        println!("skipped: {errors}");
        return None;
    }
    Some((output, errors))
}

/// A grandchild that its parent has left takes all ports and is refused one more; so is this process,
/// which is not of the command.
#[test]
fn what_its_processes_are_refused_is_shown_with_why_and_nothing_of_others() {
    in_namespace(|_| {
        let directory = Directory::make();
        ephemeral_range(40_000, 40_009);
        // What the first run leaves, the second may not take over.
        sysctl("ipv4/tcp_tw_reuse", "0");
        let _server = tcp().bind(local(80)).listen();
        let traffic = beside_this_test("traffic").expect("the traffic");
        let script = "touch begun; while ! test -e other; do sleep 0.02; done; \
             (setsid sh -c '\"$TRAFFIC\" hold 11 127.0.0.1:80 2>why; touch refused' &); \
             while ! test -e refused; do sleep 0.02; done; \
             echo to standard output; echo to standard error >&2; exit 7";
        let lines = directory.file("lines");
        let start = |arguments: &[&str]| {
            for name in ["begun", "other", "refused"] {
                let _ = fs::remove_file(directory.path().join(name));
            }
            let mut command = live(arguments, script);
            command.current_dir(directory.path()).env("TRAFFIC", &traffic);
            let mut child = spawn(&mut command).expect("start it");
            until("the command has begun", || {
                let is_over = child.try_wait().expect("ask whether it ended").is_some();
                is_over || directory.path().join("begun").exists()
            });
            // Not of the command.
            let mut stranger = tcp().bind(local(81)).listen();
            let refused = tcp().try_bind(local(80));
            fs::write(directory.path().join("other"), "").expect("let it go on");
            assert_eq!(refused, Err(Errno::EADDRINUSE));
            let ended = ended(child);
            stranger.close();
            ended
        };

        let Some((output, errors)) = start(&["--json", "--output", &lines]) else { return };
        assert_eq!(output.status.code(), Some(7), "{errors}");
        assert_eq!(output.stdout, b"to standard output\n");
        assert_eq!(errors, "to standard error\n");
        let lines = fs::read_to_string(&lines).expect("the lines");
        let lines: Vec<Line> = lines.lines().map(|line| Line::parse(line).expect(line)).collect();
        let [Line { body: Body::Start(_), .. }, lines @ .., Line { body: Body::Stop(stop), .. }] =
            &lines[..]
        else {
            panic!("not from start to stop: {lines:?}")
        };
        // All processes' are accounted.
        assert!(stop.acquired > 10, "{stop:?}");
        let mut counts = [0; 2];
        for line in lines {
            let (at, line) = match &line.body {
                Body::Acquire(line) => (0, line.process.as_ref()),
                Body::Exhausted(line) => (1, line.process.as_ref()),
                Body::Threshold(_) | Body::TimeWait(_) | Body::Release(_) => continue,
                other => panic!("not of the command: {other:?}"),
            };
            assert_eq!(line.expect("who").name, "traffic");
            counts[at] += 1;
        }
        assert_eq!(counts, [10, 1], "{lines:#?}");

        // What the first has closed, and the server has not, keeps them all.
        let Some((output, errors)) = start(&["--events", "conflict"]) else { return };
        assert_eq!(
            (output.status.code(), &output.stdout[..]),
            (Some(7), &b"to standard output\n"[..])
        );
        assert!(errors.contains("sh ended with exit code 7"), "{errors}");
        assert!(errors.contains("no port taken, 1 call refused"), "{errors}");
        assert!(
            errors.contains("traffic") && errors.contains("127.0.0.1:80: EADDRNOTAVAIL"),
            "{errors}"
        );
        assert!(errors.contains("0 of 10 ports left") && errors.contains("change: "), "{errors}");
        assert!(!errors.contains("EADDRINUSE"), "{errors}");
    });
}

/// What a process is started with, as it sees itself.
#[test]
fn the_command_has_nothing_of_what_the_observer_made_of_itself() {
    let script = "grep -E '^(Cap|NoNewPrivs|Seccomp|Sig(Blk|Ign|Cgt)|Groups|Uid|Gid|Umask)' \
                  /proc/self/status; cat /proc/self/limits; echo /proc/self/fd/*; ulimit -a";
    // With a disposition that is not the default, and one more descriptor.
    let script = format!("trap '' USR2; exec 7</dev/null; {script}");
    for before in ["", "trap '' PIPE XFSZ CHLD INT; "] {
        let words = live(&["--output", "/dev/null"], &script);
        let (with, without) =
            (format!("{before}exec \"$@\""), format!("{before}exec sh -c \"$0\""));
        let mut with_observer = Command::new("sh");
        with_observer.args(["-c", &with, "sh"]).arg(words.get_program()).args(words.get_args());
        let mut plain = Command::new("sh");
        plain.args(["-c", &without, &script]);
        let [observed, plain] = [with_observer, plain].map(|mut command| {
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            ended(spawn(&mut command).expect("start it"))
        });
        let (Some((observed, errors)), Some((plain, _))) = (observed, plain) else { return };
        assert!(observed.status.success() && plain.status.success(), "{errors}");
        let text = |output: &Output| String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text(&plain).contains("CapBnd"), "{}", text(&plain));
        assert_eq!(text(&observed), text(&plain));
    }
}
