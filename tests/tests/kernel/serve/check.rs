//! `check --from`, beside `check`, which asks the kernel.

use std::path::Path;

use tests::{
    http::{Serve, get},
    net::{SERVER, ephemeral_range, in_namespace},
    observer::until,
    recording::Directory,
    socket::{Held, local, tcp, udp},
};

use crate::ledger::check::{Check, check as object, connect, leave_in_time_wait, run as check};

/// What both ways have to agree in.
fn counted(check: &Check) -> impl PartialEq + std::fmt::Debug + use<> {
    let busiest = check.busiest_destination.as_ref().map(|one| (one.destination, one.used));
    let Check { status, used_ports, connections, states, bind_held_ports, .. } = check;
    (status.clone(), *used_ports, *connections, states.clone(), *bind_held_ports, busiest)
}

fn listening(directory: &Directory) -> String {
    format!("unix:{}", directory.path().join("socket").display())
}

#[test]
fn a_running_serve_answers_as_the_kernel_does_and_knows_whose_time_wait_is() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let at = listening(&directory);
        ephemeral_range(40_000, 40_039);
        let server = tcp().bind(SERVER).listen();
        let Some(_serve) = Serve::start(inode, &["--listen", &at]) else { return };
        let mut held: Vec<Held> = Vec::new();
        connect(&mut held, &server, 10);
        leave_in_time_wait(&server, 12);
        held.extend((0..8).map(|_| tcp().bind(local(0))));
        held.extend((0..3).map(|_| udp().bind(local(0))));
        until("both have counted the same", || {
            let (from, of_kernel) = (object(&["--from", &at]).1, object(&[]).1);
            counted(&from) == counted(&of_kernel) && from.states["time_wait"] == 12
        });
        let (code, found) = object(&["--from", &at, "--per-destination"]);
        assert_eq!((code, &*found.status), (1, "warning"), "{found:?}");
        let busiest = found.busiest_destination.expect("connections");
        assert_eq!((busiest.destination, busiest.used), (SERVER, 30));
        let own = std::process::id();
        let mine =
            found.top_processes.iter().find(|one| one.pid == Some(own)).expect("this process");
        assert_eq!(mine.count, 30, "{:?}", found.top_processes);
        assert!(found.missing.is_empty(), "{:?}", found.missing);

        let thresholds = ["--warning", "20", "--critical", "50"];
        let (code, line) = check(&[&["--from", &*at], &thresholds[..]].concat());
        assert_eq!(code, 2);
        assert!(
            line.starts_with("PORTS CRITICAL - 75% of tcp ports 40000-40039 used (30 of 40)"),
            "{line}"
        );
        assert!(line.contains("| used=30;8;20;0;40 busiest=30;;;0;40"), "{line}");
        for arguments in [&["--protocol", "udp"][..], &["--range", "40000-40009"]] {
            let (_, from) = object(&[&["--from", &*at], arguments].concat());
            let (_, of_kernel) = object(arguments);
            assert_eq!(counted(&from), counted(&of_kernel), "{arguments:?}");
        }
    });
}

#[test]
fn what_can_not_be_asked_is_unknown_with_what_to_do() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let at = listening(&directory);
        let (code, line) = check(&["--from", &at]);
        assert_eq!(code, 3);
        assert!(line.starts_with("PORTS UNKNOWN - can't ask unix:"), "{line}");

        let token = directory.path().join("token");
        write_secret(&token, "0123456789abcdef\n");
        let path = token.to_str().expect("text");
        let arguments = ["--listen", "127.0.0.1:7678", "--listen", &at, "--token", path];
        let Some(_serve) = Serve::start(inode, &arguments) else { return };
        let over_http = ["--from", "http://127.0.0.1:7678"];
        let (code, line) = check(&over_http);
        assert_eq!(code, 3);
        assert!(line.contains("401 Unauthorized: give a token"), "{line}");
        let (code, line) = check(&[&over_http[..], &["--token", path]].concat());
        assert_eq!(code, 0, "{line}");
        let (code, line) = check(&["--from", &at, "--netns", "no-such"]);
        assert_eq!(code, 3);
        assert!(line.contains("network namespace no-such: it is not watched here"), "{line}");
        let (code, line) = check(&["--from", &at, "--all-netns"]);
        assert_eq!(code, 0, "{line}");
        assert_eq!(get("/check").status, 401);
    });
}

fn write_secret(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).expect("write");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("chmod");
}
