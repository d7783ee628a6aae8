//! One boot of one kernel under qemu's software emulation.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::kernels::Image;
use crate::command::{command, find_program, shown};

/// One thread for both processors: with a thread each, a processor may go on with a translation of
/// code that another has patched, and fexit is nothing but patched code.
const ACCELERATOR: &str = "tcg,thread=single";
/// Time that goes by the instruction, 2 ns each, and leaps while nothing is to do.
const VIRTUAL_TIME: &str = "shift=1,sleep=off";
const QEMU: &str = "qemu-system-x86_64";
/// Without cmpxchg16b: qemu 7.2 emulates it with wrong flags, and kernels from 6.7, whose allocator
/// (mm/slub.c) uses it, then die of a double fault at random. Without it they take another way.
const CPU: &str = "max,cx16=off";
/// From power on to the first line of init. It takes 2 to 4 s on an idle machine.
const BOOT_TIMEOUT: Duration = Duration::from_secs(90);
/// How often a boot that never ran init is tried.
pub const TRIES: u32 = 3;

/// Where the job's input and output are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// Its output goes to a file.
    File,
    /// Its output goes to standard output.
    Output,
    /// It is the terminal, with its keys.
    Interactive,
}

/// A machine to boot.
pub struct Machine<'a> {
    /// The kernel.
    pub image: &'a Image,
    /// The initramfs.
    pub initramfs: &'a Path,
    /// Where the logs go: `NAME.console.log`, `NAME.log`, `NAME.status`.
    pub logs: &'a Path,
    /// Where the job's output goes.
    pub terminal: Terminal,
    /// How long the job may take.
    pub timeout: Duration,
}

/// How a boot ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The job ran to its end.
    Done,
    /// The kernel never ran init.
    NoInit,
    /// The machine ended before the job did.
    Stopped,
    /// The job took longer than it may.
    TimedOut,
}

/// What is known after a boot.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// What init said, a line each: `init RELEASE`, `warning …`, what the job says, `done`.
    pub status: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Machine<'_> {
    /// The kernel's console.
    pub fn console_log(&self) -> PathBuf {
        self.log("console.log")
    }

    /// The job's output.
    pub fn output_log(&self) -> PathBuf {
        self.log("log")
    }

    fn log(&self, end: &str) -> PathBuf {
        self.logs.join(format!("{}.{end}", self.image.kernel.name))
    }

    /// Boots it, again when a boot dies before init, and waits for its end.
    ///
    /// # Errors
    /// When qemu can't be run or a log can't be read.
    pub fn boot(&self) -> Result<Outcome> {
        find_program(QEMU).with_context(|| format!("{QEMU} is missing: cargo xtask setup"))?;
        let mut tried = 1;
        loop {
            let outcome = self.boot_once()?;
            if outcome.ending != Ending::NoInit || tried == TRIES {
                return Ok(outcome);
            }
            tried += 1;
            eprintln!(
                "Linux {}: this boot never ran init (after {} s); try {tried} of {TRIES}",
                self.image.kernel.name,
                outcome.took.as_secs()
            );
        }
    }

    fn boot_once(&self) -> Result<Outcome> {
        let status = self.log("status");
        File::create(&status).with_context(|| format!("can't write {}", status.display()))?;
        let started = Instant::now();
        let mut command = self.command();
        let mut child =
            command.spawn().with_context(|| format!("can't start {}", shown(&command)))?;
        let waited = self.wait(&mut child, &status, started);
        // Whatever happened, no machine is left behind.
        let _ = child.kill();
        let _ = child.wait();
        let ending = waited?;
        let status = lines(&status)?;
        for warning in status.iter().filter_map(|line| line.strip_prefix("warning ")) {
            eprintln!("Linux {}: {warning}", self.image.kernel.name);
        }
        Ok(Outcome { ending, status, took: started.elapsed() })
    }

    fn wait(&self, child: &mut Child, status: &Path, started: Instant) -> Result<Ending> {
        let mut booted = None;
        loop {
            let ended = child.try_wait().context("can't wait for qemu")?.is_some();
            let said = lines(status)?;
            if booted.is_none() && said.iter().any(|line| line.starts_with("init ")) {
                booted = Some(Instant::now());
            }
            let Some(booted) = booted else {
                if ended || started.elapsed() > BOOT_TIMEOUT {
                    return Ok(Ending::NoInit);
                }
                sleep(Duration::from_millis(50));
                continue;
            };
            if ended {
                let done = said.iter().any(|line| line == "done");
                return Ok(if done { Ending::Done } else { Ending::Stopped });
            }
            if self.terminal != Terminal::Interactive && booted.elapsed() > self.timeout {
                return Ok(Ending::TimedOut);
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// Emulated code is slow and the timer is not, and of two processors one stands still while the
    /// other runs: a kernel that preempts itself would do so inside of a kernel program, which a lazily
    /// preempting kernel on real processors never does.
    fn has_virtual_time(&self) -> bool {
        self.image.kernel.is_preemptible
    }

    fn clock_argument(&self) -> String {
        if self.has_virtual_time() { String::new() } else { clock() }
    }

    fn command(&self) -> Command {
        let file = |path: PathBuf| format!("file:{}", path.display());
        let output = match self.terminal {
            Terminal::File => file(self.output_log()),
            Terminal::Output => "stdio".to_owned(),
            Terminal::Interactive => "mon:stdio".to_owned(),
        };
        // setpriv ends the machine with this program, however that ends.
        let mut command = command("setpriv", ["--pdeathsig", "KILL", QEMU]);
        command
            .args(["-accel", ACCELERATOR, "-cpu", CPU, "-m", "1G"])
            .args(["-display", "none", "-no-reboot", "-nodefaults", "-no-user-config"])
            .arg("-kernel")
            .arg(&self.image.vmlinuz)
            .arg("-initrd")
            .arg(self.initramfs)
            .args(["-append", &format!("console=ttyS0 panic=-1 quiet {}", self.clock_argument())])
            .args(["-serial", &file(self.console_log())])
            .args(["-serial", &output])
            .args(["-serial", &file(self.log("status"))]);
        if self.has_virtual_time() {
            command.args(["-icount", VIRTUAL_TIME, "-smp", "1"]);
        } else {
            command.args(["-smp", "2"]);
        }
        if self.terminal != Terminal::Interactive {
            command.stdin(Stdio::null());
        }
        command
    }
}

/// The lines of a log, without the carriage returns of a serial port.
///
/// # Errors
/// When it can't be read.
pub fn lines(path: &Path) -> Result<Vec<String>> {
    let bytes = fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().map(|line| line.trim_end_matches('\r').to_owned()).collect())
}

/// Tells the kernel the rate of its time stamp counter, which under emulation is the host's. On a
/// busy host the kernel's own calibration can be wrong by a factor, and then no time is right.
#[cfg(target_arch = "x86_64")]
fn clock() -> String {
    let sample = || {
        // SAFETY: reads a register that every x86-64 processor has.
        (Instant::now(), unsafe { std::arch::x86_64::_rdtsc() })
    };
    let (started, first) = sample();
    std::thread::sleep(Duration::from_millis(50));
    let (ended, last) = sample();
    let khz = u128::from(last - first) * 1_000_000 / (ended - started).as_nanos().max(1);
    format!("tsc_early_khz={khz}")
}

#[cfg(not(target_arch = "x86_64"))]
fn clock() -> String {
    String::new()
}
