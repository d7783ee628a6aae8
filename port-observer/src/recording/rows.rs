//! From rows of the tables to what the ledger takes in.

use std::{collections::HashMap, ops::Range, sync::Arc};

use anyhow::{Result, bail};
use rusqlite::{Connection, params};

use super::{
    entry::{Entry, Input},
    memory, numbers,
    path::Path,
    reader::boot_ns,
    row::{Row, RowType, Whose, flags},
    tables,
};
use crate::{
    event::{NamespaceSettings, Reuse, Sharing, SocketId, TcpState},
    ledger::{Checkpoint, Held, Role},
    process::{Caller, Process},
};

/// How many rows of each table that others refer to are remembered.
const REMEMBERED: usize = 65_536;
/// How much of processes is remembered, in bytes.
const REMEMBERED_BYTES: usize = 16 << 20;
/// How much is read at once, in bytes of what rows refer to.
const PIECE_BYTES: usize = 4 << 20;
/// How many rows one moment has at most: more sockets than a host can have.
const MOMENT_ROWS: usize = 8_000_000;
/// How many of them are read between two looks at the memory.
const MOMENT_STEP: usize = 4_096;

/// Reads rows.
pub struct Rows {
    /// Of the schema that they are read by.
    version: i32,
    paths: HashMap<i64, Option<Path>>,
    processes: HashMap<i64, Option<Arc<Process>>>,
    /// How much they take.
    processes_bytes: usize,
    /// What was read of what rows refer to, in bytes, since this was last looked at.
    read_bytes: usize,
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
    /// Of which version the recording is.
    pub fn version(&self) -> i32 {
        self.version
    }

    /// Of a recording of this version, or of a newer one.
    pub fn of(version: i32) -> Self {
        Self {
            version,
            paths: HashMap::new(),
            processes: HashMap::new(),
            processes_bytes: 0,
            read_bytes: 0,
            offset_ns: 0,
        }
    }

    /// A segment begins.
    pub fn begin(&mut self, offset_ns: i64) {
        self.offset_ns = offset_ns;
    }

    /// Realtime less boottime where it reads.
    pub fn offset_ns(&self) -> i64 {
        self.offset_ns
    }

    /// Reads up to so many events, `None` for one that makes no sense; returns whether these were all
    /// of the range.
    pub fn read(
        &mut self,
        connection: &Connection,
        range: Range<i64>,
        limit: usize,
        mut each: impl FnMut(i64, Option<Entry>),
    ) -> Result<bool> {
        self.read_bytes = 0;
        let (mut next, mut count) = (range.start, 0);
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
            if raw.id < next {
                bail!("the numbers of the events do not go up");
            }
            next = raw.id.saturating_add(1);
            let entry = self.entry(connection, &raw)?;
            each(raw.id, entry);
            count += 1;
            if self.read_bytes > PIECE_BYTES {
                return Ok(false);
            }
        }
        Ok(count < limit)
    }

    fn entry(&mut self, connection: &Connection, raw: &Raw) -> Result<Option<Entry>> {
        let input = match raw.number {
            20 => Some(Input::ScanBegins),
            21 => {
                let skipped = tables::detail_list(connection, raw.id)?;
                self.read_bytes += skipped.as_ref().map_or(0, |list| size_of_val(&list[..]));
                skipped.map(Input::ScanEnded)
            }
            22 => {
                let at = "event = ?";
                let settings = tables::namespaces(connection, at, raw.id)?.pop();
                self.read_bytes += settings.as_ref().map_or(0, bytes_of_settings);
                settings.map(Box::new).map(Input::Namespace)
            }
            23 => tables::detail(connection, raw.id)?.map(Input::NamespaceGone),
            24 => {
                let caller = self.caller(connection, raw.process, raw.thread)?.map(Whose);
                tables::loss(connection, raw.id, caller)?
            }
            25 => Some(Input::Tick),
            26 => {
                let offset_ns: Option<i64> = tables::detail(connection, raw.id)?;
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
            refusal: raw.reason.and_then(numbers::refusal),
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
                let bytes = found.as_deref().map_or(0, bytes_of_process);
                self.read_bytes += bytes;
                if self.processes_bytes > REMEMBERED_BYTES || self.processes.len() >= REMEMBERED {
                    self.processes.clear();
                    self.processes_bytes = 0;
                }
                self.processes_bytes += bytes;
                self.processes.insert(id, found.clone());
                found
            }
        };
        Ok(process.map(|process| Caller { tid: thread.unwrap_or(process.pid), process }))
    }

    /// What was held when a segment began. `is_bounded`: it ends when the process takes too much memory.
    pub fn checkpoint(
        &mut self,
        connection: &Connection,
        segment: i64,
        is_bounded: bool,
    ) -> Result<Checkpoint> {
        let mut checkpoint = Checkpoint {
            namespaces: tables::namespaces(connection, "segment = ?", segment)?,
            ..Checkpoint::default()
        };
        let mut statement = connection.prepare_cached(
            "SELECT socket, path, local_port, remote_port, process, thread, since_ns, began_ns, \
             role, holds, flags FROM holdings WHERE segment = ? ORDER BY rowid",
        )?;
        let mut rows = statement.query([segment])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            count += 1;
            if count > MOMENT_ROWS {
                bail!("more is held than there can be");
            }
            if is_bounded && count % MOMENT_STEP == 0 && memory::is_used_up_by_a_moment() {
                bail!("it takes more than the 256 MiB of memory that reading may take");
            }
            let socket = SocketId(row.get::<_, i64>(0)?.cast_unsigned());
            let local_port: u16 = row.get(2)?;
            let role: u8 = row.get(8)?;
            if role == 2 {
                checkpoint.succeeded.push((socket, local_port));
                continue;
            }
            let number = row.get(9)?;
            let holds = numbers::holds(number);
            let Some(path) = self.path(connection, row.get(1)?)? else { continue };
            let set: u16 = row.get(10)?;
            let state = numbers::held_state(number, set);
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
                connection: state,
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

fn bytes_of_process(process: &Process) -> usize {
    let length = |text: &Option<Arc<str>>| text.as_ref().map_or(0, |text| text.len());
    let words = process.command_line.iter().map(|word| word.len() + size_of::<String>());
    size_of::<Process>()
        + process.name.len()
        + length(&process.executable)
        + length(&process.cgroup)
        + words.sum::<usize>()
}

fn bytes_of_settings(settings: &NamespaceSettings) -> usize {
    let names = settings.names.iter().map(|name| name.len() + size_of::<String>());
    size_of::<NamespaceSettings>()
        + size_of_val(settings.ports.reserved.ranges())
        + names.sum::<usize>()
}

fn remember<V>(known: &mut HashMap<i64, V>, id: i64, value: V) {
    if known.len() >= REMEMBERED {
        known.clear();
    }
    known.insert(id, value);
}
