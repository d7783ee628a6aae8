//! What a process of a run is, by the job that it is given.

use std::{
    io::Read as _,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result};

use super::observe;
use crate::stress::{
    client,
    parts::{self, Job},
    run, server, tracer,
};

/// Does the job that standard input gives.
///
/// # Errors
/// None: what fails is said to the one who started it.
pub fn run() -> Result<ExitCode> {
    // Orders that come after it are read by others, who need the lock.
    let job = parts::read::<Job>(&mut std::io::stdin().lock());
    match job {
        Ok(Some(job)) => {
            if let Err(error) = begin(job) {
                parts::fail(&error);
                return Ok(ExitCode::FAILURE);
            }
            Ok(ExitCode::SUCCESS)
        }
        Ok(None) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.context("this is a part of `port-observer stress`")),
    }
}

fn begin(job: Job) -> Result<()> {
    match job {
        Job::Run(plan) => run::run(plan),
        Job::Program(job) => tracer::run(&job),
        Job::Observe(job) => observe::run(job),
        Job::Client(job) => {
            let stop = stop_at_the_end_of_input()?;
            client::run(job, &|| stop.load(Ordering::Relaxed))
        }
        Job::Server(job) => {
            let stop = stop_at_the_end_of_input()?;
            server::run(&job, &|| stop.load(Ordering::Relaxed))
        }
    }
}

/// Set once standard input has ended.
fn stop_at_the_end_of_input() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let to_set = Arc::clone(&stop);
    let reader = move || {
        let mut bytes = [0; 64];
        while std::io::stdin().read(&mut bytes).is_ok_and(|length| length > 0) {}
        to_set.store(true, Ordering::Relaxed);
    };
    thread::Builder::new().name("orders".to_owned()).spawn(reader).context("can't read orders")?;
    Ok(stop)
}
