//! Observers under churn, for as long as wanted: what they hold of the machine must not grow.

use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::command::command;
use crate::setup::is_root;
use crate::vm::{self, Backend};

/// What it may take beside the churn: starting, ending, and reading the recording.
const GRACE_SECONDS: u64 = 300;

/// What `cargo xtask soak` takes.
#[derive(clap::Args)]
pub struct Args {
    /// How long, in minutes
    #[arg(long, value_name = "N", default_value_t = 10)]
    minutes: u64,
    /// The backend
    #[arg(long, value_enum, default_value = "tracepoint")]
    backend: Backend,
}

/// Runs the binary `soak` of the package `tests` on this machine.
///
/// # Errors
/// When something can't be built or started. Figures that grow, and events that are lost without being
/// counted, give the exit code 1.
pub fn run(args: &Args) -> Result<ExitCode> {
    if !is_root()? {
        bail!("it needs root: it loads kernel programs and makes network namespaces");
    }
    let programs = vm::Programs::build(false, None)?;
    let seconds = args.minutes.saturating_mul(60);
    let limit = seconds.saturating_add(GRACE_SECONDS).to_string();
    // setpriv ends timeout with this program, however that ends; timeout ends all the others.
    let status = command("setpriv", ["--pdeathsig", "TERM", "timeout", "--kill-after=10", &limit])
        .arg(programs.helper("soak")?)
        .args([&seconds.to_string(), args.backend.name()])
        .env("PORT_OBSERVER", programs.program()?)
        .stdin(Stdio::null())
        .status()
        .context("can't start setpriv (package util-linux)")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
