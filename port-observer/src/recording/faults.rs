//! What went wrong with SQLite, for people, and whether it may pass.

use nix::errno::Errno;
use rusqlite::ErrorCode;

/// Whether it came from the system, which then has said more.
pub(super) fn is_io(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::DiskFull)
    )
}

/// What the kernel said, and for a limit, which one.
pub(super) fn reason(errno: Errno) -> String {
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
