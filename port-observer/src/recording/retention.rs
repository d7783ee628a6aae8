//! Keeps the file within its bounds: the oldest segment goes as a whole, a piece at a time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension as _, Result, params};

use super::recorder::Options;

/// Into so many segments at least the file is divided.
const SEGMENTS: u64 = 16;
/// What an entry takes in the file, in bytes, for dividing it.
const ENTRY_BYTES: u64 = 64;
/// How many times as many entries as holdings a segment has at least: beginning it writes them all.
const ENTRIES_PER_HOLDING: u64 = 4;
/// How many events are deleted at once.
const PIECE: i64 = 20_000;
/// How many pages are given back to the file system at once.
const VACUUM_PAGES: i64 = 256;
/// Room that what was committed and is not yet in the file itself may take.
const LOG_BYTES: u64 = 8 << 20;
/// How often ages are looked at.
const AGES: Duration = Duration::from_millis(500);

/// What is kept, and what is being deleted.
pub struct Retention {
    keep: Option<Duration>,
    max_size: u64,
    page_size: u64,
    /// Entries of the segment under way, and how many it is to have.
    entries: u64,
    entries_wanted: u64,
    began: Instant,
    /// Events below this number are to go.
    delete_below: i64,
    /// Some of them are still there.
    is_deleting: bool,
    /// More is in the file than may be.
    is_full: bool,
    ages_seen: Instant,
}

impl Retention {
    /// Goes on where it was left.
    pub fn of(connection: &Connection, options: &Options) -> Result<Self> {
        let page_size =
            connection.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0))?;
        let first = "SELECT ifnull(min(first_event), 0) FROM segments";
        let delete_below: i64 = connection.query_row(first, [], |row| row.get(0))?;
        Ok(Self {
            keep: options.keep,
            max_size: options.max_size,
            page_size: page_size.cast_unsigned(),
            entries: 0,
            entries_wanted: 0,
            began: Instant::now(),
            delete_below,
            is_deleting: true,
            is_full: false,
            ages_seen: Instant::now(),
        })
    }

    /// The size from which on something has to go.
    fn limit(&self) -> u64 {
        self.max_size - self.log_room()
    }

    /// What is left for the log, in bytes.
    pub fn log_room(&self) -> u64 {
        (self.max_size / 8).max(LOG_BYTES).min(self.max_size / 2)
    }

    /// A segment begins, with so many holdings.
    pub fn segment_begins(&mut self, holdings: usize) {
        self.entries = 0;
        self.began = Instant::now();
        let share = self.limit() / SEGMENTS / ENTRY_BYTES;
        self.entries_wanted = share.max(holdings as u64 * ENTRIES_PER_HOLDING);
    }

    /// So many entries were written.
    pub fn written(&mut self, entries: usize) {
        self.entries += entries as u64;
    }

    /// Whether there is something to delete right now.
    pub fn is_busy(&self) -> bool {
        self.is_deleting || self.is_full
    }

    /// Deletes a piece of what is too much or too old. Returns whether another segment is to begin.
    pub fn step(&mut self, connection: &Connection) -> Result<bool> {
        if self.is_deleting {
            self.delete(connection)?;
        } else {
            let pages =
                |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let (all, free) = (pages("page_count")?, pages("freelist_count")?);
            let page_size = self.page_size;
            let bytes = |pages: i64| pages.cast_unsigned().saturating_mul(page_size);
            self.is_full = bytes(all - free) > self.limit();
            if self.is_full || self.is_too_old(connection)? {
                // The segment under way stays, however large it is.
                self.is_full = self.drop_oldest(connection)?;
            } else if free > VACUUM_PAGES && bytes(all) > self.limit() {
                // It was allowed to be larger before.
                let vacuum = format!("PRAGMA incremental_vacuum({VACUUM_PAGES})");
                connection.execute_batch(&vacuum)?;
            }
        }
        let is_long = self.keep.is_some_and(|keep| {
            self.began.elapsed() > (keep / SEGMENTS as u32).max(Duration::from_secs(1))
        });
        // Without entries none is over; before a run begins there is none.
        Ok(self.entries > 0 && (self.entries >= self.entries_wanted || is_long))
    }

    fn is_too_old(&mut self, connection: &Connection) -> Result<bool> {
        let Some(keep) = self.keep else { return Ok(false) };
        if self.ages_seen.elapsed() < AGES {
            return Ok(false);
        }
        self.ages_seen = Instant::now();
        // All of a segment is older than the next one's beginning.
        let second = "SELECT time_ns FROM segments ORDER BY id LIMIT 1 OFFSET 1";
        let ended: Option<i64> = connection.query_row(second, [], |row| row.get(0)).optional()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let oldest = now.saturating_sub(keep);
        Ok(ended.is_some_and(|ended| i128::from(ended) < oldest.as_nanos().cast_signed()))
    }

    /// The oldest segment is no more, if there is another; its rows go after it, a piece at a time.
    fn drop_oldest(&mut self, connection: &Connection) -> Result<bool> {
        let two = "SELECT id, first_event, first_process, first_path, first_string FROM segments \
                   ORDER BY id LIMIT 2";
        let mut statement = connection.prepare_cached(two)?;
        let rows = statement.query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })?;
        let found: Vec<(i64, i64, i64, i64, i64)> = rows.collect::<Result<_>>()?;
        let [(oldest, ..), (next, event, process, path, string)] = found[..] else {
            return Ok(false);
        };
        let transaction = connection.unchecked_transaction()?;
        transaction.execute("DELETE FROM segments WHERE id = ?", [oldest])?;
        transaction.execute("UPDATE segments SET era = ?1 WHERE era < ?1", [next])?;
        transaction.execute("DELETE FROM holdings WHERE segment < ?", [next])?;
        transaction
            .execute("DELETE FROM namespaces WHERE segment < ? OR event < ?", [next, event])?;
        for (table, id, first) in [
            ("processes", "id", process),
            ("paths", "id", path),
            ("strings", "id", string),
            ("details", "event", event),
            ("losses", "event", event),
        ] {
            transaction.execute(&format!("DELETE FROM {table} WHERE {id} < ?"), [first])?;
        }
        transaction.execute("DELETE FROM runs WHERE id NOT IN (SELECT run FROM segments)", [])?;
        transaction.commit()?;
        (self.delete_below, self.is_deleting) = (event, true);
        Ok(true)
    }

    fn delete(&mut self, connection: &Connection) -> Result<()> {
        let first = "SELECT min(id) FROM events";
        let first: Option<i64> = connection.query_row(first, [], |row| row.get(0))?;
        let Some(first) = first.filter(|first| *first < self.delete_below) else {
            self.is_deleting = false;
            return Ok(());
        };
        let below = self.delete_below.min(first.saturating_add(PIECE));
        connection.prepare_cached("DELETE FROM events WHERE id < ?")?.execute(params![below])?;
        Ok(())
    }
}
