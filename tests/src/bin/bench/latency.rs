//! From the call to the line on the screen, when little happens.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use crate::Setup;
use crate::statistics::percentile;
use crate::tracer::{Output, Tracer};
use crate::traffic::Server;

const CALLS: usize = 60;
const IDLE: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(30);

/// Connects now and then and waits for the line each time.
pub fn measure(setup: &Setup, server: &Server) -> Result<Value> {
    let netns = setup.netns.to_string();
    let arguments = ["--netns", &netns];
    let mut tracer = Tracer::observer(setup, &arguments, Output::Pipe)?;
    let mut milliseconds = Vec::new();
    for _ in 0..CALLS {
        let (called, port) = server.ping()?;
        let mut seen: Option<Instant> = None;
        // Its release is read as well, so that nothing is left of it.
        loop {
            let line = tracer.line()?;
            if line["local"]["port"] != port {
                continue;
            }
            match line["type"].as_str() {
                Some("acquire") => seen = Some(Instant::now()),
                Some("release") => break,
                _ => {}
            }
        }
        if let Some(seen) = seen {
            milliseconds.push((seen - called).as_secs_f64() * 1000.0);
        }
        sleep(PAUSE);
    }
    let (began, before) = (Instant::now(), tracer.cpu_seconds()?);
    sleep(IDLE);
    let idle = (tracer.cpu_seconds()? - before) * 1000.0 / began.elapsed().as_secs_f64();
    tracer.stop()?;
    let calls = milliseconds.len();
    let p50 = percentile(&mut milliseconds, 0.5);
    Ok(
        json!({ "p50_ms": p50, "max_ms": milliseconds.last(), "calls": calls, "idle_cpu_ms_per_second": idle }),
    )
}
