//! The segments of a recording.

use std::collections::VecDeque;

use anyhow::{Result, bail};
use rusqlite::Connection;

/// How many segments a recording has at most: 16 for its size, and one for each start and each gap.
pub(super) const SEGMENTS: usize = 262_144;

/// A stretch of a run with what was held when it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) id: i64,
    pub(super) run: i64,
    pub(super) is_gap: bool,
    pub(super) time_ns: i64,
    pub(super) offset_ns: i64,
    pub(super) first_event: i64,
}

/// The segments, and whether there are more.
pub(super) fn read(connection: &Connection) -> Result<(VecDeque<Segment>, bool)> {
    let all = "SELECT id, run, is_gap, time_ns, offset_ns, first_event FROM segments ORDER BY id";
    let mut statement = connection.prepare(all)?;
    let mut rows = statement.query([])?;
    let mut segments = VecDeque::<Segment>::new();
    while let Some(row) = rows.next()? {
        if segments.len() >= SEGMENTS {
            return Ok((segments, true));
        }
        let segment = Segment {
            id: row.get(0)?,
            run: row.get(1)?,
            is_gap: row.get(2)?,
            time_ns: row.get(3)?,
            offset_ns: row.get(4)?,
            first_event: row.get(5)?,
        };
        if segments.back().is_some_and(|last| last.id >= segment.id) {
            bail!("the numbers of its segments do not go up");
        }
        segments.push_back(segment);
    }
    Ok((segments, false))
}
