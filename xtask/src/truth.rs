//! The program's stated headroom against the kernel's own, in as many random states as wanted.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::command::{command, workspace};
use crate::setup::is_root;
use crate::vm::{self, Backend, Kernel};

/// The test that this runs.
const TEST: &str = "truth::as_many_calls_succeed_as_the_headroom_says";
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
    /// How long a virtual machine may take, in seconds
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
    if !passed || result.is_none() {
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
    eprintln!("this machine: {}, seeds {seeds}", backend.name());
    let log = workspace().join("target/truth.log");
    let file = File::create(&log).with_context(|| format!("can't write {}", log.display()))?;
    // setpriv ends the test with this program, however that ends.
    command("setpriv", ["--pdeathsig", "KILL"])
        .arg(programs.tests()?)
        .args(["--exact", TEST, "--show-output"])
        .env("PORT_OBSERVER", programs.program()?)
        .env("PORT_OBSERVER_BACKEND", backend.name())
        .env("PORT_OBSERVER_SEEDS", seeds)
        .env("PORT_OBSERVER_ASKED_FOR", "1")
        .stdin(Stdio::null())
        .stderr(file.try_clone().context("can't write the log twice")?)
        .stdout(file)
        .status()
        .context("can't start the test")?;
    let file = File::open(&log).with_context(|| format!("can't read {}", log.display()))?;
    let lines = BufReader::new(file).lines().collect::<std::io::Result<_>>();
    lines.with_context(|| format!("can't read {}", log.display()))
}

fn in_machine(args: &Args, kernel: Kernel, seeds: &str) -> Result<Vec<String>> {
    let backend = args.backend.unwrap_or(Backend::Fexit);
    eprintln!("Linux {}: {}, seeds {seeds}", kernel.name, backend.name());
    let job = format!(
        "export PORT_OBSERVER=/bin/port-observer PORT_OBSERVER_IN_VM=1 PORT_OBSERVER_ASKED_FOR=1\n\
         export PORT_OBSERVER_BACKEND={} PORT_OBSERVER_SEEDS={seeds}\n\
         {} --exact {TEST} --show-output 9>&- </dev/null >/dev/ttyS1 2>&1\n",
        backend.name(),
        vm::TESTS,
    );
    vm::test_job(kernel, &job, Duration::from_secs(args.timeout))
}
