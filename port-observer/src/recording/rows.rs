//! From rows of the tables to what the ledger takes in.

use std::{collections::HashMap, ops::Range, sync::Arc};

use rusqlite::{Connection, Result, params};

use super::{
    entry::{Entry, Input},
    numbers,
    path::Path,
    reader::boot_ns,
    row::{Row, RowType, Whose, flags},
    tables,
};
use crate::{
    event::{Reuse, Sharing, SocketId, TcpState},
    ledger::{Checkpoint, Held, Role},
    process::Process,
    report::Caller,
};

/// How many rows of each table that others refer to are remembered.
const REMEMBERED: usize = 65_536;

/// Reads rows.
pub struct Rows {
    /// Of the schema that they are read by.
    version: i32,
    paths: HashMap<i64, Option<Path>>,
    processes: HashMap<i64, Option<Arc<Process>>>,
    /// Realtime less boottime.
    offset_ns: i64,
}

/// A row of `events` as it is in the file.
struct Raw {
    id: i64,
    time_ns: i64,
    number: i64,
    socket: Option<i64>,
    path: Option<i64>,
    local_port: Option<u16>,
    remote_port: Option<u16>,
    process: Option<i64>,
    thread: Option<u32>,
    via: Option<u8>,
    requested_port: Option<u16>,
    errno: Option<i32>,
    reason: Option<u8>,
    old_state: Option<u8>,
    state: Option<u8>,
    search_ns: Option<i64>,
    other_socket: Option<i64>,
    flags: Option<u16>,
    repeated: Option<i64>,
}

impl Rows {
    /// Of a recording of this version, or of a newer one.
    pub fn of(version: i32) -> Self {
        Self { version, paths: HashMap::new(), processes: HashMap::new(), offset_ns: 0 }
    }

    /// A segment begins.
    pub fn begin(&mut self, offset_ns: i64) {
        self.offset_ns = offset_ns;
    }

    /// Realtime less boottime where it reads.
    pub fn offset_ns(&self) -> i64 {
        self.offset_ns
    }

    /// Reads up to so many events; `None` for one that makes no sense.
    pub fn read(
        &mut self,
        connection: &Connection,
        range: Range<i64>,
        limit: usize,
        mut each: impl FnMut(i64, Option<Entry>),
    ) -> Result<()> {
        let repeated = if self.version >= 2 { "repeated" } else { "NULL" };
        let mut statement = connection.prepare_cached(&format!(
            "SELECT id, time_ns, type, socket, path, local_port, remote_port, process, thread, via, \
             requested_port, errno, reason, old_state, state, search_ns, other_socket, flags, \
             {repeated} FROM events WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
        ))?;
        let mut rows = statement.query(params![range.start, range.end, limit.cast_signed()])?;
        while let Some(row) = rows.next()? {
            let raw = Raw {
                id: row.get(0)?,
                time_ns: row.get(1)?,
                number: row.get(2)?,
                socket: row.get(3)?,
                path: row.get(4)?,
                local_port: row.get(5)?,
                remote_port: row.get(6)?,
                process: row.get(7)?,
                thread: row.get(8)?,
                via: row.get(9)?,
                requested_port: row.get(10)?,
                errno: row.get(11)?,
                reason: row.get(12)?,
                old_state: row.get(13)?,
                state: row.get(14)?,
                search_ns: row.get(15)?,
                other_socket: row.get(16)?,
                flags: row.get(17)?,
                repeated: row.get(18)?,
            };
            let entry = self.entry(connection, &raw)?;
            each(raw.id, entry);
        }
        Ok(())
    }

    /// Whether the event of this number, or the next one, can be read.
    pub fn is_readable(&mut self, connection: &Connection, id: i64) -> bool {
        self.read(connection, id..i64::MAX, 1, |_, _| {}).is_ok()
    }

    fn entry(&mut self, connection: &Connection, raw: &Raw) -> Result<Option<Entry>> {
        let detail = || tables::detail(connection, raw.id);
        let input = match raw.number {
            20 => Some(Input::ScanBegins),
            21 => detail()?.and_then(|text| serde_json::from_str(&text).ok()).map(Input::ScanEnded),
            22 => {
                let at = "event = ?";
                tables::namespaces(connection, at, raw.id)?
                    .pop()
                    .map(Box::new)
                    .map(Input::Namespace)
            }
            23 => detail()?.and_then(|text| text.parse().ok()).map(Input::NamespaceGone),
            24 => tables::loss(connection, raw.id)?,
            25 => Some(Input::Tick),
            26 => {
                let offset_ns: Option<i64> = detail()?.and_then(|text| text.parse().ok());
                self.offset_ns = offset_ns.unwrap_or(self.offset_ns);
                offset_ns.map(Input::Clock)
            }
            _ => self.row(connection, raw)?.map(Input::Socket),
        };
        let time_ns = boot_ns(raw.time_ns, self.offset_ns);
        Ok(input.map(|input| Entry { time_ns, input }))
    }

    fn row(&mut self, connection: &Connection, raw: &Raw) -> Result<Option<Row>> {
        let row_type = u8::try_from(raw.number).ok().and_then(RowType::of);
        let Some(row_type) = row_type else { return Ok(None) };
        let Some(path) = self.path(connection, raw.path)? else { return Ok(None) };
        let caller = self.caller(connection, raw.process, raw.thread)?;
        let state = |number: Option<u8>| number.and_then(|number| TcpState::try_from(number).ok());
        Ok(Some(Row {
            row_type,
            socket: raw.socket.unwrap_or(0).cast_unsigned(),
            flow: path.flow(raw.local_port, raw.remote_port),
            caller: caller.map(Whose),
            via: raw.via.and_then(numbers::via),
            requested_port: raw.requested_port,
            errno: raw.errno,
            reason: raw.reason.and_then(numbers::reason),
            old_state: state(raw.old_state),
            state: state(raw.state),
            search_ns: raw.search_ns.map(i64::cast_unsigned),
            other_socket: raw.other_socket.map(i64::cast_unsigned),
            device: path.device,
            flags: raw.flags.unwrap_or(0),
            repeated: raw.repeated.and_then(|more| u64::try_from(more).ok()).unwrap_or(0),
        }))
    }

    fn path(&mut self, connection: &Connection, id: Option<i64>) -> Result<Option<Path>> {
        let Some(id) = id else { return Ok(None) };
        if let Some(known) = self.paths.get(&id) {
            return Ok(*known);
        }
        let path = tables::path(connection, id)?;
        remember(&mut self.paths, id, path);
        Ok(path)
    }

    fn caller(
        &mut self,
        connection: &Connection,
        id: Option<i64>,
        thread: Option<u32>,
    ) -> Result<Option<Caller>> {
        let Some(id) = id else { return Ok(None) };
        let process = match self.processes.get(&id) {
            Some(known) => known.clone(),
            None => {
                let found = tables::process(connection, self.version, id)?.map(Arc::new);
                remember(&mut self.processes, id, found.clone());
                found
            }
        };
        Ok(process.map(|process| Caller { tid: thread.unwrap_or(process.pid), process }))
    }

    /// What was held when a segment began.
    pub fn checkpoint(&mut self, connection: &Connection, segment: i64) -> Result<Checkpoint> {
        let mut checkpoint = Checkpoint {
            namespaces: tables::namespaces(connection, "segment = ?", segment)?,
            ..Checkpoint::default()
        };
        let mut statement = connection.prepare_cached(
            "SELECT socket, path, local_port, remote_port, process, thread, since_ns, began_ns, \
             role, holds, flags FROM holdings WHERE segment = ? ORDER BY rowid",
        )?;
        let mut rows = statement.query([segment])?;
        while let Some(row) = rows.next()? {
            let socket = SocketId(row.get::<_, i64>(0)?.cast_unsigned());
            let local_port: u16 = row.get(2)?;
            let role: u8 = row.get(8)?;
            if role == 2 {
                checkpoint.succeeded.push((socket, local_port));
                continue;
            }
            let holds = numbers::holds(row.get(9)?);
            let Some(path) = self.path(connection, row.get(1)?)? else { continue };
            let set: u16 = row.get(10)?;
            let has = |flag: u16| set & flag != 0;
            let offset_ns = self.offset_ns;
            let time = |wall_ns: i64| boot_ns(wall_ns, offset_ns);
            checkpoint.held.push(Held {
                socket,
                flow: path.flow(Some(local_port), row.get(3)?),
                caller: self.caller(connection, row.get(4)?, row.get(5)?)?,
                since_ns: row.get::<_, Option<i64>>(6)?.map(time),
                began_ns: time(row.get(7)?),
                role: if role == 0 { Role::Owner } else { Role::Child },
                holds,
                sharing: Sharing {
                    connect_bind: has(flags::CONNECT_BIND),
                    ipv6_only: has(flags::IPV6_ONLY),
                    device: path.device,
                },
                reuse: Reuse {
                    fin_wait2: has(flags::FIN_WAIT2),
                    timestamps: has(flags::TIMESTAMPS),
                },
                is_bound: has(flags::BLOCKED),
            });
        }
        Ok(checkpoint)
    }
}

fn remember<V>(known: &mut HashMap<i64, V>, id: i64, value: V) {
    if known.len() >= REMEMBERED {
        known.clear();
    }
    known.insert(id, value);
}
