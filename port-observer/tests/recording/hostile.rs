//! Files that somebody made to do harm: refused, or read in bounded time and memory.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::*;

/// What any of them may take.
const LONGEST: Duration = Duration::from_secs(30);
const MOST_KILOBYTES: u64 = 256 << 10;

/// A recording that this was done to.
fn crafted(directory: &Directory, sql: &str) -> PathBuf {
    let path = directory.file();
    let _ = std::fs::remove_file(&path);
    recorded(&path, 200);
    let connection = Connection::open(&path).unwrap();
    // As its own text could say it, whatever the tables are for.
    connection.execute_batch("PRAGMA legacy_alter_table = 1").unwrap();
    connection.execute_batch(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    path
}

/// Runs the program, which is to end within bounds.
fn bounded(arguments: &[&str]) -> Output {
    let began = Instant::now();
    let program = env!("CARGO_BIN_EXE_port-observer");
    let mut child = Command::new(program)
        .args(arguments)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let (pid, mut peak) = (child.id(), 0);
    let output = std::thread::scope(|scope| {
        let mut stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let read = |from: &mut dyn std::io::Read| {
            let mut all = Vec::new();
            from.read_to_end(&mut all).unwrap();
            all
        };
        let out = scope.spawn(move || read(&mut stdout));
        let errors = scope.spawn(move || read(&mut stderr));
        let status = loop {
            peak = peak.max(peak_kilobytes(pid).unwrap_or(0));
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if began.elapsed() > LONGEST {
                child.kill().unwrap();
                panic!("{arguments:?} takes longer than {LONGEST:?}");
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        Output { status, stdout: out.join().unwrap(), stderr: errors.join().unwrap() }
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{arguments:?}: {errors}");
    assert!(peak < MOST_KILOBYTES, "{arguments:?}: {peak} KiB");
    output
}

fn peak_kilobytes(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// It is refused by all that read it and by who would write on, and is not changed.
fn refused(path: &Path, why: &str) {
    let before = std::fs::read(path).unwrap();
    let file = path.to_str().unwrap();
    for arguments in [vec!["replay", "--json", file], vec!["report", file]] {
        let output = bounded(&arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{error}");
        assert!(error.contains(why), "{error}");
    }
    let error = format!("{:#}", Recorder::open(options(path), false).err().unwrap());
    assert!(error.contains(why), "{error}");
    assert!(std::fs::read(path).unwrap() == before, "it was changed");
}

#[test]
fn a_schema_that_is_not_the_own_is_refused_before_anything_is_read_or_written() {
    let directory = Directory::make();
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c)";
    for (sql, why) in [
        (
            format!(
                "ALTER TABLE segments RENAME TO old; CREATE VIEW segments AS {endless} SELECT x AS \
                 id, 1 AS run, 0 AS is_gap, 0 AS time_ns, 0 AS offset_ns, x AS first_event FROM c"
            ),
            "old",
        ),
        (
            "ALTER TABLE processes RENAME TO old; CREATE VIEW processes AS SELECT id, pid, \
             hex(zeroblob(450000000)) AS name, executable, command_line, uid, start_time_ns, cgroup, \
             cut FROM old"
                .to_owned(),
            "old",
        ),
        (
            "CREATE TRIGGER more AFTER INSERT ON events BEGIN INSERT INTO strings (text) VALUES \
             ('x'); END"
                .to_owned(),
            "the trigger \"more\", which no recording has",
        ),
        (
            "DROP TABLE details; CREATE TABLE details (event INTEGER PRIMARY KEY, value TEXT \
             GENERATED ALWAYS AS (hex(zeroblob(450000000))))"
                .to_owned(),
            "table \"details\" is not as version 4",
        ),
        (
            "ALTER TABLE paths RENAME TO old; CREATE TABLE paths AS SELECT * FROM old; DROP TABLE old"
                .to_owned(),
            "table \"paths\" is not as version 4",
        ),
        (
            "CREATE INDEX mine ON events (abs(time_ns))".to_owned(),
            "remove it with `DROP INDEX \"mine\"`",
        ),
        ("ANALYZE".to_owned(), "sqlite_stat1"),
        ("DROP INDEX holdings_by_segment".to_owned(), "lacks the index \"holdings_by_segment\""),
        (
            "PRAGMA writable_schema = 1; INSERT INTO sqlite_schema VALUES ('table', 'v', 'v', 0, \
             'CREATE VIRTUAL TABLE v USING fts5(a)')"
                .to_owned(),
            "the table \"v\", which no recording has",
        ),
    ] {
        refused(&crafted(&directory, &sql), why);
    }
}

#[test]
fn of_a_newer_version_what_would_run_is_refused_too() {
    let directory = Directory::make();
    for (sql, why) in [
        (
            "CREATE TRIGGER more AFTER INSERT ON events BEGIN DELETE FROM events; END",
            "the trigger \"more\"",
        ),
        (
            "ALTER TABLE strings DROP COLUMN text; ALTER TABLE strings ADD COLUMN text TEXT GENERATED \
             ALWAYS AS ('x') VIRTUAL",
            "\"strings\" has no column \"text\"",
        ),
        (
            "ALTER TABLE paths RENAME TO old; CREATE VIEW paths AS SELECT * FROM old",
            "it lacks the table \"paths\"",
        ),
    ] {
        let newer = format!("PRAGMA user_version = 99; {sql}");
        let path = crafted(&directory, &newer);
        let output = bounded(&["replay", "--json", path.to_str().unwrap()]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{error}");
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn views_of_others_with_the_names_of_the_own_are_not_run_and_are_replaced() {
    let directory = Directory::make();
    let forged =
        "DROP VIEW exhaustions; CREATE VIEW exhaustions AS SELECT load_extension('x') AS id";
    let path = crafted(&directory, forged);
    assert_eq!(bounded(&["report", path.to_str().unwrap()]).status.code(), Some(0));
    Recorder::open(options(&path), false).unwrap().finish().unwrap();
    let text = "SELECT sql FROM sqlite_schema WHERE name = 'exhaustions'";
    let text: String =
        Connection::open(&path).unwrap().query_row(text, [], |row| row.get(0)).unwrap();
    assert!(text.contains("WHERE e.type = 2"), "{text}");
}

#[test]
fn numbers_that_are_far_apart_or_used_up_end_too() {
    let directory = Directory::make();
    let path = crafted(
        &directory,
        "UPDATE segments SET first_event = -9000000000000000000; \
         INSERT INTO segments SELECT id + 1, run, era, 0, time_ns, offset_ns, 9000000000000000000, \
         first_process, first_path, first_string FROM segments; \
         PRAGMA writable_schema = 1; \
         UPDATE sqlite_schema SET sql = replace(sql, 'type INTEGER NOT NULL', 'type TEXT NOT NULL') \
         WHERE name = 'events'; PRAGMA writable_schema = RESET; \
         INSERT INTO events (id, time_ns, type) VALUES (8000000000000000000, 1, 'y'), \
         (-8000000000000000000, 1, 'y'); \
         PRAGMA writable_schema = 1; \
         UPDATE sqlite_schema SET sql = replace(sql, 'type TEXT NOT NULL', 'type INTEGER NOT NULL') \
         WHERE name = 'events'",
    );
    let file = path.to_str().unwrap();
    for arguments in [
        vec!["replay", "--json", file],
        vec!["report", file],
        vec!["report", "--json", file],
        vec!["report", "--at=1s", file],
    ] {
        bounded(&arguments);
    }
    let replay = bounded(&["replay", "--json", file]);
    let lines = String::from_utf8(replay.stdout).unwrap();
    assert_eq!(replay.status.code(), Some(1));
    assert_eq!(lines.matches(r#""type":"acquire""#).count(), 100, "{lines}");
    let error = format!("{:#}", Recorder::open(options(&path), false).err().unwrap());
    assert!(error.contains("no numbers are left"), "{error}");
}

#[test]
fn segments_that_say_again_and_again_where_they_begin_are_read_once() {
    let directory = Directory::make();
    let path = crafted(
        &directory,
        "WITH RECURSIVE c(x) AS (SELECT 2 UNION ALL SELECT x + 1 FROM c WHERE x < 20000) \
         INSERT INTO segments SELECT x, 1, 1, 0, s.time_ns, s.offset_ns, x % 2 * 100000, 1, 1, 1 \
         FROM c, segments s",
    );
    let output = bounded(&["replay", "--json", path.to_str().unwrap()]);
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines.matches(r#""type":"acquire""#).count(), 100);
}

#[test]
fn texts_of_any_length_are_read_in_bounded_memory() {
    let directory = Directory::make();
    for sql in [
        "UPDATE strings SET text = hex(zeroblob(9000000))",
        "UPDATE strings SET text = '[' || replace(hex(zeroblob(2500000)), '00', '\"\",') || '\"\"]'",
        "UPDATE processes SET name = hex(zeroblob(7000000))",
        "UPDATE runs SET host = hex(zeroblob(2000000)), version = hex(zeroblob(2000000)), \
         missing = '[' || replace(hex(zeroblob(2500000)), '00', '\"\",') || '\"\"]'",
    ] {
        let path = crafted(&directory, sql);
        let file = path.to_str().unwrap();
        let page = directory.0.join("page.html");
        for arguments in [
            vec!["replay", "--json", file],
            vec!["replay", "--events", "stop", file],
            vec!["report", file],
            vec!["report", "--html", page.to_str().unwrap(), file],
        ] {
            bounded(&arguments);
        }
    }
}

#[test]
fn more_than_fits_into_memory_is_read_as_far_as_it_fits() {
    let directory = Directory::make();
    // Each port is held by a process of its own, with long texts.
    let processes = "WITH RECURSIVE c(x) AS (SELECT 1000 UNION ALL SELECT x + 1 FROM c WHERE x < 60000) \
                     INSERT INTO processes SELECT x, x, 'a', 1000000, 1000001, 0, x, 1000000, NULL, NULL, \
                     NULL FROM c; \
                     INSERT INTO strings VALUES (1000000, hex(zeroblob(2000))), \
                     (1000001, '[\"' || hex(zeroblob(2000)) || '\"]');";
    for sql in [
        "INSERT INTO events SELECT id + 1000, (SELECT max(time_ns) FROM events), 1, id, 1, id, 443, \
         id, 1, 1, 0, NULL, NULL, NULL, NULL, 0, NULL, 1, NULL FROM processes WHERE id >= 1000",
        "UPDATE segments SET time_ns = time_ns + 1; \
         INSERT INTO holdings SELECT 1, id, 1, id, 443, id, 1, 0, 0, 0, 3, 0 FROM processes \
         WHERE id >= 1000",
    ] {
        let path = crafted(&directory, &format!("{processes} {sql}"));
        let output = bounded(&["report", path.to_str().unwrap()]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("more than") && error.contains("256 MiB"), "{error}");
    }
}

#[test]
fn nothing_that_comes_out_of_a_file_drives_a_terminal() {
    let directory = Directory::make();
    let hostile =
        "char(27) || ']0;PWNED' || char(7) || char(27) || '[2J' || char(8238) || char(155)";
    let sql = format!(
        "UPDATE runs SET version = {hostile}, host = {hostile}, kernel = {hostile}, backend = \
         {hostile}, missing = '[\"' || char(155) || char(8238) || '\"]'; UPDATE processes SET name = \
         {hostile}, container = {hostile}; UPDATE strings SET text = {hostile}"
    );
    let crafted_texts = crafted(&directory, &sql);
    let name = directory.0.join("\u{1b}]0;PWNED\u{7}\u{1b}[2J\u{202e}.db");
    std::fs::copy(&crafted_texts, &name).unwrap();
    let table = "CREATE TABLE \"\u{1b}]0;PWNED\u{7}\u{1b}[2J\u{202e}\" (x)";
    Connection::open(&crafted_texts).unwrap().execute_batch(table).unwrap();
    let missing = directory.0.join("\u{1b}[2J\u{9b}none");
    let page = directory.0.join("page.html");
    for path in [&name, &crafted_texts, &missing] {
        let file = path.to_str().unwrap();
        for arguments in [
            vec!["replay", file],
            vec!["replay", "--json", file],
            vec!["--log-level", "trace", "replay", file],
            vec!["report", file],
            vec!["report", "--at=1s", file],
            vec!["report", "--json", file],
            vec!["report", "--html", page.to_str().unwrap(), file],
            vec!["top", "--replay", file],
            vec!["record", file, "--netns", "\u{1b}[2J"],
            vec!["replay", file, "\u{1b}[2J"],
        ] {
            let output = Command::new(env!("CARGO_BIN_EXE_port-observer"))
                .args(&arguments)
                .output()
                .unwrap();
            for text in [&output.stdout, &output.stderr] {
                let text = String::from_utf8_lossy(text);
                let is_hostile = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
                assert!(!text.contains(is_hostile), "{arguments:?}: {text:?}");
            }
        }
    }
}
