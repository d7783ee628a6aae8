//! The observers that are looked at: `live --json`, `record`, and `top` on a terminal.

use std::fs::File;
use std::io::{BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;

use anyhow::{Context, Result, anyhow, bail};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, setsid};
use tests::child::Guarded;
use tests::observer::until;
use tests::recording::output;
use tests::system::{program, spawn};

use crate::counts::{Counts, Seen};

/// What is pressed, one after the other: each view, a detail, the help, a filter.
const KEYS: [&[u8]; 8] = [b"1", b"2", b"3", b"4", b"\r", b"\x1b", b"?", b"?"];

/// All of them. They are killed when this is dropped.
pub struct Observers {
    live: Guarded,
    record: Guarded,
    top: Guarded,
    file: String,
    inode: u32,
    printed: JoinHandle<Result<Counts>>,
    terminal: File,
    pressed: usize,
}

impl Observers {
    /// Starts them. What they say of the namespace with this inode number will be counted.
    pub fn start(backend: &str, file: &str, inode: u32) -> Result<Self> {
        let backend = ["--backend", backend];
        let mut live = Command::new(program()?);
        live.args(["live", "--json", "--no-existing"]).args(backend);
        live.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut live = Guarded(spawn(&mut live).context("start live")?);
        let lines = live.0.stdout.take().context("live has no standard output")?;
        let printed = thread::spawn(move || Counts::read(BufReader::new(lines), inode));
        let mut record = Command::new(program()?);
        record.args(["record", file]).args(backend).stdin(Stdio::null()).stdout(Stdio::null());
        let record = Guarded(spawn(&mut record).context("start record")?);
        let (top, terminal) = top(&backend)?;
        until("the recorder has begun", || {
            std::fs::metadata(file).is_ok_and(|file| file.len() > 0)
        });
        // The others are as far then, or soon.
        thread::sleep(Duration::from_secs(3));
        let file = file.to_owned();
        let top = Guarded(top);
        Ok(Self { live, record, top, file, inode, printed, terminal, pressed: 0 })
    }

    /// Which processes they are.
    pub fn pids(&self) -> [(&'static str, u32); 3] {
        [("live", self.live.0.id()), ("record", self.record.0.id()), ("top", self.top.0.id())]
    }

    /// Whether all still run.
    pub fn check(&mut self) -> Result<()> {
        for (name, child) in
            [("live", &mut self.live), ("record", &mut self.record), ("top", &mut self.top)]
        {
            if let Some(status) = child.0.try_wait().with_context(|| format!("look at {name}"))? {
                bail!("{name} ended too early: {status}");
            }
        }
        Ok(())
    }

    /// Shows something else on the screen of `top`.
    pub fn press_a_key(&mut self) -> Result<()> {
        let key = KEYS[self.pressed % KEYS.len()];
        self.pressed += 1;
        self.terminal.write_all(key).context("press a key")
    }

    /// Ends them; what they saw.
    pub fn stop(mut self) -> Result<Seen> {
        for (name, child) in
            [("live", &mut self.live), ("record", &mut self.record), ("top", &mut self.top)]
        {
            let pid = Pid::from_raw(child.0.id().cast_signed());
            kill(pid, Signal::SIGTERM).with_context(|| format!("end {name}"))?;
            let status = child.0.wait().with_context(|| format!("wait for {name}"))?;
            if !status.success() {
                bail!("{name} ended badly: {status}");
            }
        }
        let printed = self.printed.join();
        let printed = printed.map_err(|_| anyhow!("the reader of the lines panicked"))??;
        let recorded = output(&["replay", &self.file, "--json", "--no-existing"]);
        let recorded = Counts::read(&recorded[..], self.inode).context("in the recording")?;
        Ok(Seen { printed, recorded })
    }
}

/// `top` on a terminal of its own, whose screen is read and forgotten; keys go the other way.
fn top(backend: &[&str; 2]) -> Result<(Child, File)> {
    let size = Winsize { ws_row: 50, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(Some(&size), None).context("make a terminal")?;
    let end = |descriptor: &OwnedFd| descriptor.try_clone().context("a second descriptor");
    let mut command = Command::new(program()?);
    command.arg("top").args(backend).env("TERM", "xterm-256color");
    command.stdin(end(&pty.slave)?).stdout(end(&pty.slave)?).stderr(end(&pty.slave)?);
    // SAFETY: between fork and exec only setsid() and ioctl() are called: async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            setsid()?;
            let result = libc::ioctl(std::io::stdin().as_raw_fd(), libc::TIOCSCTTY, 0);
            nix::errno::Errno::result(result).map(drop)?;
            Ok(())
        });
    }
    let top = spawn(&mut command).context("start top")?;
    let keys = File::from(end(&pty.master)?);
    let mut screen = File::from(pty.master);
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while screen.read(&mut buffer).is_ok_and(|length| length > 0) {}
    });
    Ok((top, keys))
}
