//! A running `port-observer record`, and what is read from its file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::child::Guarded;
use crate::observer::until;
use crate::system::{self, Backend};

/// A directory that goes when this is dropped.
pub struct Directory(PathBuf);

impl Directory {
    /// Makes one.
    pub fn make() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("port-observer-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap_or_else(|e| panic!("make {}: {e}", path.display()));
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it, as text.
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path that is text").to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Something may be mounted there.
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running `record --json`. It is killed when this is dropped.
pub struct Recorder {
    child: Guarded,
    lines: PathBuf,
    errors: PathBuf,
}

impl Recorder {
    /// Starts it, in the calling thread's namespaces, and waits for its first line. `None`: this
    /// machine can't run it, as [`crate::observer::Observer::own`], or is emulated.
    pub fn start(file: &str, arguments: &[&str]) -> Option<Self> {
        Self::run(&["record", file], arguments)
    }

    /// The same of `live` that records beside.
    pub fn beside(file: &str, arguments: &[&str]) -> Option<Self> {
        Self::run(&["live", "--record", file], arguments)
    }

    fn run(command: &[&str], arguments: &[&str]) -> Option<Self> {
        if system::in_virtual_machine() {
            println!(
                "skipped: recordings are the same on all kernels, and are tested on real processors"
            );
            return None;
        }
        match Self::try_start(command, arguments) {
            Ok(recorder) => Some(recorder),
            Err(error) if system::must_load() => panic!("{error:#}"),
            Err(error) => {
                println!("skipped: {error:#}");
                None
            }
        }
    }

    fn try_start(words: &[&str], arguments: &[&str]) -> Result<Self> {
        // Not beside the file, whose disk may be full.
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let stem = format!("port-observer-lines-{}-{number}", std::process::id());
        let lines = std::env::temp_dir().join(format!("{stem}.json"));
        let errors = std::env::temp_dir().join(format!("{stem}.errors"));
        let mut command = Command::new(system::program()?);
        command.args(words).args(["--json", "--backend", Backend::chosen().name()]).args(arguments);
        command.stdin(Stdio::null());
        command.stdout(File::create(&lines).context("make a file for its lines")?);
        command.stderr(File::create(&errors).context("make a file for its errors")?);
        let child = system::spawn(&mut command).with_context(|| format!("start {command:?}"))?;
        let mut recorder = Self { child: Guarded(child), lines, errors };
        let mut ended = None;
        until("the recorder's first line has come", || {
            ended = recorder.child.0.try_wait().expect("look at the recorder");
            ended.is_some() || recorder.lines().contains(&b'\n')
        });
        if let Some(status) = ended {
            bail!("{command:?} ended ({status}): {}", recorder.errors());
        }
        Ok(recorder)
    }

    /// What it has written to standard output so far.
    pub fn lines(&self) -> Vec<u8> {
        fs::read(&self.lines).expect("read its lines")
    }

    /// What it has written to standard error so far.
    pub fn errors(&self) -> String {
        fs::read_to_string(&self.errors).expect("read its errors")
    }

    /// Ends it with SIGKILL.
    pub fn killed(mut self) {
        self.child.0.kill().expect("kill the recorder");
        self.child.0.wait().expect("wait for the recorder");
    }

    /// Ends it with SIGINT; its lines.
    pub fn interrupted(mut self) -> Vec<u8> {
        kill(Pid::from_raw(self.child.0.id().cast_signed()), Signal::SIGINT).expect("interrupt it");
        let status: ExitStatus = self.child.0.wait().expect("wait for the recorder");
        assert_eq!(status.code(), Some(0), "after SIGINT: {}", self.errors());
        self.lines()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.lines);
        let _ = fs::remove_file(&self.errors);
    }
}

/// Runs the program to its end.
pub fn run(arguments: &[&str]) -> Output {
    let program = system::program().unwrap_or_else(|error| panic!("{error:#}"));
    let mut command = Command::new(program);
    command.args(arguments);
    system::output(&mut command).unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// The same, which is to succeed; its standard output.
pub fn output(arguments: &[&str]) -> Vec<u8> {
    let output = run(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {errors}");
    output.stdout
}
