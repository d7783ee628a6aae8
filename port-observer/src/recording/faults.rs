//! What went wrong with SQLite, for people, and whether it may pass.

use nix::errno::Errno;
use rusqlite::{Connection, ErrorCode, ffi};

/// What went wrong on a connection last, with what the kernel said of it.
pub(super) fn explained(connection: &Connection, error: &rusqlite::Error) -> String {
    // SAFETY: the handle is that of an open connection, which only this thread uses.
    let number = unsafe { ffi::sqlite3_system_errno(connection.handle()) };
    if number == 0 || !is_io(error) {
        return error.to_string();
    }
    format!("{error} ({})", reason(Errno::from_raw(number)))
}

/// Whether it came from the system, which then has said more.
fn is_io(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::DiskFull)
    )
}

/// What the kernel said, and for a limit, which one.
fn reason(errno: Errno) -> String {
    match errno {
        Errno::EFBIG => format!("{errno}: the limit of the file size, RLIMIT_FSIZE, is reached"),
        errno => errno.to_string(),
    }
}

/// Whether it may go on when somebody has made room, or freed memory.
pub(super) fn may_pass(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::DiskFull
                | ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::DatabaseBusy
                | ErrorCode::OutOfMemory
        )
    )
}
