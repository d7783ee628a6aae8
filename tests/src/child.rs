//! Children that make traffic: the binary `traffic`, driven over its standard input and output.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::{fs, iter};

use std::os::unix::process::CommandExt;

use crate::expect::Owner;
use crate::socket::Taken;
use crate::system;

/// A running `traffic`. It is killed when this is dropped.
pub struct Traffic {
    child: Guarded,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Traffic {
    /// Starts it in the calling thread's network namespace.
    pub fn start(arguments: &[&str]) -> Self {
        Self::run(command(arguments))
    }

    /// Starts it under another name, that of a link in this directory.
    pub fn start_as(directory: &Path, name: &str, arguments: &[&str]) -> Self {
        let link = directory.join(name);
        symlink(program(), &link).unwrap_or_else(|e| panic!("link {}: {e}", link.display()));
        let mut command = Command::new(link);
        command.args(arguments);
        Self::run(command)
    }

    /// Starts it as a member of a cgroup from its first instruction on.
    pub fn start_in_cgroup(cgroup: &Path, arguments: &[&str]) -> Self {
        let members = fs::OpenOptions::new().write(true).open(cgroup.join("cgroup.procs"));
        let members = members.expect("open the cgroup's list of members");
        let mut command = command(arguments);
        // SAFETY: between fork and exec only write() is called, which is async-signal-safe.
        unsafe {
            command.pre_exec(move || Ok(nix::unistd::write(&members, b"0").map(|_| ())?));
        }
        Self::run(command)
    }

    fn run(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            system::spawn(&mut command).unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = child.stdout.take().expect("standard output is a pipe");
        // Not left in `child`, whose wait() would close it.
        let input = child.stdin.take();
        Self { child: Guarded(child), input, output: BufReader::new(output) }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// The next port that it says it has taken; `None` when it has closed its output.
    pub fn taken(&mut self) -> Option<Taken> {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("read from the traffic");
        (!line.is_empty()).then(|| parse(&line))
    }

    /// All the ports that it says it has taken until it closes its output.
    pub fn all_taken(&mut self) -> Vec<Taken> {
        iter::from_fn(|| self.taken()).collect()
    }

    /// Lets it go on: it waits for the end of its input.
    pub fn go_on(&mut self) {
        self.input = None;
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.child.0.kill().expect("kill the traffic");
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.0.wait().expect("wait for the traffic")
    }
}

/// Any process. It is killed when this is dropped.
pub struct Guarded(pub Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn program() -> PathBuf {
    system::beside_this_test("traffic").unwrap_or_else(|error| panic!("{error:#}"))
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments);
    command
}

/// Reads `PID TID LOCAL REMOTE`.
fn parse(line: &str) -> Taken {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [pid, tid, local, remote] = fields[..] else { panic!("traffic said {line:?}") };
    let number = |text: &str| text.parse::<u32>().unwrap_or_else(|e| panic!("{text}: {e}"));
    let address = |text: &str| text.parse::<SocketAddr>().unwrap_or_else(|e| panic!("{text}: {e}"));
    Taken {
        protocol: "tcp",
        local: address(local),
        remote: Some(address(remote)),
        owner: Owner { pid: number(pid), tid: number(tid) },
    }
}
