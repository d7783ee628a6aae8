//! `check`, in network namespaces of its own with a small range.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use serde::Deserialize;
use tests::lines::{Body, Endpoint};
use tests::net::{
    ESTABLISHED, SERVER, TIME_WAIT, ephemeral_range, in_namespace, sysctl, tcp_state, tcp_states,
};
use tests::observer::{Observer, until};
use tests::socket::{Held, local, tcp, udp};
use tests::system;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Check {
    pub status: String,
    port_min: u16,
    port_max: u16,
    total_ports: u32,
    pub used_ports: u32,
    used_percent: u32,
    health_score: u32,
    warning_threshold: f64,
    critical_threshold: f64,
    top_consumers: Vec<Consumer>,
    pub top_processes: Vec<Process>,
    pub busiest_destination: Option<Busiest>,
    pub connections: usize,
    pub states: BTreeMap<String, usize>,
    protocol: String,
    namespace: String,
    reserved_ports: u32,
    pub bind_held_ports: Option<u32>,
    pub missing: Vec<String>,
    pub sources: Sources,
    pub message: String,
    #[serde(default)]
    namespaces: Vec<serde_json::Value>,
    age_seconds: Option<u64>,
}

/// Where the numbers come from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sources {
    pub sockets: String,
    pub processes: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Consumer {
    local_addr: String,
    address: String,
    count: usize,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Process {
    pub pid: Option<u32>,
    pub name: String,
    pub count: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Busiest {
    source: String,
    pub destination: SocketAddr,
    pub used: u32,
    capacity: u32,
    used_percent: u32,
}

/// Exit code and standard output of a check from within this thread's network namespace.
pub fn run(arguments: &[&str]) -> (i32, String) {
    let mut command = Command::new(system::program().expect("the program"));
    command.arg("check").args(arguments);
    answer(command)
}

/// The same of a command that ends in a check.
pub fn answer(mut command: Command) -> (i32, String) {
    let output = system::output(&mut command);
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.stderr.is_empty(), "{output:?}");
    let code = output.status.code().unwrap_or_else(|| panic!("{command:?}: {output:?}"));
    (code, String::from_utf8(output.stdout).expect("text"))
}

/// The same with `--json`.
pub fn check(arguments: &[&str]) -> (i32, Check) {
    let (code, text) = run(&[&["--json"], arguments].concat());
    let check = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (code, check)
}

/// Connections to the server, until there are so many; and their other ends.
pub fn connect(held: &mut Vec<Held>, server: &Held, count: usize) {
    while held.len() < 2 * count {
        held.push(tcp().connect(server.local));
        held.push(server.accept());
    }
}

/// Connections to the server that are closed, by the client first.
pub fn leave_in_time_wait(server: &Held, count: usize) {
    for _ in 0..count {
        let mut client = tcp().connect(server.local);
        let mut child = server.accept();
        client.close();
        child.read_to_the_end();
        child.close();
        until("closed by both", || tcp_state(client.local, server.local) == Some(TIME_WAIT));
    }
}

#[test]
fn exit_code_and_json_follow_the_use_of_the_range() {
    in_namespace(|inode| {
        ephemeral_range(40_000, 40_109);
        sysctl("ipv4/ip_local_reserved_ports", "40100-40200");
        let server = tcp().bind(SERVER).listen();
        let mut held = Vec::new();
        for (count, code, status) in [
            (0, 0, "ok"),
            (69, 0, "ok"),
            (70, 1, "warning"),
            (85, 1, "warning"),
            (86, 2, "critical"),
            (100, 2, "critical"),
        ] {
            connect(&mut held, &server, count);
            let (exited, seen) = check(&[]);
            assert_eq!((exited, &*seen.status), (code, status), "{count}: {seen:?}");
            assert_eq!((seen.port_min, seen.port_max), (40_000, 40_109));
            assert_eq!((seen.total_ports, seen.reserved_ports), (100, 10));
            let percent = u32::try_from(count).expect("a percentage");
            assert_eq!((seen.used_ports, seen.used_percent), (percent, percent));
            assert_eq!(seen.health_score, 100 - percent);
            assert_eq!(seen.sources.sockets, "sock_diag");
            let ways = [Some("bpf_iterator"), Some("proc")];
            assert!(ways.contains(&seen.sources.processes.as_deref()), "{:?}", seen.sources);
            assert_eq!((seen.warning_threshold, seen.critical_threshold), (70.0, 85.0));
            assert_eq!((&*seen.protocol, seen.namespace), ("tcp", inode.to_string()));
            let listed = tcp_states().remove(&ESTABLISHED).unwrap_or_default();
            let listed = listed.into_iter().filter(|port| (40_000..40_110).contains(port)).count();
            assert_eq!((seen.connections, seen.states["established"]), (listed, listed));
            assert_eq!(listed, count);
            if count > 0 {
                let busiest = seen.busiest_destination.expect("the server");
                assert_eq!((busiest.destination, &*busiest.source), (SERVER, "127.0.0.1"));
                assert_eq!((busiest.used, busiest.capacity), (percent, 100));
                assert_eq!(busiest.used_percent, percent);
                let [consumer] = &seen.top_consumers[..] else {
                    panic!("{:?}", seen.top_consumers)
                };
                assert_eq!((&*consumer.address, consumer.count), ("127.0.0.1", count));
                let hexadecimal = u32::from_ne_bytes([127, 0, 0, 1]);
                assert_eq!(consumer.local_addr, format!("{hexadecimal:08X}"));
                let [process] = &seen.top_processes[..] else { panic!("{:?}", seen.top_processes) };
                assert_eq!((process.pid, process.count), (Some(std::process::id()), count));
            }
            let (exited, line) = run(&[]);
            let start =
                format!("PORTS {} - {count}% of tcp ports 40000-40109", status.to_uppercase());
            assert!(exited == code && line.starts_with(&start), "{exited}: {line}");
            assert!(line.contains(&format!(" | used={count};70;85;0;100 ")), "{line}");
            // Only where something is wrong does it tell what to change.
            assert_eq!(line.contains("ip_local_port_range"), code != 0, "{line}");
            assert_eq!(seen.message.contains("ip_local_port_range"), code != 0);
        }
    });
}

#[test]
fn a_port_that_destinations_share_is_one_and_the_busiest_destination_is_told() {
    in_namespace(|_| {
        ephemeral_range(40_000, 40_009);
        let server = tcp().bind(SERVER).listen();
        let other = tcp().bind(local(81)).listen();
        let mut held = Vec::new();
        // A port for each destination only: connects to the second have the ports of the first.
        connect(&mut held, &server, 8);
        let mut others = Vec::new();
        connect(&mut others, &other, 6);
        let (code, seen) = check(&["--warning", "75", "--critical", "95"]);
        let distinct = tcp_states().remove(&ESTABLISHED).expect("connections");
        let mut distinct: Vec<u16> = distinct.into_iter().filter(|port| *port >= 40_000).collect();
        assert_eq!((seen.connections, distinct.len()), (14, 14));
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(seen.used_ports as usize, distinct.len());
        assert_eq!(seen.busiest_destination.expect("the first").used, 8);
        assert_eq!(code, i32::from(distinct.len() >= 8));
        let (code, _) = check(&["--warning", "80", "--critical", "95", "--per-destination"]);
        assert_eq!(code, 1);
        let (code, line) = run(&["--warning", "81", "--critical", "95", "--per-destination"]);
        assert_eq!(code, 0, "{line}");
        assert!(line.contains("80% for 127.0.0.1 → 127.0.0.1:80 (8 of 10)"), "{line}");
        assert!(line.contains(" busiest=8;8;9;0;10 "), "{line}");
    });
}

#[test]
fn time_wait_and_bound_ports_count_and_are_told_apart() {
    in_namespace(|_| {
        ephemeral_range(40_000, 40_009);
        let server = tcp().bind(SERVER).listen();
        leave_in_time_wait(&server, 5);
        let _bound = tcp().bind(local(0));
        let (_, seen) = check(&[]);
        let lists_bound = !seen.missing.iter().any(|one| one.contains("only bound"));
        assert_eq!(seen.states["time_wait"], 5);
        assert_eq!(seen.states.get("bound").copied(), lists_bound.then_some(1));
        assert_eq!(seen.used_ports, 5 + u32::from(lists_bound));
        assert_eq!((&*seen.top_processes[0].name, seen.top_processes[0].pid), ("TIME_WAIT", None));
        assert_eq!(seen.top_processes[0].count, 5);
        // The bound one is none that connect() could have.
        let busiest = seen.busiest_destination.expect("the server");
        assert_eq!(busiest.used, 5 + u32::from(lists_bound));
        let (_, line) = run(&["--warning", "10", "--critical", "99"]);
        // On loopback, tcp_tw_reuse does by default what it would do.
        assert!(line.contains("5 by TIME_WAIT") && !line.contains("tcp_tw_reuse"), "{line}");
    });
}

#[test]
fn a_range_of_an_applications_own_counts_over_udp_too() {
    in_namespace(|_| {
        sysctl("ipv4/ip_local_reserved_ports", "21000-21009");
        let _held: Vec<Held> = (21_000..21_009).map(|port| udp().bind(local(port))).collect();
        let _tcp = tcp().bind(local(21_009)).listen();
        let arguments = ["--range", "21000-21009", "--protocol", "udp"];
        let (code, seen) = check(&arguments);
        assert_eq!((code, seen.used_ports, seen.total_ports), (2, 9, 10));
        assert_eq!((seen.reserved_ports, seen.states["close"]), (10, 9));
        assert!(seen.busiest_destination.is_none());
        let (code, seen) = check(&["--range", "21000-21009"]);
        assert_eq!((code, seen.used_ports), (0, 1));
    });
}

#[test]
fn of_several_namespaces_the_worst_decides() {
    in_namespace(|full| {
        ephemeral_range(40_000, 40_009);
        let server = tcp().bind(SERVER).listen();
        let mut held = Vec::new();
        connect(&mut held, &server, 10);
        let full = full.to_string();
        // That of this process's first thread.
        let other = format!("/proc/{}/ns/net", std::process::id());
        let (code, seen) = check(&["--netns", &other, "--netns", "/proc/thread-self/ns/net"]);
        // The program's own thread is in this namespace.
        assert_eq!((code, &*seen.status, seen.namespace), (2, "critical", full));
        assert_eq!(seen.namespaces.len(), 2);
        assert!(seen.message.contains("the worst of 2"), "{}", seen.message);
        drop(held);
    });
}

#[test]
fn the_busiest_destination_is_as_full_as_the_ledger_says() {
    in_namespace(|inode| {
        ephemeral_range(40_000, 40_099);
        // A TIME_WAIT that could be taken over counts as used here, and not in the ledger.
        sysctl("ipv4/tcp_tw_reuse", "0");
        let server = tcp().bind(SERVER).listen();
        let other = tcp().bind(local(81)).listen();
        let netns = inode.to_string();
        let observer = Observer::own(&["--netns", &netns, "--spaces"])?;
        // Three that connect() can't have.
        let _listeners: Vec<Held> = (0..3).map(|_| tcp().bind(local(0)).listen()).collect();
        let (mut held, mut others) = (Vec::new(), Vec::new());
        connect(&mut others, &other, 20);
        leave_in_time_wait(&server, 4);
        connect(&mut held, &server, 30);
        let (_, seen) = check(&[]);
        let busiest = seen.busiest_destination.expect("the server");
        assert_eq!((busiest.destination, busiest.used, busiest.capacity), (SERVER, 37, 100));
        let last = held[held.len() - 2].local;
        let space = observer.wait_lines(0, |lines| {
            lines.iter().find_map(|line| match &line.body {
                // Another destination may share the port.
                Body::Acquire(one)
                    if one.local.socket_addr() == last
                        && one.remote.as_ref().map(Endpoint::socket_addr) == Some(SERVER) =>
                {
                    Some(one.space.clone())
                }
                _ => None,
            })
        });
        let space = space.expect("the last connection's line").expect("its space");
        assert_eq!((space.used, space.capacity), (busiest.used, busiest.capacity));
        observer.interrupted();
        Some(())
    });
}

#[test]
fn an_answer_that_is_young_enough_is_given_again_with_its_age() {
    in_namespace(|_| {
        ephemeral_range(40_000, 40_099);
        let server = tcp().bind(SERVER).listen();
        let mut held = Vec::new();
        connect(&mut held, &server, 10);
        let (code, first) = check(&["--max-age", "1h"]);
        assert_eq!((code, first.used_ports, first.age_seconds), (0, 10, Some(0)));
        connect(&mut held, &server, 90);
        let (code, again) = check(&["--max-age", "1h"]);
        assert_eq!((code, again.used_ports), (0, 10));
        assert!(again.age_seconds.is_some_and(|seconds| seconds < 3600));
        // Other questions, and one that wants to know how it is now.
        let (code, line) = run(&["--max-age", "1h"]);
        assert!(code == 2 && line.contains(" used=90;"), "{code}: {line}");
        let (code, now) = check(&["--max-age", "1ms"]);
        assert_eq!((code, now.used_ports, now.age_seconds), (2, 90, Some(0)));
        let (code, again) = check(&["--max-age", "1h"]);
        assert_eq!((code, again.used_ports), (2, 90));
        let (code, line) = run(&["--max-age", "1h"]);
        assert!(code == 2 && line.contains(" s old] | used=90;"), "{code}: {line}");
    });
}
