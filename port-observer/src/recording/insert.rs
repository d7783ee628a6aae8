//! From what the ledger takes in to rows of the tables.

use std::{net::IpAddr, sync::Arc};

use foldhash::HashMap;
use rusqlite::{CachedStatement, Connection, Result, params};

use super::{
    entry::{Entry, Input, Row, Whose, flags},
    recorder::{Moment, RunStart},
};
use crate::{
    event::{Flow, NamespaceSettings, Protocol, Reason, Via},
    ledger::{Held, Holds, Role},
    process::Process,
    report::Caller,
};

/// How many different values of a table are remembered at a time.
const REMEMBERED: usize = 65_536;

/// What is in the tables that others refer to. Begun anew with each segment, so that what an old
/// segment alone has can go with it.
#[derive(Default)]
struct Known {
    strings: HashMap<String, i64>,
    processes: HashMap<(u32, u64), (Arc<Process>, i64)>,
    paths: HashMap<Path, i64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Path {
    netns: u32,
    protocol: Protocol,
    local: IpAddr,
    remote: Option<IpAddr>,
    device: u32,
}

/// The numbers that the next rows have.
#[derive(Clone, Copy, Debug, Default)]
struct Next {
    event: i64,
    string: i64,
    process: i64,
    path: i64,
    segment: i64,
}

/// Writes rows; within the transactions of who has the connection.
#[derive(Default)]
pub struct Inserter {
    known: Known,
    next: Next,
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
        self.known = Known::default();
        // What was cut off is not used again: the first numbers of a segment stay its own.
        let after = |table: &str, first: &str| {
            let last = format!("SELECT ifnull(max(id), 0) FROM {table}");
            let last: i64 = connection.query_row(&last, [], |row| row.get(0))?;
            let first = format!("SELECT ifnull(max({first}), 1) FROM segments");
            let first: i64 = connection.query_row(&first, [], |row| row.get(0))?;
            Ok::<i64, rusqlite::Error>(last.saturating_add(1).max(first))
        };
        self.next = Next {
            event: after("events", "first_event")?,
            string: after("strings", "first_string")?,
            process: after("processes", "first_process")?,
            path: after("paths", "first_path")?,
            segment: after("segments", "id")?,
        };
        Ok(())
    }

    fn wall_ns(&self, boot_ns: u64) -> i64 {
        self.offset_ns.wrapping_add_unsigned(boot_ns)
    }

    /// A run begins, and its first segment.
    pub fn start(&mut self, connection: &Connection, run: &RunStart) -> Result<()> {
        self.offset_ns = run.offset_ns;
        let json = |value: &[String]| serde_json::to_string(value).unwrap_or_default();
        let ranges: Vec<(u32, u16, u16)> =
            run.start.ephemeral_range.iter().map(|r| (r.netns, r.min, r.max)).collect();
        let mut insert = connection.prepare_cached(
            "INSERT INTO runs (host, kernel, version, backend, exact, missing, ephemeral_range, \
             is_sticky, started_ns, offset_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
        ])?;
        self.segment(connection, run.time_ns, true)?;
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
        self.known = Known::default();
        let segment = self.next.segment;
        self.next.segment += 1;
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
            self.next.event,
            self.next.process,
            self.next.path,
            self.next.string,
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
            let path = self.path(connection, &held.flow, held.sharing.device)?;
            let (process, thread) = self.caller(connection, held.caller.as_ref())?;
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
        let event = self.next.event;
        self.next.event += 1;
        if let Input::Clock(offset_ns) = entry.input {
            self.offset_ns = offset_ns;
        }
        let time_ns = self.wall_ns(entry.time_ns);
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
            Input::Lost { count, place, kind } => {
                connection
                    .prepare_cached(
                        "INSERT INTO losses (event, count, place, kind) VALUES (?, ?, ?, ?)",
                    )?
                    .execute(params![event, signed(*count), place.name(), kind])?;
                24
            }
            Input::Tick => 25,
            Input::Clock(offset_ns) => {
                insert_detail(connection, event, &offset_ns.to_string())?;
                26
            }
        };
        connection
            .prepare_cached("INSERT INTO events (id, time_ns, type) VALUES (?, ?, ?)")?
            .execute(params![event, time_ns, row_type])?;
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
        let path = self.path(connection, &row.flow, row.device)?;
        let caller = row.caller.as_ref().map(|Whose(caller)| caller);
        let (process, thread) = self.caller(connection, caller)?;
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
            row.reason.map(reason_number),
            row.old_state.map(|state| state.number()),
            row.state.map(|state| state.number()),
            row.search_ns.map(signed),
            row.other_socket.map(signed),
            row.flags,
        ])?;
        Ok(())
    }

    fn path(&mut self, connection: &Connection, flow: &Flow, device: u32) -> Result<i64> {
        let path = Path {
            netns: flow.netns,
            protocol: flow.protocol,
            local: flow.local.address,
            remote: flow.remote.map(|remote| remote.address),
            device,
        };
        if let Some(id) = self.known.paths.get(&path) {
            return Ok(*id);
        }
        let id = self.next.path;
        self.next.path += 1;
        connection
            .prepare_cached(
                "INSERT INTO paths (id, netns, protocol, local_address, remote_address, device) \
                 VALUES (?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                id,
                path.netns,
                path.protocol.name(),
                path.local.to_string(),
                path.remote.map(|address| address.to_string()),
                device,
            ])?;
        remember(&mut self.known.paths, path, id);
        Ok(id)
    }

    fn caller(
        &mut self,
        connection: &Connection,
        caller: Option<&Caller>,
    ) -> Result<(Option<i64>, Option<u32>)> {
        let Some(Caller { process, tid }) = caller else { return Ok((None, None)) };
        let key = (process.pid, process.start_time_ns);
        if let Some((known, id)) = self.known.processes.get(&key)
            && (Arc::ptr_eq(known, process) || known == process)
        {
            return Ok((Some(*id), Some(*tid)));
        }
        let executable = self.string(connection, process.executable.as_deref())?;
        let command_line = match &process.command_line[..] {
            [] => None,
            words => Some(serde_json::to_string(words).unwrap_or_default()),
        };
        let command_line = self.string(connection, command_line.as_deref())?;
        let cgroup = self.string(connection, process.cgroup.as_deref())?;
        let id = self.next.process;
        self.next.process += 1;
        connection
            .prepare_cached(
                "INSERT INTO processes (id, pid, name, executable, command_line, uid, \
                 start_time_ns, cgroup) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            )?
            .execute(params![
                id,
                process.pid,
                process.name,
                executable,
                command_line,
                process.uid,
                signed(process.start_time_ns),
                cgroup,
            ])?;
        remember(&mut self.known.processes, key, (Arc::clone(process), id));
        Ok((Some(id), Some(*tid)))
    }

    fn string(&mut self, connection: &Connection, text: Option<&str>) -> Result<Option<i64>> {
        let Some(text) = text else { return Ok(None) };
        if let Some(id) = self.known.strings.get(text) {
            return Ok(Some(*id));
        }
        let id = self.next.string;
        self.next.string += 1;
        connection
            .prepare_cached("INSERT INTO strings (id, text) VALUES (?, ?)")?
            .execute(params![id, text])?;
        remember(&mut self.known.strings, text.to_owned(), id);
        Ok(Some(id))
    }
}

fn remember<K: Eq + std::hash::Hash, V>(known: &mut HashMap<K, V>, key: K, value: V) {
    if known.len() >= REMEMBERED {
        known.clear();
    }
    known.insert(key, value);
}

/// The statement that most rows are written with, looked up once for many.
pub struct Insert<'c>(CachedStatement<'c>);

impl<'c> Insert<'c> {
    /// Prepares it.
    pub fn prepare(connection: &'c Connection) -> Result<Self> {
        let insert = "INSERT INTO events (id, time_ns, type, socket, path, local_port, remote_port, \
                      process, thread, via, requested_port, errno, reason, old_state, state, \
                      search_ns, other_socket, flags) \
                      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
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

/// As SQLite has integers; the kernel's addresses become small negative ones.
fn signed(value: u64) -> i64 {
    value.cast_signed()
}

fn via_number(via: Via) -> u8 {
    match via {
        Via::Connect => 1,
        Via::Bind => 2,
        Via::Autobind => 3,
    }
}

fn reason_number(reason: Reason) -> u8 {
    match reason {
        Reason::Closed => 1,
        Reason::TimeWaitExpired => 2,
        Reason::TimeWaitReused => 3,
        Reason::Reconciled => 4,
    }
}

fn holds_number(holds: Holds) -> u8 {
    match holds {
        Holds::Bound => 1,
        Holds::Listening => 2,
        Holds::Connected => 3,
        Holds::TimeWait => 4,
        Holds::Other => 5,
    }
}

fn held_flags(held: &Held) -> u16 {
    let of = |is_set: bool, flag: u16| if is_set { flag } else { 0 };
    of(held.sharing.connect_bind, flags::CONNECT_BIND)
        | of(held.sharing.ipv6_only, flags::IPV6_ONLY)
        | of(held.reuse.fin_wait2, flags::FIN_WAIT2)
        | of(held.reuse.timestamps, flags::TIMESTAMPS)
        | of(held.is_bound, flags::BLOCKED)
}
