//! `pools lease` and its kin: many at once, killed, on a full disk.

use std::{
    collections::BTreeSet,
    net::UdpSocket,
    os::unix::{fs::PermissionsExt, process::CommandExt as _},
    process::{Child, Output, Stdio},
    time::Duration,
};

use nix::sys::resource::{Resource, setrlimit};
use serde_json::{Value, json};

use crate::directory::{Directory, alone};

/// Ports that nothing on this machine has: below the ephemeral range, and not well known.
const POOLS: &str = "[[pool]]\nname = \"media\"\nrange = \"29100-29139\"\nprotocol = \"udp\"\n\
                     [[pool]]\nname = \"a\"\nrange = \"29200-29201\"\ngroup = \"g\"\n\
                     [[pool]]\nname = \"b\"\nrange = \"29300-29301\"\ngroup = \"g\"\n\
                     [[pool]]\nname = \"engines\"\nrange = \"29400-29409\"\nprocess = \"no-such-process\"\n";

fn directory() -> Directory {
    Directory::of(&[("pools.toml", POOLS)])
}

fn lease(directory: &Directory, arguments: &[&str]) -> Result<Value, String> {
    let (out, error, code) = directory.told("lease", &[arguments, &["--json"]].concat());
    if code == 0 { Ok(serde_json::from_str(&out).unwrap()) } else { Err(error) }
}

fn leases(directory: &Directory) -> Value {
    let (out, error, code) = directory.told("leases", &["--json"]);
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&out).unwrap()
}

/// The ports of all leases; none is in two of them.
fn leased(directory: &Directory) -> BTreeSet<u64> {
    let all = leases(directory);
    let ports =
        all["leases"].as_array().unwrap().iter().map(|lease| lease["ports"].as_array().unwrap());
    let ports: Vec<u64> = ports.flatten().map(|port| port.as_u64().unwrap()).collect();
    let distinct: BTreeSet<u64> = ports.iter().copied().collect();
    assert_eq!(distinct.len(), ports.len(), "{all}");
    distinct
}

fn release_all(directory: &Directory) {
    let all = leases(directory);
    let ids: Vec<String> =
        all["leases"].as_array().unwrap().iter().map(|lease| lease["id"].to_string()).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    if !ids.is_empty() {
        let (out, error, code) = directory.told("release", &ids);
        assert_eq!((out.as_str(), error.as_str(), code), ("", "", 0));
    }
    assert_eq!(leased(directory), BTreeSet::new());
}

#[test]
fn without_ranges_engines_get_ports_of_one_global_pool() {
    // Of two containers; where there is one, its pool gives ports while it runs.
    let env = "GLUETUN_CONTAINER_NAME=a\nGLUETUN_CONTAINER_NAME_2=b\nPORT_RANGE_HOST=19000-19003\n";
    let directory = Directory::of(&[(".env", env)]);
    // Whoever has one of them on this machine keeps it.
    let Ok(first) = lease(&directory, &["--group", "vpn", "--owner", "engine"]) else {
        println!("skipped: this machine has the ports 19000 to 19003 in use");
        return;
    };
    assert_eq!(first["pool"], "global");
    let port = first["ports"][0].as_u64().unwrap();
    assert!((19_000..=19_003).contains(&port), "{first}");
    let single = Directory::of(&[(".env", "GLUETUN_CONTAINER_NAME=no-such-container\n")]);
    let error = lease(&single, &["--group", "vpn", "--owner", "engine"]).unwrap_err();
    assert!(error.contains("global: ") && error.contains("no-such-container"), "{error}");
}

#[test]
fn ports_are_leased_renewed_shown_and_given_back() {
    let directory = directory();
    let first =
        lease(&directory, &["media", "--owner", "call", "--units", "2", "--ttl", "1h"]).unwrap();
    assert_eq!((&first["ports"], &first["pool"]), (&json!([29_100, 29_101]), &json!("media")));
    assert!(first["expires"].is_string() && first["owner"] == "call");
    // What somebody holds is not given.
    let socket = UdpSocket::bind("127.0.0.1:29102").unwrap();
    let second = lease(&directory, &["media", "--owner", "call"]).unwrap();
    assert_eq!((&second["ports"], second.get("expires")), (&json!([29_103]), None));
    let (out, _, _) = directory.told("show", &["--json"]);
    let shown: Value = serde_json::from_str(&out).unwrap();
    let media = &shown[0];
    assert_eq!(
        (&media["used"], &media["leased"], &media["free"]),
        (&json!(1), &json!(3), &json!(36))
    );
    let all = leases(&directory);
    assert_eq!(all["unleased"][0]["process"]["pid"], std::process::id(), "{all}");
    assert_eq!(all["leases"][0]["holders"], json!([]));
    // Who holds a leased port is shown with the lease.
    drop(socket);
    let socket = UdpSocket::bind("127.0.0.1:29101").unwrap();
    let all = leases(&directory);
    assert_eq!(all["leases"][0]["holders"][0]["process"]["pid"], std::process::id(), "{all}");
    assert_eq!(all["unleased"], json!([]));
    drop(socket);
    let (out, _, code) = directory.told("renew", &["2", "--ttl", "5m", "--json"]);
    assert!(
        code == 0 && serde_json::from_str::<Value>(&out).unwrap()["expires"].is_string(),
        "{out}"
    );
    let (_, error, code) = directory.told("release", &["1", "9"]);
    assert!(code == 1 && error.contains("there is no lease 9"), "{error}");
    assert_eq!(leased(&directory).len(), 3, "all are given back, or none");
    release_all(&directory);
}

#[test]
fn a_lease_ends_by_itself_and_one_with_a_key_is_given_once() {
    let directory = directory();
    let keyed = ["--group", "g", "--owner", "e", "--key", "k", "--ttl", "1s"];
    let first = lease(&directory, &keyed).unwrap();
    let again = lease(&directory, &keyed).unwrap();
    assert_eq!((&first["id"], &first["ports"]), (&again["id"], &again["ports"]));
    let error = lease(&directory, &["--group", "g", "--owner", "other", "--key", "k"]).unwrap_err();
    assert!(error.contains("another request"), "{error}");
    std::thread::sleep(Duration::from_millis(1_100));
    assert_eq!(leased(&directory), BTreeSet::new());
    let next = lease(&directory, &keyed).unwrap();
    assert_eq!((&first["pool"], &next["pool"]), (&json!("a"), &json!("b")));
}

#[test]
fn what_can_not_be_leased_is_said_with_the_reason() {
    let directory = directory();
    for (arguments, reason) in [
        (&["engines", "--owner", "e"][..], "no process called no-such-process runs"),
        (&["none", "--owner", "e"], "no pool is called none; declared: a, b, engines, media"),
        (&["--group", "none", "--owner", "e"], "no pool is in a group none; declared: g"),
        (&["a", "--owner", "e", "--units", "3"], "No ports available in range 29200-29201: "),
        (
            &["--group", "g", "--owner", "e", "--units", "3"],
            "No ports available in the group g: a (29200-",
        ),
    ] {
        let error = lease(&directory, arguments).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
    for wrong in [&["a"][..], &["a", "--group", "g", "--owner", "e"], &["a", "--owner", ""]] {
        assert_eq!(directory.told("lease", wrong).2, 2);
    }
    let (_, error, code) = directory.told("release", &["1"]);
    assert!(code == 1 && error.contains("there is no lease 1"), "{error}");
    // Whoever could write there could give ports away.
    let state = directory.path().join("state");
    std::fs::set_permissions(&state, PermissionsExt::from_mode(0o777)).unwrap();
    let error = lease(&directory, &["a", "--owner", "e"]).unwrap_err();
    assert!(error.contains("can be written to by others"), "{error}");
    std::fs::set_permissions(&state, PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(state.join("leases.db"), "something else, for long enough").unwrap();
    let error = lease(&directory, &["a", "--owner", "e"]).unwrap_err();
    assert!(error.contains("leases.db"), "{error}");
}

fn start(directory: &Directory, owner: &str) -> Child {
    let mut command = directory.command("lease", &["media", "--owner", owner, "--json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_hundred_at_once_get_each_port_once() {
    let directory = directory();
    let guard = alone();
    let children: Vec<Child> = (0..100).map(|n| start(&directory, &n.to_string())).collect();
    let outputs: Vec<Output> =
        children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    drop(guard);
    let (given, refused): (Vec<&Output>, Vec<&Output>) =
        outputs.iter().partition(|output| output.status.success());
    assert_eq!((given.len(), refused.len()), (40, 60));
    for output in refused {
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains("No ports available in range 29100-29139"), "{error}");
    }
    let told: BTreeSet<u64> = given
        .iter()
        .map(|output| {
            serde_json::from_slice::<Value>(&output.stdout).unwrap()["ports"][0].as_u64().unwrap()
        })
        .collect();
    assert_eq!(told, (29_100..29_140).collect());
    assert_eq!(leased(&directory), told);
    release_all(&directory);
}

#[test]
fn what_is_killed_at_any_moment_leaves_no_port_twice_and_loses_none() {
    let directory = directory();
    let mut told = BTreeSet::new();
    for round in 0..60u64 {
        let guard = alone();
        let mut child = start(&directory, "killed");
        // All of a lease takes some tens of milliseconds.
        std::thread::sleep(Duration::from_micros(round * 700));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        drop(guard);
        if let Ok(lease) = serde_json::from_slice::<Value>(&output.stdout) {
            told.insert(lease["ports"][0].as_u64().unwrap());
        }
        if round % 20 == 19 {
            let leased = leased(&directory);
            assert!(told.is_subset(&leased), "{told:?} {leased:?}");
            release_all(&directory);
            told.clear();
        }
    }
    assert!(lease(&directory, &["media", "--owner", "all", "--units", "40"]).is_ok());
}

#[test]
fn on_a_full_disk_nothing_changes() {
    let directory = directory();
    let first = lease(&directory, &["media", "--owner", "call"]).unwrap();
    let guard = alone();
    let mut command = directory.command("lease", &["media", "--owner", "call"]);
    // SAFETY: setrlimit() is a system call and nothing else.
    unsafe {
        command.pre_exec(|| Ok(setrlimit(Resource::RLIMIT_FSIZE, 4096, 4096)?));
    }
    let output = command.output().unwrap();
    drop(guard);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("can't write the leases, none has changed: "), "{error}");
    assert_eq!(leased(&directory), BTreeSet::from([first["ports"][0].as_u64().unwrap()]));
    assert!(lease(&directory, &["media", "--owner", "call"]).is_ok());
    release_all(&directory);
}
