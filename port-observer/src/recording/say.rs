//! What a recorder says while it runs.

use std::{
    io::{self, Write as _},
    path::Path,
};

use crate::sink::escape::escape;

/// Writes a line about the recording at `path` to standard error, whatever the level of the log is.
pub(super) fn say(path: &Path, what: &str) {
    let line = format!("port-observer: recording into {} {what}", path.display());
    // It may be closed.
    let _ = writeln!(io::stderr(), "{}", escape(&line));
}
