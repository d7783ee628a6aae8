//! How many events a second are taken in without a loss.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::Setup;
use crate::machine::pin;
use crate::statistics::spread;
use crate::tracer::{Output, Tracer};
use crate::traffic::{Amount, Close, Server};

/// Connections that the default buffer of 8 MiB has room for, with the largest records.
const BACKLOG: usize = 34_000;
/// Acquire and release.
const EVENTS: f64 = 2.0;
const BACKLOGS: usize = 2;

/// A full buffer taken in at one go, then as much real traffic as the machine gives.
pub fn measure(setup: &Setup, server: &Server) -> Result<Value> {
    let mut rates = Vec::new();
    let mut lost = 0;
    let mut json_rates = Vec::new();
    for _ in 0..BACKLOGS {
        let (rate, lines_lost) = backlog(setup, server, &["--events", "start,stop"], Output::Pipe)?;
        rates.push(rate);
        lost += lines_lost;
        json_rates.push(backlog(setup, server, &[], Output::Null)?.0);
    }
    Ok(json!({
        "one_core_ledger_events_per_second": spread(rates),
        "one_core_lines_events_per_second": spread(json_rates),
        "one_core_lost": lost,
        "traffic": traffic(setup, server)?,
    }))
}

/// Events a second of processor time: stopped meanwhile, then let go on.
fn backlog(setup: &Setup, server: &Server, more: &[&str], output: Output) -> Result<(f64, u64)> {
    let netns = setup.netns.to_string();
    let mut arguments = vec!["--netns", &netns];
    arguments.extend(more);
    let mut tracer = Tracer::observer(setup, &arguments, output)?;
    tracer.signal(Signal::SIGSTOP)?;
    let made = server.traffic(Amount::Connections(BACKLOG), Close::Reset, 1);
    let before = tracer.cpu_seconds()?;
    tracer.signal(Signal::SIGCONT)?;
    made?;
    tracer.wait_quiet()?;
    let seconds = tracer.cpu_seconds()? - before;
    let stop = tracer.stop()?;
    let lost = stop.map_or(0, |stop| stop["lost"].as_u64().unwrap_or(0));
    Ok((BACKLOG as f64 * EVENTS / seconds, lost))
}

/// Traffic on both processors, with the tracer on either.
fn traffic(setup: &Setup, first: &Server) -> Result<Value> {
    let netns = setup.netns.to_string();
    let arguments = ["--netns", &netns, "--events", "start,stop"];
    let tracer = Tracer::observer_on(setup, &arguments, Output::Pipe, None)?;
    let amount = Amount::For(setup.slice * 2);
    let began = Instant::now();
    let connections = thread::scope(|scope| -> Result<usize> {
        let other = scope.spawn(|| -> Result<usize> {
            pin(setup.place.tracer)?;
            let server = Server::listen_on(1001)?;
            Ok(server.traffic(amount, Close::Reset, 2)?.connections)
        });
        let own = first.traffic(amount, Close::Reset, 1)?.connections;
        Ok(own + other.join().map_err(|_| anyhow!("the second traffic panicked"))??)
    })?;
    let seconds = began.elapsed();
    // What is left in the buffer is taken in before the last line.
    let stop = tracer.stop()?.context("the program's last line")?;
    let rate = |events: f64, time: Duration| events / time.as_secs_f64();
    Ok(json!({
        "events_per_second": rate(connections as f64 * EVENTS, seconds),
        "connections": connections,
        "acquired": stop["acquired"],
        "lost": stop["lost"],
    }))
}
