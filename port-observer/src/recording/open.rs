//! How a file is opened that may be anything: as a recording that is only read.

use std::{os::unix::ffi::OsStrExt as _, path::Path, time::Duration};

use anyhow::{Context as _, Result, anyhow, bail};
use nix::unistd::{AccessFlags, eaccess};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{
    schema::{self, Identity},
    sqlite::{self, Budget},
};

/// A recording that is open for reading.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) budget: Budget,
    /// The version of its schema.
    pub(super) version: i32,
    /// How large it is with its log, in bytes.
    pub(super) file_bytes: u64,
}

impl Opened {
    /// What is to be said of a recording of a newer version; `None`: it is none.
    pub(super) fn newer(&self, path: &Path) -> Option<anyhow::Error> {
        (self.version > schema::VERSION).then(|| {
            anyhow!(
                "{} is of a newer port-observer (schema {}, this one knows {}): what is new in it was \
                 left out; read it with that version",
                path.display(),
                self.version,
                schema::VERSION
            )
        })
    }
}

/// Opens a recording for reading, if it is one and nothing else.
///
/// # Errors
/// When it can't be read, or is not a recording.
pub(super) fn open(path: &Path) -> Result<Opened> {
    let shown = path.display();
    let (connection, identity, file_bytes) =
        connect(path).with_context(|| format!("can't read the recording {shown}"))?;
    let version = match identity {
        Identity::Recording(version) if version >= 1 => version,
        Identity::Recording(version) => {
            bail!("can't read {shown}: no program has written schema {version}")
        }
        Identity::Empty => bail!("can't read {shown}: nothing is in it"),
        Identity::Foreign => {
            bail!("can't read {shown}: it is a database of another program, not a recording")
        }
    };
    let prepare = |mut connection| {
        schema::check(&connection, version)?;
        let budget = Budget::of(&mut connection, file_bytes)?;
        sqlite::only_read(&mut connection)?;
        Ok::<_, anyhow::Error>(Opened { connection, budget, version, file_bytes })
    };
    prepare(connection).with_context(|| format!("can't read the recording {shown}"))
}

/// Opens a file, and sees what it is and how large, in bytes.
fn connect(path: &Path) -> Result<(Connection, Identity, u64)> {
    sqlite::check_version()?;
    let metadata = path.metadata().context("can't look at it")?;
    if !metadata.is_file() {
        bail!("it is not a file");
    }
    let (connection, identity) = match try_open(path, Way::Usual) {
        // Where nothing can be written, SQLite can't make its files beside this one.
        Err(error)
            if matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)
            ) =>
        {
            // What SQLite says does not tell whether it may be read.
            eaccess(path, AccessFlags::R_OK).map_err(std::io::Error::from)?;
            try_open(path, Way::Immutable)?
        }
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
            try_open(path, Way::Short)?
        }
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            bail!("it is not a recording, or its beginning is damaged")
        }
        other => other?,
    };
    let log = std::fs::metadata(beside(path)).map_or(0, |log| log.len());
    Ok((connection, identity, metadata.len().saturating_add(log)))
}

fn beside(path: &Path) -> std::path::PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Usual,
    /// No file beside it is looked for.
    Immutable,
    /// It is shorter than it says.
    Short,
}

fn try_open(path: &Path, way: Way) -> rusqlite::Result<(Connection, Identity)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let path = schema::plain(path);
    let connection = if way == Way::Immutable {
        Connection::open_with_flags(immutable(&path), flags | OpenFlags::SQLITE_OPEN_URI)?
    } else {
        Connection::open_with_flags(path, flags)?
    };
    sqlite::harden(&connection, way == Way::Short)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    let identity = schema::identity(&connection)?;
    Ok((connection, identity))
}

fn immutable(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                uri.push(char::from(*byte));
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri.push_str("?immutable=1");
    uri
}
