//! How old and how large a recording gets.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::*;

/// The file and what is beside it, in bytes.
fn size(path: &Path) -> u64 {
    let beside = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        std::fs::metadata(name).map_or(0, |metadata| metadata.len())
    };
    beside("") + beside("-wal") + beside("-shm")
}

#[test]
fn a_file_stays_within_its_size_and_keeps_the_newest() {
    const MAX: u64 = 16 << 20;
    const COUNT: u64 = 700_000;
    let directory = Directory::make();
    let path = directory.file();
    let mut recorder = recorder(Options { max_size: MAX, ..options(&path) });
    let (mut pushed, mut largest) = (0, 0);
    traffic(COUNT, |entry| {
        let time_ns = entry.time_ns;
        recorder.push(entry);
        pushed += 1;
        if pushed % 10_000 == 0 {
            serve(&mut recorder, time_ns);
            // The program is not optimized here, and the machine may be busy.
            std::thread::sleep(Duration::from_millis(60));
            while recorder.queued() > 100_000 {
                std::thread::sleep(Duration::from_millis(5));
            }
            largest = largest.max(size(&path));
        }
    });
    assert_eq!(recorder.finish().unwrap(), 0);
    largest = largest.max(size(&path));
    assert!(largest <= MAX, "{largest} bytes");
    let items = read(&path);
    let kept = entries(&items);
    let newest = BEGAN + (COUNT / 2 - 1) * 100_000 + 50_000;
    assert_eq!(kept.last().map(|entry| entry.time_ns), Some(newest));
    assert!((50_000..COUNT as usize).contains(&kept.len()), "{}", kept.len());
    // What was held where it begins now is told.
    assert!(matches!(items[..2], [Item::Begins { .. }, Item::Holds { .. }]));
}

#[test]
fn what_is_too_old_goes_also_while_nothing_happens() {
    let directory = Directory::make();
    let path = directory.file();
    let keep = Some(Duration::from_secs(2));
    let mut recorder = recorder(Options { keep, ..options(&path) });
    let began = Instant::now();
    let now_ns = || u64::try_from(began.elapsed().as_nanos()).unwrap();
    let by = caller();
    let first_segment = || {
        let connection = Connection::open(&path).unwrap();
        let first = "SELECT ifnull(min(id), 1) FROM segments";
        connection.query_row(first, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let mut number = 0;
    // All of a segment goes at once, and a busy disk may hold that up.
    while first_segment() == 1 {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing has gone");
        let until_ns = now_ns() + SECOND;
        while now_ns() < until_ns {
            let time_ns = BEGAN + now_ns();
            recorder.push(opened(time_ns, number, &by));
            number += 1;
            serve(&mut recorder, time_ns);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    recorder.finish().unwrap();
    let items = read(&path);
    let oldest_ns = entries(&items).first().map(|entry| entry.time_ns - BEGAN).unwrap();
    // A segment is a second long at least, and nothing goes before its time.
    assert!(oldest_ns >= SECOND && oldest_ns + 2 * SECOND <= now_ns(), "{oldest_ns}");
}
