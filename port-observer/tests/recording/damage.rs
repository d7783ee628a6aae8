//! Files that are not as they should be: a clear error, and what can be read is read.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;

use rusqlite::Connection;

use super::*;

fn replay(path: &Path) -> (usize, i32, String) {
    let output = run(&["replay", path.to_str().unwrap(), "--json"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["seq"].is_u64());
    }
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (lines.lines().count(), output.status.code().unwrap(), errors)
}

#[test]
fn what_is_no_recording_is_refused_with_the_reason() {
    let directory = Directory::make();
    let path = directory.file();
    let refused = |why: &str| {
        for command in ["replay", "report"] {
            let output = run(&[command, path.to_str().unwrap()]);
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{error}");
            assert!(error.contains(why) && error.contains("ports.db"), "{error}");
        }
    };
    refused("No such file");
    fs::write(&path, "").unwrap();
    refused("nothing is in it");
    fs::write(&path, "This is a text, and rather a long one at that.\n".repeat(100)).unwrap();
    refused("it is not a recording");
    fs::remove_file(&path).unwrap();
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE mine (id INTEGER)").unwrap();
    refused("another program");
    // And nothing of it is touched.
    let error = format!("{:#}", Recorder::open(options(&path), false).err().unwrap());
    assert!(error.contains("another program"), "{error}");
    let tables = "SELECT count(*) FROM sqlite_schema";
    let count: u32 =
        Connection::open(&path).unwrap().query_row(tables, [], |row| row.get(0)).unwrap();
    assert_eq!(count, 1);
}

#[test]
fn that_a_recording_may_not_be_read_is_said() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: not root, who gives it to another user");
        return;
    }
    let directory = Directory::make();
    let path = directory.file();
    recorded(&path, 10);
    let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let program = env!("CARGO_BIN_EXE_port-observer");
    let output = Command::new("setpriv").args(nobody).args([program, "replay"]).arg(&path).output();
    let error = String::from_utf8_lossy(&output.unwrap().stderr).into_owned();
    // The program itself may lie where nobody may go.
    if error.contains("failed to execute") {
        println!("skipped: {error}");
        return;
    }
    assert!(error.contains("Permission denied"), "{error}");
}

#[test]
fn of_a_newer_version_what_is_known_is_read_and_nothing_is_written() {
    let directory = Directory::make();
    let path = directory.file();
    recorded(&path, 100);
    let newer = "PRAGMA user_version = 99; ALTER TABLE events ADD COLUMN more INTEGER; \
                 INSERT INTO events (id, time_ns, type) VALUES (1000, 0, 99)";
    Connection::open(&path).unwrap().execute_batch(newer).unwrap();
    let (lines, code, error) = replay(&path);
    assert_eq!((lines, code), (102, 1), "{error}");
    assert!(error.contains("newer port-observer (schema 99"), "{error}");
    let error = format!("{:#}", Recorder::open(options(&path), false).err().unwrap());
    assert!(error.contains("newer port-observer"), "{error}");
}

#[test]
fn the_beginning_of_calls_that_older_recordings_have_changes_nothing() {
    let directory = Directory::make();
    let path = directory.file();
    recorded(&path, 100);
    let before = run(&["replay", path.to_str().unwrap(), "--json"]).stdout;
    let older = "UPDATE events SET id = id + 1000 WHERE id > 50; INSERT INTO events (id, time_ns, type, \
                 socket, path, local_port, process, thread) SELECT 51, time_ns, 7, socket, path, 0, \
                 process, thread FROM events WHERE type = 1 AND id < 50 LIMIT 1";
    Connection::open(&path).unwrap().execute_batch(older).unwrap();
    let output = run(&["replay", path.to_str().unwrap(), "--json"]);
    assert_eq!((output.status.code(), output.stdout), (Some(0), before));
}

#[test]
fn of_a_truncated_file_the_beginning_is_read() {
    let directory = Directory::make();
    let path = directory.file();
    recorded(&path, 40_000);
    let length = fs::metadata(&path).unwrap().len();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(length * 6 / 10).unwrap();
    let (lines, code, error) = replay(&path);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("damaged"), "{error}");
    assert!((15_000..39_000).contains(&lines), "{lines}");
}

#[test]
fn around_a_damaged_page_all_is_read_and_the_rest_is_counted() {
    let directory = Directory::make();
    let path = directory.file();
    recorded(&path, 40_000);
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    let page = fs::metadata(&path).unwrap().len() / 4096 / 2;
    file.write_all_at(&[0xaa; 4096], page * 4096).unwrap();
    let (lines, code, error) = replay(&path);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("damaged"), "{error}");
    assert!((39_000..40_002).contains(&lines), "{lines}");
    let output = run(&["replay", path.to_str().unwrap(), "--json", "--events", "lost"]);
    let lost: serde_json::Value =
        serde_json::from_str(String::from_utf8(output.stdout).unwrap().trim()).unwrap();
    assert_eq!((&lost["where"], &lost["kind"]), (&"decode".into(), &"record".into()));
    let report = run(&["report", path.to_str().unwrap()]);
    assert_eq!(report.status.code(), Some(1));
    assert!(!report.stdout.is_empty());
}

#[test]
fn no_damage_makes_the_program_panic_or_hang() {
    let directory = Directory::make();
    let (whole, path) = (directory.0.join("whole.db"), directory.file());
    recorded(&whole, 3_000);
    let bytes = fs::read(&whole).unwrap();
    let mut seed = 1_u64;
    let mut random = |below: usize| {
        // Knuth's, good enough to choose places.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    for _ in 0..60 {
        let mut damaged = bytes.clone();
        for _ in 0..=random(20) {
            let at = random(damaged.len());
            damaged[at] = random(256) as u8;
        }
        fs::write(&path, &damaged).unwrap();
        for command in ["replay", "report"] {
            run(&[command, path.to_str().unwrap(), "--json"]);
        }
    }
}
