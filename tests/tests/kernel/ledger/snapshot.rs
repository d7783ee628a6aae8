//! `snapshot`, against the kernel's own lists in `/proc/net`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde::Deserialize;
use tests::lines::{Endpoint, Namespace, Process, ProcessUse, Space};
use tests::net::{FIN_WAIT2, SERVER, ephemeral_range, in_namespace, sysctl, tcp_state, tcp_states};
use tests::observer::until;
use tests::socket::{Held, local, local6, mapped, tcp, tcp6, udp, udp6};
use tests::system;

use super::check::{self, Check, leave_in_time_wait};
use super::fill::fill;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot {
    schema: u32,
    time: jiff::Timestamp,
    host: String,
    kernel: String,
    missing: Vec<String>,
    sources: Sources,
    namespaces: Vec<Namespace>,
    spaces: Vec<Space>,
    processes: Vec<ProcessUse>,
    holdings: Option<Vec<Holding>>,
}

/// Where it comes from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sources {
    sockets: String,
    processes: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Holding {
    netns: u32,
    protocol: String,
    state: String,
    local: Endpoint,
    remote: Option<Endpoint>,
    process: Option<Process>,
    inode: Option<u32>,
}

fn program(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(system::program().expect("the program"));
    command.args(["snapshot", "--color", "never"]).args(arguments);
    let output = system::output(&mut command);
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

fn snapshot(arguments: &[&str]) -> Snapshot {
    let output = program(&[&["--json"], arguments].concat());
    assert!(output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("one JSON object as the contract has it")
}

/// Sockets and TIME_WAIT entries by protocol, state and inode number, as `/proc/net` has them in the
/// namespace of this thread. A TCP socket that is only bound is in none of its lists.
fn listed() -> BTreeMap<(String, String, u32), usize> {
    const STATES: [&str; 11] = [
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
        "CLOSE",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
    ];
    let mut listed = BTreeMap::new();
    for file in ["tcp", "tcp6", "udp", "udp6"] {
        let list = system::read(format!("/proc/thread-self/net/{file}")).expect("the list");
        for line in list.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let state = usize::from_str_radix(fields[3], 16).expect("a state");
            let inode = fields[9].parse().expect("an inode number");
            let key = (file[..3].to_owned(), STATES[state - 1].to_owned(), inode);
            *listed.entry(key).or_default() += 1;
        }
    }
    listed
}

/// The states that are of interest, all at once, in a range of 100 ports.
fn build() -> Vec<Held> {
    ephemeral_range(40_000, 40_099);
    let any = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 4001);
    let mut held = vec![
        tcp().bind(SERVER).listen(),
        tcp6().bind(local6(80)).listen(),
        tcp().bind(local(4000)),
        tcp6().bind(any),
        tcp().bind(local(0)),
        udp().bind(local(4002)),
        udp6().bind(local6(4003)),
        udp().connect(local(9)),
    ];
    for _ in 0..5 {
        held.push(tcp().connect(SERVER));
        held.push(held[0].accept());
    }
    held.push(tcp6().connect(mapped(80)));
    held.push(held[0].accept());
    held.push(tcp6().connect(local6(80)));
    held.push(held[1].accept());
    // Closed by the client alone.
    let mut client = tcp().connect(SERVER);
    let child = held[0].accept();
    client.close();
    child.read_to_the_end();
    until("closed by one side", || tcp_state(client.local, SERVER) == Some(FIN_WAIT2));
    held.push(child);
    leave_in_time_wait(&held[0], 3);
    held
}

#[test]
fn a_snapshot_has_the_numbers_of_the_kernels_own_lists() {
    in_namespace(|inode| {
        let held = build();
        let before = listed();
        let seen = snapshot(&["--holdings", "--netns", &inode.to_string()]);
        assert_eq!(listed(), before, "the namespace was not quiet");
        assert_eq!(seen.schema, 1);
        assert_eq!(seen.sources.sockets, "sock_diag");
        let ways = [Some("bpf_iterator"), Some("proc")];
        assert!(ways.contains(&seen.sources.processes.as_deref()), "{:?}", seen.sources);
        assert!(!seen.host.is_empty() && !seen.kernel.is_empty());
        assert!(seen.time.duration_until(jiff::Timestamp::now()).as_secs() < 600);

        let lists_bound = !seen.missing.iter().any(|one| one.contains("only bound"));
        let holdings = seen.holdings.expect("they were asked for");
        let mut found = BTreeMap::new();
        for one in holdings.iter().filter(|one| one.state != "BOUND_INACTIVE") {
            assert_eq!(one.netns, inode);
            let key = (one.protocol.clone(), one.state.clone(), one.inode.unwrap_or(0));
            *found.entry(key).or_default() += 1;
        }
        assert_eq!(found, before);
        let bound = holdings.iter().filter(|one| one.state == "BOUND_INACTIVE").count();
        assert_eq!(bound, if lists_bound { 3 } else { 0 });

        let [namespace] = &seen.namespaces[..] else { panic!("{:?}", seen.namespaces) };
        let count = |state: &str| {
            let of = before.iter().filter(|((of, s, _), _)| of == "tcp" && s == state);
            of.map(|(_, count)| *count as u32).sum::<u32>()
        };
        assert_eq!((namespace.netns, namespace.capacity), (inode, Some(100)));
        let tcp = &namespace.tcp;
        assert_eq!(tcp.connections, count("ESTABLISHED") + count("CLOSE_WAIT"));
        assert_eq!(tcp.time_wait, count("TIME_WAIT") + count("FIN_WAIT2"));
        assert_eq!((tcp.listening, tcp.bound as usize), (count("LISTEN"), bound));
        // Connections to different destinations may share one; that which is only bound is alone.
        let ports: BTreeSet<u16> = tcp_states().into_values().flatten().collect();
        let used = ports.range(40_000..40_100).count() + usize::from(lists_bound);
        assert_eq!(tcp.used_ports as usize, used);
        assert_eq!(namespace.udp.used_ports, 1);

        let here = seen.processes.iter().find(|one| {
            one.process.as_ref().is_some_and(|process| process.pid == std::process::id())
        });
        let here = here.expect("this process holds the most");
        assert_eq!((here.tcp.established, here.tcp.other), (14, 1));
        assert_eq!(here.tcp.listening, 2);
        assert_eq!(here.udp.ports, 3);
        drop(held);
    });
}

#[test]
fn a_space_has_as_much_headroom_as_connects_then_succeed() {
    in_namespace(|inode| {
        let mut held = build();
        let seen = snapshot(&["--netns", &inode.to_string()]);
        let is_server =
            |space: &&Space| space.destination.as_ref().map(Endpoint::socket_addr) == Some(SERVER);
        let space = seen.spaces.iter().find(is_server).expect("the space to the server");
        assert!(seen.spaces.iter().all(|one| one.used <= space.used), "the fullest is first");
        assert!(seen.spaces.len() <= 3, "accepted connections are no space: {:?}", seen.spaces);
        let more = fill();
        let connects = more.len() as u32;
        held.extend(more);
        // A port that is only bound is not seen by a kernel that does not list it, and TIME_WAIT may
        // have grown old enough in between.
        let grown = space.headroom + 3;
        assert!((space.headroom - 1..=grown).contains(&connects), "{connects}: {space:?}");
        let full = snapshot(&["--netns", &inode.to_string()]);
        let space = full.spaces.iter().find(is_server).expect("the space to the server");
        assert!(space.headroom <= 1, "{space:?}");
    });
}

#[test]
fn who_has_a_port_is_told_in_every_namespace_with_time_wait() {
    in_namespace(|inode| {
        let held = build();
        let waits = listed().into_iter().filter(|((_, state, _), _)| state == "TIME_WAIT");
        assert_eq!(waits.map(|(_, count)| count).sum::<usize>(), 3);
        let listener = &held[0];
        let seen = snapshot(&["--port", "80"]).holdings.expect("--port implies them");
        let mine: Vec<&Holding> = seen.iter().filter(|one| one.netns == inode).collect();
        assert!(seen.iter().all(|one| one.local.port == 80));
        // Two listeners, seven accepted connections and the one in CLOSE_WAIT.
        assert_eq!(mine.len(), 10, "{mine:?}");
        let is_listener =
            |one: &&&Holding| one.local.socket_addr() == listener.local && one.remote.is_none();
        let found = mine.iter().find(is_listener).expect("the listener");
        assert_eq!(found.process.as_ref().expect("its process").pid, std::process::id());

        let range = snapshot(&["--port", "40000-40099", "--protocol", "tcp"]);
        let range = range.holdings.expect("--port implies them");
        let mine = range.iter().filter(|one| one.netns == inode);
        assert_eq!(mine.filter(|one| one.state == "TIME_WAIT").count(), 3);
        assert!(range.iter().all(|one| one.protocol == "tcp"));

        let text = String::from_utf8(program(&["--port", "80"]).stdout).expect("text");
        assert!(text.contains("Who holds port 80") && text.contains("LISTEN"), "{text}");
        let text = String::from_utf8(program(&["--port", "3"]).stdout).expect("text");
        assert!(text.contains("Nobody is seen to hold port 3"), "{text}");
    });
}

/// What `check` says of this thread's namespace, with its exit code. `nobody`: without privileges.
fn checked(arguments: &[&str], nobody: bool) -> (i32, Check) {
    let mut command = Command::new(system::program().expect("the program"));
    command.args(["check", "--json"]).args(arguments);
    if nobody {
        command.uid(65_534).gid(65_534);
    }
    let (code, text) = check::answer(command);
    (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

#[test]
fn what_bind_holds_of_connections_is_left_to_no_destination() {
    in_namespace(|inode| {
        ephemeral_range(40_000, 40_019);
        sysctl("ipv4/tcp_tw_reuse", "0");
        let (server, other) = (tcp().bind(SERVER).listen(), tcp().bind(local(81)).listen());
        let _bound: Vec<Held> =
            (0..12).map(|_| tcp().bind(local(0)).connect(other.local)).collect();
        let netns = inode.to_string();
        let left = |seen: &Snapshot, to: SocketAddr| {
            let is_it =
                |space: &&Space| space.destination.as_ref().map(Endpoint::socket_addr) == Some(to);
            seen.spaces.iter().find(is_it).map(|space| space.headroom)
        };
        let seen = snapshot(&["--netns", &netns]);
        assert_eq!(left(&seen, other.local), Some(8), "{seen:?}");
        leave_in_time_wait(&server, 8);

        let seen = snapshot(&["--netns", &netns]);
        assert_eq!(left(&seen, SERVER), Some(0), "{seen:?}");
        assert_eq!(fill().len(), 0, "the kernel says so too");
        let me = seen.processes.iter().find(|one| one.tcp.bind_held_ports == Some(12));
        let me = me.expect("who called bind()");
        assert_eq!((me.tcp.established, me.tcp.bound), (12, 0), "{me:?}");
        let here = seen.namespaces.iter().find(|one| one.netns == inode).expect("this one");
        assert_eq!((here.tcp.bind_held_ports, here.tcp.bound), (Some(12), 0));

        for arguments in [&[][..], &["--per-destination"]] {
            let (code, seen) = checked(arguments, false);
            let busiest = seen.busiest_destination.expect("the server");
            assert_eq!((code, seen.bind_held_ports), (2, Some(12)), "{}", seen.message);
            assert_eq!((busiest.destination, busiest.used), (SERVER, 20));
            assert!(seen.message.contains(", 12 taken by bind()"), "{}", seen.message);
            let end = "set IP_BIND_ADDRESS_NO_PORT before bind(), or leave bind() out: connect() then \
                       chooses a port that other destinations can share";
            assert!(seen.message.ends_with(end), "{}", seen.message);
        }
        // Without privileges it is said that this is not known.
        let (_, seen) = checked(&["--per-destination"], true);
        assert_eq!(seen.bind_held_ports, None);
        assert!(seen.missing.iter().any(|one| one.contains("bind() took")), "{:?}", seen.missing);
    });
}
