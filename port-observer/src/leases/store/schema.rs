//! The tables of the leases, and how a connection to them is set up.

use anyhow::{Result, bail};
use rusqlite::{Connection, TransactionBehavior, config::DbConfig};

use super::BUSY;

/// What marks the file as this program's: `POLS`.
const APPLICATION_ID: i32 = 0x504f_4c53;
/// The version of the tables.
const VERSION: i32 = 1;

const TABLES: &str = "
CREATE TABLE leases (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    pool TEXT NOT NULL,
    namespace TEXT,
    address TEXT,
    protocol TEXT NOT NULL,
    ports TEXT NOT NULL,
    units INTEGER NOT NULL,
    owner TEXT NOT NULL,
    request_key TEXT UNIQUE,
    since_ms INTEGER NOT NULL,
    ttl_ms INTEGER,
    end_wall_ms INTEGER,
    end_boot_ms INTEGER,
    end_boot TEXT
) STRICT;
CREATE TABLE turns (pool_group TEXT PRIMARY KEY, pool TEXT NOT NULL) STRICT;
";

/// Sets up a connection, and makes the tables where there are none. Where they are, this waits for nobody
/// who changes leases.
///
/// # Errors
/// When it is another program's database, another version's, or can't be read or made.
pub fn set_up(connection: &mut Connection) -> Result<()> {
    for (setting, is_on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
    ] {
        connection.set_db_config(setting, is_on)?;
    }
    connection.busy_timeout(BUSY)?;
    // What was said to be somebody's stays so, whatever happens then.
    connection.pragma_update(None, "synchronous", "FULL")?;
    let looks = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
    if has_tables(&looks)? {
        return Ok(());
    }
    drop(looks);
    let makes = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another one may have made them meanwhile.
    if !has_tables(&makes)? {
        makes.execute_batch(TABLES)?;
        makes.pragma_update(None, "application_id", APPLICATION_ID)?;
        makes.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(makes.commit()?)
}

/// Whether the tables are there; `false`: nothing is.
fn has_tables(connection: &Connection) -> Result<bool> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (number("application_id")?, number("user_version")?) {
        (0, 0) if tables == 0 => Ok(false),
        (APPLICATION_ID, VERSION) => Ok(true),
        (APPLICATION_ID, version) => {
            bail!("it is of another port-observer (version {version}, this one knows {VERSION})")
        }
        _ => bail!("it is a database of another program: name another directory"),
    }
}
