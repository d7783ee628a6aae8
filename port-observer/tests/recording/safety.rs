//! What others can read of a recording, and what they can have put in its place.

use std::fs::{self, File, Permissions, hard_link};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use nix::unistd::{Gid, Uid, chown, mkfifo};

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn refusal(path: &Path) -> String {
    format!("{:#}", Recorder::open(options(path), false).err().expect("it is refused"))
}

#[test]
fn only_the_user_and_a_group_that_is_named_may_read_a_recording_and_what_is_beside_it() {
    for (group, expected) in [(None, 0o600), (Some(Gid::current()), 0o640)] {
        let directory = Directory::make();
        let path = directory.file();
        let options = Options { group, ..options(&path) };
        let recorder = recorder(options);
        for suffix in ["", "-wal", "-shm"] {
            assert_eq!(mode(&beside(&path, suffix)), expected, "{suffix}");
        }
        recorder.finish().unwrap();
        assert_eq!(mode(&path), expected);
    }
}

#[test]
fn a_group_is_given_all_three_files_whatever_the_users_own_group_is() {
    if !Uid::effective().is_root() {
        println!("skipped: only root can give files to any group");
        return;
    }
    let directory = Directory::make();
    let path = directory.file();
    let group = Gid::from_raw(54_321);
    let recorder = recorder(Options { group: Some(group), ..options(&path) });
    for suffix in ["", "-wal", "-shm"] {
        let found = fs::metadata(beside(&path, suffix)).unwrap();
        assert_eq!((found.gid(), found.mode() & 0o7777), (54_321, 0o640), "{suffix}");
    }
    drop(recorder);
}

#[test]
fn an_older_recording_that_others_can_read_is_closed_to_them() {
    let directory = Directory::make();
    let path = directory.file();
    recorded(&path, 100);
    set_mode(&path, 0o644);
    recorded(&path, 100);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(entries(&read(&path)).len(), 200);
}

#[test]
fn a_link_is_not_followed_whether_or_not_it_leads_anywhere() {
    let directory = Directory::make();
    let path = directory.file();
    let target = directory.0.join("target");
    symlink(&target, &path).unwrap();
    assert!(refusal(&path).contains("symbolic link"));
    assert!(!target.exists(), "nothing was made where the link leads");
    recorded(&target, 100);
    let before = fs::read(&target).unwrap();
    assert!(refusal(&path).contains("symbolic link"));
    assert_eq!(fs::read(&target).unwrap(), before);
    // A link to the directory is the user's own choice.
    let link = directory.0.join("link");
    symlink(&directory.0, &link).unwrap();
    recorded(&link.join("other.db"), 100);
}

#[test]
fn what_others_may_write_or_have_a_name_for_is_not_recorded_into() {
    let directory = Directory::make();
    let path = directory.file();
    let refused = |why: &str| {
        let before = fs::read(&path).unwrap();
        let error = refusal(&path);
        assert!(error.contains(why) && error.contains("ports.db"), "{error}");
        assert_eq!(fs::read(&path).unwrap(), before, "it is untouched");
    };
    for writable in [0o666, 0o620, 0o602] {
        File::create(&path).unwrap();
        set_mode(&path, writable);
        refused("written to by others");
    }
    set_mode(&path, 0o600);
    hard_link(&path, directory.0.join("second")).unwrap();
    refused("2 names");
    fs::remove_file(directory.0.join("second")).unwrap();
    if Uid::effective().is_root() {
        chown(&path, Some(Uid::from_raw(65_534)), None).unwrap();
        refused("belongs to the user 65534");
    }
    fs::remove_file(&path).unwrap();
    mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(refusal(&path).contains("not a regular file"));
}

#[test]
fn a_log_that_others_planted_or_that_belongs_to_a_recording_that_was_moved_is_not_read() {
    for suffix in ["-wal", "-shm", "-journal"] {
        let directory = Directory::make();
        let path = directory.file();
        let planted = beside(&path, suffix);
        let victim = directory.0.join("victim");
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &planted).unwrap();
        assert!(refusal(&path).contains("not a regular file"), "{suffix}");
        assert!(!path.exists(), "what was made is removed again");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        fs::remove_file(&planted).unwrap();
        File::create(&planted).unwrap().write_all(&[0; 64]).unwrap();
        set_mode(&planted, 0o666);
        assert!(refusal(&path).contains("written to by others"), "{suffix}");
        set_mode(&planted, 0o600);
        if suffix != "-shm" {
            assert!(refusal(&path).contains("moved or removed"), "{suffix}");
            assert_eq!(fs::metadata(&planted).unwrap().len(), 64, "and it is still there");
        }
    }
}

#[test]
fn nothing_is_recorded_where_everybody_can_replace_it() {
    let directory = Directory::make();
    set_mode(&directory.0, 0o777);
    assert!(refusal(&directory.file()).contains("everybody can replace"));
    let below = directory.0.join("below");
    fs::create_dir(&below).unwrap();
    assert!(refusal(&below.join("ports.db")).contains("everybody can replace"));
    set_mode(&directory.0, 0o1777);
    recorded(&directory.file(), 100);
}

#[test]
fn what_could_not_be_begun_leaves_nothing_behind() {
    let directory = Directory::make();
    let path = directory.file();
    let status = Command::new("sh")
        .args(["-c", "ulimit -f 8; exec \"$0\" record \"$1\" --backend poll --duration 2s"])
        .args([Path::new(env!("CARGO_BIN_EXE_port-observer")), &path])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&status.stderr).into_owned();
    // Not by SIGXFSZ: then there is no exit code.
    assert_eq!(status.status.code(), Some(1), "{error}");
    assert!(error.contains("can't make a recording"), "{error}");
    assert!(error.contains("RLIMIT_FSIZE"), "{error}");
    assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 0, "{error}");
}
