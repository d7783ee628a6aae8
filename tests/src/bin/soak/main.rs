//! Keeps `live --json`, `record` and `top` under churn, and looks at what they hold of the machine.
//!
//! `soak SECONDS [BACKEND]`, with the program in `PORT_OBSERVER`. The first half is there to warm up: in
//! the second, memory, descriptors and threads must stay what they are. What was printed and recorded of
//! the namespace that the churn is in must be what the churn did.

mod churn;
mod counts;
mod observers;
mod samples;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tests::net::Namespace;
use tests::recording::Directory;

use churn::Churn;
use observers::Observers;
use samples::Samples;

/// How often figures are read.
const EVERY: Duration = Duration::from_secs(1);
/// What happened last is on its way for so long.
const LAST_EVENTS: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<bool> {
    let (seconds, backend) = match arguments {
        [seconds] => (seconds, "tracepoint"),
        [seconds, backend] => (seconds, backend.as_str()),
        _ => bail!("usage: soak SECONDS [BACKEND]"),
    };
    let time = Duration::from_secs(seconds.parse().context("SECONDS is no number")?);
    let directory = Directory::make();
    let file = directory.file("soak.db");
    let namespace = Namespace::make();
    let mut observers = Observers::start(backend, &file, namespace.inode)?;
    let churn = Churn::start(&namespace)?;
    let mut samples = Samples::new(observers.pids());
    let began = Instant::now();
    let mut next = began;
    while began.elapsed() < time {
        next += EVERY;
        thread::sleep(next.saturating_duration_since(Instant::now()));
        observers.check()?;
        samples.take(began.elapsed())?;
        observers.press_a_key()?;
    }
    let done = churn.stop()?;
    thread::sleep(LAST_EVENTS);
    let seen = observers.stop()?;
    println!("{done}");
    let is_flat = samples.judge();
    let is_exact = seen.judge(&done);
    println!("soak: {}", if is_flat && is_exact { "passed" } else { "FAILED, see above" });
    Ok(is_flat && is_exact)
}
