//! The file: which version it is of, and how it is opened for writing.

mod check;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::{faults, sqlite, target};
pub(super) use check::check;

/// "port" in ASCII: what `file` and SQLite's own tools see a recording by.
pub const APPLICATION_ID: i32 = 0x706f_7274;
/// The version of the schema that this program writes. It reads those before it too.
pub const VERSION: i32 = 4;

/// The tables of version 1. A new recording is made as one of version 1 and brought to the present
/// one, so that it has the same schema as an old one that was.
const TABLES: &str = include_str!("schema/tables.sql");
/// What each version after the first has more than the one before it.
const MIGRATIONS: [&str; VERSION as usize - 1] = [
    // `repeated`: how many more equal calls an event stands for. `cut`: which texts are only beginnings.
    "ALTER TABLE events ADD COLUMN repeated INTEGER; \
     ALTER TABLE processes ADD COLUMN cut INTEGER;",
    // What the program was called when it began, where that is another name.
    "ALTER TABLE processes ADD COLUMN exec_name TEXT;",
    // `netns`: the network namespace that the recorder is in. `container`: what its runtime calls the
    // container that the cgroup shows.
    "ALTER TABLE runs ADD COLUMN netns INTEGER; \
     ALTER TABLE processes ADD COLUMN container TEXT;",
];
/// What is there for who queries a recording. The program reads none of them.
const VIEWS: &str = include_str!("schema/views.sql");

/// What a file says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nothing is in it.
    Empty,
    /// A recording of a version.
    Recording(i32),
    /// A database of another program.
    Foreign,
}

/// What a database says that it is.
///
/// # Errors
/// When it can't be read, or is no database.
pub fn identity(connection: &Connection) -> rusqlite::Result<Identity> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let (application, version) = (number("application_id")?, number("user_version")?);
    Ok(match (application, tables) {
        (APPLICATION_ID, _) => Identity::Recording(version),
        (0, 0) => Identity::Empty,
        _ => Identity::Foreign,
    })
}

/// The path as SQLite is to take it: one that begins with `file:` is no URI.
pub(super) fn plain(path: &Path) -> PathBuf {
    if path.is_relative() { Path::new(".").join(path) } else { path.to_owned() }
}

/// Opens or makes a recording to be written to; no directory of `path` is a symbolic link.
///
/// # Errors
/// When it can't be made, is not a recording, or is of a newer version.
pub fn open(path: &Path) -> Result<Connection> {
    sqlite::check_version()?;
    let shown = path.display();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NOFOLLOW
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(plain(path), flags)
        .with_context(|| format!("can't open {shown} for writing"))?;
    let what = || format!("can't record into {shown}");
    sqlite::harden(&connection, false).with_context(what)?;
    connection.busy_timeout(target::BUSY)?;
    match identity(&connection).with_context(what)? {
        Identity::Empty => {
            if let Err(error) = create(&mut connection) {
                let why = faults::explained(&connection, &error);
                bail!("can't make a recording of {shown}: {why}");
            }
        }
        Identity::Recording(version) if version > VERSION => bail!(
            "can't record into {shown}: it is of a newer port-observer (schema {version}, this one \
             writes {VERSION}); record into another file, or with that version"
        ),
        Identity::Recording(version) if version < 1 => {
            bail!("can't record into {shown}: no program has written schema {version}")
        }
        Identity::Recording(version) => {
            check(&connection, version).with_context(what)?;
            if version < VERSION || !check::has_present_views(&connection).with_context(what)? {
                migrate(&mut connection, version).with_context(|| {
                    format!("can't bring {shown} from schema {version} to schema {VERSION}")
                })?;
            }
        }
        Identity::Foreign => bail!(
            "can't record into {shown}: it is a database of another program; record into another \
             file"
        ),
    }
    set_up(&connection).with_context(what)?;
    refuse_used_up(&connection).with_context(what)?;
    Ok(connection)
}

fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    // Before the first table: what retention frees can then be given back to the file system.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    bring_up(&transaction, 1)?;
    transaction.commit()
}

/// Brings a recording of an older version to the present one, or leaves it as it was.
fn migrate(connection: &mut Connection, version: i32) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    bring_up(&transaction, version)?;
    transaction.commit()
}

fn bring_up(connection: &Connection, version: i32) -> rusqlite::Result<()> {
    // Its views may name what a migration changes.
    for view in views(connection)? {
        connection.execute_batch(&format!("DROP VIEW \"{}\"", view.replace('"', "\"\"")))?;
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(version - 1).unwrap_or(0)) {
        connection.execute_batch(migration)?;
    }
    connection.execute_batch(VIEWS)?;
    connection.pragma_update(None, "user_version", VERSION)
}

fn views(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let names = "SELECT name FROM sqlite_schema WHERE type = 'view'";
    connection.prepare(names)?.query_map([], |row| row.get(0))?.collect()
}

/// Refuses a file whose next numbers would not be ones that SQLite has.
fn refuse_used_up(connection: &Connection) -> Result<()> {
    for (table, column) in [
        ("events", "id"),
        ("segments", "id"),
        ("segments", "first_event"),
        ("segments", "first_process"),
        ("segments", "first_path"),
        ("segments", "first_string"),
        ("processes", "id"),
        ("paths", "id"),
        ("strings", "id"),
    ] {
        let last = format!("SELECT ifnull(max({column}), 0) FROM {table}");
        let last: i64 = connection.query_row(&last, [], |row| row.get(0))?;
        if last > i64::MAX / 2 {
            bail!("no numbers are left for what would be added to its table {table:?}");
        }
    }
    Ok(())
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit does not wait for the disk: another thread does (`disk.rs`).
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}
