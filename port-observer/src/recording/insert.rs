//! From what the ledger takes in to rows of the tables.

use rusqlite::{CachedStatement, Connection, Result, params};

use super::{
    entry::{Entry, Input},
    known::{Known, Next},
    numbers::{held_flags, holds_number, reason_number, refusal_number, signed, via_number},
    recorder::{Moment, RunStart},
    row::{Row, Whose},
    target::Now,
};
use crate::{event::NamespaceSettings, ledger::Role};

/// Writes rows; within the transactions of who has the connection.
#[derive(Default)]
pub struct Inserter {
    known: Known,
    next_event: i64,
    next_segment: i64,
    /// Realtime less boottime.
    offset_ns: i64,
    run: i64,
    /// The first segment since something was lost.
    era: i64,
}

impl Inserter {
    /// Goes on after what is in the file.
    pub fn of(connection: &Connection) -> Result<Self> {
        let mut inserter = Self::default();
        inserter.reload(connection)?;
        Ok(inserter)
    }

    /// What was to be written since the last commit was not.
    pub fn reload(&mut self, connection: &Connection) -> Result<()> {
        // What was cut off is not used again: the first numbers of a segment stay its own.
        let after = |table: &str, first: &str| {
            let last = format!("SELECT ifnull(max(id), 0) FROM {table}");
            let last: i64 = connection.query_row(&last, [], |row| row.get(0))?;
            let first = format!("SELECT ifnull(max({first}), 1) FROM segments");
            let first: i64 = connection.query_row(&first, [], |row| row.get(0))?;
            Ok::<i64, rusqlite::Error>(last.saturating_add(1).max(first))
        };
        self.known = Known::from(Next {
            path: after("paths", "first_path")?,
            process: after("processes", "first_process")?,
            string: after("strings", "first_string")?,
        });
        self.next_event = after("events", "first_event")?;
        self.next_segment = after("segments", "id")?;
        Ok(())
    }

    fn wall_ns(&self, boot_ns: u64) -> i64 {
        self.offset_ns.wrapping_add_unsigned(boot_ns)
    }

    /// A run begins, and its first segment; or at `now` goes on in this file, having begun in another.
    pub fn start(
        &mut self,
        connection: &Connection,
        run: &RunStart,
        now: Option<Now>,
    ) -> Result<()> {
        self.offset_ns = run.offset_ns;
        let json = |value: &[String]| serde_json::to_string(value).unwrap_or_default();
        let ranges: Vec<(u32, u16, u16)> =
            run.start.ephemeral_range.iter().map(|r| (r.netns, r.min, r.max)).collect();
        let mut insert = connection.prepare_cached(
            "INSERT INTO runs (host, kernel, version, backend, exact, missing, ephemeral_range, \
             is_sticky, started_ns, offset_ns, netns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        self.run = insert.insert(params![
            run.start.host,
            run.start.kernel,
            run.start.version,
            run.start.backend,
            run.start.exact,
            json(&run.start.missing),
            serde_json::to_string(&ranges).unwrap_or_default(),
            run.is_sticky,
            self.wall_ns(run.time_ns),
            run.offset_ns,
            run.start.netns,
        ])?;
        let Now { time_ns, offset_ns } =
            now.unwrap_or(Now { time_ns: run.time_ns, offset_ns: run.offset_ns });
        self.offset_ns = offset_ns;
        self.segment(connection, time_ns, true)?;
        Ok(())
    }

    /// The run ends.
    pub fn stop(&mut self, connection: &Connection, time_ns: u64, observed_ns: u64) -> Result<()> {
        connection.execute(
            "UPDATE runs SET stopped_ns = ?, observed_ns = ? WHERE id = ?",
            params![self.wall_ns(time_ns), signed(observed_ns), self.run],
        )?;
        Ok(())
    }

    fn segment(&mut self, connection: &Connection, time_ns: u64, is_gap: bool) -> Result<i64> {
        self.known = Known::from(self.known.next);
        let segment = self.next_segment;
        self.next_segment += 1;
        if is_gap {
            self.era = segment;
        }
        let mut insert = connection.prepare_cached(
            "INSERT INTO segments (id, run, era, is_gap, time_ns, offset_ns, first_event, \
             first_process, first_path, first_string) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        insert.execute(params![
            segment,
            self.run,
            self.era,
            is_gap,
            self.wall_ns(time_ns),
            self.offset_ns,
            self.next_event,
            self.known.next.process,
            self.known.next.path,
            self.known.next.string,
        ])?;
        Ok(segment)
    }

    /// A segment begins, with what is held now. `is_gap`: what came before it is not all there.
    pub fn checkpoint(
        &mut self,
        connection: &Connection,
        moment: &Moment,
        is_gap: bool,
    ) -> Result<()> {
        let Moment { time_ns, offset_ns, checkpoint, .. } = moment;
        // The clock may have been set while nothing could be recorded.
        self.offset_ns = *offset_ns;
        let segment = self.segment(connection, *time_ns, is_gap)?;
        for settings in &checkpoint.namespaces {
            insert_namespace(connection, settings, None, Some(segment))?;
        }
        let mut insert = connection.prepare_cached(
            "INSERT INTO holdings (segment, socket, path, local_port, remote_port, process, thread, \
             since_ns, began_ns, role, holds, flags) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        for held in &checkpoint.held {
            let path = self.known.path(connection, &held.flow, held.sharing.device)?;
            let (process, thread) = self.known.caller(connection, held.caller.as_ref())?;
            insert.execute(params![
                segment,
                signed(held.socket.0),
                path,
                held.flow.local.port,
                held.flow.remote.map(|remote| remote.port),
                process,
                thread,
                held.since_ns.map(|time_ns| self.wall_ns(time_ns)),
                self.wall_ns(held.began_ns),
                match held.role {
                    Role::Owner => 0,
                    Role::Child => 1,
                },
                holds_number(held.holds),
                held_flags(held),
            ])?;
        }
        for (socket, port) in &checkpoint.succeeded {
            // Not a holding: a socket of which a release is to come that frees nothing.
            insert.execute(params![
                segment,
                signed(socket.0),
                0,
                port,
                None::<i64>,
                None::<i64>,
                None::<i64>,
                None::<i64>,
                0,
                2,
                0,
                0
            ])?;
        }
        Ok(())
    }

    /// Something that the ledger took in.
    pub fn entry(
        &mut self,
        connection: &Connection,
        insert: &mut Insert<'_>,
        entry: &Entry,
    ) -> Result<()> {
        let event = self.next_event;
        self.next_event += 1;
        if let Input::Clock(offset_ns) = entry.input {
            self.offset_ns = offset_ns;
        }
        let time_ns = self.wall_ns(entry.time_ns);
        let mut whose = None;
        let row_type = match &entry.input {
            Input::Socket(row) => return self.row(connection, insert, event, time_ns, row),
            Input::ScanBegins => 20,
            Input::ScanEnded(skipped) => {
                let skipped = serde_json::to_string(skipped).unwrap_or_default();
                insert_detail(connection, event, &skipped)?;
                21
            }
            Input::Namespace(settings) => {
                insert_namespace(connection, settings, Some(event), None)?;
                22
            }
            Input::NamespaceGone(netns) => {
                insert_detail(connection, event, &netns.to_string())?;
                23
            }
            Input::Lost { count, place, kind, caller } => {
                whose = caller.as_ref().map(|Whose(caller)| caller);
                connection
                    .prepare_cached(
                        "INSERT INTO losses (event, count, place, kind) VALUES (?, ?, ?, ?)",
                    )?
                    .execute(params![event, signed(*count), place.name(), kind.name()])?;
                24
            }
            Input::Tick => 25,
            Input::Clock(offset_ns) => {
                insert_detail(connection, event, &offset_ns.to_string())?;
                26
            }
        };
        let (process, thread) = self.known.caller(connection, whose)?;
        connection
            .prepare_cached(
                "INSERT INTO events (id, time_ns, type, process, thread) VALUES (?, ?, ?, ?, ?)",
            )?
            .execute(params![event, time_ns, row_type, process, thread])?;
        Ok(())
    }

    fn row(
        &mut self,
        connection: &Connection,
        insert: &mut Insert<'_>,
        event: i64,
        time_ns: i64,
        row: &Row,
    ) -> Result<()> {
        let path = self.known.path(connection, &row.flow, row.device)?;
        let caller = row.caller.as_ref().map(|Whose(caller)| caller);
        let (process, thread) = self.known.caller(connection, caller)?;
        insert.0.execute(params![
            event,
            time_ns,
            row.row_type as u8,
            signed(row.socket),
            path,
            row.flow.local.port,
            row.flow.remote.map(|remote| remote.port),
            process,
            thread,
            row.via.map(via_number),
            row.requested_port,
            row.errno,
            row.reason.map(reason_number).or(row.refusal.map(refusal_number)),
            row.old_state.map(|state| state.number()),
            row.state.map(|state| state.number()),
            row.search_ns.map(signed),
            row.other_socket.map(signed),
            row.flags,
            (row.repeated > 0).then(|| signed(row.repeated)),
        ])?;
        Ok(())
    }
}

/// The statement that most rows are written with, looked up once for many.
pub struct Insert<'c>(CachedStatement<'c>);

impl<'c> Insert<'c> {
    /// Prepares it.
    pub fn prepare(connection: &'c Connection) -> Result<Self> {
        let insert = "INSERT INTO events (id, time_ns, type, socket, path, local_port, remote_port, \
                      process, thread, via, requested_port, errno, reason, old_state, state, \
                      search_ns, other_socket, flags, repeated) \
                      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
        Ok(Self(connection.prepare_cached(insert)?))
    }
}

fn insert_detail(connection: &Connection, event: i64, value: &str) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO details (event, value) VALUES (?, ?)")?
        .execute(params![event, value])?;
    Ok(())
}

fn insert_namespace(
    connection: &Connection,
    settings: &NamespaceSettings,
    event: Option<i64>,
    segment: Option<i64>,
) -> Result<()> {
    let reserved: Vec<(u16, u16)> =
        settings.ports.reserved.ranges().iter().map(|range| (range.min, range.max)).collect();
    connection
        .prepare_cached(
            "INSERT INTO namespaces (event, segment, netns, names, port_min, port_max, \
             reserved_ports, tw_reuse, tw_reuse_delay_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            event,
            segment,
            settings.netns,
            serde_json::to_string(&settings.names).unwrap_or_default(),
            settings.ports.ephemeral.min,
            settings.ports.ephemeral.max,
            serde_json::to_string(&reserved).unwrap_or_default(),
            settings.tw_reuse,
            settings.tw_reuse_delay_ms,
        ])?;
    Ok(())
}
