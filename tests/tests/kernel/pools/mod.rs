//! `live --pools` and `pools watch`: what happens to declared pools of ports.

mod leases;
mod servers;
mod sipp;

use std::{fs, path::Path};

use nix::errno::Errno;
use serde_json::{Value, json};
use tests::{
    child::Traffic,
    container::Container,
    lines::{Body, Line, Pool},
    net::{ephemeral_range, in_namespace},
    observer::{Observer, until},
    recording::{Directory, Recorder},
    socket::{local, tcp, udp},
    system,
};

/// How the file of this program is called, as an owner of pools is named.
fn own_name() -> String {
    let file = std::env::current_exe().expect("a file");
    file.file_name().expect("a name").to_string_lossy().into_owned()
}

/// What is told of a pool in a line, with the type of the line.
fn of_pool(line: &Line) -> Option<(&'static str, &Pool)> {
    match &line.body {
        Body::PoolThreshold(pool) => Some(("threshold", pool)),
        Body::PoolExhausted(pool) => Some(("exhausted", pool)),
        Body::PoolWrongRange(pool) => Some(("wrong_range", pool)),
        Body::PoolTaken(pool) => Some(("taken", pool)),
        _ => None,
    }
}

/// Waits for a line about a pool like this one.
fn wait_for(observer: &Observer, what: &str, is_it: impl Fn(&'static str, &Pool) -> bool) -> Pool {
    let found = |lines: &[Line]| {
        let mut found = lines.iter().filter_map(of_pool);
        found.find(|(kind, pool)| is_it(kind, pool)).map(|(_, pool)| pool.clone())
    };
    observer.wait_lines(0, found).unwrap_or_else(|error| panic!("{what}: {error:#}"))
}

fn pools(directory: &Directory, text: &str) -> String {
    let file = directory.file("pools.toml");
    fs::write(&file, text).expect("write pools");
    file
}

/// What is observed is recorded too, where recordings are tested.
fn recorded(directory: &Directory) -> Vec<String> {
    match system::in_virtual_machine() {
        true => Vec::new(),
        false => vec!["--record".to_owned(), directory.file("ports.db")],
    }
}

/// A recording tells of pools what was told of them while it was made, at the same times.
fn assert_replayed(directory: &Directory, arguments: &[&str], told: &[Line]) {
    let recording = directory.file("ports.db");
    if !Path::new(&recording).exists() {
        return;
    }
    let of_pools = |lines: &[Line]| -> Vec<String> {
        let of_pools = lines.iter().filter_map(|line| Some((line.time, of_pool(line)?)));
        of_pools.map(|(time, of_pool)| format!("{time} {of_pool:?}")).collect()
    };
    let replay = [&["replay", &recording, "--json"], arguments].concat();
    let replayed = String::from_utf8(tests::recording::output(&replay)).expect("text");
    let replayed: Vec<Line> =
        replayed.lines().map(|line| Line::parse(line).expect("a line")).collect();
    assert_eq!(of_pools(&replayed), of_pools(told));
    assert!(!of_pools(told).is_empty());
}

#[test]
fn ports_of_declared_pools_are_told_of_as_they_are_taken() {
    in_namespace(|inode| {
        let directory = Directory::make();
        ephemeral_range(40_000, 40_003);
        let own = own_name();
        let file = pools(
            &directory,
            &format!(
                "[[pool]]\nname = \"media\"\nrange = \"21000-21009\"\nprotocol = \"udp\"\n\
                 parity = \"pair\"\nports_per_unit = 4\nprocess = \"{own}\"\nnetns = \"{inode}\"\n\
                 [[pool]]\nname = \"others\"\nrange = \"23000-23003\"\nprocess = \"somebody\"\n\
                 netns = \"{inode}\"\n\
                 [[pool]]\nname = \"chosen\"\nrange = \"40000-40003\"\nnetns = \"{inode}\"\n"
            ),
        );
        let before = tcp().bind(local(23_002));
        let (recorded, netns) = (recorded(&directory), inode.to_string());
        let mut arguments = vec!["--pools", &file, "--netns", &netns];
        arguments.extend(recorded.iter().map(String::as_str));
        let Some(observer) = Observer::own(&arguments) else { return };
        let started = wait_for(&observer, "the first of media", |kind, pool| {
            kind == "threshold" && pool.pool == "media"
        });
        assert_eq!(
            (started.used, started.free, started.level.as_deref()),
            (Some(0), Some(10), Some("ok"))
        );
        let held = wait_for(&observer, "who was there before", |kind, pool| {
            kind == "taken" && pool.pool == "others"
        });
        assert_eq!((held.local.map(|at| at.port), held.via), (Some(23_002), None));
        drop(before);

        // A unit takes two pairs: of five, the fifth has room for none.
        let mut all = Vec::new();
        for port in 21_000..21_008 {
            all.push(udp().bind(local(port)));
        }
        let full = wait_for(&observer, "full", |kind, _| kind == "exhausted");
        assert_eq!((full.pool.as_str(), full.errno.as_deref()), ("media", None));
        assert!(
            full.message.starts_with("No ports available in range 21000-21009 (media)"),
            "{}",
            full.message
        );
        let largest = &full.holders.expect("holders")[0];
        let pid = largest.process.as_ref().map(|process| process.pid);
        assert_eq!((pid, largest.stranger), (Some(std::process::id()), Some(false)));

        assert_eq!(udp().try_bind(local(21_003)), Err(Errno::EADDRINUSE));
        let refused = wait_for(&observer, "refused", |kind, pool| {
            kind == "exhausted" && pool.errno.is_some()
        });
        assert_eq!(
            (refused.errno.as_deref(), refused.via.as_deref(), refused.free),
            (Some("EADDRINUSE"), Some("bind"), Some(2))
        );
        all.clear();
        // It was told when it was full; from there it is ok again.
        let again = |lines: &[Line]| {
            let last = lines
                .iter()
                .filter_map(of_pool)
                .rfind(|(kind, pool)| *kind == "threshold" && pool.pool == "media");
            last.filter(|(_, pool)| pool.level.as_deref() == Some("ok") && pool.used != Some(0))
                .map(|(_, pool)| pool.used)
        };
        observer.wait_lines(0, again).expect("ok again");

        let _elsewhere = udp().bind(local(22_000));
        let wrong = wait_for(&observer, "elsewhere", |kind, _| kind == "wrong_range");
        assert_eq!((wrong.pool.as_str(), wrong.belongs_to), ("media", None));
        let _in_anothers = udp().bind(local(23_001));
        let wrong = wait_for(&observer, "in another's", |kind, pool| {
            kind == "wrong_range" && pool.belongs_to.is_some()
        });
        assert_eq!(wrong.belongs_to.as_deref(), Some("others"));
        let taken = wait_for(&observer, "a stranger", |kind, pool| {
            kind == "taken" && pool.local.as_ref().is_some_and(|at| at.port == 23_001)
        });
        assert_eq!((taken.pool.as_str(), taken.via.as_deref()), ("others", Some("bind")));

        // What the kernel chooses out of a pool.
        let listener = tcp().bind(local(9_000)).listen();
        let _client = tcp().connect(local(listener.port()));
        let chosen =
            wait_for(&observer, "chosen", |kind, pool| kind == "taken" && pool.pool == "chosen");
        assert_eq!(chosen.via.as_deref(), Some("connect"));
        assert!(chosen.fix.is_some_and(|fix| fix.contains("ip_local_reserved_ports")));
        let told = observer.interrupted().lines;
        assert_replayed(&directory, &["--pools", &file], &told);
    });
}

#[test]
fn a_pool_is_where_its_container_is_by_the_name_that_docker_gave_it() {
    in_namespace(|inode| {
        let directory = Directory::make();
        ephemeral_range(19_000, 19_009);
        let container = Container::make();
        let file = pools(
            &directory,
            &format!(
                "[[pool]]\nname = \"vpn\"\nrange = \"19000-19009\"\ncontainer = \"{}\"\n",
                container.name
            ),
        );
        let _server = tcp().bind(local(9_000)).listen();
        // Who was there before is the container's, and so is its namespace.
        let mut before =
            Traffic::start_in_cgroup(container.cgroup(), &["hold", "1", "127.0.0.1:9000"]);
        let Some(_) = before.taken() else { panic!("the traffic has no connection") };
        let (recorded, netns) = (recorded(&directory), inode.to_string());
        let mut arguments = vec!["--pools", &file, "--netns", &netns];
        arguments.extend(recorded.iter().map(String::as_str));
        let Some(observer) = Observer::own(&arguments) else { return };
        let first = wait_for(&observer, "where the pool is", |kind, _| kind == "threshold");
        assert_eq!((first.netns, first.used), (Some(inode), Some(1)), "{first:?}");
        let shown = tests::recording::output(&["pools", "show", "--json", &file]);
        let shown: Value = serde_json::from_slice(&shown).expect("JSON");
        let holder = &shown[0]["holders"][0];
        assert_eq!((&shown[0]["used"], &holder["stranger"]), (&json!(1), &json!(false)), "{shown}");
        assert_eq!(holder["process"]["container"], json!(container.name), "{shown}");
        before.go_on();
        assert!(before.wait().success());
        let told = observer.interrupted().lines;
        assert_replayed(&directory, &["--pools", &file], &told);
    });
}

#[test]
fn a_recording_knows_which_network_namespace_is_its_own() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let file = pools(&directory, "[[pool]]\nname = \"media\"\nrange = \"21000-21001\"\n");
        let recording = directory.file("ports.db");
        let Some(recorder) = Recorder::beside(&recording, &["--pools", &file]) else { return };
        let lines = || -> Vec<Line> {
            let lines = String::from_utf8(recorder.lines()).expect("text");
            let whole = lines.lines().filter_map(|line| Line::parse(line).ok());
            whole.collect()
        };
        until("it is told where the pool is", || {
            lines().iter().any(|line| of_pool(line).is_some())
        });
        let _both = [21_000, 21_001].map(|port| udp().bind(local(port)));
        let is_full = |line: &Line| matches!(of_pool(line), Some(("exhausted", _)));
        until("it is told that the pool is full", || lines().iter().any(is_full));
        let told = lines();
        assert!(told.iter().filter_map(of_pool).all(|(_, pool)| pool.netns == Some(inode)));
        recorder.interrupted();
        assert_replayed(&directory, &["--pools", &file], &told);
    });
}

#[test]
fn what_is_watched_has_to_be_declared() {
    let directory = Directory::make();
    let file = pools(&directory, "# nothing\n");
    let recording = directory.file("none.db");
    for arguments in [
        &["pools", "watch", &file][..],
        &["live", "--pools", &file],
        &["replay", &recording, "--pools", &file],
    ] {
        let output = tests::recording::run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("no pool is declared"), "{said}");
    }
    for arguments in [&["live"][..], &["replay", &recording]] {
        let output = tests::recording::run(&[arguments, &["--events", "pool_taken"]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("live --pools FILE"), "{said}");
    }
    assert!(Path::new(&file).exists());
}
