//! Builds the eBPF object, boots kernels, runs every test, measures.
//!
//! `cargo xtask --help` lists the tasks.

mod bench;
mod cargo;
mod command;
mod ebpf;
mod fuzz;
mod kills;
mod native;
mod results;
mod setup;
mod sitting;
mod soak;
mod table;
mod test;
mod truth;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
/// The project's own tasks.
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure what the program costs, as ratios, next to bpftrace
    Bench(bench::Args),
    /// Build the eBPF object that is committed beside the program
    Ebpf(ebpf::Args),
    /// Feed arbitrary input to everything that reads what others wrote
    Fuzz(fuzz::Args),
    /// Kill a recorder under load, again and again, and look at what it leaves
    Kills(kills::Args),
    /// Install what the other tasks need (Debian)
    Setup,
    /// Keep observers under churn, and look at their memory, descriptors and losses
    Soak(soak::Args),
    /// Run every test, after installing what they need
    Test(test::Args),
    /// Compare the headroom that the program states with how many calls really succeed
    Truth(truth::Args),
    /// Run the kernel tests in virtual machines, or one command in one of them
    Vm(vm::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Bench(args) => bench::run(&args),
        Task::Ebpf(args) => ebpf::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Kills(args) => kills::run(&args),
        Task::Setup => setup::run_setup(),
        Task::Soak(args) => soak::run(&args),
        Task::Test(args) => test::run_tests(&args),
        Task::Truth(args) => truth::run(&args),
        Task::Vm(args) => vm::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
