//! Which capabilities (capabilities(7)) a task keeps, and giving up the others.

use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt as _, path::Path};

use anyhow::{Context as _, Result};
use caps::{
    CapSet, Capability,
    Capability::{
        CAP_BPF, CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_KILL, CAP_NET_ADMIN,
        CAP_PERFMON, CAP_SETPCAP, CAP_SYS_ADMIN, CAP_SYS_PTRACE, CAP_SYS_RESOURCE,
    },
    CapsHashSet,
};

use super::{Recording, Task};
use crate::{
    kernel::{
        bpf,
        rights::{is_root, without_capabilities},
    },
    probe::{Backend, charges_memlock},
};

/// A capability that a task keeps, if the process has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Which.
    pub capability: Capability,
    /// What it is kept for.
    pub reason: &'static str,
}

impl Kept {
    const fn new(capability: Capability, reason: &'static str) -> Self {
        Self { capability, reason }
    }
}

const PROCESSES: [Kept; 2] = [
    Kept::new(
        CAP_SYS_PTRACE,
        "executables, sockets and network namespaces of other users' processes",
    ),
    Kept::new(CAP_DAC_READ_SEARCH, "/proc/PID/fd of other users' processes"),
];
const NAMESPACES: Kept = Kept::new(
    CAP_SYS_ADMIN,
    "enter other network namespaces (setns), to list their sockets and read their settings",
);
const BPF_CALLS: Kept = Kept::new(
    CAP_BPF,
    "look up maps and open iterators: this kernel keeps all of bpf() for it while \
     kernel.unprivileged_bpf_disabled is set (before Linux 5.19)",
);
const ITERATOR: [Kept; 2] = [
    Kept::new(CAP_BPF, "load the iterator over open files"),
    Kept::new(CAP_PERFMON, "let the iterator read kernel memory"),
];
const MEMLOCK: Kept = Kept::new(CAP_SYS_RESOURCE, "raise RLIMIT_MEMLOCK (before Linux 5.11)");
const NET_ADMIN: Kept = Kept::new(CAP_NET_ADMIN, "cgroup programs of the tracepoint backend");
const READ_FILES: Kept =
    Kept::new(CAP_DAC_READ_SEARCH, "root reads a file that another user's permissions close to it");
const WRITE_FILES: Kept = Kept::new(
    CAP_DAC_OVERRIDE,
    "root writes in a directory that another user's permissions close to it",
);
const CONNECT: Kept = Kept::new(
    CAP_DAC_OVERRIDE,
    "root connects to a socket that another user's permissions close to it",
);
const SIGNALS: Kept =
    Kept::new(CAP_KILL, "pass signals on to the command, whichever user it has become");
const GROUP: Kept = Kept::new(CAP_CHOWN, "give the recording's files to its group");

/// What a task keeps on this kernel, for the files that it names. What depends on the kernel or on a
/// file's permissions is tried, without capabilities.
pub fn needed(task: &Task<'_>) -> Vec<Kept> {
    let mut kept = Vec::new();
    match *task {
        Task::Follow { backend, recording, command } => {
            kept = following(backend, does_bpf_need_capability());
            kept.extend(command.map(|_| SIGNALS));
            kept.extend(recording.iter().flat_map(writing));
        }
        Task::Serve { backend, recording, textfile, removes: _, leases: _ } => {
            kept = following(backend, does_bpf_need_capability());
            kept.extend(recording.iter().flat_map(writing));
            kept.extend(textfile.is_some_and(needs_write).then_some(WRITE_FILES));
        }
        Task::List { namespaces, .. } => {
            kept.extend(ITERATOR);
            kept.extend(charges_memlock().then_some(MEMLOCK));
            kept.extend(PROCESSES);
            kept.extend((namespaces || lacks_iterator_capabilities()).then_some(NAMESPACES));
        }
        Task::Trial => {}
        Task::Ask { socket } => {
            kept.extend(socket.is_some_and(needs_write).then_some(CONNECT));
        }
        Task::Replay { recording, page } => {
            kept.extend(needs_read(recording).then_some(READ_FILES));
            kept.extend(page.is_some_and(needs_write).then_some(WRITE_FILES));
        }
        Task::Diagnose => {
            kept.extend(ITERATOR);
            kept.push(NET_ADMIN);
            kept.extend(PROCESSES);
            kept.push(NAMESPACES);
            kept.extend(charges_memlock().then_some(MEMLOCK));
        }
    }
    kept
}

/// What a recording is written with.
fn writing(recording: &Recording<'_>) -> impl Iterator<Item = Kept> + use<> {
    let write = needs_write(recording.path).then_some(WRITE_FILES);
    let give = (recording.has_group && is_root()).then_some(GROUP);
    write.into_iter().chain(give)
}

/// What the programs of a backend are followed with, beside what a recording takes.
/// `bpf_needs_capability`: see [`does_bpf_need_capability`].
pub fn following(backend: Backend, bpf_needs_capability: bool) -> Vec<Kept> {
    let bpf = (backend != Backend::Poll && bpf_needs_capability).then_some(BPF_CALLS);
    bpf.into_iter().chain(PROCESSES).chain([NAMESPACES]).collect()
}

/// The process has all that loads an iterator only by `CAP_SYS_ADMIN`, which stands in for it.
fn lacks_iterator_capabilities() -> bool {
    ITERATOR
        .iter()
        .any(|one| !caps::has_cap(None, CapSet::Effective, one.capability).unwrap_or(false))
}

/// Clears the ambient, bounding and inheritable sets, and keeps of the others what is named. Of the
/// calling thread, and those that it starts.
///
/// # Errors
/// What the kernel refuses. Everything else is done all the same.
pub fn keep_only(kept: &[Kept]) -> Result<()> {
    let ambient = caps::clear(None, CapSet::Ambient).context("can't clear the ambient set");
    // Takes CAP_SETPCAP, which goes below.
    let bounding = clear_bounding().context("can't clear the bounding set");
    let inheritable =
        caps::clear(None, CapSet::Inheritable).context("can't clear the inheritable set");
    let effective = caps::read(None, CapSet::Effective).context("can't read the effective set");
    let reduced = effective.and_then(|effective| {
        let wanted: CapsHashSet = kept.iter().map(|one| one.capability).collect();
        let left: CapsHashSet = effective.intersection(&wanted).copied().collect();
        caps::set(None, CapSet::Effective, &left).context("can't reduce the effective set")?;
        caps::set(None, CapSet::Permitted, &left).context("can't reduce the permitted set")
    });
    reduced.and(inheritable).and(ambient).and(bounding)
}

/// By number, for the kernel may have some that the `caps` crate does not know.
fn clear_bounding() -> io::Result<()> {
    // Without the capability nothing could come of the set either: no_new_privs is set.
    if !caps::has_cap(None, CapSet::Effective, CAP_SETPCAP).unwrap_or(false) {
        return Ok(());
    }
    for number in 0..u64::from(u64::BITS) {
        // SAFETY: takes numbers only.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) } != 0 {
            let error = io::Error::last_os_error();
            // One past the last that this kernel has.
            return if error.raw_os_error() == Some(libc::EINVAL) { Ok(()) } else { Err(error) };
        }
    }
    Ok(())
}

/// Before Linux 5.19 `kernel.unprivileged_bpf_disabled` closes every command of bpf(), since then only
/// those that make something (commit c8644cd0efe7).
pub fn does_bpf_need_capability() -> bool {
    without_capabilities(bpf::is_denied)
}

/// Root has to overrule permissions to read the file.
fn needs_read(path: &Path) -> bool {
    if !is_root() {
        return false;
    }
    without_capabilities(|| {
        // A pipe would wait for its other end.
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
        options.open(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    })
}

/// Root has to overrule permissions to write the file or to make it in its directory.
fn needs_write(path: &Path) -> bool {
    if !is_root() {
        return false;
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let is_open = |path: &Path, mode| faccess(path, mode).is_ok();
    without_capabilities(|| {
        let is_writable = match faccess(path, libc::W_OK) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            result => result.is_ok(),
        };
        !is_writable || !is_open(parent.unwrap_or(Path::new(".")), libc::W_OK | libc::X_OK)
    })
}

/// faccessat2 by the effective ids and capabilities. That of the C libraries assumes that the
/// effective rights are the real ones where the ids are the same.
fn faccess(path: &Path, mode: i32) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path is a string that ends with a null byte and lives through the call.
    let result = unsafe {
        libc::syscall(libc::SYS_faccessat2, libc::AT_FDCWD, path.as_ptr(), mode, libc::AT_EACCESS)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn files_of_others_are_tried_with_the_own_rights_alone() {
        if !is_root() || caps::read(None, CapSet::Effective).unwrap().is_empty() {
            println!("skipped: not root with capabilities");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join("own");
        fs::write(&own, "").unwrap();
        assert!(!needs_read(&own) && !needs_write(&own));
        assert!(!needs_write(&directory.path().join("new")));
        let other = directory.path().join("other");
        fs::create_dir(&other).unwrap();
        let secret = other.join("secret");
        fs::write(&secret, "").unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        for path in [&secret, &other] {
            std::os::unix::fs::chown(path, Some(65_534), Some(65_534)).unwrap();
        }
        assert!(needs_read(&secret) && needs_write(&secret) && needs_write(&other.join("new")));
    }
}
