//! How old and how large a recording gets.

use std::time::{Duration, Instant};

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
            // The program is not optimized here.
            std::thread::sleep(Duration::from_millis(60));
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
    let by = caller();
    let mut number = 0;
    while began.elapsed() < Duration::from_secs(6) {
        let time_ns = BEGAN + u64::try_from(began.elapsed().as_nanos()).unwrap();
        recorder.push(opened(time_ns, number, &by));
        number += 1;
        serve(&mut recorder, time_ns);
        std::thread::sleep(Duration::from_millis(20));
    }
    recorder.finish().unwrap();
    let items = read(&path);
    let oldest = entries(&items).first().map(|entry| entry.time_ns - BEGAN).unwrap();
    // All of a segment goes at once: it is a second long, and looked at now and then.
    assert!((SECOND..5 * SECOND).contains(&oldest), "{oldest}");
}
