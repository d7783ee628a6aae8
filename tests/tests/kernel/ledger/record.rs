//! What is recorded, however the recorder ends, and what is read from it.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use rusqlite::Connection;
use serde_json::{Value, json};
use tests::lines::{Body, Line, Order};
use tests::net::{SERVER, ephemeral_range, in_namespace, once_in_namespace, sysctl};
use tests::observer::until;
use tests::recording::{Directory, Recorder, output, run};
use tests::socket::{ANY, Held, local, tcp};
use tests::system::in_virtual_machine;

/// A server that resets what it accepts, so that no TIME_WAIT stays.
struct Server {
    address: SocketAddr,
    listener: Held,
}

impl Server {
    fn listen() -> Self {
        Self { address: SERVER, listener: tcp().reuse_address().bind(SERVER).listen() }
    }

    /// Connects and resets; the local port.
    fn touch(&self) -> u16 {
        let mut client = tcp().connect(self.address);
        let port = client.port();
        let mut child = self.listener.accept();
        client.reset();
        child.read_to_the_end();
        child.close();
        port
    }
}

fn lines(bytes: &[u8]) -> Vec<Line> {
    let text = std::str::from_utf8(bytes).expect("text");
    text.lines().map(|line| Line::parse(line).expect("a line as it should be")).collect()
}

fn open(file: &str) -> Connection {
    Connection::open(file).expect("open the recording")
}

/// Local ports that connect() chose, in order, of the last run.
fn connected(connection: &Connection) -> Vec<u16> {
    let ports = "SELECT local_port FROM acquisitions WHERE via = 'connect' AND id >= \
                 (SELECT max(first_event) FROM segments WHERE is_gap) ORDER BY id";
    let mut statement = connection.prepare(ports).expect("the view acquisitions");
    let rows = statement.query_map([], |row| row.get(0)).expect("ports");
    rows.map(|port| port.expect("a port")).collect()
}

fn assert_whole(connection: &Connection) {
    let check: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("a check");
    assert_eq!(check, "ok");
}

#[test]
fn a_recording_is_replayed_as_the_lines_that_were_printed() {
    in_namespace(|inode| {
        ephemeral_range(40_000, 40_099);
        let directory = Directory::make();
        let file = directory.file("ports.db");
        let _early = tcp().bind(local(41_000)).listen();
        let recorder = Recorder::start(&file, &["--netns", &inode.to_string()])?;
        let server = Server::listen();
        for _ in 0..50 {
            server.touch();
        }
        let held: Vec<Held> = (0..40).map(|_| tcp().connect(SERVER)).collect();
        // The rest are refused: the server's own ports are not of the range.
        let mut more = Vec::new();
        loop {
            let mut one = tcp();
            if one.try_connect(SERVER).is_err() {
                break;
            }
            more.push(one);
        }
        assert_eq!(held.len() + more.len(), 100);
        thread::sleep(Duration::from_millis(1_500));
        drop((held, more));
        thread::sleep(Duration::from_millis(1_500));
        let printed = recorder.interrupted();
        let replayed = output(&["replay", &file, "--json"]);
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(shown(&printed), shown(&replayed));
        let printed = lines(&printed);
        let has = |wanted: fn(&Body) -> bool| printed.iter().any(|line| wanted(&line.body));
        assert!(has(|body| matches!(body, Body::Existing(_))));
        assert!(has(|body| matches!(body, Body::Exhausted(_))));
        assert!(has(|body| matches!(body, Body::Threshold(_))));
        assert!(has(|body| matches!(body, Body::Stop(_))));
        Some(())
    });
}

#[test]
fn filters_and_times_narrow_what_is_replayed() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let file = directory.file("ports.db");
        let recorder = Recorder::start(&file, &["--netns", &inode.to_string()])?;
        let server = Server::listen();
        let first = server.touch();
        thread::sleep(Duration::from_secs(3));
        let second = server.touch();
        thread::sleep(Duration::from_millis(500));
        let all = lines(&recorder.interrupted());
        let time = |port: u16| {
            all.iter().find_map(|line| match &line.body {
                Body::Acquire(one) if one.local.port == port => Some(line.time.to_string()),
                _ => None,
            })
        };
        let (early, late) = (time(first).expect("a line"), time(second).expect("a line"));
        let replay = |arguments: &[&str]| {
            let lines = lines(&output(&[&["replay", &file, "--json"], arguments].concat()));
            let mut order = Order::default();
            lines.iter().for_each(|line| order.check(line).expect("lines in order"));
            assert!(order.is_complete());
            let ports = |line: &Line| match &line.body {
                Body::Acquire(one) => Some(one.local.port),
                _ => None,
            };
            lines.iter().filter_map(ports).filter(|port| *port != SERVER.port()).collect::<Vec<_>>()
        };
        assert_eq!(replay(&[]), [first, second]);
        assert_eq!(replay(&["--from", &late]), [second]);
        assert_eq!(replay(&["--to", &early]), [first]);
        assert_eq!(replay(&["--to", &early, "--to", "127.0.0.1:80"]), [first]);
        assert_eq!(replay(&["--port", &second.to_string()]), [second]);
        assert_eq!(replay(&["--to", "127.0.0.2"]), [0_u16; 0]);
        let began = Instant::now();
        assert_eq!(replay(&["--from", &early, "--speed", "2"]), [first, second]);
        assert!(began.elapsed() >= Duration::from_millis(1_400), "{:?}", began.elapsed());
        Some(())
    });
}

/// How often the recorder is killed: 10 times, or as often as `PORT_OBSERVER_KILLS` says.
fn kills() -> usize {
    match std::env::var("PORT_OBSERVER_KILLS") {
        Ok(count) => count.parse().expect("PORT_OBSERVER_KILLS is a number"),
        Err(_) if in_virtual_machine() => 2,
        Err(_) => 10,
    }
}

#[test]
fn a_recorder_that_is_killed_under_load_leaves_all_but_the_last_second() {
    once_in_namespace(|inode| {
        let directory = Directory::make();
        let file = directory.file("ports.db");
        let server = Server::listen();
        for kill in 0..kills() {
            let Some(recorder) = Recorder::start(&file, &["--netns", &inode.to_string()]) else {
                return;
            };
            let end = Instant::now() + Duration::from_millis(1_200 + fastrand::u64(0..1_500));
            let mut made = Vec::new();
            while Instant::now() < end {
                made.push((Instant::now(), server.touch()));
                if cfg!(debug_assertions) {
                    // An unoptimized program is not the one that has to keep up.
                    thread::sleep(Duration::from_micros(500));
                }
            }
            let killed = Instant::now();
            recorder.killed();
            let connection = open(&file);
            assert_whole(&connection);
            let runs: usize = connection
                .query_row("SELECT count(*) FROM runs", [], |row| row.get(0))
                .expect("runs");
            assert_eq!(runs, kill + 1, "each start is a run of its own");
            let recorded = connected(&connection);
            let before: Vec<u16> = made.iter().map(|(_, port)| *port).collect();
            assert_eq!(recorded, before[..recorded.len()], "what is there is there in order");
            let safe = made.partition_point(|(at, _)| *at + Duration::from_secs(1) < killed);
            assert!(recorded.len() >= safe, "{} of {safe} (kill {kill})", recorded.len());
            assert!(safe > 10, "too little load to tell");
        }
        let replayed = lines(&output(&["replay", &file, "--json", "--events", "start,stop"]));
        assert_eq!(replayed.len(), 2 * kills(), "each run begins and ends");
    });
}

#[test]
fn two_recorders_do_not_share_a_file() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let file = directory.file("ports.db");
        let netns = inode.to_string();
        let _recorder = Recorder::start(&file, &["--netns", &netns])?;
        let second = run(&["record", &file, "--netns", &netns, "--duration", "1s"]);
        assert_eq!(second.status.code(), Some(1));
        let error = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(error.contains("another port-observer does"), "{error}");
        Some(())
    });
}

/// Gives the calling thread, and what it starts, a small file system of its own.
fn small_disk(directory: &Directory, size: &str) {
    unshare(CloneFlags::CLONE_NEWNS).expect("make a mount namespace (needs root)");
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).expect("keep mounts here");
    let options = format!("size={size}");
    mount(Some("tmpfs"), directory.path(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
        .expect("mount a tmpfs");
}

#[test]
fn a_full_disk_pauses_the_recording_until_there_is_room() {
    once_in_namespace(|inode| {
        let directory = Directory::make();
        small_disk(&directory, "6m");
        let file = directory.file("ports.db");
        let server = Server::listen();
        let Some(recorder) = Recorder::start(&file, &["--netns", &inode.to_string()]) else {
            return;
        };
        let early = server.touch();
        thread::sleep(Duration::from_secs(1));
        let ballast = directory.file("ballast");
        let mut filled = File::create(&ballast).expect("make a file");
        while filled.write_all(&[1; 4096]).is_ok() {}
        until("the recording is paused", || {
            server.touch();
            recorder.errors().contains("is paused")
        });
        let missing: Vec<u16> = (0..50).map(|_| server.touch()).collect();
        let held = tcp().connect(SERVER);
        let _child = server.listener.accept();
        drop(filled);
        fs::remove_file(&ballast).expect("make room");
        until("the recording goes on", || recorder.errors().contains("goes on; "));
        let late = server.touch();
        thread::sleep(Duration::from_secs(1));
        let errors = recorder.errors();
        let printed = lines(&recorder.interrupted());
        assert_eq!(errors.matches("is paused").count(), 1, "{errors}");

        let connection = open(&file);
        assert_whole(&connection);
        let recorded = connected(&connection);
        assert_eq!(recorded, [late], "after the gap");
        let lost: u64 = connection
            .query_row("SELECT sum(count) FROM losses WHERE place = 'queue'", [], |row| row.get(0))
            .expect("a loss");
        assert!(lost > missing.len() as u64, "{lost}");
        let replayed = lines(&output(&["replay", &file, "--json"]));
        let acquired = |lines: &[Line], port: u16| {
            lines.iter().any(|l| matches!(&l.body, Body::Acquire(one) if one.local.port == port))
        };
        assert!(acquired(&replayed, early) && acquired(&replayed, late));
        assert!(acquired(&printed, held.port()) && !acquired(&replayed, held.port()));
        // It is known all the same: what is held was written down when the recording went on.
        let known = replayed.iter().find_map(|line| match &line.body {
            Body::Existing(one) if one.local.port == held.port() => one.process.clone(),
            _ => None,
        });
        assert_eq!(known.expect("whose it is").pid, std::process::id());
        let told = replayed.iter().any(
            |line| matches!(&line.body, Body::Lost(one) if one.place == "queue" && one.count == lost),
        );
        assert!(told, "the gap is told");
    });
}

/// Runs a scenario under a recorder, to the only incident that its report tells.
fn incident(inode: u32, run: impl FnOnce()) -> Option<Value> {
    let directory = Directory::make();
    let file = directory.file("ports.db");
    let recorder = Recorder::start(&file, &["--netns", &inode.to_string()])?;
    run();
    thread::sleep(Duration::from_millis(500));
    recorder.interrupted();
    let report: Value =
        serde_json::from_slice(&output(&["report", &file, "--json"])).expect("one JSON object");
    let text = String::from_utf8(output(&["report", &file])).expect("text");
    println!("{text}");
    let incidents = report["incidents"].as_array().expect("incidents");
    assert!(incidents.len() < 2, "{report:#}");
    if let Some(incident) = incidents.first() {
        for remedy in incident["remedies"].as_array().expect("remedies") {
            let first = remedy["text"].as_str().expect("text").split(' ').next().expect("a word");
            assert!(text.contains(first), "{text}");
        }
    }
    Some(incidents.first().cloned().unwrap_or_default())
}

fn kinds(incident: &Value) -> Vec<&str> {
    let remedies = incident["remedies"].as_array().expect("remedies");
    remedies.iter().map(|remedy| remedy["kind"].as_str().expect("a kind")).collect()
}

fn remedy<'a>(incident: &'a Value, kind: &str) -> &'a Value {
    let remedies = incident["remedies"].as_array().expect("remedies");
    let found = remedies.iter().find(|remedy| remedy["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} among {:?}", kinds(incident)))
}

/// Sets the range that the remedy names.
fn widen(remedy: &Value) {
    let port = |name: &str| {
        let port = remedy["ephemeral_range"][name].as_u64().expect("a port");
        u16::try_from(port).expect("a port")
    };
    ephemeral_range(port("min"), port("max"));
}

/// Connects and closes first, so that TIME_WAIT stays; how many were refused.
fn churn(listener: &Held, count: usize) -> usize {
    let mut refused = 0;
    for _ in 0..count {
        let mut one = tcp();
        if one.try_connect(SERVER).is_err() {
            refused += 1;
            continue;
        }
        let child = listener.accept();
        one.close();
        child.read_to_the_end();
    }
    refused
}

fn listener() -> Held {
    tcp().reuse_address().bind(SERVER).listen()
}

#[test]
fn churn_is_reported_and_ends_with_its_remedies() {
    once_in_namespace(|inode| {
        ephemeral_range(40_000, 40_199);
        sysctl("ipv4/tcp_tw_reuse", "0");
        let found = incident(inode, || {
            let listener = listener();
            assert_eq!(churn(&listener, 200), 0);
            // Old enough to be taken over, if that were allowed.
            thread::sleep(Duration::from_millis(2_500));
            assert_eq!(churn(&listener, 20), 20);
        });
        let Some(found) = found else { return };
        assert_eq!(found["cause"]["kind"], "churn", "{found:#}");
        assert_eq!(found["failures"], 20);
        let space = &found["spaces"][0]["space"];
        assert_eq!((&space["destination"]["port"], &space["capacity"]), (&json!(80), &json!(200)));
        assert_eq!(found["failed"][0]["process"]["pid"], std::process::id());
        assert_eq!(found["holders_at_onset"][0]["time_wait"], 200);
        assert_eq!(kinds(&found)[0], "reuse_connections");
        assert_eq!(remedy(&found, "reuse_connections")["process"]["pid"], std::process::id());
        remedy(&found, "tw_reuse");
        sysctl("ipv4/tcp_tw_reuse", "1");
        assert_eq!(churn(&listener(), 20), 0, "tcp_tw_reuse helps");
        sysctl("ipv4/tcp_tw_reuse", "0");
        widen(remedy(&found, "larger_range"));
        assert_eq!(churn(&listener(), 20), 0, "a larger range helps");
    });
}

#[test]
fn a_leak_is_reported_and_no_setting_is_named_a_remedy() {
    const PORTS: u16 = 130;
    once_in_namespace(|inode| {
        ephemeral_range(40_000, 40_000 + PORTS - 1);
        let listener = listener();
        let mut held = Vec::new();
        let found = incident(inode, || {
            let began = Instant::now();
            for number in 0..u32::from(PORTS) {
                let due = began + Duration::from_millis(200) * number;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                held.push(tcp().connect(SERVER));
            }
            assert!(tcp().try_connect(SERVER).is_err());
        });
        let Some(found) = found else { return };
        assert_eq!(found["cause"]["kind"], "leak", "{found:#}");
        assert_eq!(kinds(&found), ["close_connections"]);
        let holder = &remedy(&found, "close_connections")["process"];
        assert_eq!(holder["pid"], std::process::id());
        let samples = found["used_before"].as_array().expect("samples");
        assert!(samples.len() >= 2, "{samples:?}");
        assert!(samples.iter().all(|sample| sample["used"].is_u64()), "{samples:?}");
        for mut one in held.drain(..) {
            one.reset();
        }
        drop(listener);
        let _listener = self::listener();
        tcp().connect(SERVER);
    });
}

#[test]
fn ports_that_bind_holds_are_reported_and_free_with_bind_address_no_port() {
    once_in_namespace(|inode| {
        ephemeral_range(40_000, 40_099);
        let first = tcp().reuse_address().bind(local(81)).listen();
        let mut held = Vec::new();
        let found = incident(inode, || {
            let _second = listener();
            for _ in 0..100 {
                held.push(tcp().bind(ANY).connect(local(81)));
            }
            assert!(tcp().try_connect(SERVER).is_err());
        });
        let Some(found) = found else { return };
        assert_eq!(found["cause"]["kind"], "bind_held", "{found:#}");
        assert_eq!(kinds(&found)[0], "bind_address_no_port");
        let remedy = remedy(&found, "bind_address_no_port");
        assert_eq!(remedy["process"]["pid"], std::process::id());
        for mut one in held.drain(..) {
            one.reset();
        }
        for _ in 0..100 {
            drop(first.accept());
        }
        let _second = listener();
        held.extend((0..100).map(|_| tcp().bind_address_no_port().bind(ANY).connect(local(81))));
        tcp().connect(SERVER);
    });
}

#[test]
fn one_hot_destination_is_reported_and_another_address_or_a_larger_range_helps() {
    once_in_namespace(|inode| {
        ephemeral_range(40_000, 41_199);
        let mut held = Vec::new();
        let _listener = listener();
        let found = incident(inode, || {
            for _ in 0..1_200 {
                held.push(tcp().connect(SERVER));
            }
            assert!(tcp().try_connect(SERVER).is_err());
        });
        let Some(found) = found else { return };
        assert_eq!(found["cause"]["kind"], "concurrency", "{found:#}");
        assert_eq!(kinds(&found), ["larger_range"]);
        let destination = &found["spaces"][0]["space"]["destination"];
        assert_eq!(destination, &json!({ "address": "127.0.0.1", "port": 80 }));
        widen(remedy(&found, "larger_range"));
        tcp().connect(SERVER);
    });
}

#[test]
fn who_held_what_is_told_of_any_moment() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let file = directory.file("ports.db");
        let recorder = Recorder::start(&file, &["--netns", &inode.to_string()])?;
        let _listener = listener();
        let mut held: Vec<Held> = (0..7).map(|_| tcp().connect(SERVER)).collect();
        thread::sleep(Duration::from_millis(500));
        let moment = jiff::Timestamp::now();
        thread::sleep(Duration::from_millis(500));
        for mut one in held.drain(..) {
            one.reset();
        }
        thread::sleep(Duration::from_millis(500));
        recorder.interrupted();
        let at = |moment: String| -> Value {
            let arguments = ["report", &file, "--json", "--holdings", "--at", &moment];
            serde_json::from_slice(&output(&arguments)).expect("one JSON object")
        };
        let connected = |snapshot: &Value| {
            let all = snapshot["holdings"].as_array().expect("holdings");
            let own = |one: &&Value| {
                one["state"] == "ESTABLISHED" && one["process"]["pid"] == std::process::id()
            };
            all.iter().filter(own).filter(|one| one["remote"]["port"] == 80).count()
        };
        assert_eq!(connected(&at(moment.to_string())), 7);
        assert_eq!(connected(&at("0s".to_owned())), 0);
        let out = run(&["report", &file, "--at", "2020-01-01T00:00:00Z"]);
        assert_eq!(out.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&out.stderr).contains("the recording goes from"));
        // The database itself says the same.
        let connection = open(&file);
        let holders = "SELECT count(*) FROM holders_at WHERE from_ns <= ?1 AND ?1 < until_ns AND \
                       remote_port = 80 AND pid = ?2";
        let at_ns = i64::try_from(moment.as_nanosecond()).expect("now");
        let count: u64 = connection
            .query_row(holders, (at_ns, std::process::id()), |row| row.get(0))
            .expect("the view holders_at");
        assert_eq!(count, 7);
        Some(())
    });
}
