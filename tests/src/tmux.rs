//! A terminal with keys and a screen, in tmux.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

use crate::system::{self, Backend};

/// After this long its shell is ended, whatever becomes of the test.
const LIFE: &str = "170";
/// What the shell says when it waits for a command.
const PROMPT: &str = "shell>";

/// A shell in a terminal of its own. It ends when this is dropped.
pub struct Terminal {
    /// The name of its tmux server.
    server: String,
}

impl Terminal {
    /// Opens one with so many columns and lines. `None`: there is no tmux, which is printed; or this is
    /// an emulated machine, whose image has none.
    pub fn open(columns: u16, lines: u16) -> Option<Self> {
        if system::in_virtual_machine() {
            println!("skipped: the image of this machine has no tmux");
            return None;
        }
        if !has_tmux() {
            println!("skipped: there is no tmux here; `cargo xtask setup` installs it");
            return None;
        }
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let server = format!("port-observer-test-{}-{number}", std::process::id());
        let terminal = Self { server };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let shell = format!("timeout --foreground {LIFE} env PS1='{PROMPT} ' sh -i");
        let arguments =
            ["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &lines, &shell];
        terminal.tmux(&arguments).unwrap_or_else(|error| panic!("{error:#}"));
        terminal.sees("a shell", |screen| screen.contains(PROMPT));
        Some(terminal)
    }

    /// Starts `top` with these arguments, and waits for its screen.
    pub fn top(&self, arguments: &[&str]) -> Result<()> {
        self.start("env", arguments)?;
        let began = self.shows(|screen| screen.contains("1 processes") || is_over(screen))?;
        if is_over(&began) {
            bail!("top has ended: {}", began.trim_end());
        }
        Ok(())
    }

    /// The same after something else, such as `env NO_COLOR=1`; does not wait.
    pub fn start(&self, before: &str, arguments: &[&str]) -> Result<()> {
        let program = system::program()?;
        self.keys(&["clear", "Enter"]);
        self.sees("an empty screen", |screen| !is_over(screen) && !screen.contains("clear"));
        let line = format!("{before} {} top {}", program.display(), arguments.join(" "));
        self.keys(&[&format!("{line}; echo \"ended with $?\""), "Enter"]);
        Ok(())
    }

    /// Presses keys, as tmux names them.
    pub fn keys(&self, keys: &[&str]) {
        let arguments = [&["send-keys"], keys].concat();
        self.tmux(&arguments).unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// Another size.
    pub fn resize(&self, columns: u16, lines: u16) {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        self.tmux(&["resize-window", "-x", &columns, "-y", &lines])
            .unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// What is on the screen.
    pub fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p"]).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// The same with the sequences of its colours and other attributes.
    pub fn colors(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"]).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// A property of the terminal, as tmux formats it: `#{alternate_on}`, `#{cursor_flag}`.
    pub fn property(&self, format: &str) -> String {
        let shown = self.tmux(&["display-message", "-p", format]);
        shown.unwrap_or_else(|error| panic!("{error:#}")).trim_end().to_owned()
    }

    /// The screen, once this is true of it.
    pub fn sees(&self, what: &str, is_it: impl FnMut(&str) -> bool) -> String {
        self.shows(is_it).unwrap_or_else(|error| panic!("waited in vain for {what}: {error:#}"))
    }

    fn shows(&self, mut is_it: impl FnMut(&str) -> bool) -> Result<String> {
        let end = Instant::now() + system::patience();
        loop {
            let screen = self.screen();
            if is_it(&screen) {
                return Ok(screen);
            }
            if Instant::now() > end {
                bail!("the screen is\n{screen}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("tmux");
        command.args(["-L", &self.server]).args(arguments).env_remove("TMUX");
        command.env("LC_ALL", "C.UTF-8").env_remove("NO_COLOR");
        // The server is not to keep the namespace that the calling test has made for itself.
        let namespace = File::open("/proc/self/ns/net").context("open /proc/self/ns/net")?;
        // SAFETY: between fork and exec only setns() is called, which is async-signal-safe.
        unsafe {
            command.pre_exec(move || Ok(setns(&namespace, CloneFlags::CLONE_NEWNET)?));
        }
        let output = run(&mut command)?;
        if !output.status.success() {
            bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}

/// The arguments of the backend under test.
pub fn backend() -> [&'static str; 2] {
    ["--backend", Backend::chosen().name()]
}

/// Whether the shell says that the command has ended.
pub fn is_over(screen: &str) -> bool {
    // What was typed says so too, and may be wrapped anywhere.
    let code = |line: &str| line.strip_prefix("ended with ")?.chars().next();
    screen.lines().filter_map(code).any(|first| first.is_ascii_digit())
}

fn run(command: &mut Command) -> Result<Output> {
    system::output(command).with_context(|| format!("run {command:?}"))
}

fn has_tmux() -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| Path::new(&directory).join("tmux").is_file())
}
