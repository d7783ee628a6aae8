//! Every test: the units, the kernel tests on this machine, and those in virtual machines.

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::cargo::{cargo, test_targets};
use crate::command::run;
use crate::ebpf::object_for_tests;
use crate::native::Native;
use crate::results::Run;
use crate::setup::{is_root, run_setup};
use crate::table::render;
use crate::vm;

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
    let runs = [Native::new(&programs, "tracepoint")?.run()?];
    print!("{}", render(&runs));
    Ok(outcome(&runs))
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
