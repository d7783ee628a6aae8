//! What a recorder says while it runs.

use std::path::Path;

use crate::notice;

/// Writes a line about the recording at `path` to standard error, whatever the level of the log is.
pub(super) fn say(path: &Path, what: &str) {
    notice::say(format_args!("port-observer: recording into {} {what}", path.display()));
}
