//! What is asked of SQLite itself, however it was built.

use anyhow::{Result, bail};

/// The first version whose write-ahead log is safe with a checkpoint on another connection:
/// <https://sqlite.org/wal.html#walresetbug>.
const MIN_VERSION: i32 = 3_051_003;

/// Refuses a SQLite that can damage a recording. The one that is built in is new enough; one of the
/// system (`LIBSQLITE3_SYS_USE_PKG_CONFIG`) may not be.
///
/// # Errors
/// When it is older than [`MIN_VERSION`].
pub(super) fn check_version() -> Result<()> {
    refuse_older(rusqlite::version_number(), rusqlite::version())
}

fn refuse_older(number: i32, version: &str) -> Result<()> {
    if number < MIN_VERSION {
        bail!(
            "this program was linked with SQLite {version}, which can damage a recording \
             (https://sqlite.org/wal.html#walresetbug); build it with the one that comes with it, or \
             link 3.51.3 or newer"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

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
            let enabled =
                |option: &&String| option.starts_with("ENABLE_") && option.contains(unused);
            assert_eq!(options.iter().find(enabled), None);
        }
        for module in ["fts3", "fts4", "fts5", "rtree"] {
            let table = format!("CREATE VIRTUAL TABLE one USING {module}(a, b, c)");
            let error = connection.execute_batch(&table).unwrap_err().to_string();
            assert!(error.contains("no such module"), "{error}");
        }
    }
}
