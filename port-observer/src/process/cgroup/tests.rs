use std::{fs, os::unix::fs::MetadataExt};

use super::*;
use crate::process::tests::TempDir;

#[test]
fn the_mount_is_found_on_unified_and_hybrid_hosts() {
    let unified = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    let mounts = |text: &str| mounted(text.lines().map(str::to_owned));
    assert_eq!(mounts(unified), (Some("/sys/fs/cgroup".into()), false));
    let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                  32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
                  41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    assert_eq!(mounts(hybrid), (Some("/sys/fs/cgroup/unified".into()), true));
    assert_eq!(mounts("garbage\n\n"), (None, false));
}

fn cgroups(directory: &TempDir) -> Cgroups {
    let mountinfo = directory.path().join("mountinfo");
    let line = format!("1 1 0:1 / {} rw - cgroup2 cgroup2 rw", directory.path().display());
    fs::write(&mountinfo, line).unwrap();
    Cgroups::new(&mountinfo, Total::default())
}

fn path(cgroups: &mut Cgroups, id: u64) -> Option<String> {
    cgroups.by_id(id).map(|place| place.path.to_string())
}

#[test]
fn an_id_is_the_inode_number_of_a_directory() {
    let root = TempDir::new();
    fs::create_dir_all(root.path().join("a.slice/b.service")).unwrap();
    fs::write(root.path().join("a.slice/cgroup.procs"), "").unwrap();
    let mut cgroups = cgroups(&root);
    let id = fs::metadata(root.path().join("a.slice/b.service")).unwrap().ino();
    assert_eq!(path(&mut cgroups, id).as_deref(), Some("/a.slice/b.service"));
    let id = fs::metadata(root.path()).unwrap().ino();
    assert_eq!(path(&mut cgroups, id).as_deref(), Some("/"));
    assert!(cgroups.by_id(0).is_none());
    // A miss right after a walk causes none, a later one does.
    fs::create_dir(root.path().join("new")).unwrap();
    let id = fs::metadata(root.path().join("new")).unwrap().ino();
    assert_eq!(path(&mut cgroups, id), None);
    let Way::Walk(walk) = &mut cgroups.way else { panic!() };
    walk.next = Instant::now();
    assert_eq!(path(&mut cgroups, id).as_deref(), Some("/new"));
}

#[test]
fn a_large_tree_is_walked_a_little_at_a_time() {
    let root = TempDir::new();
    for number in 0..4_000 {
        fs::create_dir_all(root.path().join(format!("{}/{number}", number / 100))).unwrap();
    }
    let mut cgroups = cgroups(&root);
    let began = Instant::now();
    let mut longest = Duration::ZERO;
    let mut spent = Duration::ZERO;
    while began.elapsed() < Duration::from_secs(1) {
        let asked = Instant::now();
        assert!(cgroups.by_id(1).is_none());
        let took = asked.elapsed();
        longest = longest.max(took);
        spent += took;
        std::thread::sleep(Duration::from_micros(200));
    }
    // A machine with other work may stop this test within a slice.
    assert!(spent < Duration::from_millis(250), "{spent:?}, at most {longest:?}");
}

#[test]
fn effort_is_limited_and_earned_again() {
    let mut effort = Effort::new();
    let began = effort.begin().unwrap();
    // Twice what may be spent at once.
    effort.end(began.checked_sub(2 * BURST).unwrap());
    assert_eq!(effort.begin(), None);
    effort.since -= BURST * COST + BURST * COST / 2;
    assert!(effort.begin().is_some());
    assert!(effort.left <= BURST);
}

#[test]
fn one_place_has_one_text_and_a_long_one_is_cut() {
    let mut cgroups = cgroups(&TempDir::new());
    let one = cgroups.at("/system.slice/web.service", false);
    let other = cgroups.at("/system.slice/web.service", false);
    assert!(Arc::ptr_eq(&one, &other) && !one.is_cut && one.says_something());
    // A path that is too long is known by its last component.
    let long = cgroups.at(&format!("/{}/x.service", "a".repeat(PATH_BYTES)), false);
    assert_eq!((&*long.path, long.is_cut), ("x.service", true));
    assert_eq!(long.container.as_ref().unwrap().id, "x.service");
    // Where nothing is left, nothing is kept.
    cgroups.total = Total::new(0);
    let none = cgroups.at("/system.slice/other.service", false);
    assert!(none.is_cut && none.path.is_empty() && none.container.is_none());
}

#[test]
fn a_cgroup_that_is_gone_stays_known() {
    let mut cgroups = Cgroups::new(Path::new("/proc/self/mountinfo"), Total::default());
    let Way::Lookup(_, mount) = &cgroups.way else {
        println!("skipped: cgroups can't be looked up here");
        return;
    };
    let name = format!("port-observer-test-{}", std::process::id());
    let directory = mount.join(&name);
    if fs::create_dir(&directory).is_err() {
        println!("skipped: no cgroup can be made");
        return;
    }
    let id = fs::metadata(&directory).unwrap().ino();
    let found = path(&mut cgroups, id);
    fs::remove_dir(&directory).unwrap();
    assert_eq!(found, Some(format!("/{name}")));
    // It stays known.
    assert_eq!(path(&mut cgroups, id), Some(format!("/{name}")));
}

#[test]
fn the_line_that_shows_a_container_wins() {
    let id = "3f4b8c1d2e5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
    let hybrid = format!("4:memory:/docker/{id}\n1:name=systemd:/system.slice/x.service\n0::/\n");
    assert_eq!(most_telling(&hybrid), Some(format!("/docker/{id}").as_str()));
    let unit = "9:name=systemd:/system.slice/x.service\n4:memory:/limit/deep/er\n0::/\n";
    assert_eq!(most_telling(unit), Some("/system.slice/x.service"));
    assert_eq!(most_telling("0::/a/b\n"), Some("/a/b"));
    assert_eq!(most_telling("4:memory:/a\n0::/\n"), Some("/a"));
    assert_eq!(most_telling("0::/gone (deleted)\n"), Some("/gone"));
    assert_eq!(most_telling("0::/\n"), Some("/"));
    assert_eq!(most_telling("garbage"), None);
}
