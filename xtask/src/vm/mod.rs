//! Kernel tests in virtual machines.

mod initramfs;
mod kernels;
mod matrix;
mod qemu;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use self::initramfs::pack;
pub use self::initramfs::{Programs, TESTS};
pub use self::kernels::Kernel;
use self::qemu::{Ending, Machine, Outcome, Terminal, lines};
use crate::command::{make_directory, workspace};
use crate::results::Run;
use crate::table::render;

/// What `cargo xtask vm` takes.
#[derive(clap::Args)]
pub struct Args {
    /// A kernel to boot: 5.10, 6.1, 6.12 or 7.2
    #[arg(long, value_name = "VERSION", value_parser = Kernel::parse)]
    kernel: Vec<Kernel>,
    /// A backend to test
    #[arg(long, value_enum, default_values_t = [Backend::Fexit, Backend::Kprobe])]
    backend: Vec<Backend>,
    /// Only the tests whose name contains this
    #[arg(long, value_name = "TESTNAME")]
    filter: Vec<String>,
    /// How many machines run at a time
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Test the backends of one kernel at the same time, not one after the other
    #[arg(long)]
    together: bool,
    /// Test this eBPF object, not the one in the program
    #[arg(long, value_name = "FILE")]
    pub object: Option<PathBuf>,
    /// Run one shell command instead of the tests, with the program and the tests inside
    #[arg(long, value_name = "COMMAND", conflicts_with = "shell")]
    run: Option<String>,
    /// Start a shell instead of the tests (Ctrl-A X ends the machine)
    #[arg(long)]
    shell: bool,
    /// How long the job may take in one machine, in seconds: on a busy host emulation takes four times as
    /// long as on a calm one
    #[arg(long, value_name = "SECONDS", default_value_t = 2400)]
    timeout: u64,
}

/// A backend of the program, by the name that it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    /// BPF trampolines
    Fexit,
    /// kprobes
    Kprobe,
    /// Tracepoints
    Tracepoint,
    /// Snapshots compared
    Poll,
}

impl Backend {
    /// As `--backend` of the program takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fexit => "fexit",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
            Self::Poll => "poll",
        }
    }
}

/// Runs it.
///
/// # Errors
/// When a machine can't be prepared or started.
pub fn run(args: &Args) -> Result<ExitCode> {
    if let Some(command) = &args.run {
        // The command keeps its own exit code; init's descriptor 9 is not its business.
        let job = format!("( {command}\n) 9>&- </dev/null >/dev/ttyS1 2>&1\nsay \"exit $?\"\n");
        return single(args, &job, Terminal::Output);
    }
    if args.shell {
        let job = "stty -F /dev/ttyS1 sane\nsetsid -c sh 9>&- </dev/ttyS1 >/dev/ttyS1 2>&1\nsay \"exit 0\"\n";
        return single(args, job, Terminal::Interactive);
    }
    let runs = matrix(args)?;
    print!("{}", render(&runs));
    Ok(if runs.iter().all(Run::is_good) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub use self::matrix::run as matrix;

/// Boots one machine for one command and returns the command's exit code.
fn single(args: &Args, job: &str, terminal: Terminal) -> Result<ExitCode> {
    let kernel = match args.kernel[..] {
        [] => kernels::KERNELS[2],
        [kernel] => kernel,
        _ => bail!("--run and --shell take one --kernel"),
    };
    let programs = Programs::build(false, args.object.as_deref())?;
    let work = Work::new()?;
    let timeout = Duration::from_secs(args.timeout);
    let outcome = boot(&work, kernel, &programs, job, terminal, timeout)?;
    let code = outcome.status.iter().find_map(|line| line.strip_prefix("exit "));
    let code =
        code.and_then(|code| code.parse::<u8>().ok()).context("the job left no exit code")?;
    Ok(ExitCode::from(code))
}

/// Boots one machine for some shell commands, and returns what they wrote to `/dev/ttyS1`.
///
/// # Errors
/// When something can't be built or started, or the machine ended before the commands did.
pub fn job(kernel: Kernel, job: &str, timeout: Duration) -> Result<Vec<String>> {
    run_job(kernel, job, timeout, &Programs::build(false, None)?)
}

/// The same, for commands that run the tests.
///
/// # Errors
/// The same, and when there are no tests.
pub fn test_job(kernel: Kernel, job: &str, timeout: Duration) -> Result<Vec<String>> {
    run_job(kernel, job, timeout, &Programs::build(true, None)?)
}

fn run_job(
    kernel: Kernel,
    job: &str,
    timeout: Duration,
    programs: &Programs,
) -> Result<Vec<String>> {
    let work = Work::new()?;
    boot(&work, kernel, programs, job, Terminal::File, timeout)?;
    lines(&work.0.join(format!("{}.log", kernel.name)))
}

/// Boots one machine and waits until the job is done.
fn boot(
    work: &Work,
    kernel: Kernel,
    programs: &Programs,
    job: &str,
    terminal: Terminal,
    timeout: Duration,
) -> Result<Outcome> {
    let image = kernel.image()?;
    let initramfs = work.0.join("initramfs.cpio");
    pack(&image, programs, job, &initramfs)?;
    let machine =
        Machine { image: &image, initramfs: &initramfs, logs: &work.0, terminal, timeout };
    let outcome = machine.boot()?;
    if outcome.ending == Ending::Done {
        return Ok(outcome);
    }
    let console = fs::read_to_string(machine.console_log()).unwrap_or_default();
    eprintln!("{console}");
    match outcome.ending {
        Ending::NoInit => bail!("Linux {} never ran init; its console is above", kernel.name),
        Ending::TimedOut => bail!("not done after {} s", timeout.as_secs()),
        _ => bail!("the machine ended before the command did; its console is above"),
    }
}

/// A directory for one machine's files, removed afterwards.
struct Work(PathBuf);

impl Work {
    fn new() -> Result<Self> {
        let directory = workspace().join(format!("target/vm/run-{}", std::process::id()));
        make_directory(&directory)?;
        Ok(Self(directory))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
