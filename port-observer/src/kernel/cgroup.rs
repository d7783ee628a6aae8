//! The unified control group hierarchy.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use nix::{errno::Errno, fcntl::readlink};

use super::mounts;

/// The type of a kernfs file handle, which is the 64-bit id alone (`FILEID_KERNFS`,
/// include/linux/exportfs.h, and `kernfs_encode_fh`, fs/kernfs/mount.c; from Linux 5.5 on).
const FILEID_KERNFS: i32 = 0xfe;

/// Where cgroup2 is mounted, if anywhere.
pub fn mount() -> Option<PathBuf> {
    mounts::lines(Path::new("/proc/self/mountinfo")).ok()?.find_map(|line| mounted_by(&line))
}

/// The mount point of type cgroup2 in a line of mountinfo (proc(5)): the fifth field, and the type
/// follows the separator ` - `.
pub fn mounted_by(line: &str) -> Option<PathBuf> {
    let (mount, filesystem) = line.split_once(" - ")?;
    (filesystem.split(' ').next()? == "cgroup2")
        .then(|| mount.split(' ').nth(4).map(PathBuf::from))?
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
        let lookup = Self { mount: file, path: mount.to_owned() };
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
        let link = readlink(format!("/proc/self/fd/{}", directory.as_raw_fd()).as_str())?;
        let path = PathBuf::from(link);
        // It may be removed by now: the kernel says so in the link.
        let inside = path.strip_prefix(&self.path).ok().map(Path::to_string_lossy);
        Ok(inside
            .filter(|inside| !inside.ends_with(" (deleted)"))
            .map(|inside| format!("/{inside}")))
    }
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
