//! The file: which version it is of, and how it is opened for writing.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use rusqlite::{Connection, OpenFlags};

use super::{sqlite, target};

/// "port" in ASCII: what `file` and SQLite's own tools see a recording by.
pub const APPLICATION_ID: i32 = 0x706f_7274;
/// The version of the schema that this program writes.
pub const VERSION: i32 = 1;

const SCHEMA: &str = include_str!("schema.sql");

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
    let mut connection = Connection::open_with_flags(path, flags)
        .with_context(|| format!("can't open {shown} for writing"))?;
    connection.busy_timeout(target::BUSY)?;
    match identity(&connection).with_context(|| format!("can't record into {shown}"))? {
        Identity::Empty => {
            create(&mut connection)
                .with_context(|| format!("can't make a recording of {shown}"))?;
        }
        Identity::Recording(VERSION) => {}
        Identity::Recording(version) if version > VERSION => bail!(
            "can't record into {shown}: it is of a newer port-observer (schema {version}, this one \
             writes {VERSION}); record into another file, or with that version"
        ),
        Identity::Recording(version) => {
            bail!("can't record into {shown}: no program has written schema {version}")
        }
        Identity::Foreign => bail!(
            "can't record into {shown}: it is a database of another program; record into another \
             file"
        ),
    }
    set_up(&connection).with_context(|| format!("can't record into {shown}"))?;
    Ok(connection)
}

fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    // Before the first table: what retention frees can then be given back to the file system.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit does not wait for the disk: another thread does (`disk.rs`).
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}
