//! Recordings of older versions of the schema.

use port_observer::{event::Repeated, recording::Input};
use rusqlite::Connection;

use super::*;

/// Made by the last program that wrote version 1: 9 acquires, 2 exhausted, 1 conflict.
const VERSION_1: &[u8] = include_bytes!("data/version1.db");

fn version_1(directory: &Directory) -> PathBuf {
    let path = directory.file();
    std::fs::write(&path, VERSION_1).unwrap();
    path
}

fn schema(path: &Path) -> Vec<(String, String, Option<String>)> {
    let all = "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name";
    let connection = Connection::open(path).unwrap();
    let mut statement = connection.prepare(all).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn refused(items: &[Item]) -> Vec<u64> {
    let row = |entry: &&Entry| match &entry.input {
        Input::Socket(row) if row.errno.is_some() => Some(row.repeated),
        _ => None,
    };
    entries(items).iter().filter_map(row).collect()
}

#[test]
fn a_recording_of_version_1_is_read_as_it_is() {
    let directory = Directory::make();
    let path = version_1(&directory);
    assert_eq!(refused(&read(&path)), [0, 0, 0]);
    let report = run(&["report", path.to_str().unwrap()]);
    assert_eq!(report.status.code(), Some(0));
    let output = run(&["replay", "--json", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let lines = String::from_utf8(output.stdout).unwrap();
    let of = |kind: &str| lines.lines().filter(|line| line.contains(kind)).count();
    assert_eq!(of(r#""type":"acquire""#), 9, "{lines}");
    assert_eq!(of(r#""type":"exhausted""#), 2, "{lines}");
    assert_eq!(std::fs::read(&path).unwrap(), VERSION_1);
}

#[test]
fn a_recording_of_version_1_is_written_on_as_one_of_the_present_version() {
    let directory = Directory::make();
    let path = version_1(&directory);
    let mut recorder = recorder(options(&path));
    let repeated = Repeated::default();
    let kind = Kind::Conflict { via: Via::Bind, errno: 98, task: None, repeated };
    let mut folded = event(BEGAN + SECOND, 1, 8_080, kind);
    folded.set_caller(Some(caller()), &[]);
    let Input::Socket(row) = &mut folded.input else { panic!() };
    row.repeated = 1_234;
    recorder.push(folded);
    recorder.stop(BEGAN + 2 * SECOND, std::time::Duration::from_secs(2));
    assert_eq!(recorder.finish().unwrap(), 0);

    let fresh = directory.0.join("fresh.db");
    recorded(&fresh, 2);
    assert_eq!(schema(&path), schema(&fresh));
    assert_eq!(refused(&read(&path)), [0, 0, 0, 1_234]);
    let connection = Connection::open(&path).unwrap();
    let number =
        |query: &str| -> i64 { connection.query_row(query, [], |row| row.get(0)).unwrap() };
    assert_eq!(number("PRAGMA user_version"), 4);
    assert_eq!(number("SELECT count(*) FROM runs"), 2);
    assert_eq!(number("SELECT sum(1 + repeated) FROM conflicts"), 1_236);
    assert_eq!(number("SELECT sum(1 + repeated) FROM exhaustions"), 2);
    // What version 1 recorded, and what this one did.
    assert_eq!(number("SELECT count(*) FROM callers WHERE cut = 0"), 1);
    assert_eq!(number("SELECT count(*) FROM callers WHERE cut = 6"), 1);
}

#[test]
fn what_is_neither_version_1_nor_2_is_left_as_it_is() {
    let directory = Directory::make();
    let path = version_1(&directory);
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("ALTER TABLE processes ADD COLUMN cut INTEGER").unwrap();
    drop(connection);
    let before = schema(&path);
    let error = format!("{:#}", Recorder::open(options(&path), false).err().unwrap());
    assert!(error.contains(r#"its table "processes" is not as version 1"#), "{error}");
    assert_eq!(schema(&path), before);
}
