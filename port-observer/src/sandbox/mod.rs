//! Least privilege: a command that has attached its kernel programs gives up what it no longer needs.
//!
//! Each command enters the sandbox once, with what it is about to do as data ([`Task`]). From then on
//! the process has only the capabilities that the task needs ([`capabilities`]), can gain none
//! (no_new_privs, empty bounding, inheritable and ambient sets), can be neither traced nor dumped by
//! its user, and can call only the system calls of the task (`seccomp.rs`). A task that looks at no
//! other process is also confined to its own files (`landlock.rs`); Landlock would take
//! `/proc/PID/exe` and `/proc/PID/ns` away from the others (hook_ptrace_access_check,
//! security/landlock/task.c).
//!
//! Capabilities belong to a thread, and threads inherit them: the sandbox is entered before a command
//! starts threads. What the kernel refuses is logged at level info, and the command goes on.

pub mod capabilities;
mod landlock;
mod seccomp;
mod support;

use std::path::Path;

pub use self::support::Support;
use crate::{
    kernel::{diag, memory},
    logging,
    probe::Backend,
};

/// Whether commands confine themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sandbox {
    /// As far as the kernel allows.
    #[default]
    On,
    /// Not at all: `--no-sandbox`.
    Off,
}

/// What a command does from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task<'a> {
    /// Follows the programs of a backend, which are attached: `live`, `top`, `record`.
    Follow {
        /// The backend at work.
        backend: Backend,
        /// What is written beside.
        recording: Option<Recording<'a>>,
        /// The process that signals are passed on to, and that is waited for.
        command: Option<u32>,
    },
    /// The same, and takes connections on sockets that are listened on: `serve`.
    Serve {
        /// The backend at work.
        backend: Backend,
        /// What is written beside.
        recording: Option<Recording<'a>>,
        /// The file that metrics are written into.
        textfile: Option<&'a Path>,
        /// It made Unix sockets, whose files go at the end.
        removes: bool,
        /// Leases are kept in a file.
        leases: bool,
    },
    /// Reads the kernel's lists of sockets: `check`, `snapshot`.
    List {
        /// Other network namespaces than its own are entered.
        namespaces: bool,
        /// An answer is kept in a file.
        keeps: bool,
    },
    /// Asks a running `serve`: `check --from`.
    Ask {
        /// Its Unix socket; `None`: it is asked over TCP.
        socket: Option<&'a Path>,
    },
    /// Sends and receives on UDP sockets that are open, and opens nothing: `pools verify`, `pools echo`.
    Trial,
    /// Reads a recording, and looks at no process: `replay`, `report`, `top --replay`.
    Replay {
        /// The recording.
        recording: &'a Path,
        /// The page that is written from it.
        page: Option<&'a Path>,
    },
    /// Loads and attaches the programs of each backend: `doctor`.
    Diagnose,
}

/// Where a recording is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recording<'a> {
    /// Its file.
    pub path: &'a Path,
    /// Its files are given to a group.
    pub has_group: bool,
}

impl Sandbox {
    /// Confines the process to a task; threads may start from then on. What can't be applied is logged,
    /// and is no error: observing an incident matters more.
    pub fn enter(self, task: &Task<'_>) {
        if self == Self::Off {
            log::info!("not confined (--no-sandbox)");
        } else {
            for problem in confine(task) {
                log::info!("not fully confined: {problem}");
            }
        }
        logging::use_thread();
    }
}

/// Applies everything; returns what could not be applied, a sentence each.
fn confine(task: &Task<'_>) -> Vec<String> {
    let mut problems = Vec::new();
    let mut note = |what: &str, result: anyhow::Result<()>| {
        if let Err(error) = result {
            problems.push(format!("{what}: {error:#}"));
        }
    };
    if let Task::List { .. } | Task::Diagnose = task {
        // Tries with a socket of the internet, on some kernels.
        diag::lists_bound_sockets();
    }
    note("threads that run already keep their capabilities", is_single_threaded());
    note("capabilities", capabilities::keep_only(&capabilities::needed(task)));
    note("no_new_privs", nix::sys::prctl::set_no_new_privs().map_err(Into::into));
    note("not dumpable", nix::sys::prctl::set_dumpable(false).map_err(Into::into));
    if let Task::Replay { recording, page } = task {
        memory::open_gauge();
        note("Landlock", landlock::restrict(&[Some(recording), *page]));
    }
    if let Task::Trial = task {
        note("Landlock", landlock::restrict(&[]));
    }
    // Last: the list has none of the calls before.
    note("seccomp", seccomp::apply(task));
    problems
}

fn is_single_threaded() -> anyhow::Result<()> {
    let count = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    anyhow::ensure!(count <= 1, "there are {count}");
    Ok(())
}

#[cfg(test)]
mod tests;
