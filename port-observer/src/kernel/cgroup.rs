//! The unified control group hierarchy.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    fcntl::readlink,
    sys::statfs::{CGROUP2_SUPER_MAGIC, statfs},
};

use super::mounts;

/// A directory that the kernel makes for it (`cgroup_init`, kernel/cgroup/cgroup.c).
const PLACE: &str = "/sys/fs/cgroup";

/// The type of a kernfs file handle, which is the 64-bit id alone (`FILEID_KERNFS`,
/// include/linux/exportfs.h, and `kernfs_encode_fh`, fs/kernfs/mount.c; from Linux 5.5 on).
const FILEID_KERNFS: i32 = 0xfe;

/// Where cgroup2 is mounted: among this process's mounts, else among those of process 1 (`ip netns
/// exec` gives a command mounts of its own, with a /sys that has no cgroup2 on it: netns_switch,
/// lib/namespace.c of iproute2). The latter takes CAP_SYS_PTRACE for users other than root
/// (`proc_pid_get_link`, fs/proc/base.c).
pub fn mount() -> Option<PathBuf> {
    mount_in(Path::new("/proc/self/mountinfo"), Path::new("/")).or_else(host_mount)
}

/// The mount of process 1.
pub fn host_mount() -> Option<PathBuf> {
    mount_in(Path::new("/proc/1/mountinfo"), Path::new("/proc/1/root"))
}

/// Makes cgroup2 visible to this thread, and returns where. Where no mount can be reached it is mounted
/// in a mount namespace of this thread's own, as tracefs is.
///
/// # Errors
/// Without a mount and without `CAP_SYS_ADMIN`, or on a kernel without cgroup2.
pub fn ensure() -> Result<PathBuf> {
    if let Some(path) = mount() {
        return Ok(path);
    }
    mounts::mount_privately("cgroup2", PLACE).context(
        "no cgroup2 hierarchy can be reached; mount it: \
         sudo mkdir -p /run/cgroup2 && sudo mount -t cgroup2 none /run/cgroup2",
    )?;
    Ok(PathBuf::from(PLACE))
}

/// The first cgroup2 mount of a mountinfo that can be reached below a root. Something else may be
/// mounted over it.
fn mount_in(mountinfo: &Path, root: &Path) -> Option<PathBuf> {
    mounts::lines(mountinfo)
        .ok()?
        .filter_map(|line| mounted_by(&line))
        .map(|path| root.join(path.strip_prefix("/").unwrap_or(&path)))
        .find(|path| statfs(path).is_ok_and(|found| found.filesystem_type() == CGROUP2_SUPER_MAGIC))
}

/// The mount point of type cgroup2 in a line of mountinfo (proc(5)): the fifth field, and the type
/// follows the separator ` - `.
pub fn mounted_by(line: &str) -> Option<PathBuf> {
    let (mount, filesystem) = line.split_once(" - ")?;
    (filesystem.split(' ').next()? == "cgroup2")
        .then(|| mount.split(' ').nth(4).map(|path| PathBuf::from(mounts::unescape(path))))?
}

/// Finds a cgroup's path by its id, whatever the number of cgroups.
#[derive(Debug)]
pub struct Lookup {
    mount: File,
    path: PathBuf,
}

/// `struct file_handle` (open_by_handle_at(2)) of a kernfs node.
#[repr(C)]
struct Handle {
    handle_bytes: u32,
    handle_type: i32,
    id: u64,
}

impl Lookup {
    /// Of a cgroup2 mount. `None`: the kernel knows no such handles, or this process may not use them
    /// (CAP_DAC_READ_SEARCH in the initial user namespace).
    pub fn open(mount: &Path) -> Option<Self> {
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).custom_flags(libc::O_DIRECTORY).open(mount).ok()?;
        let root = file.metadata().ok()?.ino();
        // As the kernel shows it: that of another process's mounts has no path from this one's root.
        let path = PathBuf::from(link_of(&file).ok()?);
        let lookup = Self { mount: file, path };
        (lookup.path(root).ok()?.as_deref() == Some("/")).then_some(lookup)
    }

    /// The path of a cgroup from the root of the hierarchy, `/` for the root itself; `None`: it is gone,
    /// or outside of what is mounted.
    ///
    /// # Errors
    /// When this process may not use handles any more.
    pub fn path(&self, id: u64) -> io::Result<Option<String>> {
        let mut handle = Handle { handle_bytes: 8, handle_type: FILEID_KERNFS, id };
        // SAFETY: the kernel reads 16 bytes at `handle`, which are a file_handle of 8 bytes; the mount
        // is an open file.
        let result = unsafe {
            libc::syscall(
                libc::SYS_open_by_handle_at,
                self.mount.as_raw_fd(),
                &raw mut handle,
                libc::O_PATH | libc::O_CLOEXEC,
            )
        };
        let Ok(fd @ 0..) = i32::try_from(result) else {
            return match Errno::last() {
                // Gone.
                Errno::ESTALE | Errno::ENOENT => Ok(None),
                errno => Err(errno.into()),
            };
        };
        // SAFETY: the kernel has just opened it for nobody else.
        let directory = unsafe { OwnedFd::from_raw_fd(fd) };
        let path = PathBuf::from(link_of(&directory)?);
        // It may be removed by now: the kernel says so in the link.
        let inside = path.strip_prefix(&self.path).ok().map(Path::to_string_lossy);
        Ok(inside
            .filter(|inside| !inside.ends_with(" (deleted)"))
            .map(|inside| format!("/{inside}")))
    }
}

/// The path of an open file.
fn link_of(file: &impl AsRawFd) -> nix::Result<OsString> {
    readlink(format!("/proc/self/fd/{}", file.as_raw_fd()).as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mount_point_of_cgroup2_beside_version_1() {
        let unified = "26 20 0:24 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(mounted_by(unified), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        let first = "25 20 0:23 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu";
        for other in [first, "25 20 0:23 / /sys rw - sysfs sysfs rw", "nonsense", ""] {
            assert_eq!(mounted_by(other), None);
        }
    }

    #[test]
    fn a_mount_is_one_only_where_cgroup2_can_be_reached() {
        let Some(mount) = mount() else { return println!("skipped: no cgroup2 is mounted") };
        let file = |line: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), line).unwrap();
            file
        };
        // What is mounted over one hides it; the next is taken.
        let hidden = "1 1 0:1 / /proc rw - cgroup2 cgroup2 rw\n";
        let shown = format!("{hidden}2 1 0:1 / {} rw - cgroup2 cgroup2 rw\n", mount.display());
        assert_eq!(mount_in(file(hidden).path(), Path::new("/")), None);
        assert_eq!(mount_in(file(&shown).path(), Path::new("/")), Some(mount.clone()));
        if mount.starts_with("/proc/1/root") || std::fs::read_dir("/proc/1/root").is_err() {
            return println!("skipped: the mounts of process 1 are closed to this one");
        }
        let below = mount_in(file(&shown).path(), Path::new("/proc/1/root")).unwrap();
        assert_eq!(below, Path::new("/proc/1/root").join(mount.strip_prefix("/").unwrap()));
    }

    #[test]
    fn a_cgroup_is_found_by_its_id_until_it_is_gone() {
        let Some(mount) = mount() else { return println!("skipped: no cgroup2 is mounted") };
        let Some(lookup) = Lookup::open(&mount) else {
            return println!("skipped: no handles here, or no CAP_DAC_READ_SEARCH");
        };
        let name = format!("port-observer-lookup-{}", std::process::id());
        let directory = mount.join(&name);
        if let Err(error) = std::fs::create_dir_all(directory.join("inner")) {
            return println!("skipped: no cgroup can be made: {error}");
        }
        let ids = [&directory, &directory.join("inner")]
            .map(|path| std::fs::metadata(path).unwrap().ino());
        let found = ids.map(|id| lookup.path(id).unwrap());
        std::fs::remove_dir(directory.join("inner")).unwrap();
        std::fs::remove_dir(&directory).unwrap();
        assert_eq!(found, [Some(format!("/{name}")), Some(format!("/{name}/inner"))]);
        assert_eq!(ids.map(|id| lookup.path(id).unwrap()), [None, None]);
        assert_eq!(lookup.path(u64::MAX).unwrap(), None);
    }

    #[test]
    fn there_is_no_lookup_on_another_filesystem() {
        assert!(Lookup::open(Path::new("/proc/self")).is_none());
        assert!(Lookup::open(&std::env::temp_dir()).is_none());
        assert!(Lookup::open(Path::new("/nowhere")).is_none());
    }
}
