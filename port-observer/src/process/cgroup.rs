//! From a cgroup's id to its path. The id that programs get (`bpf_get_current_cgroup_id`) is the
//! inode number of its directory in the cgroup2 mount (`kernfs_get_inode`); it is never given twice.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::container::container;

/// How often a miss may cause a new walk.
const REBUILD_EVERY: Duration = Duration::from_secs(1);
/// Past this many, paths of cgroups that are gone are forgotten.
const MAX_PATHS: usize = 65_536;

/// The cgroups of the unified hierarchy.
#[derive(Debug)]
pub(super) struct Cgroups {
    /// Where cgroup2 is mounted.
    mount: Option<PathBuf>,
    /// cgroup v1 hierarchies are mounted: the unified one may be empty, with processes at its root.
    pub(super) has_v1: bool,
    /// Added to on each walk; those that are gone stay, for processes that are gone too.
    paths: HashMap<u64, String>,
    walked: Option<Instant>,
}

impl Cgroups {
    /// Finds the mounts in the text of `/proc/self/mountinfo`.
    pub(super) fn new(mountinfo: &str) -> Self {
        let (mount, has_v1) = mounts(mountinfo);
        Self { mount, has_v1, paths: HashMap::new(), walked: None }
    }

    /// The path of a cgroup, from the hierarchy's root: `/system.slice/nginx.service`.
    pub(super) fn path(&mut self, id: u64) -> Option<&str> {
        if id == 0 {
            return None;
        }
        if !self.paths.contains_key(&id)
            && self.walked.is_none_or(|walked| walked.elapsed() >= REBUILD_EVERY)
        {
            self.walk();
        }
        self.paths.get(&id).map(String::as_str)
    }

    fn walk(&mut self) {
        self.walked = Some(Instant::now());
        let Some(mount) = self.mount.clone() else { return };
        if self.paths.len() > MAX_PATHS {
            self.paths.clear();
        }
        if let Ok(root) = fs::metadata(&mount) {
            self.paths.insert(root.ino(), "/".to_owned());
        }
        let mut pending = vec![(mount, String::new())];
        while let Some((directory, path)) = pending.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let path = format!("{path}/{}", entry.file_name().to_string_lossy());
                    self.paths.insert(entry.ino(), path.clone());
                    pending.push((entry.path(), path));
                }
            }
        }
    }
}

/// The cgroup2 mount, and whether there are cgroup v1 mounts with controllers.
fn mounts(mountinfo: &str) -> (Option<PathBuf>, bool) {
    let mut unified = None;
    let mut has_v1 = false;
    for line in mountinfo.lines() {
        let Some((fields, rest)) = line.split_once(" - ") else { continue };
        match rest.split(' ').next() {
            Some("cgroup") => has_v1 = true,
            Some("cgroup2") if unified.is_none() => {
                unified = fields.split(' ').nth(4).map(|path| Path::new(path).to_owned());
            }
            _ => {}
        }
    }
    (unified, has_v1)
}

/// The path that tells most in the text of `/proc/PID/cgroup`, whose lines are
/// `hierarchy:controllers:path`: one that shows a container, else a unit, else the deepest.
pub(super) fn most_telling(text: &str) -> Option<&str> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let unified = fields.next()? == "0";
            let path = fields.nth(1)?;
            let shows = match container(path) {
                Some(found) if found.runtime != "systemd" => 2,
                Some(_) => 1,
                None => 0,
            };
            // The process's cgroup may be gone (cgroups(7)).
            Some((path.strip_suffix(" (deleted)").unwrap_or(path), shows, unified))
        })
        .max_by_key(|(path, shows, unified)| (*shows, *path != "/", *unified, path.len()))
        .map(|(path, ..)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_is_found_on_unified_and_hybrid_hosts() {
        let unified = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mounts(unified), (Some("/sys/fs/cgroup".into()), false));
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(mounts(hybrid), (Some("/sys/fs/cgroup/unified".into()), true));
        assert_eq!(mounts("garbage\n\n"), (None, false));
    }

    #[test]
    fn an_id_is_the_inode_number_of_a_directory() {
        let root = crate::process::tests::TempDir::new();
        fs::create_dir_all(root.path().join("a.slice/b.service")).unwrap();
        fs::write(root.path().join("a.slice/cgroup.procs"), "").unwrap();
        let line = format!("1 1 0:1 / {} rw - cgroup2 cgroup2 rw", root.path().display());
        let mut cgroups = Cgroups::new(&line);
        let id = fs::metadata(root.path().join("a.slice/b.service")).unwrap().ino();
        assert_eq!(cgroups.path(id), Some("/a.slice/b.service"));
        let id = fs::metadata(root.path()).unwrap().ino();
        assert_eq!(cgroups.path(id), Some("/"));
        assert_eq!(cgroups.path(0), None);
        // A miss right after a walk causes none, a later one does.
        fs::create_dir(root.path().join("new")).unwrap();
        let id = fs::metadata(root.path().join("new")).unwrap().ino();
        assert_eq!(cgroups.path(id), None);
        cgroups.walked = Instant::now().checked_sub(REBUILD_EVERY);
        assert_eq!(cgroups.path(id), Some("/new"));
    }

    #[test]
    fn the_line_that_shows_a_container_wins() {
        let id = "3f4b8c1d2e5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
        let hybrid =
            format!("4:memory:/docker/{id}\n1:name=systemd:/system.slice/x.service\n0::/\n");
        assert_eq!(most_telling(&hybrid), Some(format!("/docker/{id}").as_str()));
        let unit = "9:name=systemd:/system.slice/x.service\n4:memory:/limit/deep/er\n0::/\n";
        assert_eq!(most_telling(unit), Some("/system.slice/x.service"));
        assert_eq!(most_telling("0::/a/b\n"), Some("/a/b"));
        assert_eq!(most_telling("4:memory:/a\n0::/\n"), Some("/a"));
        assert_eq!(most_telling("0::/gone (deleted)\n"), Some("/gone"));
        assert_eq!(most_telling("0::/\n"), Some("/"));
        assert_eq!(most_telling("garbage"), None);
    }
}
