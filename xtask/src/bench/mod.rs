//! What the program costs and keeps up with, against the targets and next to bpftrace.
//!
//! The measuring itself is done by the binary `bench` of the package `tests`, so that the same runs
//! on this machine and in a virtual one.

mod alone;
mod render;
mod scan;
mod targets;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::cargo::{build, cargo};
use crate::command::{command, find_program, shown, write};
use crate::setup::is_root;
use crate::vm::{self, Backend, Kernel};

/// Added to the time in which measuring must end, for what is under way then.
const GRACE: u64 = 120;

/// What `cargo xtask bench` takes.
#[derive(clap::Args)]
pub struct Args {
    /// Measure in a virtual machine with this kernel: 5.10, 6.1, 6.12 or 7.2. Its processor is
    /// emulated, so that only ratios mean something
    #[arg(long, value_name = "VERSION", value_parser = Kernel::parse)]
    vm: Option<Kernel>,
    /// The backend to measure [default: tracepoint; in a virtual machine fexit and kprobe]
    #[arg(long, value_enum)]
    backend: Vec<Backend>,
    /// Only these: cost, time_wait, programs, memory, latency, rate, and ledger, record, scrape and top, which
    /// are measured by themselves; scan (`check` against ss) and report (of ten million events) are
    /// measured only when asked for
    #[arg(value_name = "PART")]
    only: Vec<String>,
    /// The same, in one word: cost,rate
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    parts: Vec<String>,
    /// How many pairs (without and with) are measured
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: u32,
    /// Processor time that one piece of traffic takes, in milliseconds
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 600)]
    slice: u32,
    /// No new measurement begins after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 150)]
    limit: u64,
    /// Also write everything that was measured to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Args {
    /// The arguments of the measuring binary.
    fn of(&self, backend: Backend, parts: &str) -> Vec<String> {
        let (rounds, slice) = (self.rounds.to_string(), self.slice.to_string());
        let limit = self.limit.to_string();
        ["--backend", backend.name(), "--rounds", &rounds, "--slice", &slice, "--limit", &limit]
            .into_iter()
            .chain(["--parts", parts])
            .map(str::to_owned)
            .collect()
    }

    fn parts(&self, default: &str) -> String {
        let asked: Vec<&str> = self.only.iter().chain(&self.parts).map(String::as_str).collect();
        if asked.is_empty() { default.to_owned() } else { asked.join(",") }
    }

    fn backends(&self, default: &[Backend]) -> Vec<Backend> {
        if self.backend.is_empty() { default.to_vec() } else { self.backend.clone() }
    }
}

/// Measures and prints. A target that is missed is no failure.
///
/// # Errors
/// When something can't be built, started or written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut runs = match args.vm {
        Some(kernel) => in_machine(args, kernel)?,
        None => here(args)?,
    };
    for run in &mut runs {
        run["emulated"] = args.vm.is_some().into();
        run["targets"] = targets::compare(run);
        print!("{}", render::render(run));
    }
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&json!({ "schema": 1, "runs": runs }))?;
        write(file, text + "\n")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn here(args: &Args) -> Result<Vec<Value>> {
    if !is_root()? {
        bail!("measuring needs root: it loads kernel programs and makes network namespaces");
    }
    let built = build(cargo().args([
        "build",
        "--locked",
        "--release",
        "--package=port-observer",
        "--package=tests",
        "--bins",
    ]))?;
    let find = |name| {
        let found = built.iter().find(|executable| executable.name == name);
        found.map(|executable| &executable.path).with_context(|| format!("cargo built no {name}"))
    };
    let parts = args.parts("cost,programs,latency,rate,time_wait,memory,ledger,record,scrape,top");
    let parts: Vec<&str> = parts.split(',').collect();
    let (by_itself, parts): (Vec<&str>, Vec<&str>) =
        parts.into_iter().partition(|part| alone::PARTS.contains(part));
    let by_itself = by_itself
        .into_iter()
        .map(|part| Ok((part.to_owned(), by_itself_of(part)?)))
        .collect::<Result<serde_json::Map<_, _>>>()?;
    if parts.is_empty() {
        return Ok(vec![by_itself.into()]);
    }
    let parts = parts.join(",");
    let mut runs = Vec::new();
    for backend in args.backends(&[Backend::Tracepoint]) {
        let limit = (args.limit + GRACE).to_string();
        // setpriv ends timeout with this program, however that ends; timeout ends all the others.
        let mut bench = command("setpriv", ["--pdeathsig", "TERM", "timeout", &limit]);
        bench.arg(find("bench")?).args(args.of(backend, &parts));
        bench.env("PORT_OBSERVER", find("port-observer")?);
        match find_program("bpftrace") {
            Some(bpftrace) => {
                bench.arg("--bpftrace").arg(bpftrace);
            }
            None => eprintln!("bpftrace is not installed, so there is nothing to compare with"),
        }
        let mut run = measured(&printed(&mut bench)?)?;
        for (part, value) in &by_itself {
            run[part] = value.clone();
        }
        runs.push(run);
    }
    Ok(runs)
}

/// A part without a kernel.
fn by_itself_of(part: &str) -> Result<Value> {
    let bench = ["bench", "--locked", "--quiet", "--package=port-observer", "--bench", part];
    measured(&printed(cargo().args(bench))?)
}

/// Its standard output; progress goes to standard error as it comes.
fn printed(bench: &mut Command) -> Result<String> {
    let output = bench
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("can't start `{}`", shown(bench)))?;
    if !output.status.success() {
        bail!("`{}` failed: {}", shown(bench), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// bpftrace is left out in a machine: its LLVM would make the initramfs ten times as large.
fn in_machine(args: &Args, kernel: Kernel) -> Result<Vec<Value>> {
    let parts = args.parts("cost,programs");
    let backends = args.backends(&[Backend::Fexit, Backend::Kprobe]);
    let mut job = "export PORT_OBSERVER=/bin/port-observer PORT_OBSERVER_IN_VM=1\n".to_owned();
    for &backend in &backends {
        let arguments = args.of(backend, &parts).join(" ");
        job += &format!("/tests/bench {arguments} 9>&- </dev/null >/dev/ttyS1 2>/dev/console\n");
    }
    let limit = (args.limit + GRACE) * backends.len() as u64;
    // The machine can't see who else uses the processors that it is emulated on.
    let host = fs::read_to_string("/proc/loadavg").context("can't read /proc/loadavg")?;
    let lines = vm::job(kernel, &job, Duration::from_secs(limit))?;
    let mut runs: Vec<Value> = lines
        .iter()
        .filter(|line| line.starts_with('{'))
        .map(|line| measured(line))
        .collect::<Result<_>>()?;
    if runs.len() != backends.len() {
        bail!("{} of {} backends gave figures:\n{}", runs.len(), backends.len(), lines.join("\n"));
    }
    let host = host.split(' ').take(3).collect::<Vec<_>>().join(" ");
    for run in &mut runs {
        run["host_load_average"] = host.clone().into();
    }
    Ok(runs)
}

fn measured(line: &str) -> Result<Value> {
    serde_json::from_str(line).with_context(|| format!("the benchmark wrote {line:?}"))
}
