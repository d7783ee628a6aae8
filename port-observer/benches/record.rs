//! What recording costs: bytes and processor time per event, and whether any is lost at 100,000 a
//! second. Prints one JSON object; `cargo xtask bench --parts record` runs it.

#![expect(clippy::cast_precision_loss, reason = "counts and times, to be divided")]

use std::{
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use port_observer::{
    event::{
        Endpoint, Event, Flow, Kind, Protocol, Reason, Reuse, Sharing, SocketEvent, SocketId, Via,
    },
    ledger::Checkpoint,
    process::{Caller, Process},
    recording::{Entry, Options, Recorder},
    report::Start,
};

/// Events a second of the paced part, and for how long.
const RATE: u64 = 100_000;
const PACED: Duration = Duration::from_secs(10);
/// Events of the part without a pace.
const COUNT: u64 = 2_000_000;
/// Events are made in pieces of this size.
const PIECE: u64 = 1_000;
const DESTINATIONS: u64 = 100;
const PROCESSES: u32 = 50;

/// Connections that are opened, go to TIME_WAIT and end: three events each.
struct Traffic {
    callers: Vec<Caller>,
    number: u64,
}

impl Traffic {
    fn new() -> Self {
        let process = |pid| Process {
            pid,
            name: format!("server-{pid}"),
            executable: Some(format!("/usr/bin/server-{pid}").into()),
            start_time_ns: u64::from(pid),
            ..Process::default()
        };
        let caller = |pid| Caller { process: Arc::new(process(pid)), tid: pid };
        Self { callers: (1..=PROCESSES).map(caller).collect(), number: 0 }
    }

    fn next(&mut self) -> Entry {
        let (connection, step) = (self.number / 3, self.number % 3);
        self.number += 1;
        let to = u8::try_from(connection % DESTINATIONS).unwrap_or(0);
        let address = |last| std::net::Ipv4Addr::new(10, 0, 0, last).into();
        let port = 1024 + u16::try_from(connection * 7 % 64_000).unwrap_or(0);
        let flow = Flow {
            netns: 4_026_531_840,
            protocol: Protocol::Tcp,
            local: Endpoint { address: address(250), port },
            remote: Some(Endpoint { address: address(to), port: 443 }),
        };
        let socket = SocketId(0xffff_8880_0000_0000 + connection % 100_000 * 2_048);
        let entry = SocketId(socket.0 + 1_024);
        let (socket, kind) = match step {
            0 => (
                socket,
                Kind::Acquire {
                    via: Via::Connect,
                    requested_port: Some(0),
                    search_ns: Some(1_000 + connection % 5_000),
                    task: None,
                    sharing: Sharing { connect_bind: true, ..Sharing::default() },
                },
            ),
            1 => (
                socket,
                Kind::TimeWait { successor: Some(entry), done: true, reuse: Reuse::default() },
            ),
            _ => (entry, Kind::Release { reason: Reason::TimeWaitExpired }),
        };
        let time_ns = 86_400_000_000_000 + self.number * 10_000;
        let event = Event::Socket(SocketEvent { time_ns, socket, flow, kind });
        let mut entry = Entry::of(time_ns, &event).unwrap_or_else(|| Entry::tick(time_ns));
        let caller = &self.callers[usize::try_from(connection).unwrap_or(0) % self.callers.len()];
        entry.set_caller(Some(caller.clone()), &[]);
        entry
    }
}

fn recorder(path: &Path) -> Result<Recorder> {
    let options = Options { path: path.to_owned(), keep: None, max_size: 2 << 30, group: None };
    let mut recorder = Recorder::open(options, false)?;
    let start = Start {
        host: "bench".to_owned(),
        kernel: "none".to_owned(),
        version: "0".into(),
        backend: "fexit",
        exact: true,
        missing: Vec::new(),
        ephemeral_range: Vec::new(),
        netns: None,
    };
    recorder.start(0, 0, &start);
    Ok(recorder)
}

fn piece(recorder: &mut Recorder, traffic: &mut Traffic) {
    (0..PIECE).for_each(|_| recorder.push(traffic.next()));
    recorder.flush();
    if recorder.wants_checkpoint() {
        recorder.checkpoint(0, 0, Checkpoint::default());
    }
}

fn cpu_seconds(usage: &Usage) -> f64 {
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// Seconds of this thread and of all others so far.
fn used() -> Result<(f64, f64)> {
    let own = cpu_seconds(&getrusage(UsageWho::RUSAGE_THREAD)?);
    Ok((own, cpu_seconds(&getrusage(UsageWho::RUSAGE_SELF)?) - own))
}

fn main() -> Result<()> {
    let directory =
        std::env::temp_dir().join(format!("port-observer-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).context("make a directory")?;
    let measured = measure(&directory);
    let _ = std::fs::remove_dir_all(&directory);
    println!("{}", measured?);
    Ok(())
}

fn measure(directory: &Path) -> Result<serde_json::Value> {
    let path = directory.join("paced.db");
    let mut traffic = Traffic::new();
    // What it takes to make the events is not the recorder's.
    let before = used()?;
    (0..COUNT).for_each(|_| drop(std::hint::black_box(traffic.next())));
    let making = (used()?.0 - before.0) / COUNT as f64;

    let mut recorder = recorder(&path)?;
    let (before, began) = (used()?, Instant::now());
    let pieces = RATE * PACED.as_secs() / PIECE;
    for number in 0..pieces {
        let due = began + Duration::from_nanos(number * PIECE * 1_000_000_000 / RATE);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        piece(&mut recorder, &mut traffic);
    }
    let took = began.elapsed();
    let lost = recorder.finish()?;
    let after = used()?;
    let events = (pieces * PIECE) as f64;
    let bytes = std::fs::metadata(&path).context("look at the recording")?.len();

    let mut recorder = self::recorder(&directory.join("fast.db"))?;
    let fast = Instant::now();
    for _ in 0..COUNT / PIECE {
        while recorder.queued() > 100_000 {
            thread::sleep(Duration::from_millis(1));
        }
        piece(&mut recorder, &mut traffic);
    }
    let fast_lost = recorder.finish()?;
    Ok(serde_json::json!({
        "events": pieces * PIECE,
        "offered_per_second": events / took.as_secs_f64(),
        "lost": lost,
        "bytes_per_event": bytes as f64 / events,
        "writer_cpu_seconds_per_million_events": (after.1 - before.1) / events * 1e6,
        "observer_ns_per_event": ((after.0 - before.0) / events - making).max(0.0) * 1e9,
        "most_events_per_second": COUNT as f64 / fast.elapsed().as_secs_f64(),
        "most_lost": fast_lost,
    }))
}
