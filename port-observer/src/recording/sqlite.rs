//! What is asked of SQLite itself, however it was built: nothing that a file says is to be run, and
//! what is read is bounded. After <https://sqlite.org/security.html>, "Untrusted SQLite Database
//! Files".

#[cfg(test)]
mod tests;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Result, bail};
use rusqlite::{
    Connection,
    config::DbConfig,
    hooks::{AuthAction, AuthContext, Authorization},
    limits::Limit,
};

/// The first version whose write-ahead log is safe with a checkpoint on another connection:
/// <https://sqlite.org/wal.html#walresetbug>.
const MIN_VERSION: i32 = 3_051_003;

/// What SQLite may take of the memory in bytes, in all of the process.
const HEAP_BYTES: i64 = 64 << 20;
/// From here on it gives back what it only keeps for later, in bytes.
const SOFT_HEAP_BYTES: i64 = 32 << 20;

/// The largest value is a command line of some other version, of at most 6 MiB (`MAX_ARG_STRLEN` and
/// the stack's limit, fs/exec.c), as JSON.
const LIMITS: [(Limit, i32); 12] = [
    (Limit::SQLITE_LIMIT_LENGTH, 16 << 20),
    (Limit::SQLITE_LIMIT_SQL_LENGTH, 64 << 10),
    (Limit::SQLITE_LIMIT_COLUMN, 100),
    (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
    (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 10),
    (Limit::SQLITE_LIMIT_VDBE_OP, 25_000),
    (Limit::SQLITE_LIMIT_FUNCTION_ARG, 8),
    (Limit::SQLITE_LIMIT_ATTACHED, 0),
    (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50),
    (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, 100),
    (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 1),
    (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
];

/// How many instructions of SQLite's machine pass between two looks at the budget.
const STEP: i32 = 1_000;

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

/// Switches off what no recording needs, and bounds the rest; before anything is read.
///
/// `is_short`: the file is shorter than it says, and is read nevertheless. That takes
/// `writable_schema` without the defensive mode (`sqlite3WritableSchema`, build.c), on a connection
/// that writes nothing.
pub(super) fn harden(connection: &Connection, is_short: bool) -> rusqlite::Result<()> {
    for (setting, is_on) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, !is_short),
        (DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, is_short),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
    ] {
        connection.set_db_config(setting, is_on)?;
    }
    for (limit, value) in LIMITS {
        connection.set_limit(limit, value)?;
    }
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "soft_heap_limit", SOFT_HEAP_BYTES)?;
    connection.pragma_update(None, "hard_heap_limit", HEAP_BYTES)
}

/// How much work a connection may still do before it comes back.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    left: Arc<AtomicU64>,
    /// What going through all of the file takes at most.
    whole: u64,
}

/// What a look at some thousands of rows takes at most, in instructions.
const PIECE: u64 = 20_000_000;

impl Budget {
    /// Ends each statement of the connection that goes on for longer than the file's size explains:
    /// a damaged B-tree can lead back to where it came from.
    pub(super) fn of(connection: &mut Connection, file_bytes: u64) -> rusqlite::Result<Self> {
        // A row of a few bytes costs some tens of instructions.
        let whole = PIECE.saturating_add(file_bytes.saturating_mul(8));
        let left = Arc::new(AtomicU64::new(whole));
        let of_handler = Arc::clone(&left);
        connection.progress_handler(
            STEP,
            Some(move || {
                let step = STEP.unsigned_abs().into();
                let more = of_handler.load(Ordering::Relaxed).checked_sub(step);
                of_handler.store(more.unwrap_or(0), Ordering::Relaxed);
                more.is_none()
            }),
        )?;
        Ok(Self { left, whole })
    }

    /// What comes now looks at some rows.
    pub(super) fn piece(&self) {
        self.left.store(PIECE, Ordering::Relaxed);
    }

    /// What comes now goes through the whole file at most.
    pub(super) fn whole(&self) {
        self.left.store(self.whole, Ordering::Relaxed);
    }
}

/// From now on nothing but reading of tables goes through.
pub(super) fn only_read(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.authorizer(Some(|context: AuthContext<'_>| match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Transaction { .. } => {
            Authorization::Allow
        }
        AuthAction::Function { function_name: "max" | "min" | "count" | "ifnull" } => {
            Authorization::Allow
        }
        _ => Authorization::Deny,
    }))
}
