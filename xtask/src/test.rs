//! Every test: the units, the kernel tests on this machine, and those in virtual machines.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::cargo::{cargo, test_targets};
use crate::command::{command, make_directory, output, run, workspace};
use crate::ebpf::object_for_tests;
use crate::results::{Run, Verdict, listed, parse};
use crate::setup::{is_root, run_setup};
use crate::table::render;
use crate::vm;

/// How long one run of the kernel tests on this machine may take, in seconds.
const NATIVE_TIMEOUT: u32 = 400;
/// Many connections in a row, none of which may be lost.
const LOAD: &str = "load::every_one_of_many_connections_has_its_acquire_and_its_release";

/// What `cargo xtask test` takes.
#[derive(clap::Args)]
pub struct Args {
    /// Only these [default: all of them]
    #[arg(long, value_enum)]
    tier: Vec<Tier>,
}

/// A set of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Tier {
    /// Units and recordings: any user, any machine
    Units,
    /// Kernel tests on this machine, as far as its kernel and the user's privileges allow
    Native,
    /// Kernel tests in virtual machines: every kernel, fexit and kprobe
    Vm,
}

/// Runs them all, also after a failure.
///
/// # Errors
/// When the machine can't be prepared. A test that fails gives the exit code 1.
pub fn run_tests(args: &Args) -> Result<ExitCode> {
    let tiers = [Tier::Units, Tier::Native, Tier::Vm];
    let tiers = tiers.into_iter().filter(|tier| args.tier.is_empty() || args.tier.contains(tier));
    let mut summary = Vec::new();
    let mut good = true;
    for tier in tiers {
        let result = match tier {
            Tier::Units => units(),
            Tier::Native => native(),
            Tier::Vm => run_setup().and_then(|_| machines()),
        };
        let name = match tier {
            Tier::Units => "units",
            Tier::Native => "kernel tests on this machine",
            Tier::Vm => "kernel tests in virtual machines",
        };
        match result {
            Ok(Outcome { good: tier_good, text }) => {
                good &= tier_good;
                summary.push(format!("{name}: {text}"));
            }
            Err(error) => {
                good = false;
                eprintln!("error: {name}: {error:#}");
                summary.push(format!("{name}: failed: {error:#}"));
            }
        }
    }
    println!("\n{}", summary.join("\n"));
    println!("{}", if good { "all good" } else { "FAILED" });
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What came of one tier.
struct Outcome {
    good: bool,
    text: String,
}

/// Everything but the kernel tests, which cargo would run without saying with which backend.
fn units() -> Result<Outcome> {
    let mut test = cargo();
    test.args(["test", "--locked", "--workspace", "--lib", "--bins"]);
    for (_, name) in test_targets()?.iter().filter(|target| *target != &kernel_tests()) {
        test.args(["--test", name]);
    }
    run(&mut test)?;
    run(cargo().args(["test", "--locked", "--workspace", "--doc"]))?;
    Ok(Outcome { good: true, text: "passed".to_owned() })
}

fn kernel_tests() -> (String, String) {
    ("tests".to_owned(), "kernel".to_owned())
}

/// With the tracepoint backend, which hardened kernels allow too; poll has a test of its own among
/// them. fexit and kprobe are for the virtual machines, whose programs these are.
fn native() -> Result<Outcome> {
    if !is_root()? {
        println!("skipped the kernel tests on this machine: they need root");
        return Ok(Outcome { good: true, text: "skipped, they need root".to_owned() });
    }
    let programs = vm::Programs::build(true, object_for_tests()?.as_deref())?;
    let runs = [native_run(programs.program()?, programs.tests()?, "tracepoint")?];
    print!("{}", render(&runs));
    Ok(outcome(&runs))
}

fn native_run(program: &Path, tests: &Path, backend: &str) -> Result<Run> {
    let expected = listed(&output(&mut command(tests, ["--list", "--format=terse"]))?);
    if expected.is_empty() {
        bail!("{} has no tests", tests.display());
    }
    let log = log(backend)?;
    let file = File::create(&log).with_context(|| format!("can't write {}", log.display()))?;
    eprintln!("this machine: {backend}; {}", log.display());
    // timeout ends the tests' children with them: it leads a process group of its own.
    let limit = NATIVE_TIMEOUT.to_string();
    // setpriv ends timeout with this program, however that ends.
    let wrapper = ["--pdeathsig", "TERM", "timeout", "--kill-after=10", limit.as_str()];
    let status = command("setpriv", wrapper)
        .arg(tests)
        .args(["--test-threads=16", "--show-output"])
        .current_dir(workspace().join("tests"))
        .env("PORT_OBSERVER", program)
        .env("PORT_OBSERVER_BACKEND", backend)
        .stdin(Stdio::null())
        .stderr(file.try_clone().context("can't write the log twice")?)
        .stdout(file)
        .status()
        .with_context(|| format!("can't start {}", tests.display()))?;
    let text = fs::read(&log).with_context(|| format!("can't read {}", log.display()))?;
    let text = String::from_utf8_lossy(&text);
    let mut run = Run {
        kernel: output(&mut command("uname", ["-r"]))?.trim().to_owned(),
        backend: backend.to_owned(),
        tests: parse(&text.lines().collect::<Vec<_>>(), &expected),
        problems: Vec::new(),
    };
    match status.code() {
        Some(0) => {}
        Some(124 | 137) => run.problems.push(format!("not done after {NATIVE_TIMEOUT} s")),
        _ if run.count(Verdict::Failed) > 0 => {}
        _ => run.problems.push(format!("the test program ended with {status}")),
    }
    run.problems.extend(full_load(tests, program, backend)?);
    Ok(run)
}

/// The load test once more, by itself and with 200,000 connections: beside other tests, what reads
/// the lines of all of them at the same time would be the limit. The problem, if there is one.
fn full_load(tests: &Path, program: &Path, backend: &str) -> Result<Option<String>> {
    let log = log(&format!("{backend}-load"))?;
    let file = File::create(&log).with_context(|| format!("can't write {}", log.display()))?;
    eprintln!("this machine: 200,000 connections; {}", log.display());
    let limit = NATIVE_TIMEOUT.to_string();
    let wrapper = ["--pdeathsig", "TERM", "timeout", "--kill-after=10", limit.as_str()];
    let status = command("setpriv", wrapper)
        .arg(tests)
        .args(["--exact", LOAD, "--show-output"])
        .current_dir(workspace().join("tests"))
        .env("PORT_OBSERVER", program)
        .env("PORT_OBSERVER_BACKEND", backend)
        .env("PORT_OBSERVER_CONNECTS", "200000")
        .stdin(Stdio::null())
        .stderr(file.try_clone().context("can't write the log twice")?)
        .stdout(file)
        .status()
        .with_context(|| format!("can't start {}", tests.display()))?;
    let text = fs::read_to_string(&log).with_context(|| format!("can't read {}", log.display()))?;
    let passed = status.success() && text.contains("1 passed");
    let last = text.lines().rev().take(30).collect::<Vec<_>>();
    let last: String = last.into_iter().rev().map(|line| format!("\n{line}")).collect();
    Ok((!passed).then(|| format!("200,000 connections by themselves: {status}{last}")))
}

fn log(backend: &str) -> Result<PathBuf> {
    let directory = workspace().join("target/native");
    make_directory(&directory)?;
    Ok(directory.join(format!("{backend}.log")))
}

fn machines() -> Result<Outcome> {
    #[derive(Parser)]
    struct Defaults {
        #[command(flatten)]
        args: vm::Args,
    }
    let mut args = Defaults::try_parse_from(["vm"])?.args;
    args.object = object_for_tests()?;
    let runs = vm::matrix(&args)?;
    print!("{}", render(&runs));
    Ok(outcome(&runs))
}

fn outcome(runs: &[Run]) -> Outcome {
    let text = render(runs);
    Outcome {
        good: runs.iter().all(Run::is_good),
        text: text.lines().last().unwrap_or_default().to_owned(),
    }
}
