//! Fuzzing: arbitrary input for everything that reads what others wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use crate::cargo::{build, cargo};
use crate::command::{make_directory, output, workspace};

/// What instruments the code for libFuzzer (`cargo fuzz` passes the same): edges, comparisons, and
/// tables that say which edge is where. All stable flags of rustc.
const INSTRUMENTED: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";
/// What a target may take of memory, in MiB: reading a recording has 256.
const MEMORY: &str = "768";
/// How long one input may take, in seconds.
const LONGEST: &str = "30";
/// How many bytes an input has at most.
const LENGTH: &str = "65536";

/// What `cargo xtask fuzz` takes.
#[derive(clap::Args)]
pub struct Args {
    /// For how long each target runs; they run side by side
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
    /// Begin with this number instead of a random one: what is tried is then the same each time
    #[arg(long, value_name = "N")]
    seed: Option<u32>,
    /// Only this target
    #[arg(long)]
    target: Option<String>,
}

/// Builds the targets and runs them.
///
/// # Errors
/// When they can't be built or started. An input that crashes one, takes too long or too much memory
/// gives the exit code 1; it is kept beside the others that were found.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut names = targets()?;
    names.retain(|name| args.target.as_ref().is_none_or(|only| only == name));
    if names.is_empty() {
        bail!("there is no such target; there are {}", targets()?.join(", "));
    }
    let found = workspace().join("target/fuzz/found");
    let executables = match compile() {
        Ok(executables) => executables,
        Err(error) => {
            println!("skipped fuzzing: this toolchain can't build the targets: {error:#}");
            return Ok(ExitCode::SUCCESS);
        }
    };
    let mut running = Vec::new();
    for name in names {
        let executable = executables.iter().find(|(known, _)| *known == name);
        let (_, executable) = executable.with_context(|| format!("{name} was not built"))?;
        let log = workspace().join(format!("target/fuzz/{name}.log"));
        running.push((start(&name, executable, &found, &log, args)?, name, log));
    }
    let mut good = true;
    for (mut child, name, log) in running {
        let status = child.wait().with_context(|| format!("can't wait for {name}"))?;
        let text = fs::read_to_string(&log).unwrap_or_default();
        let last: Vec<&str> = text.lines().rev().take(30).collect();
        if status.success() {
            let done = text.lines().rev().find(|line| line.starts_with("Done")).unwrap_or_default();
            println!("fuzz {name}: {done}");
        } else {
            good = false;
            for line in last.iter().rev() {
                println!("{line}");
            }
            println!("failed fuzz {name}: {status}; the input is in {}", found.display());
        }
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The names of all targets: each has a folder of seeds.
fn targets() -> Result<Vec<String>> {
    let seeds = workspace().join("fuzz/seeds");
    let entries =
        fs::read_dir(&seeds).with_context(|| format!("can't list {}", seeds.display()))?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

fn compile() -> Result<Vec<(String, PathBuf)>> {
    let version = output(cargo().args(["version", "--verbose"]))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.context("cargo does not say which host this is")?;
    let mut command = cargo();
    command
        .args(["build", "--release", "--locked", "--target", host, "--manifest-path"])
        .arg(workspace().join("fuzz/Cargo.toml"))
        .arg("--target-dir")
        .arg(workspace().join("target/fuzz"))
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", INSTRUMENTED);
    let executables = build(&mut command)?;
    Ok(executables.into_iter().map(|one| (one.name, one.path)).collect())
}

fn start(name: &str, executable: &Path, found: &Path, log: &Path, args: &Args) -> Result<Child> {
    make_directory(found)?;
    let corpus = workspace().join(format!("target/fuzz/corpus-{name}"));
    make_directory(&corpus)?;
    let file = fs::File::create(log).with_context(|| format!("can't write {}", log.display()))?;
    // setpriv ends it with this program, however that ends.
    crate::command::command("setpriv", ["--pdeathsig", "TERM"])
        .arg(executable)
        .arg(format!("-max_total_time={}", args.seconds))
        .args(args.seed.map(|seed| format!("-seed={seed}")))
        .arg(format!("-rss_limit_mb={MEMORY}"))
        .arg(format!("-timeout={LONGEST}"))
        .arg(format!("-max_len={LENGTH}"))
        .arg(format!("-artifact_prefix={}/{name}-", found.display()))
        .arg(&corpus)
        .arg(workspace().join("fuzz/seeds").join(name))
        .stdin(Stdio::null())
        .stdout(file.try_clone().context("can't write the log twice")?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("can't start {}", executable.display()))
}
