//! From rows of the tables to what the ledger takes in.

use std::{collections::HashMap, net::IpAddr, ops::Range, sync::Arc, time::Duration};

use rusqlite::{Connection, OptionalExtension as _, Result, params};

use super::{
    entry::{Entry, Input, Row, RowType, Whose, flags},
    reader::{Run, boot_ns},
};
use crate::{
    event::{
        Endpoint, Flow, LossPlace, NamespaceSettings, Protocol, Reason, Reuse, Sharing, SocketId,
        TcpState, Via,
    },
    ledger::{Checkpoint, Held, Holds, Role},
    ports::{PortRange, Ports, ReservedPorts},
    probe::Backend,
    process::{Process, container::container},
    report::{Caller, EphemeralRange, Start},
};

/// How many rows of each table that others refer to are remembered.
const REMEMBERED: usize = 65_536;

/// What a loss can be of, beside the wire's kinds.
const LOSS_KINDS: [&str; 17] = [
    "acquire",
    "exhausted",
    "conflict",
    "inherit",
    "time_wait",
    "release",
    "state",
    "exec",
    "fork",
    "call_start",
    "accept",
    "listen",
    "fin_received",
    "existing",
    "unknown",
    "record",
    "event",
];

const PLACES: [LossPlace; 5] = [
    LossPlace::KernelBuffer,
    LossPlace::KernelProgram,
    LossPlace::Decode,
    LossPlace::Queue,
    LossPlace::Ledger,
];

/// Reads rows.
#[derive(Default)]
pub struct Rows {
    paths: HashMap<i64, Option<Path>>,
    processes: HashMap<i64, Option<Arc<Process>>>,
    /// Realtime less boottime.
    offset_ns: i64,
}

#[derive(Clone, Copy)]
struct Path {
    netns: u32,
    protocol: Protocol,
    local: IpAddr,
    remote: Option<IpAddr>,
    device: u32,
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
}

impl Rows {
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
        let mut statement = connection.prepare_cached(
            "SELECT id, time_ns, type, socket, path, local_port, remote_port, process, thread, via, \
             requested_port, errno, reason, old_state, state, search_ns, other_socket, flags \
             FROM events WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
        )?;
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
        let detail = || detail(connection, raw.id);
        let input = match raw.number {
            20 => Some(Input::ScanBegins),
            21 => detail()?.and_then(|text| serde_json::from_str(&text).ok()).map(Input::ScanEnded),
            22 => {
                let at = "event = ?";
                namespaces(connection, at, raw.id)?.pop().map(Box::new).map(Input::Namespace)
            }
            23 => detail()?.and_then(|text| text.parse().ok()).map(Input::NamespaceGone),
            24 => loss(connection, raw.id)?,
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
        let row_type = usize::try_from(raw.number.saturating_sub(1)).ok();
        let Some(row_type) = row_type.and_then(|at| RowType::ALL.get(at)).copied() else {
            return Ok(None);
        };
        let Some(path) = self.path(connection, raw.path)? else { return Ok(None) };
        let caller = self.caller(connection, raw.process, raw.thread)?;
        let state = |number: Option<u8>| number.and_then(|number| TcpState::try_from(number).ok());
        Ok(Some(Row {
            row_type,
            socket: raw.socket.unwrap_or(0).cast_unsigned(),
            flow: path.flow(raw.local_port, raw.remote_port),
            caller: caller.map(Whose),
            via: match raw.via {
                Some(1) => Some(Via::Connect),
                Some(2) => Some(Via::Bind),
                Some(3) => Some(Via::Autobind),
                _ => None,
            },
            requested_port: raw.requested_port,
            errno: raw.errno,
            reason: match raw.reason {
                Some(1) => Some(Reason::Closed),
                Some(2) => Some(Reason::TimeWaitExpired),
                Some(3) => Some(Reason::TimeWaitReused),
                Some(4) => Some(Reason::Reconciled),
                _ => None,
            },
            old_state: state(raw.old_state),
            state: state(raw.state),
            search_ns: raw.search_ns.map(i64::cast_unsigned),
            other_socket: raw.other_socket.map(i64::cast_unsigned),
            device: path.device,
            flags: raw.flags.unwrap_or(0),
        }))
    }

    fn path(&mut self, connection: &Connection, id: Option<i64>) -> Result<Option<Path>> {
        let Some(id) = id else { return Ok(None) };
        if let Some(known) = self.paths.get(&id) {
            return Ok(*known);
        }
        let mut statement = connection.prepare_cached(
            "SELECT netns, protocol, local_address, remote_address, device FROM paths WHERE id = ?",
        )?;
        let found = statement
            .query_row([id], |row| {
                let (protocol, local): (String, String) = (row.get(1)?, row.get(2)?);
                let remote: Option<String> = row.get(3)?;
                Ok((row.get(0)?, protocol, local, remote, row.get(4)?))
            })
            .optional()?;
        let path = found.and_then(|(netns, protocol, local, remote, device)| {
            let protocol =
                [Protocol::Tcp, Protocol::Udp].into_iter().find(|p| p.name() == protocol)?;
            let remote = match remote {
                Some(text) => Some(text.parse().ok()?),
                None => None,
            };
            Some(Path { netns, protocol, local: local.parse().ok()?, remote, device })
        });
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
                let found = process(connection, id)?.map(Arc::new);
                remember(&mut self.processes, id, found.clone());
                found
            }
        };
        Ok(process.map(|process| Caller { tid: thread.unwrap_or(process.pid), process }))
    }

    /// What was held when a segment began.
    pub fn checkpoint(&mut self, connection: &Connection, segment: i64) -> Result<Checkpoint> {
        let mut checkpoint = Checkpoint {
            namespaces: namespaces(connection, "segment = ?", segment)?,
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
            let holds = match row.get(9)? {
                1_u8 => Holds::Bound,
                2 => Holds::Listening,
                3 => Holds::Connected,
                4 => Holds::TimeWait,
                _ => Holds::Other,
            };
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

impl Path {
    fn flow(&self, local_port: Option<u16>, remote_port: Option<u16>) -> Flow {
        Flow {
            netns: self.netns,
            protocol: self.protocol,
            local: Endpoint { address: self.local, port: local_port.unwrap_or(0) },
            remote: self.remote.map(|address| Endpoint { address, port: remote_port.unwrap_or(0) }),
        }
    }
}

fn remember<V>(known: &mut HashMap<i64, V>, id: i64, value: V) {
    if known.len() >= REMEMBERED {
        known.clear();
    }
    known.insert(id, value);
}

fn process(connection: &Connection, id: i64) -> Result<Option<Process>> {
    let mut statement = connection.prepare_cached(
        "SELECT p.pid, p.name, e.text, l.text, p.uid, p.start_time_ns, c.text FROM processes p \
         LEFT JOIN strings e ON e.id = p.executable \
         LEFT JOIN strings l ON l.id = p.command_line \
         LEFT JOIN strings c ON c.id = p.cgroup WHERE p.id = ?",
    )?;
    statement
        .query_row([id], |row| {
            let command_line: Option<String> = row.get(3)?;
            let cgroup: Option<String> = row.get(6)?;
            Ok(Process {
                pid: row.get(0)?,
                name: row.get(1)?,
                executable: row.get(2)?,
                command_line: command_line
                    .and_then(|words| serde_json::from_str(&words).ok())
                    .unwrap_or_default(),
                uid: row.get(4)?,
                start_time_ns: row.get::<_, i64>(5)?.cast_unsigned(),
                container: cgroup.as_deref().and_then(container),
                cgroup,
            })
        })
        .optional()
}

fn detail(connection: &Connection, event: i64) -> Result<Option<String>> {
    connection
        .prepare_cached("SELECT value FROM details WHERE event = ?")?
        .query_row([event], |row| row.get(0))
        .optional()
}

fn loss(connection: &Connection, event: i64) -> Result<Option<Input>> {
    let found = connection
        .prepare_cached("SELECT count, place, kind FROM losses WHERE event = ?")?
        .query_row([event], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
        })
        .optional()?;
    Ok(found.and_then(|(count, place, kind)| {
        let place = PLACES.into_iter().find(|known| known.name() == place)?;
        let kind = LOSS_KINDS.into_iter().find(|known| *known == kind).unwrap_or("unknown");
        Some(Input::Lost { count: count.cast_unsigned(), place, kind })
    }))
}

fn namespaces(connection: &Connection, which: &str, of: i64) -> Result<Vec<NamespaceSettings>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT netns, names, port_min, port_max, reserved_ports, tw_reuse, tw_reuse_delay_ms \
         FROM namespaces WHERE {which} ORDER BY id"
    ))?;
    let rows = statement.query_map([of], |row| {
        let (names, reserved): (String, String) = (row.get(1)?, row.get(4)?);
        let reserved: Vec<(u16, u16)> = serde_json::from_str(&reserved).unwrap_or_default();
        let (min, max): (u16, u16) = (row.get(2)?, row.get(3)?);
        let ranges = reserved.into_iter().filter(|(min, max)| min <= max);
        Ok(NamespaceSettings {
            netns: row.get(0)?,
            names: serde_json::from_str(&names).unwrap_or_default(),
            ports: Ports {
                ephemeral: PortRange { min: min.min(max), max: max.max(min) },
                reserved: ReservedPorts::new(
                    ranges.map(|(min, max)| PortRange { min, max }).collect(),
                ),
            },
            tw_reuse: row.get(5)?,
            tw_reuse_delay_ms: row.get(6)?,
        })
    })?;
    rows.collect()
}

/// How a run began.
pub(super) fn run(connection: &Connection, id: i64) -> Result<Run> {
    let find = "SELECT host, kernel, version, backend, exact, missing, ephemeral_range, is_sticky, \
                started_ns, stopped_ns, observed_ns, offset_ns FROM runs WHERE id = ?";
    connection.query_row(find, [id], |row| {
        let (backend, missing, ranges): (String, String, String) =
            (row.get(3)?, row.get(5)?, row.get(6)?);
        let ranges: Vec<(u32, u16, u16)> = serde_json::from_str(&ranges).unwrap_or_default();
        let range = |(netns, min, max)| EphemeralRange { netns, min, max };
        let backend = Backend::ALL.into_iter().find(|known| known.name() == backend);
        Ok(Run {
            id,
            start: Start {
                host: row.get(0)?,
                kernel: row.get(1)?,
                version: row.get::<_, String>(2)?.into(),
                backend: backend.map_or("unknown", Backend::name),
                exact: row.get(4)?,
                missing: serde_json::from_str(&missing).unwrap_or_default(),
                ephemeral_range: ranges.into_iter().map(range).collect(),
            },
            is_sticky: row.get(7)?,
            started_ns: row.get(8)?,
            offset_ns: row.get(11)?,
            stopped_ns: row.get(9)?,
            observed: row
                .get::<_, Option<i64>>(10)?
                .map(|ns| Duration::from_nanos(ns.cast_unsigned())),
        })
    })
}
