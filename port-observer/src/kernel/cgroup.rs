//! The unified control group hierarchy.

use std::path::PathBuf;

/// Where cgroup2 is mounted, if anywhere.
pub fn mount() -> Option<PathBuf> {
    mount_in(&std::fs::read_to_string("/proc/self/mountinfo").ok()?)
}

/// The mount point of type cgroup2 in a mountinfo (proc(5)): the fifth field, and the type follows
/// the separator ` - `.
fn mount_in(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        (filesystem.split(' ').next()? == "cgroup2")
            .then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mount_point_of_cgroup2_beside_version_1() {
        let mountinfo = "\
25 20 0:23 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu
26 20 0:24 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
";
        assert_eq!(mount_in(mountinfo), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(mount_in("25 20 0:23 / /sys rw - sysfs sysfs rw\nnonsense"), None);
    }
}
