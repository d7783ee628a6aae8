//! What is told of what was recorded: incidents, why, what would have helped, and who held what.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};
use tests::net::{SERVER, ephemeral_range, in_namespace, once_in_namespace, sysctl};
use tests::recording::{Directory, Recorder, output, run};
use tests::socket::{ANY, Held, local, tcp};

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
    assert_eq!(on_page(&directory, &file), report, "the page has the same");
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

/// What the page of a recording draws its pictures from.
fn on_page(directory: &Directory, file: &str) -> Value {
    let page = directory.file("report.html");
    output(&["report", file, "--html", &page]);
    let text = fs::read_to_string(&page).expect("the page");
    let (_, json) = text.split_once("id=\"report\">").expect("what it draws from");
    let (json, _) = json.split_once("</script>").expect("its end");
    serde_json::from_str(json).expect("one JSON object")
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
        let connection = Connection::open(&file).expect("open the recording");
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
