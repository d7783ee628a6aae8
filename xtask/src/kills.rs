//! A recorder that is killed under load at as many random moments as wanted.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::native::Native;
use crate::setup::is_root;
use crate::vm::{self, Backend};

/// The test that this runs.
const TEST: &str =
    "ledger::record::a_recorder_that_is_killed_under_load_leaves_all_but_the_last_second";
/// How long one kill may take, and the start before it.
const EACH: Duration = Duration::from_secs(10);

/// What `cargo xtask kills` takes.
#[derive(clap::Args)]
pub struct Args {
    /// How often
    #[arg(long, value_name = "N", default_value_t = 100)]
    count: u32,
    /// The backend
    #[arg(long, value_enum, default_value = "tracepoint")]
    backend: Backend,
}

/// Runs the test.
///
/// # Errors
/// When something can't be built or started. A recording that misses more than the last second, or is
/// not whole, gives the exit code 1.
pub fn run(args: &Args) -> Result<ExitCode> {
    if !is_root()? {
        bail!("it needs root: it loads kernel programs and makes network namespaces");
    }
    let programs = vm::Programs::build(true, None)?;
    let native = Native::new(&programs, args.backend.name())?;
    let arguments = ["--show-output", "--exact", TEST].map(str::to_owned);
    let count = args.count.to_string();
    let sat =
        native.sit("kills", &arguments, &[("PORT_OBSERVER_KILLS", &count)], EACH * args.count)?;
    if !sat.status.success() || sat.text.contains("\nskipped") {
        eprintln!("{}", sat.text);
        println!("killed: FAILED, see above");
        return Ok(ExitCode::FAILURE);
    }
    println!("killed {count} times: every recording is whole but for the last second at most");
    Ok(ExitCode::SUCCESS)
}
