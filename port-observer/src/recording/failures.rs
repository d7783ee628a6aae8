//! When calls failed, from one end of a recording to the other.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::{open::open, row::RowType};

/// How far apart events that were taken in one after the other may be in time, in nanoseconds: more is a
/// clock that was set back.
const ASIDE_NS: i64 = 60_000_000_000;

/// Hands over for each the moment, nanoseconds since 1970, up to which the recording is to be read so that it
/// is told: what was taken in before a call may be later than that, such as what was listed for its answer, or
/// a tick of the clock. Goes over the whole file.
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
    let mut latest_ns = i64::MIN;
    while let Some(row) = rows.next().with_context(what)? {
        let id: i64 = row.get(0).with_context(what)?;
        if last.is_some_and(|last| id <= last) {
            bail!("the numbers of the events in {} do not go up", path.display());
        }
        last = Some(id);
        let time_ns: i64 = row.get(2).with_context(what)?;
        let is_aside = time_ns >= latest_ns.saturating_sub(ASIDE_NS);
        latest_ns = if is_aside { latest_ns.max(time_ns) } else { time_ns };
        if types.contains(&row.get(1).with_context(what)?) {
            each(latest_ns);
        }
    }
    Ok(())
}
