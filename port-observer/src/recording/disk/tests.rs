//! A disk that is slow, or never done.

#[path = "../../../tests/plain/mod.rs"]
mod plain;

use std::{
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    ledger::Checkpoint,
    recording::{Options, Recorder},
};

const SLOW: Duration = Duration::from_secs(3);
/// Where the recorder that is killed records.
const KILLED: &str = "PORT_OBSERVER_TEST_KILLED";
const KILLED_EVENTS: u64 = 10_000;

struct Slow(Log, Duration);

impl Storage for Slow {
    fn sync(&self) -> io::Result<()> {
        sleep(self.1);
        self.0.sync()
    }

    fn checkpoint(&self) -> rusqlite::Result<()> {
        sleep(self.1);
        self.0.checkpoint()
    }
}

fn slow(log: Log) -> Box<dyn Storage> {
    Box::new(Slow(log, SLOW))
}

fn rather_slow(log: Log) -> Box<dyn Storage> {
    Box::new(Slow(log, Duration::from_millis(100)))
}

fn stuck(log: Log) -> Box<dyn Storage> {
    Box::new(Slow(log, Duration::from_secs(3_600)))
}

fn recorder(path: &Path, max_size: u64, storage: fn(Log) -> Box<dyn Storage>) -> Recorder {
    let options = Options { path: path.to_owned(), keep: None, max_size, group: None };
    let mut recorder = Recorder::open_on(options, false, storage).unwrap();
    recorder.start(0, 0, &plain::start());
    recorder
}

/// Records so many events.
fn push(recorder: &mut Recorder, count: u64) {
    for number in 0..count {
        recorder.push(plain::release(number));
    }
    recorder.flush();
    if recorder.wants_checkpoint() {
        recorder.checkpoint(0, 0, Checkpoint::default());
    }
}

fn events(path: &Path) -> rusqlite::Result<u64> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0))
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_slow_disk_keeps_the_writer_from_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ports.db");
    let mut recorder = recorder(&path, 2 << 30, slow);
    let began = Instant::now();
    let mut pushed = 0;
    while began.elapsed() < SLOW / 2 {
        push(&mut recorder, 500);
        pushed += 500;
        sleep(Duration::from_millis(10));
    }
    until("all is committed", || events(&path).unwrap() >= pushed);
    assert!(began.elapsed() < SLOW, "it waited: {:?}", began.elapsed());
    assert_eq!(recorder.finish().unwrap(), 0);
    assert!(log(&path).is_err(), "the file is complete by itself");
    assert_eq!(events(&path).unwrap(), pushed);
}

#[test]
fn what_is_committed_outlives_a_kill_without_any_sync() {
    if let Some(path) = std::env::var_os(KILLED) {
        let mut recorder = recorder(Path::new(&path), 2 << 30, stuck);
        push(&mut recorder, KILLED_EVENTS);
        sleep(Duration::from_secs(60));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ports.db");
    let this = "recording::disk::tests::what_is_committed_outlives_a_kill_without_any_sync";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", this])
        .env(KILLED, &path)
        .spawn()
        .unwrap();
    until("all is committed", || events(&path).is_ok_and(|count| count == KILLED_EVENTS));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(events(&path).unwrap(), KILLED_EVENTS);
}

#[test]
fn the_log_stays_bounded_under_a_steady_load() {
    const MAX: u64 = 32 << 20;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ports.db");
    let mut recorder = recorder(&path, MAX, rather_slow);
    let bounds = Bounds::within(8 << 20);
    let (mut longest, mut shrinks, mut before) = (0, 0, 0);
    for _ in 0..120 {
        push(&mut recorder, 4_000);
        sleep(Duration::from_millis(40));
        let length = length(&log(&path).unwrap());
        longest = longest.max(length);
        shrinks += u32::from(length < before);
        before = length;
    }
    assert_eq!(recorder.finish().unwrap(), 0);
    assert!(longest > bounds.copied, "too little load to tell: {longest} bytes");
    // On top comes what is committed at once, and a piece that is deleted.
    assert!(longest <= 2 * bounds.awaited, "{longest} bytes");
    assert!(shrinks > 0, "it never began anew");
}

#[test]
fn a_reader_that_stays_does_not_stop_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ports.db");
    let mut recorder = recorder(&path, 32 << 20, |log| Box::new(log));
    push(&mut recorder, 1_000);
    until("something is committed", || events(&path).is_ok_and(|count| count >= 1_000));
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM events").unwrap();
    for _ in 0..50 {
        push(&mut recorder, 4_000);
        sleep(Duration::from_millis(20));
    }
    until("all is written", || recorder.queued() == 0);
    assert!(length(&log(&path).unwrap()) > Bounds::within(8 << 20).awaited);
    drop(reader);
    assert_eq!(recorder.finish().unwrap(), 0);
}

/// Waits until the recorder says why nothing more is recorded.
fn failure(recorder: &mut Recorder) -> String {
    let began = Instant::now();
    loop {
        if let Err(error) = recorder.check() {
            return format!("{error:#}");
        }
        assert!(began.elapsed() < Duration::from_secs(5), "it is not noticed");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_writer_that_panics_is_noticed_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ports.db");
    let mut recorder = recorder(&path, 32 << 20, |log| Box::new(log));
    recorder.check().unwrap();
    recorder.panic();
    let error = failure(&mut recorder);
    assert!(error.contains("ended unexpectedly"), "{error}");
    assert!(recorder.finish().is_err());
}

#[test]
fn a_thread_that_panics_while_it_waits_for_the_disk_is_noticed_at_once() {
    struct Panics;

    impl Storage for Panics {
        fn sync(&self) -> io::Result<()> {
            panic!("asked to");
        }

        fn checkpoint(&self) -> rusqlite::Result<()> {
            Ok(())
        }
    }

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ports.db");
    let mut recorder = recorder(&path, 32 << 20, |_| Box::new(Panics));
    push(&mut recorder, 100);
    let error = failure(&mut recorder);
    assert!(error.contains("ended unexpectedly"), "{error}");
}
