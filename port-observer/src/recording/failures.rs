//! When calls failed, from one end of a recording to the other.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::{open::open, row::RowType};

/// Hands over when each failed, nanoseconds since 1970, in order. Goes over the whole file.
///
/// # Errors
/// When it can't be read to its end.
pub fn failures(path: &Path, mut each: impl FnMut(i64)) -> Result<()> {
    let opened = open(path)?;
    // What is before the first segment is being deleted.
    let all = "SELECT id, type, time_ns FROM events \
               WHERE id >= (SELECT min(first_event) FROM segments) ORDER BY id";
    let what = || format!("look for failures in {}", path.display());
    opened.budget.whole();
    let mut statement = opened.connection.prepare(all).with_context(what)?;
    let types = [RowType::Exhausted as i64, RowType::Conflict as i64, RowType::Refused as i64];
    let mut rows = statement.query([]).with_context(what)?;
    let mut last = None;
    while let Some(row) = rows.next().with_context(what)? {
        let id: i64 = row.get(0).with_context(what)?;
        if last.is_some_and(|last| id <= last) {
            bail!("the numbers of the events in {} do not go up", path.display());
        }
        last = Some(id);
        if types.contains(&row.get(1).with_context(what)?) {
            each(row.get(2).with_context(what)?);
        }
    }
    Ok(())
}
