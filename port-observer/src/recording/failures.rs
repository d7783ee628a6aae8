//! When calls failed, from one end of a recording to the other.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::{reader::connect, row::RowType};

/// Hands over when each failed, nanoseconds since 1970, in order. Goes over the whole file.
///
/// # Errors
/// When it can't be read to its end.
pub fn failures(path: &Path, mut each: impl FnMut(i64)) -> Result<()> {
    let (connection, _) = connect(path)?;
    // What is before the first segment is being deleted.
    let failed = "SELECT time_ns FROM events WHERE type IN (?, ?) \
                  AND id >= (SELECT min(first_event) FROM segments) ORDER BY id";
    let what = || format!("look for failures in {}", path.display());
    let mut statement = connection.prepare(failed).with_context(what)?;
    let types = [RowType::Exhausted as u8, RowType::Conflict as u8];
    let mut rows = statement.query(types).with_context(what)?;
    while let Some(row) = rows.next().with_context(what)? {
        each(row.get(0).with_context(what)?);
    }
    Ok(())
}
