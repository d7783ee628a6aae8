use super::*;

#[test]
fn a_sqlite_with_the_wal_reset_bug_is_refused() {
    check_version().unwrap();
    refuse_older(3_051_003, "3.51.3").unwrap();
    let error = refuse_older(3_051_002, "3.51.2").unwrap_err().to_string();
    assert!(error.contains("SQLite 3.51.2") && error.contains("3.51.3 or newer"), "{error}");
}

#[test]
fn what_no_recording_needs_is_not_built_in() {
    let connection = Connection::open_in_memory().unwrap();
    let mut statement = connection.prepare("PRAGMA compile_options").unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let options: Vec<String> = rows.map(Result::unwrap).collect();
    assert!(options.iter().any(|option| option == "OMIT_LOAD_EXTENSION"), "{options:?}");
    assert!(options.iter().any(|option| option == "OMIT_JSON"), "{options:?}");
    for unused in ["FTS", "RTREE", "GEOPOLY", "DBSTAT", "STAT4", "LOAD_EXTENSION"] {
        let enabled = |option: &&String| option.starts_with("ENABLE_") && option.contains(unused);
        assert_eq!(options.iter().find(enabled), None);
    }
    for module in ["fts3", "fts4", "fts5", "rtree"] {
        let table = format!("CREATE VIRTUAL TABLE one USING {module}(a, b, c)");
        let error = connection.execute_batch(&table).unwrap_err().to_string();
        assert!(error.contains("no such module"), "{error}");
    }
}

/// A hardened connection to a database with a table `t` of one row.
fn hardened() -> Connection {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
    harden(&connection, false).unwrap();
    connection
}

#[test]
fn views_and_triggers_do_nothing_and_the_schema_is_not_written() {
    let connection = hardened();
    connection.execute_batch("CREATE VIEW v AS SELECT x FROM t").unwrap();
    let trigger = "CREATE TRIGGER r AFTER INSERT ON t BEGIN INSERT INTO t VALUES (3); END; \
                   INSERT INTO t VALUES (2)";
    connection.execute_batch(trigger).unwrap();
    let rows = connection.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0));
    assert_eq!(rows.unwrap(), 2);
    assert!(connection.prepare("SELECT * FROM v").is_err());
    let forged = "PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = ''";
    assert!(connection.execute_batch(forged).is_err());
}

#[test]
fn values_and_memory_are_bounded() {
    let connection = hardened();
    let error = connection.execute_batch("INSERT INTO t VALUES (zeroblob(20000000))").unwrap_err();
    assert!(error.to_string().contains("too big"), "{error}");
    let limit = "PRAGMA hard_heap_limit";
    let limit: i64 = connection.query_row(limit, [], |row| row.get(0)).unwrap();
    assert_eq!(limit, HEAP_BYTES);
}

#[test]
fn a_statement_that_goes_on_for_ever_is_ended() {
    let mut connection = hardened();
    let budget = Budget::of(&mut connection, 0).unwrap();
    let endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) \
                   SELECT count(*) FROM c";
    for _ in 0..2 {
        budget.piece();
        let error = connection.query_row(endless, [], |_| Ok(())).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::OperationInterrupted));
    }
    budget.whole();
    connection.query_row("SELECT count(*) FROM t", [], |_| Ok(())).unwrap();
}

#[test]
fn a_connection_that_only_reads_does_nothing_else() {
    let mut connection = hardened();
    only_read(&mut connection).unwrap();
    connection.query_row("SELECT max(x) FROM t", [], |_| Ok(())).unwrap();
    for refused in [
        "SELECT hex(x) FROM t",
        "DELETE FROM t",
        "ATTACH ':memory:' AS other",
        "PRAGMA table_list",
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c",
        "CREATE TEMP TABLE other (x)",
    ] {
        assert!(connection.prepare(refused).is_err(), "{refused}");
    }
}
