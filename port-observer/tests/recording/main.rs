//! What is written into a recording and read from it, without a kernel.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod bounds;
mod damage;
mod entries;
mod hostile;
mod moved;
mod queries;
mod safety;
mod versions;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use port_observer::event::{
    Endpoint, Event, Flow, Kind, Protocol, Reason, Sharing, SocketEvent, SocketId, Via,
};
use port_observer::ledger::Checkpoint;
use port_observer::process::{Caller, Cut, Process};
use port_observer::recording::{Entry, Item, Options, Reader, Recorder};
use port_observer::report::{EphemeralRange, Start};

const SECOND: u64 = 1_000_000_000;

/// A directory that goes when this is dropped.
struct Directory(PathBuf);

impl Directory {
    fn make() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("port-observer-recording-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("ports.db")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn options(path: &Path) -> Options {
    Options { path: path.to_owned(), keep: None, max_size: 2 << 30, group: None }
}

fn start() -> Start {
    Start {
        host: "host".to_owned(),
        kernel: "6.1.0".to_owned(),
        version: "0.1.0".into(),
        backend: "fexit",
        exact: true,
        missing: vec!["nothing".to_owned()],
        ephemeral_range: vec![EphemeralRange { netns: 1, min: 32_768, max: 60_999 }],
        netns: Some(1),
    }
}

/// Realtime less boottime now, with a host that was started a day ago.
fn offset_ns() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_nanos()).unwrap() - i64::try_from(86_400 * SECOND).unwrap()
}

/// When runs begin: a day after boot.
const BEGAN: u64 = 86_400 * SECOND;

fn recorder(options: Options) -> Recorder {
    let mut recorder = Recorder::open(options, false).unwrap();
    recorder.start(BEGAN, offset_ns(), &start());
    recorder
}

fn flow(port: u16) -> Flow {
    Flow {
        netns: 1,
        protocol: Protocol::Tcp,
        local: Endpoint::new("10.0.0.2".parse().unwrap(), port),
        remote: Some(Endpoint::new("10.0.0.1".parse().unwrap(), 443)),
    }
}

fn caller() -> Caller {
    let process = Process {
        pid: 42,
        name: "curl".to_owned(),
        executable: Some("/usr/bin/curl".into()),
        command_line: vec!["curl".to_owned(), "https://example.org".to_owned()].into(),
        uid: Some(1000),
        start_time_ns: SECOND,
        cgroup: Some("/system.slice/web.service".into()),
        container: port_observer::process::container::container("/system.slice/web.service")
            .map(Into::into),
        cut: Cut { command_line: true, cgroup: true, ..Cut::default() },
        ..Process::default()
    };
    Caller { process: Arc::new(process), tid: 43 }
}

fn event(time_ns: u64, number: u64, port: u16, kind: Kind) -> Entry {
    let socket = SocketId(0xffff_8880_0000_0000 + number * 64);
    let event = SocketEvent { time_ns, socket, flow: flow(port), kind };
    Entry::of(time_ns, &Event::Socket(event)).unwrap()
}

/// The connection of this number is opened, by this process.
fn opened(time_ns: u64, number: u64, by: &Caller) -> Entry {
    let kind = Kind::Acquire {
        via: Via::Connect,
        requested_port: Some(0),
        search_ns: Some(1_234),
        task: None,
        sharing: Sharing { connect_bind: true, ..Sharing::default() },
    };
    let port = 32_768 + (number % 28_000) as u16;
    let mut entry = event(time_ns, number, port, kind);
    entry.set_caller(Some(by.clone()), &[]);
    entry
}

fn closed(time_ns: u64, number: u64) -> Entry {
    let port = 32_768 + (number % 28_000) as u16;
    event(time_ns, number, port, Kind::Release { reason: Reason::Closed })
}

/// Opens and closes connections, `count` entries in all; of each, `each` is called.
fn traffic(count: u64, mut each: impl FnMut(Entry)) {
    let by = caller();
    for number in 0..count / 2 {
        let time_ns = BEGAN + number * 100_000;
        each(opened(time_ns, number, &by));
        each(closed(time_ns + 50_000, number));
    }
}

/// What the other side of a recorder does.
fn serve(recorder: &mut Recorder, time_ns: u64) {
    recorder.flush();
    if recorder.wants_checkpoint() {
        recorder.checkpoint(time_ns, offset_ns(), Checkpoint::default());
    }
}

/// A recording of this much traffic.
fn recorded(path: &Path, count: u64) {
    let mut recorder = recorder(options(path));
    let mut pushed = 0;
    traffic(count, |entry| {
        let time_ns = entry.time_ns;
        recorder.push(entry);
        pushed += 1;
        if pushed % 10_000 == 0 {
            serve(&mut recorder, time_ns);
            // Not faster than it is written.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    });
    recorder.stop(BEGAN + count * 50_000, std::time::Duration::from_nanos(count * 50_000));
    assert_eq!(recorder.finish().unwrap(), 0);
}

fn read(path: &Path) -> Vec<Item> {
    let mut reader = Reader::open_among_others(path).unwrap();
    let (mut all, mut some) = (Vec::new(), Vec::new());
    loop {
        reader.next(&mut some).unwrap();
        if some.is_empty() {
            assert!(reader.take_damage().is_none());
            return all;
        }
        all.append(&mut some);
    }
}

fn entries(items: &[Item]) -> Vec<&Entry> {
    fn entry(item: &Item) -> Option<&Entry> {
        if let Item::Entry(entry) = item { Some(entry) } else { None }
    }
    items.iter().filter_map(entry).collect()
}

/// Runs the program; not one panic.
fn run(arguments: &[&str]) -> Output {
    let output =
        Command::new(env!("CARGO_BIN_EXE_port-observer")).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{arguments:?}: {errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    output
}
