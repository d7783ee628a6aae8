//! `stress`: each limit that can be met here is met, and named.

mod limits;
mod page;
mod program;
mod servers;
mod target;

use std::{
    fs,
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use tests::{
    child::Guarded,
    net::{in_namespace, sysctl},
    observer::until,
    recording::Directory,
    system::{self, Backend},
};

/// The program with these arguments after `stress`.
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(system::program().expect("the program"));
    command.args(["stress", "--json", "--backend", Backend::chosen().name()]).args(arguments);
    command
}

/// It ends by itself, long before this.
const LONGEST: Duration = Duration::from_secs(240);

fn run(arguments: &[&str]) -> Output {
    let output = system::output_within(LONGEST, &mut command(arguments)).expect("run stress");
    eprintln!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Its answer.
fn stress(arguments: &[&str]) -> Value {
    let output = run(arguments);
    assert!(output.status.success(), "{output:?}");
    let answer = serde_json::from_slice(&output.stdout).expect("one JSON object");
    println!("{arguments:?}: {answer}");
    answer
}

fn limit(answer: &Value) -> &str {
    answer["breaking_point"]["limit"].as_str().expect("a limit")
}

fn connections(answer: &Value) -> u64 {
    answer["breaking_point"]["connections"].as_u64().expect("how many connections")
}

/// The virtual machines have no servers.
fn has_servers() -> bool {
    let is_here = !system::in_virtual_machine();
    if !is_here {
        println!("skipped: this machine has none of the servers");
    }
    is_here
}

/// That an observer saw all of it: `some` connections at least, and nothing was lost.
fn assert_observed(answer: &Value, some: u64, exhausted: u64) {
    let observer = &answer["observer"];
    // A backend that this machine can't load is said, and the rest is answered all the same.
    if observer["missing"].is_string() && !system::must_load() {
        return;
    }
    assert!(observer["acquired"].as_u64() >= Some(some), "{observer}");
    assert!(observer["exhausted"].as_u64() >= Some(exhausted), "{observer}");
    assert_eq!(observer["lost"], 0, "{observer}");
}

#[test]
fn a_full_range_is_named_and_the_server_is_well_after_it() {
    let answer = stress(&["--range", "40000-40199", "--destinations", "2"]);
    assert_eq!((limit(&answer), connections(&answer)), ("ephemeral_ports", 400));
    let point = &answer["breaking_point"];
    assert_eq!(point["errno"], "EADDRNOTAVAIL");
    assert_eq!(point["also"], serde_json::json!([]));
    assert_eq!(point["evidence"]["ports"], 200);
    assert_eq!(point["evidence"]["spaces_full"], 2);
    let server = &answer["server"];
    assert_eq!(server["connections"], 400);
    assert_eq!(server["accepting"], true);
    assert!(server["recovered_seconds"].is_number(), "{server}");
    assert_observed(&answer, 400, 1);
}

#[test]
fn a_source_has_its_ports_once_over_udp_whatever_it_connects_to() {
    let answer = stress(&["--udp", "--range", "40000-40099", "--destinations", "3"]);
    assert_eq!((limit(&answer), connections(&answer)), ("ephemeral_ports", 100));
    assert_eq!(answer["breaking_point"]["errno"], "EAGAIN");
    assert_eq!(answer["breaking_point"]["evidence"]["ports_used"], 100);
    let server = &answer["server"];
    assert!(server["first_byte_seconds"].is_number(), "{server}");
    assert!(server["recovered_seconds"].is_number(), "{server}");
    assert!(server.get("accept_queue").is_none(), "{server}");
    // By tracepoints the ports of such sockets show once they are listed, and no call that found none.
    if Backend::chosen() != Backend::Tracepoint {
        assert_observed(&answer, 100, 1);
    }
    let answer = stress(&["--udp", "--range", "40000-40099", "--sources", "3"]);
    assert_eq!((limit(&answer), connections(&answer)), ("ephemeral_ports", 300));
    let churn = ["--udp", "--range", "40000-40099", "--close", "client", "--connections", "500"];
    assert_eq!(limit(&stress(&churn)), "requested", "ports are free at once");
}

#[test]
fn source_addresses_have_a_range_each_and_bind_before_connect_has_one_for_all() {
    let with = |more: &[&str]| {
        let arguments = [&["--range", "40000-40099", "--destinations", "3"], more].concat();
        let answer = stress(&arguments);
        assert_eq!(limit(&answer), "ephemeral_ports");
        connections(&answer)
    };
    assert_eq!(with(&["--sources", "4"]), 1_200);
    assert_eq!(with(&["--bind", "before"]), 100);
    assert_eq!(with(&["--bind", "no-port"]), 300);
    assert_eq!(with(&["--ipv6", "--sources", "2"]), 600);
}

#[test]
fn descriptors_of_both_ends_are_named_where_both_are_all_but_used() {
    let answer = stress(&["--nofile", "300"]);
    assert_eq!(limit(&answer), "file_descriptors");
    assert!((280..300).contains(&connections(&answer)), "{answer}");
    let reason = answer["breaking_point"]["reasons"][0].as_str().expect("a reason");
    assert!(reason.contains("who connects has 300 of 300"), "{reason}");
    let both = stress(&["--nofile", "300", "--range", "40000-40291"]);
    assert_eq!((limit(&both), connections(&both)), ("ephemeral_ports", 292));
    assert_eq!(both["breaking_point"]["also"], serde_json::json!(["file_descriptors"]));
}

#[test]
fn what_more_descriptors_are_good_for_is_measured() {
    let answer = stress(&["--nofile", "300", "--connections", "2000", "--mitigations"]);
    assert_eq!(limit(&answer), "file_descriptors");
    let raised = &answer["mitigations"][0];
    assert_eq!((&raised["change"], &raised["proved"]), (&"raise_nofile".into(), &true.into()));
    assert_eq!(raised["after"], 2_000);
    let limits = answer["hard_limits"].as_array().expect("what is good for how many");
    assert_eq!(limits[0]["limit"], "file_descriptors");
    assert_eq!(
        (&limits[1]["limit"], &limits[1]["connections"]),
        (&"requested".into(), &2_000.into())
    );
}

#[test]
fn more_connections_than_a_process_may_have_are_spread_over_several() {
    let mut limited = Command::new("/bin/sh");
    let program = system::program().expect("the program");
    limited.args(["-c", "ulimit -n 1000; exec \"$0\" \"$@\""]).arg(program);
    limited.args(["stress", "--json", "--backend", Backend::chosen().name()]);
    let output = system::output(limited.args(["--connections", "3000"])).expect("run stress");
    assert!(output.status.success(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!((limit(&answer), connections(&answer)), ("requested", 3_000));
    assert!(answer["client"]["processes"].as_u64() >= Some(3), "{answer}");
    assert_eq!(answer["milestones"][0]["reached"], true);
    assert_observed(&answer, 3_000, 0);
}

#[test]
fn what_is_expected_decides_about_the_exit_code_and_an_earlier_run_is_compared() {
    let enough = run(&["--connections", "100", "--expect", "100"]);
    assert_eq!(enough.status.code(), Some(0), "{enough:?}");
    let directory = Directory::make();
    let old = directory.file("old.json");
    fs::write(&old, &enough.stdout).expect("keep the answer");
    let compared = &stress(&["--connections", "150", "--compare", &old])["compared"];
    assert_eq!(compared["before"]["connections"], 100);
    assert_eq!(compared["connections_percent"].as_f64().map(f64::round), Some(50.0));
    assert_eq!(compared["other_limit"], false);
    let few = run(&["--range", "40000-40049", "--expect", "51"]);
    assert_eq!(few.status.code(), Some(1));
    let said = String::from_utf8_lossy(&few.stderr);
    assert!(said.contains("50 connections, and 51 were expected"), "{said}");
}

#[test]
fn time_wait_keeps_ports_and_its_limit_hides_that_they_run_out() {
    let churn = |more: &[&str]| {
        let close = ["--close", "client", "--range", "40000-40199", "--rate", "500"];
        stress(&[&close[..], &["--duration", "3s"], more].concat())
    };
    let kept = churn(&["--tw-reuse", "0"]);
    assert_eq!((limit(&kept), connections(&kept)), ("ephemeral_ports", 200));
    assert_eq!(kept["breaking_point"]["evidence"]["time_wait"], 200);
    let reused = connections(&churn(&["--tw-reuse", "1"]));
    assert!(reused > 300, "{reused}: a port is free again after a second");
    in_namespace(|_| {
        sysctl("ipv4/tcp_max_tw_buckets", "50");
        let hidden = churn(&["--tw-reuse", "0"]);
        assert_eq!(limit(&hidden), "time_wait_buckets");
        assert_eq!(hidden["client"]["refused"], 0);
    });
}

/// As many as there are ports, or few more: a FIN that is sent again to a busy machine is acknowledged to nobody,
/// whose RST ends a TIME_WAIT early (`tcp_timewait_state_process`, net/ipv4/tcp_minisocks.c).
fn is_about(ports: u64, connections: Option<u64>) -> bool {
    connections.is_some_and(|count| (ports..=ports + ports / 10).contains(&count))
}

#[test]
fn what_helps_is_tried_and_what_does_not_is_said() {
    let churn = ["--close", "client", "--range", "40000-40099", "--rate", "400"];
    let more = ["--duration", "2s", "--tw-reuse", "0", "--mitigations", "--variations"];
    let answer = stress(&[&churn[..], &more].concat());
    let mitigations = answer["mitigations"].as_array().expect("what was tried");
    let of = |change: &str| {
        let found = mitigations.iter().find(|one| one["change"] == change);
        found.unwrap_or_else(|| panic!("{change} was not tried: {answer}"))
    };
    for change in ["widen_range", "source_addresses", "server_closes_first", "tcp_tw_reuse"] {
        assert_eq!(of(change)["proved"], true, "{change}: {answer}");
        assert!(is_about(100, of(change)["before"].as_u64()), "{change}: {answer}");
    }
    assert_eq!(of("tcp_fin_timeout")["proved"], false, "{answer}");
    let after: Vec<u64> = mitigations.iter().filter_map(|one| one["after"].as_u64()).collect();
    assert!(after.is_sorted_by(|a, b| a >= b), "{after:?}");
    let variations = answer["variations"].as_array().expect("what was varied");
    let worked = |name: &str| {
        let found = variations.iter().find(|one| one["name"] == name);
        found.and_then(|one| one["worked"].as_u64()).unwrap_or_else(|| panic!("{name}: {answer}"))
    };
    assert!(is_about(100, Some(worked("as it is"))), "{answer}");
    assert!(is_about(100, Some(worked("bind before connect"))), "{answer}");
    assert!(is_about(1_000, Some(worked("ten source addresses"))), "{answer}");
    assert!(worked("server closes") > 500, "{answer}");
}

/// Processes with this variable in their environment.
fn marked(mark: &str) -> Vec<String> {
    let all = fs::read_dir("/proc").expect("read /proc").flatten();
    let is_marked = |path: &std::path::Path| {
        fs::read(path.join("environ")).is_ok_and(|environment| {
            environment.split(|byte| *byte == 0).any(|one| one == mark.as_bytes())
        })
    };
    all.map(|entry| entry.path())
        .filter(|path| is_marked(path))
        .map(|path| path.display().to_string())
        .collect()
}

#[test]
fn nothing_stays_behind_when_it_is_killed() {
    for round in 0..10u64 {
        let mark = format!("STRESS_TEST={}-{round}", std::process::id());
        let (name, value) = mark.split_once('=').expect("as above");
        let arguments = [
            ["--close", "client", "--duration", "60s"],
            // A process of the user's, that ends neither with its parent nor with its input.
            ["--server", "sleep 1000 & exec cat /dev/zero | sleep 1000", "--server-port", "8080"],
        ];
        let which = arguments[usize::from(round % 2 == 1)];
        let mut child = command(&which);
        child.env(name, value).stdout(Stdio::null()).stderr(Stdio::null());
        let child = Guarded(system::spawn(&mut child).expect("start stress"));
        // Before it has begun, while it begins, and while it is at it.
        thread::sleep(Duration::from_millis(round * round * 30));
        drop(child);
        until("all processes of it to end", || marked(&mark).is_empty());
    }
}

#[test]
fn a_signal_ends_it_with_its_report_so_far() {
    let mut child = command(&["--close", "client", "--rate", "200", "--duration", "60s"]);
    let child = system::spawn(child.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let child = child.expect("start stress");
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    thread::sleep(Duration::from_secs(4));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("interrupt it");
    let output = child.wait_with_output().expect("its end");
    assert!(output.status.success(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert!(connections(&answer) > 0, "{answer}");
}

#[test]
fn errors_say_what_to_do() {
    let fails = |arguments: &[&str], words: &str| {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(words), "{said}");
    };
    fails(&["--server", "echo oops >&2; exit 3"], "oops");
    fails(&["--nofile", "4000000000"], "RLIMIT_NOFILE");
}
