//! Reading `/proc/PID` (proc(5)). Everything may vanish at any time: what can't be read is `None`.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;

use nix::fcntl::readlinkat;

use super::bounds::{Arguments, COMMAND_LINE_BYTES};
use super::cgroup::most_telling;
use crate::event::Task;

/// How many threads walk over /proc at most, and over how many processes each at least: a thread
/// takes as long to begin as ten processes.
const MOST_THREADS: usize = 4;
const PROCESSES_EACH: usize = 64;

/// `/proc/PID/stat` counts in clock ticks of USER_HZ, 100 on every architecture that matters here.
const TICK_NS: u64 = 10_000_000;

/// How much is read of `/proc/PID/stat`, and of `/proc/PID/status`, where the groups, of which there
/// can be 65,536, follow the user ids.
const STATUS_BYTES: usize = 4096;
/// How much is read of `/proc/PID/cgroup`: a path of at most 4,096 bytes for each hierarchy, of which
/// there are at most 16 (`cgroup1_parse_param`, kernel/cgroup/cgroup-v1.c).
const CGROUP_BYTES: usize = 64 << 10;

/// A start time in nanoseconds of `CLOCK_BOOTTIME` as `/proc/PID/stat` has it: cut to ticks
/// (`nsec_to_clock_t`).
pub(super) fn ticks(start_time_ns: u64) -> u64 {
    start_time_ns / TICK_NS
}

/// Whether two start times of one process id can be one process: either may be cut to ticks.
pub(super) fn same_start(one_ns: u64, other_ns: u64) -> bool {
    let cut = one_ns.is_multiple_of(TICK_NS) || other_ns.is_multiple_of(TICK_NS);
    one_ns == other_ns || (cut && ticks(one_ns) == ticks(other_ns))
}

/// A mounted /proc.
#[derive(Clone, Debug)]
pub struct ProcFs {
    root: PathBuf,
}

/// From `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) name: String,
    /// The process id of its parent.
    pub(super) parent: u32,
    /// Cut to ticks.
    pub(super) start_time_ns: u64,
}

/// Which processes have sockets open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// Inode number of the socket → process. Where several share it, the lowest process id.
    pub pids: HashMap<u32, u32>,
    /// Processes whose files could not be read for want of privileges.
    pub hidden_processes: usize,
}

impl Default for ProcFs {
    fn default() -> Self {
        Self::at("/proc")
    }
}

impl ProcFs {
    /// A /proc mounted elsewhere.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The process ids there are now, ascending.
    ///
    /// # Errors
    /// When it is not mounted.
    pub fn pids(&self) -> io::Result<Vec<u32>> {
        let mut pids: Vec<u32> = fs::read_dir(&self.root)?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        pids.sort_unstable();
        Ok(pids)
    }

    /// The process as the caller of a call that it makes now; its cgroup's id is not known.
    pub fn task(&self, pid: u32) -> Option<Task> {
        let stat = self.stat(pid)?;
        let uid = self.uid(pid)?;
        let task = Task {
            pid,
            tid: pid,
            name: stat.name,
            uid,
            start_time_ns: stat.start_time_ns,
            cgroup_id: 0,
        };
        self.is(pid, task.start_time_ns).then_some(task)
    }

    /// Finds who has these sockets open, by one walk over `/proc/PID/fd`; of many processes, on several
    /// threads.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn socket_owners(&self, wanted: &HashSet<u32>) -> io::Result<Owners> {
        if wanted.is_empty() {
            return Ok(Owners::default());
        }
        let pids = self.pids()?;
        let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
        let threads = threads.min(pids.len() / PROCESSES_EACH).max(1);
        let mut parts = pids.chunks(pids.len().div_ceil(threads).max(1));
        let Some(first) = parts.next() else { return Ok(Owners::default()) };
        Ok(thread::scope(|scope| {
            let others: Vec<_> =
                parts.map(|part| scope.spawn(|| self.owners_among(part, wanted))).collect();
            let mut owners = self.owners_among(first, wanted);
            // In the order of the process ids.
            for other in others.into_iter().filter_map(|other| other.join().ok()) {
                for (inode, pid) in other.pids {
                    owners.pids.entry(inode).or_insert(pid);
                }
                owners.hidden_processes += other.hidden_processes;
            }
            owners
        }))
    }

    fn owners_among(&self, pids: &[u32], wanted: &HashSet<u32>) -> Owners {
        let mut owners = Owners::default();
        for &pid in pids {
            let path = self.path(pid, "fd");
            // Links are read next to the directory: the way from the root is longer.
            let listed =
                fs::read_dir(&path).and_then(|entries| Ok((entries, fs::File::open(&path)?)));
            match listed {
                Ok((entries, directory)) => {
                    for entry in entries.flatten() {
                        let link = readlinkat(&directory, entry.file_name().as_os_str());
                        let inode = link.ok().and_then(socket_inode);
                        if let Some(inode) = inode.filter(|inode| wanted.contains(inode)) {
                            owners.pids.entry(inode).or_insert(pid);
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    owners.hidden_processes += 1;
                }
                Err(_) => {}
            }
            if owners.pids.len() == wanted.len() {
                break;
            }
        }
        owners
    }

    /// Whether the process of this id is the one that started then.
    pub(super) fn is(&self, pid: u32, start_time_ns: u64) -> bool {
        self.stat(pid).is_some_and(|stat| same_start(stat.start_time_ns, start_time_ns))
    }

    pub(super) fn stat(&self, pid: u32) -> Option<Stat> {
        parse_stat(&self.read(pid, "stat", STATUS_BYTES)?)
    }

    pub(super) fn executable(&self, pid: u32) -> Option<String> {
        let path = fs::read_link(self.path(pid, "exe")).ok()?.to_string_lossy().into_owned();
        Some(path.strip_suffix(" (deleted)").map_or(path.clone(), str::to_owned))
    }

    /// As much of it as is kept. Only that is read: a process can have its command line anywhere in
    /// its memory (`PR_SET_MM_MAP`, prctl(2)), and of any size.
    pub(super) fn command_line(&self, pid: u32) -> Arguments {
        let read = read(&self.path(pid, "cmdline"), COMMAND_LINE_BYTES);
        read.map_or_else(
            |_| Arguments::default(),
            |read| Arguments::parse(&read.bytes, read.is_cut),
        )
    }

    /// The real user id.
    pub(super) fn uid(&self, pid: u32) -> Option<u32> {
        let status = self.read(pid, "status", STATUS_BYTES)?;
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
        line.split_ascii_whitespace().next()?.parse().ok()
    }

    pub(super) fn cgroup(&self, pid: u32) -> Option<String> {
        most_telling(&self.read(pid, "cgroup", CGROUP_BYTES)?).map(str::to_owned)
    }

    /// Where the mounts of the own namespace are listed.
    pub(super) fn mountinfo(&self) -> PathBuf {
        self.root.join("self/mountinfo")
    }

    /// The beginning of a file: the lines that fit.
    fn read(&self, pid: u32, file: &str, limit: usize) -> Option<String> {
        let Beginning { mut bytes, is_cut } = read(&self.path(pid, file), limit).ok()?;
        if is_cut {
            let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            bytes.truncate(end);
        }
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn path(&self, pid: u32, file: &str) -> PathBuf {
        self.root.join(pid.to_string()).join(file)
    }
}

/// What was read of a file.
struct Beginning {
    bytes: Vec<u8>,
    /// There is more.
    is_cut: bool,
}

/// At most `limit` bytes. As `fs::read` otherwise, which asks for a size that files of /proc do not
/// have and then begins with small reads.
fn read(path: &Path, limit: usize) -> io::Result<Beginning> {
    let mut file = fs::File::open(path)?;
    // One byte more shows that there is more.
    let most = limit + 1;
    let mut bytes = vec![0; most.min(4096 + 1)];
    let mut length = 0;
    while length < most {
        if length == bytes.len() {
            bytes.resize((length * 2).min(most), 0);
        }
        match file.read(&mut bytes[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length.min(limit));
    Ok(Beginning { bytes, is_cut: length > limit })
}

/// `socket:[4242]`
fn socket_inode(link: impl AsRef<Path>) -> Option<u32> {
    link.as_ref().to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The name is in parentheses and may hold any character, parentheses too; the start time is the
/// 22nd field.
fn parse_stat(text: &str) -> Option<Stat> {
    let (head, fields) = text.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let field = |at| fields.split_ascii_whitespace().nth(at);
    let parent = field(1)?.parse().ok()?;
    let start: u64 = field(19)?.parse().ok()?;
    Some(Stat { name: name.to_owned(), parent, start_time_ns: start.checked_mul(TICK_NS)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_parsed_whatever_the_name_holds() {
        let rest = "S 1 1 1 0 -1 4194560 1 1 0 0 1 1 0 0 20 0 1 0 4242 9 9";
        for name in ["sshd", "a b", ") R 1 (", ""] {
            let stat = parse_stat(&format!("7 ({name}) {rest}\n")).unwrap();
            assert_eq!((stat.name.as_str(), stat.start_time_ns), (name, 42_420_000_000));
        }
        for bad in ["", "7 (x", "7 (x) S 1 2", "7 x) S", &format!("7 (x) {}", "9 ".repeat(19))] {
            assert_eq!(parse_stat(bad), None, "{bad}");
        }
    }

    #[test]
    fn start_times_are_compared_as_exactly_as_both_are_known() {
        assert!(same_start(42_420_000_001, 42_420_000_001));
        assert!(same_start(42_420_000_000, 42_429_999_999));
        assert!(!same_start(42_420_000_001, 42_420_000_002));
        assert!(!same_start(42_420_000_000, 42_430_000_000));
    }

    #[test]
    fn the_own_process_is_read_and_owns_its_sockets() {
        let proc_fs = ProcFs::default();
        let pid = std::process::id();
        let task = proc_fs.task(pid).unwrap();
        assert_eq!(task.uid, nix::unistd::getuid().as_raw());
        assert!(
            proc_fs.is(pid, task.start_time_ns) && !proc_fs.is(pid, task.start_time_ns + TICK_NS)
        );
        assert_eq!(proc_fs.command_line(pid).words, std::env::args().collect::<Vec<_>>());
        assert_eq!(
            proc_fs.executable(pid),
            std::env::current_exe().unwrap().to_str().map(str::to_owned)
        );
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let link =
            fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&socket)));
        let inode = socket_inode(link.unwrap()).unwrap();
        let owners = proc_fs.socket_owners(&HashSet::from([inode, 1])).unwrap();
        assert_eq!(owners.pids, HashMap::from([(inode, pid)]));
    }
}
