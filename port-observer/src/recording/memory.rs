//! How much memory reading a recording may take. What a file leads to is bounded where it is kept;
//! this ends reading when all of it together is too much.

use crate::kernel::memory::resident;

/// All that the process may take while it reads, in bytes; 256 MiB is to be enough for what comes
/// after that too.
const ALL: u64 = 176 << 20;
/// The same while what is held at a moment is read, which the ledger then has a second time.
const WHILE_READING: u64 = 112 << 20;

/// Whether reading has to end.
pub(super) fn is_used_up() -> bool {
    resident() > ALL
}

/// Whether no more of what is held at a moment can be read.
pub(super) fn is_used_up_by_a_moment() -> bool {
    resident() > WHILE_READING
}
