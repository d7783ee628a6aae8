//! A recording that is moved, removed or replaced while it is written.

use std::fs;
use std::os::unix::fs::symlink;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::*;

/// The other side of a recorder, whose events are numbered.
struct Side {
    recorder: Recorder,
    next: u64,
    by: Caller,
}

impl Side {
    fn of(path: &Path) -> Self {
        Self { recorder: recorder(options(path)), next: 0, by: caller() }
    }

    fn push(&mut self, count: u64) {
        for _ in 0..count {
            self.recorder.push(opened(BEGAN + SECOND + self.next, self.next, &self.by));
            self.next += 1;
        }
        serve(&mut self.recorder, BEGAN + SECOND + self.next);
        self.recorder.check().unwrap();
    }

    /// Goes on until it is so; there are events all the time.
    fn until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < Duration::from_secs(10), "{what}");
            self.push(10);
            sleep(Duration::from_millis(10));
        }
    }

    fn finish(mut self) -> (u64, u64) {
        self.recorder.stop(BEGAN + 2 * SECOND, Duration::from_secs(2));
        (self.next, self.recorder.finish().unwrap())
    }
}

/// Checks that it is a whole recording by itself; the numbers of its events, and what it says is lost.
fn whole(path: &Path) -> (Vec<u64>, u64) {
    let connection = Connection::open(path).unwrap();
    let check: String =
        connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    drop(connection);
    let items = read(path);
    assert!(matches!(items.first(), Some(Item::Begins { .. })), "{:?}", items.first());
    for command in ["replay", "report"] {
        let output = run(&[command, path.to_str().unwrap(), "--json"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{command}: {errors}");
    }
    let mut lost = 0;
    let numbers = entries(&items).into_iter().filter_map(|entry| match entry.event()? {
        Event::Socket(event) => Some(event.time_ns - BEGAN - SECOND),
        Event::Lost { count, .. } => {
            lost += count;
            None
        }
        _ => None,
    });
    (numbers.collect(), lost)
}

fn is_gone(path: &Path, suffix: &str) -> bool {
    !PathBuf::from(format!("{}{suffix}", path.display())).exists()
}

#[test]
fn a_file_that_is_moved_stays_complete_and_another_is_begun_within_a_second() {
    let directory = Directory::make();
    let (path, moved) = (directory.file(), directory.0.join("ports.db.1"));
    let mut side = Side::of(&path);
    side.push(1_000);
    fs::rename(&path, &moved).unwrap();
    let began = Instant::now();
    side.until("a new file is there", || path.exists());
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    side.push(1_000);
    let (count, missing) = side.finish();
    assert_eq!(missing, 0);
    for path in [&path, &moved] {
        assert!(is_gone(path, "-wal") && is_gone(path, "-shm"), "{}", path.display());
    }
    let ((old, _), (new, lost)) = (whole(&moved), whole(&path));
    assert_eq!(lost, 0);
    assert!(old.len() >= 1_000 && new.len() >= 1_000);
    assert_eq!([old, new].concat(), (0..count).collect::<Vec<_>>(), "each event is in one of them");
    // What was held when it was begun is in it.
    assert!(read(&path).iter().any(|item| matches!(item, Item::Holds { .. })));
}

#[test]
fn a_file_that_is_moved_with_its_log_is_complete_too() {
    let directory = Directory::make();
    let (path, moved) = (directory.file(), directory.0.join("old.db"));
    let mut side = Side::of(&path);
    side.push(1_000);
    for suffix in ["-wal", "-shm", ""] {
        let name = |path: &Path| format!("{}{suffix}", path.display());
        fs::rename(name(&path), name(&moved)).unwrap();
    }
    side.until("a new file is there", || path.exists());
    let (count, missing) = side.finish();
    assert_eq!(missing, 0);
    let all = [whole(&moved).0, whole(&path).0].concat();
    assert_eq!(all, (0..count).collect::<Vec<_>>());
}

#[test]
fn of_a_file_that_is_removed_what_came_after_is_in_the_next_or_counted() {
    let directory = Directory::make();
    let path = directory.file();
    let mut side = Side::of(&path);
    side.push(1_000);
    sleep(Duration::from_millis(300));
    side.push(10);
    sleep(Duration::from_millis(300));
    let before = side.next;
    fs::remove_file(&path).unwrap();
    side.push(100);
    side.until("a new file is there", || path.exists());
    side.push(500);
    let (count, missing) = side.finish();
    let (new, lost) = whole(&path);
    assert_eq!(lost, missing);
    assert!(
        lost + new.len() as u64 >= count - before,
        "{lost} + {} of {}",
        new.len(),
        count - before
    );
    assert!(new.len() >= 500);
}

#[test]
fn two_recorders_never_share_a_log_whatever_their_files_are_called() {
    let directory = Directory::make();
    let (path, moved) = (directory.file(), directory.0.join("moved.db"));
    let mut first = Side::of(&path);
    first.push(1_000);
    sleep(Duration::from_millis(400));
    fs::rename(&path, &moved).unwrap();
    // At its new name, and at the old one before the first recorder sees that its file has moved.
    let at_new = Recorder::open(options(&moved), false).err().expect("it is locked");
    assert!(format!("{at_new:#}").contains("another port-observer does"), "{at_new:#}");
    let at_old = Recorder::open(options(&path), false).err().expect("its log is locked");
    assert!(format!("{at_old:#}").contains("another port-observer"), "{at_old:#}");
    first.until("a new file is there", || path.exists());
    let (count, missing) = first.finish();
    assert_eq!(missing, 0);
    let all = [whole(&moved).0, whole(&path).0].concat();
    assert_eq!(all, (0..count).collect::<Vec<_>>());
}

#[test]
fn while_no_new_file_can_be_begun_all_is_counted_and_it_goes_on_when_it_can() {
    let directory = Directory::make();
    let (path, moved) = (directory.file(), directory.0.join("moved.db"));
    let victim = directory.0.join("victim");
    let mut side = Side::of(&path);
    side.push(1_000);
    // Replaced by a link at once.
    let link = directory.0.join("link");
    symlink(&victim, &link).unwrap();
    fs::rename(&path, &moved).unwrap();
    fs::rename(&link, &path).unwrap();
    let log = PathBuf::from(format!("{}-wal", path.display()));
    side.until("the file is left", || !log.exists());
    for _ in 0..30 {
        side.push(10);
        sleep(Duration::from_millis(10));
    }
    assert!(!victim.exists(), "the link was followed");
    fs::remove_file(&path).unwrap();
    side.until("a new file is there", || path.exists());
    let gone_on = side.next;
    side.until("it goes on", || log.exists() && log.metadata().unwrap().len() > 0);
    sleep(Duration::from_millis(300));
    side.push(1_000);
    let (count, missing) = side.finish();
    assert!(count > gone_on && missing >= 300, "{missing}");
    let ((old, _), (new, lost)) = (whole(&moved), whole(&path));
    assert_eq!(lost, missing);
    assert_eq!(old.len() as u64 + new.len() as u64 + lost, count, "each is there, or counted");
}

#[test]
fn a_recorder_whose_directory_is_gone_at_its_end_fails() {
    let directory = Directory::make();
    let below = directory.0.join("below");
    fs::create_dir(&below).unwrap();
    let mut side = Side::of(&below.join("ports.db"));
    side.push(1_000);
    let moved = directory.0.join("moved");
    fs::rename(&below, &moved).unwrap();
    sleep(Duration::from_millis(500));
    side.push(100);
    side.recorder.stop(BEGAN + 2 * SECOND, Duration::from_secs(2));
    let error = format!("{:#}", side.recorder.finish().unwrap_err());
    assert!(error.contains("no new file could be begun"), "{error}");
    assert_eq!(whole(&moved.join("ports.db")).0.len(), 1_000);
}

#[test]
fn a_file_that_somebody_reads_while_it_is_moved_is_complete_when_he_is_done() {
    let directory = Directory::make();
    let (path, moved) = (directory.file(), directory.0.join("moved.db"));
    let mut side = Side::of(&path);
    side.push(1_000);
    sleep(Duration::from_millis(500));
    let reader = Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM events").unwrap();
    side.push(1_000);
    fs::rename(&path, &moved).unwrap();
    for _ in 0..100 {
        side.push(10);
        sleep(Duration::from_millis(10));
    }
    assert!(!path.exists(), "another is begun while the log is in use");
    drop(reader);
    side.until("a new file is there", || path.exists());
    let (count, missing) = side.finish();
    assert_eq!(missing, 0);
    let all = [whole(&moved).0, whole(&path).0].concat();
    assert_eq!(all, (0..count).collect::<Vec<_>>());
}
