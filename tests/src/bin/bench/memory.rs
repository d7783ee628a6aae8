//! What the program and its maps hold for many holdings.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::system;

use crate::Setup;
use crate::programs::numbers;
use crate::tracer::{Output, Tracer};
use crate::traffic::{Amount, Close, Server};

/// How many, over this many destinations.
const HOLDINGS: usize = 100_000;
/// How long the program is watched with nothing to do but to keep them.
const QUIET: Duration = Duration::from_secs(3);
const DESTINATIONS: [u8; 5] = [101, 102, 103, 104, 105];

/// Makes as many TIME_WAIT entries and looks at the growth.
pub fn measure(setup: &Setup, server: &Server) -> Result<Value> {
    let netns = setup.netns.to_string();
    let arguments = ["--netns", &netns, "--events", "start,stop"];
    let mut tracer = Tracer::observer(setup, &arguments, Output::Pipe)?;
    let before = status(tracer.pid(), "RssAnon:")?;
    for destination in DESTINATIONS {
        let count = Amount::Connections(HOLDINGS / DESTINATIONS.len());
        server.traffic(count, Close::TimeWait, destination)?;
    }
    tracer.wait_quiet()?;
    let after = status(tracer.pid(), "RssAnon:")?;
    // How much room is reserved, by the kernel's own account.
    let maps: u64 =
        numbers(tracer.pid(), "map_id:")?.values().filter_map(|map| field(map, "memlock:")).sum();
    let peak = status(tracer.pid(), "VmHWM:")?;
    let (began, cpu) = (Instant::now(), tracer.cpu_seconds()?);
    sleep(QUIET);
    let cpu = (tracer.cpu_seconds()? - cpu) * 1000.0 / began.elapsed().as_secs_f64();
    let stop = tracer.stop()?.context("the program's last line")?;
    let acquired = stop["acquired"].as_u64().unwrap_or(0);
    Ok(json!({
        "holdings": acquired,
        "grown_bytes": after.saturating_sub(before) * 1024,
        "anonymous_bytes": after * 1024,
        "peak_resident_bytes": peak * 1024,
        "maps_bytes": maps,
        "bytes_per_100000_holdings": (after.saturating_sub(before) * 1024 + maps) as f64
            * 100_000.0 / acquired.max(1) as f64,
        "cpu_ms_per_second": cpu,
        "lost": stop["lost"],
    }))
}

/// A line of `/proc/PID/status`, in KiB.
fn status(pid: Pid, key: &str) -> Result<u64> {
    let status = system::read(format!("/proc/{pid}/status"))?;
    field(&status, key).with_context(|| format!("/proc/{pid}/status has no {key}"))
}

fn field(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}
