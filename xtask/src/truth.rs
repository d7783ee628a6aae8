//! The program's stated headroom against the kernel's own, in as many random states as wanted.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::native::Native;
use crate::setup::is_root;
use crate::vm::{self, Backend, Kernel};

/// The test that this runs.
const TEST: &str = "ledger::truth::as_many_calls_succeed_as_the_headroom_says";
/// How it begins the line with its result.
const RESULT: &str = "truth: ";

/// What `cargo xtask truth` takes.
#[derive(clap::Args)]
pub struct Args {
    /// How many random states are asked about, each by connect() and by bind()
    #[arg(long, value_name = "N", default_value_t = 1000)]
    seeds: u64,
    /// The first one's seed
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    from: u64,
    /// In a virtual machine with this kernel, not on this machine: 5.10, 6.1, 6.12 or 7.2
    #[arg(long, value_name = "VERSION", value_parser = Kernel::parse)]
    kernel: Option<Kernel>,
    /// The backend [default: tracepoint; in a virtual machine fexit]
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// How long it may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
    timeout: u64,
}

/// Runs the test and prints how many answers were exact.
///
/// # Errors
/// When something can't be built or started, or there is no result. Wrong answers give the exit
/// code 1.
pub fn run(args: &Args) -> Result<ExitCode> {
    let seeds = format!("{}..{}", args.from, args.from + args.seeds);
    let lines = match args.kernel {
        Some(kernel) => in_machine(args, kernel, &seeds)?,
        None => here(args, &seeds)?,
    };
    let passed = lines.iter().any(|line| line.starts_with("test result: ok. 1 passed"));
    let result = lines.iter().rev().find(|line| line.starts_with(RESULT));
    let is_smooth = !lines.iter().any(|l| l.starts_with("retried") || l.starts_with("lost"));
    if !passed || result.is_none() || !is_smooth {
        lines.iter().for_each(|line| eprintln!("{line}"));
    }
    println!("{}", result.context("the test gave no result; its output is above")?);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn here(args: &Args, seeds: &str) -> Result<Vec<String>> {
    if !is_root()? {
        bail!("it needs root: it loads kernel programs and makes network namespaces");
    }
    let programs = vm::Programs::build(true, None)?;
    let backend = args.backend.unwrap_or(Backend::Tracepoint);
    let arguments = ["--show-output", "--exact", TEST].map(str::to_owned);
    let variables = [("PORT_OBSERVER_SEEDS", seeds)];
    let timeout = Duration::from_secs(args.timeout);
    let native = Native::new(&programs, backend.name())?;
    let sat = native.sit("truth", &arguments, &variables, timeout)?;
    Ok(sat.text.lines().map(str::to_owned).collect())
}

fn in_machine(args: &Args, kernel: Kernel, seeds: &str) -> Result<Vec<String>> {
    let backend = args.backend.unwrap_or(Backend::Fexit);
    eprintln!("Linux {}: {}, seeds {seeds}", kernel.name, backend.name());
    let job = format!(
        "export PORT_OBSERVER=/bin/port-observer PORT_OBSERVER_IN_VM=1\n\
         export PORT_OBSERVER_BACKEND={} PORT_OBSERVER_SEEDS={seeds}\n\
         {} --exact {TEST} --show-output 9>&- </dev/null >/dev/ttyS1 2>&1\n",
        backend.name(),
        vm::TESTS,
    );
    vm::test_job(kernel, &job, Duration::from_secs(args.timeout))
}
