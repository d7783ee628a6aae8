//! What a report of a long recording costs: time and memory. Records ten million events of three hours
//! first, with ports that run out again and again. Prints one JSON object; `cargo xtask bench report`
//! runs it.

#![expect(clippy::cast_precision_loss, reason = "counts and times, to be divided")]

#[path = "../tests/synthetic/mod.rs"]
mod synthetic;

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use port_observer::{ports::PortRange, process::Process};
use synthetic::{Client, Host};

/// Events, if `PORT_OBSERVER_EVENTS` does not say another number.
const EVENTS: u64 = 10_000_000;
const DESTINATIONS: u16 = 100;
const PROCESSES: u16 = 50;

fn host() -> Host {
    let client = |number: u16, to: u16, per_second: f64, in_burst: f64| Client {
        process: Process {
            pid: 1_000 + u32::from(number),
            name: format!("server-{number}"),
            executable: Some(format!("/usr/bin/server-{number}").into()),
            start_time_ns: u64::from(number) + 1,
            ..Process::default()
        },
        to,
        per_second,
        in_burst,
        keeps: Duration::from_secs(2),
    };
    let mut clients: Vec<Client> = (0..DESTINATIONS.max(PROCESSES))
        .map(|number| client(number % PROCESSES, 1_000 + number % DESTINATIONS, 1.0, 1.0))
        .collect();
    clients.push(client(PROCESSES, 443, 250.0, 600.0));
    Host { range: PortRange { min: 32_768, max: 60_999 }, clients, burst_every: 600, burst_for: 60 }
}

fn main() -> Result<()> {
    let directory = tempfile::tempdir().context("make a directory")?;
    println!("{}", measure(directory.path())?);
    Ok(())
}

fn measure(directory: &Path) -> Result<serde_json::Value> {
    let events = match std::env::var("PORT_OBSERVER_EVENTS") {
        Ok(count) => count.parse().context("PORT_OBSERVER_EVENTS is a number")?,
        Err(_) => EVENTS,
    };
    let (file, page) = (directory.join("ports.db"), directory.join("report.html"));
    let refused = host().record(&file, events)?;
    let bytes = std::fs::metadata(&file).context("look at the recording")?.len();
    let began = Instant::now();
    let status = Command::new(env!("CARGO_BIN_EXE_port-observer"))
        .arg("report")
        .arg(&file)
        .arg("--html")
        .arg(&page)
        .stdin(Stdio::null())
        .status()
        .context("start the report")?;
    let seconds = began.elapsed().as_secs_f64();
    ensure!(status.success(), "the report failed: {status}");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("what it used")?;
    Ok(serde_json::json!({
        "events": events,
        "refused": refused,
        "recording_bytes": bytes,
        "page_bytes": std::fs::metadata(&page).context("look at the page")?.len(),
        "seconds": seconds,
        "seconds_per_million_events": seconds / events as f64 * 1e6,
        "most_memory_bytes": usage.max_rss() * 1_024,
    }))
}
