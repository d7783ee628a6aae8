//! What is recorded, however the recorder ends, and what is replayed of it.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tests::lines::{Body, Line, Order};
use tests::mounts;
use tests::net::{SERVER, ephemeral_range, in_namespace, once_in_namespace};
use tests::observer::until;
use tests::recording::{Directory, Recorder, output, run};
use tests::socket::{Held, local, tcp};
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
fn what_live_shows_and_records_at_once_is_the_same() {
    in_namespace(|inode| {
        let directory = Directory::make();
        let file = directory.file("ports.db");
        let recorder = Recorder::beside(&file, &["--netns", &inode.to_string()])?;
        let server = Server::listen();
        for _ in 0..20 {
            server.touch();
        }
        thread::sleep(Duration::from_millis(1_500));
        let printed = recorder.interrupted();
        let replayed = output(&["replay", &file, "--json"]);
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(shown(&printed), shown(&replayed));
        let acquired = lines(&printed);
        let acquired = acquired.iter().filter(|line| matches!(line.body, Body::Acquire(_)));
        assert_eq!(acquired.count(), 21, "20 connections, and their server");
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

#[test]
fn a_full_disk_pauses_the_recording_until_there_is_room() {
    once_in_namespace(|inode| {
        let directory = Directory::make();
        mounts::leave();
        mounts::small_disk(directory.path(), "6m");
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
