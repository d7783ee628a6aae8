//! Network namespaces: which there are, what they are called, and running code inside one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::statfs::{NSFS_MAGIC, statfs};

use super::{mounts, rights::as_caller_of_files};

/// Where the calling thread's namespace shows.
const OWN: &str = "/proc/thread-self/ns/net";
/// Where `ip netns` keeps names. `/var/run` is the same directory on most systems.
const NAMED: [&str; 2] = ["/run/netns", "/var/run/netns"];
/// A path can vanish with its process: a few are kept, not all.
const MAX_PATHS: usize = 4;
/// More names tell no more.
const MAX_NAMES: usize = 8;

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Its inode number, as `readlink /proc/PID/ns/net` shows it.
    pub inode: u32,
    /// Names that it was given: of `ip netns`, or else the path of a bind mount.
    pub names: Vec<String>,
    /// Paths that open it, or opened it when it was found.
    paths: Vec<PathBuf>,
}

/// What [`list`] finds.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The namespaces, by inode number.
    pub namespaces: Vec<Namespace>,
    /// Processes whose namespace could not be read for want of privileges.
    pub hidden_processes: usize,
}

impl Namespace {
    /// The calling thread's namespace.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn own() -> anyhow::Result<Self> {
        Ok(Self { inode: own_inode()?, names: Vec::new(), paths: own_paths() })
    }

    /// Whether it is the calling thread's.
    pub fn is_own(&self) -> bool {
        own_inode().is_ok_and(|inode| inode == self.inode)
    }

    /// Whether it is that of process 1, or of the kernel's own threads, the first of which is 2.
    pub fn is_of_the_host(&self) -> bool {
        let is_it = |pid: u32| {
            let found = fs::metadata(format!("/proc/{pid}/ns/net"));
            found.is_ok_and(|found| found.ino() == u64::from(self.inode))
        };
        is_it(1) || is_it(2)
    }

    /// Some processes that were in it when it was found.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        let pid = |path: &PathBuf| {
            path.to_str()?.strip_prefix("/proc/")?.strip_suffix("/ns/net")?.parse().ok()
        };
        self.paths.iter().filter_map(pid)
    }

    /// Runs a closure inside, on a thread of its own unless the calling thread is inside already;
    /// the calling thread's namespace does not change.
    ///
    /// # Errors
    /// When the namespace is gone or may not be entered (CAP_SYS_ADMIN), or the closure's.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
        if own_inode()? == self.inode {
            return f();
        }
        let file = self.open()?;
        std::thread::scope(|scope| {
            std::thread::Builder::new()
                .name("netns".to_owned())
                .spawn_scoped(scope, || {
                    setns(file.as_fd(), CloneFlags::CLONE_NEWNET).with_context(|| {
                        format!(
                            "cannot enter the network namespace {}: it takes CAP_SYS_ADMIN",
                            self.inode
                        )
                    })?;
                    f()
                })
                .context("cannot start a thread for another network namespace")?
                .join()
                .map_err(|_| anyhow!("the thread in the network namespace {} died", self.inode))?
        })
    }

    /// Opens it by the first path that still leads to it.
    fn open(&self) -> anyhow::Result<File> {
        let mut last_error = None;
        for path in &self.paths {
            match File::open(path).and_then(|file| Ok((file.metadata()?.ino(), file))) {
                // A process id can be in use again, by a process in another namespace.
                Ok((inode, file)) if inode == u64::from(self.inode) => return Ok(file),
                Ok(_) => {}
                Err(error) => last_error = Some((path, error)),
            }
        }
        let what = format!("the network namespace {} is gone or can't be opened", self.inode);
        match last_error {
            Some((path, error)) => {
                Err(anyhow!(error).context(format!("{what}: {}", path.display())))
            }
            None => bail!(what),
        }
    }
}

/// The process's path too: the thread may end before the namespace is entered. Which of the two
/// leads to it is checked when it is opened.
fn own_paths() -> Vec<PathBuf> {
    vec![PathBuf::from(OWN), PathBuf::from("/proc/self/ns/net")]
}

/// The inode number of the calling thread's namespace.
///
/// # Errors
/// When /proc is not mounted.
pub fn own_inode() -> anyhow::Result<u32> {
    let inode =
        fs::metadata(OWN).with_context(|| format!("cannot read {OWN}: is /proc mounted?"))?.ino();
    u32::try_from(inode).with_context(|| format!("{OWN}: the inode number {inode} is too large"))
}

/// What tells the calling thread's namespace from all that there were since boot, where its inode
/// number is given again (`SO_NETNS_COOKIE`, from Linux 5.14 on; sk_getsockopt, net/core/sock.c).
/// `None`: the kernel does not tell.
pub fn own_cookie() -> Option<u64> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None).ok()?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    let at = (&raw mut cookie).cast();
    // SAFETY: the kernel writes at most `length` bytes to `cookie`.
    let result = unsafe {
        let option = libc::SO_NETNS_COOKIE;
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, at, &raw mut length)
    };
    (result == 0).then_some(cookie)
}

/// All namespaces that can be reached: those of processes, those with a name, and other bind mounts
/// (container runtimes keep some). The calling thread's is always among them.
///
/// # Errors
/// When /proc is not mounted.
pub fn list() -> anyhow::Result<Listing> {
    let mut found = Found::default();
    let own = own_inode()?;
    for path in own_paths() {
        found.add(own, path, None);
    }
    // Named first: a name stays when processes go.
    for directory in NAMED {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Ok(inode) = namespace_inode(&entry.path()) {
                found.add(inode, entry.path(), Some(name));
            }
        }
    }
    let mounts = mounts::lines(Path::new("/proc/self/mountinfo")).into_iter().flatten();
    for (inode, path) in mounts.filter_map(|line| parse_mount(&line)) {
        // Bind mounts that are listed by their name already need no second one.
        let named = NAMED.iter().any(|directory| path.starts_with(directory));
        let name = (!named).then(|| path.to_string_lossy().into_owned());
        found.add(inode, path, name);
    }
    let mut hidden_processes = 0;
    for entry in fs::read_dir("/proc").context("cannot list /proc")?.flatten() {
        if !entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        let path = entry.path().join("ns/net");
        match fs::metadata(&path) {
            Ok(metadata) => {
                if let Ok(inode) = u32::try_from(metadata.ino()) {
                    found.add(inode, path, None);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                hidden_processes += 1;
            }
            // Gone, or a zombie: it has no namespace.
            Err(_) => {}
        }
    }
    Ok(Listing { namespaces: found.0.into_values().collect(), hidden_processes })
}

/// Finds the namespace that a user means: an inode number, a name of `ip netns`, or a path such as
/// `/proc/PID/ns/net`.
///
/// # Errors
/// When there is none of that number or name, or the path is no network namespace.
pub fn resolve(argument: &str) -> anyhow::Result<Namespace> {
    if argument.contains('/') {
        let path =
            std::path::absolute(argument).with_context(|| format!("{argument:?} is not a path"))?;
        // With the rights of the user who names it. Those of its file let the program look at
        // processes, not at directories.
        let inode = as_caller_of_files(|| namespace_inode(&path))
            .with_context(|| format!("{argument:?} is not a network namespace"))?;
        return Ok(Namespace { inode, names: Vec::new(), paths: vec![path] });
    }
    let listing = list()?;
    let by_inode = argument
        .parse::<u32>()
        .ok()
        .and_then(|inode| listing.namespaces.iter().find(|one| one.inode == inode));
    let by_name = || listing.namespaces.iter().find(|one| one.names.iter().any(|n| n == argument));
    if let Some(found) = by_inode.or_else(by_name) {
        return Ok(found.clone());
    }
    let hidden = match listing.hidden_processes {
        0 => String::new(),
        count => format!("; the namespaces of {count} processes are hidden without privileges"),
    };
    bail!(
        "no network namespace {argument:?}: give an inode number (as in `readlink /proc/PID/ns/net`), \
         a name of `ip netns list`, or a path such as /proc/PID/ns/net{hidden}"
    )
}

#[derive(Default)]
struct Found(BTreeMap<u32, Namespace>);

impl Found {
    fn add(&mut self, inode: u32, path: PathBuf, name: Option<String>) {
        let entry = self.0.entry(inode).or_insert_with(|| Namespace {
            inode,
            names: Vec::new(),
            paths: Vec::new(),
        });
        if entry.paths.len() < MAX_PATHS && !entry.paths.contains(&path) {
            entry.paths.push(path);
        }
        if entry.names.len() < MAX_NAMES
            && let Some(name) = name.filter(|name| !entry.names.contains(name))
        {
            entry.names.push(name);
        }
    }
}

/// The inode number behind a path, if it is a network namespace. Opening one takes no privilege,
/// only entering it does.
fn namespace_inode(path: &Path) -> anyhow::Result<u32> {
    // Before it is opened: opening a FIFO would wait.
    let filesystem = statfs(path).with_context(|| format!("cannot read {}", path.display()))?;
    if filesystem.filesystem_type() != NSFS_MAGIC {
        bail!("{} is not a namespace file", path.display());
    }
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    // SAFETY: NS_GET_NSTYPE takes no argument and changes nothing.
    let kind = unsafe { libc::ioctl(file.as_raw_fd(), libc::NS_GET_NSTYPE) };
    if kind != libc::CLONE_NEWNET {
        bail!("{} is a namespace of another kind", path.display());
    }
    u32::try_from(file.metadata()?.ino()).context("the inode number is too large")
}

/// A bind-mounted network namespace, from a line of mountinfo (proc_pid_mountinfo(5)): its root is
/// `net:[INODE]`, its type `nsfs`.
fn parse_mount(line: &str) -> Option<(u32, PathBuf)> {
    let (fields, rest) = line.split_once(" - ")?;
    if !rest.starts_with("nsfs ") {
        return None;
    }
    let mut fields = fields.split(' ').skip(3);
    let inode = fields.next()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()?;
    let path = mounts::unescape(fields.next()?);
    Some((inode, PathBuf::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_is_listed_and_resolves_by_inode_and_path() {
        let own = own_inode().unwrap();
        assert!(list().unwrap().namespaces.iter().any(|one| one.inode == own));
        assert_eq!(resolve(&own.to_string()).unwrap().inode, own);
        assert_eq!(resolve("/proc/self/ns/net").unwrap().inode, own);
    }

    #[test]
    fn what_is_no_namespace_is_refused_with_what_to_give() {
        for bad in ["1", "no-such-name", "", "/proc/self/ns/uts", "/etc/passwd", "/nowhere/x"] {
            let error = format!("{:#}", resolve(bad).unwrap_err());
            assert!(error.contains("namespace"), "{error}");
        }
    }

    #[test]
    fn a_closure_runs_in_the_own_namespace_without_privileges() {
        let namespace = Namespace::own().unwrap();
        assert_eq!(namespace.run(own_inode).unwrap(), namespace.inode);
    }

    #[test]
    fn mountinfo_shows_bind_mounted_namespaces() {
        let line =
            "621 29 0:4 net:[4026532621] /run/docker/netns/a\\040b rw shared:330 - nsfs nsfs rw";
        assert_eq!(parse_mount(line), Some((4026532621, PathBuf::from("/run/docker/netns/a b"))));
        for other in
            ["", "1 2 0:4 mnt:[4] /x rw - nsfs nsfs rw", "1 2 0:4 net:[4] /x rw - ext4 a rw"]
        {
            assert_eq!(parse_mount(other), None);
        }
    }

    #[test]
    fn a_namespace_that_is_gone_says_so() {
        let gone =
            Namespace { inode: 1, names: Vec::new(), paths: vec!["/proc/self/ns/net".into()] };
        let error = gone.run(|| Ok(())).unwrap_err().to_string();
        assert!(error.contains("network namespace 1 is gone"), "{error}");
    }

    #[test]
    fn code_runs_in_another_namespace_and_the_own_stays() {
        let (to_test, from_holder) = std::sync::mpsc::channel();
        let (to_holder, done) = std::sync::mpsc::channel::<()>();
        let holder = std::thread::spawn(move || {
            let made = nix::sched::unshare(CloneFlags::CLONE_NEWNET).is_ok();
            // SAFETY: gettid has no preconditions.
            let thread = unsafe { libc::gettid() };
            to_test.send((made, thread)).unwrap();
            // Ends when the sender is dropped: the namespace ends with this thread.
            let _ = done.recv();
        });
        let (made, thread) = from_holder.recv().unwrap();
        if made {
            let own = own_inode().unwrap();
            let other = resolve(&format!("/proc/self/task/{thread}/ns/net")).unwrap();
            assert_ne!(other.inode, own);
            assert_eq!(other.run(own_inode).unwrap(), other.inode);
            assert_eq!(own_inode().unwrap(), own);
            let ports = crate::kernel::sysctl::ports(&other).unwrap();
            assert!(ports.ephemeral.min < ports.ephemeral.max);
            let inside = other.run(|| crate::kernel::diag::dump(&Default::default())).unwrap();
            assert_eq!((inside.netns, inside.sockets.len()), (other.inode, 0));
        } else {
            println!("skipped: no privilege to make a network namespace");
        }
        drop(to_holder);
        holder.join().unwrap();
    }
}
