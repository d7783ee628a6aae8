//! The rows that others refer to, one by one.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Result, Row};

use super::{
    entry::Input,
    item::Run,
    path::Path,
    row::Whose,
    text::{self, text},
};
use crate::{
    event::{LossKind, LossPlace, NamespaceSettings, Protocol},
    ports::{PortRange, Ports, ReservedPorts},
    probe::Backend,
    process::{Container, Cut, Process, container::container},
    report::{EphemeralRange, Start},
};

const PLACES: [LossPlace; 5] = [
    LossPlace::KernelBuffer,
    LossPlace::KernelProgram,
    LossPlace::Decode,
    LossPlace::Queue,
    LossPlace::Ledger,
];

const DETAIL: &str = "SELECT value FROM details WHERE event = ?";

/// How many rows of settings one moment has at most: of so many network namespaces.
const NAMESPACES: usize = 65_536;

/// A path; `None`: it makes no sense.
pub(super) fn path(connection: &Connection, id: i64) -> Result<Option<Path>> {
    let mut statement = connection.prepare_cached(
        "SELECT netns, protocol, local_address, remote_address, device FROM paths WHERE id = ?",
    )?;
    let found = statement
        .query_row([id], |row| {
            let (protocol, local) = (text(row, 1, text::NAME)?, text(row, 2, text::NAME)?);
            let remote = text::optional(row, 3, text::NAME)?.map(str::parse);
            let (netns, device) = (row.get(0)?, row.get(4)?);
            let known = [Protocol::Tcp, Protocol::Udp].into_iter().find(|p| p.name() == protocol);
            let (Some(protocol), Ok(local), Ok(remote)) =
                (known, local.parse(), remote.transpose())
            else {
                return Ok(None);
            };
            Ok(Some(Path { netns, protocol, local, remote, device }))
        })
        .optional()?;
    Ok(found.flatten())
}

/// A process.
pub(super) fn process(connection: &Connection, version: i32, id: i64) -> Result<Option<Process>> {
    let cut = if version >= 2 { "p.cut" } else { "NULL" };
    let exec_name = if version >= 3 { "p.exec_name" } else { "NULL" };
    let named = if version >= 4 { "p.container" } else { "NULL" };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT p.pid, p.name, e.text, l.text, p.uid, p.start_time_ns, c.text, {cut}, {exec_name}, \
         {named} \
         FROM processes p \
         LEFT JOIN strings e ON e.id = p.executable \
         LEFT JOIN strings l ON l.id = p.command_line \
         LEFT JOIN strings c ON c.id = p.cgroup WHERE p.id = ?"
    ))?;
    statement
        .query_row([id], |row| {
            let cgroup = text::optional(row, 6, text::PATH)?;
            let name = text::optional(row, 9, text::NAME)?.map(str::to_owned);
            let named = |of: Container| Container { name: name.or(of.name), ..of };
            Ok(Process {
                pid: row.get(0)?,
                name: text(row, 1, text::NAME)?,
                executable: text::optional(row, 2, text::PATH)?.map(Into::into),
                command_line: text::words(row, 3)?.into(),
                uid: row.get(4)?,
                start_time_ns: row.get::<_, i64>(5)?.cast_unsigned(),
                container: cgroup.and_then(container).map(named).map(Into::into),
                cgroup: cgroup.map(Into::into),
                cut: Cut::from_bits(row.get::<_, Option<i64>>(7)?.unwrap_or(0)),
                exec_name: text::optional(row, 8, text::NAME)?.map(Into::into),
                ..Process::default()
            })
        })
        .optional()
}

/// The number that an event has beside its row.
pub(super) fn detail<T: std::str::FromStr>(
    connection: &Connection,
    event: i64,
) -> Result<Option<T>> {
    let value = |row: &Row<'_>| Ok(text(row, 0, text::NAME)?.parse().ok());
    connection.prepare_cached(DETAIL)?.query_row([event], value).optional().map(Option::flatten)
}

/// The list of numbers that an event has beside its row.
pub(super) fn detail_list(connection: &Connection, event: i64) -> Result<Option<Vec<u32>>> {
    let value = |row: &Row<'_>| text::list(row, 0);
    connection.prepare_cached(DETAIL)?.query_row([event], value).optional()
}

/// What was lost.
pub(super) fn loss(
    connection: &Connection,
    event: i64,
    caller: Option<Whose>,
) -> Result<Option<Input>> {
    let found = connection
        .prepare_cached("SELECT count, place, kind FROM losses WHERE event = ?")?
        .query_row([event], |row| {
            Ok((row.get::<_, i64>(0)?, text(row, 1, text::NAME)?, text(row, 2, text::NAME)?))
        })
        .optional()?;
    Ok(found.and_then(|(count, place, kind)| {
        let place = PLACES.into_iter().find(|known| known.name() == place)?;
        let kind = LossKind::of(&kind);
        Some(Input::Lost { count: count.cast_unsigned(), place, kind, caller })
    }))
}

/// The settings of namespaces: of an event, or of a segment.
pub(super) fn namespaces(
    connection: &Connection,
    which: &str,
    of: i64,
) -> Result<Vec<NamespaceSettings>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT netns, names, port_min, port_max, reserved_ports, tw_reuse, tw_reuse_delay_ms \
         FROM namespaces WHERE {which} ORDER BY id LIMIT {NAMESPACES}"
    ))?;
    let rows = statement.query_map([of], |row| {
        let reserved: Vec<(u16, u16)> = text::list(row, 4)?;
        let (min, max): (u16, u16) = (row.get(2)?, row.get(3)?);
        let ranges = reserved.into_iter().filter(|(min, max)| min <= max);
        Ok(NamespaceSettings {
            netns: row.get(0)?,
            names: text::words(row, 1)?,
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

/// The inode number of the network namespace that had this name, the latest if there were several.
pub(super) fn netns(connection: &Connection, name: &str) -> Result<Option<u32>> {
    let mut statement =
        connection.prepare("SELECT netns, names FROM namespaces ORDER BY id DESC")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if text::words(row, 1)?.iter().any(|known| known == name) {
            return row.get(0).map(Some);
        }
    }
    Ok(None)
}

/// How a run began.
pub(super) fn run(connection: &Connection, version: i32, id: i64) -> Result<Run> {
    let netns = if version >= 4 { "netns" } else { "NULL" };
    let find = format!(
        "SELECT host, kernel, version, backend, exact, missing, ephemeral_range, is_sticky, \
                started_ns, stopped_ns, observed_ns, offset_ns, {netns} FROM runs WHERE id = ?"
    );
    connection.query_row(&find, [id], |row| {
        let backend = text(row, 3, text::NAME)?;
        let ranges: Vec<(u32, u16, u16)> = text::list(row, 6)?;
        let range = |(netns, min, max)| EphemeralRange { netns, min, max };
        let backend = Backend::ALL.into_iter().find(|known| known.name() == backend);
        Ok(Run {
            id,
            start: Start {
                host: text(row, 0, text::NAME)?,
                kernel: text(row, 1, text::NAME)?,
                version: text(row, 2, text::NAME)?.into(),
                backend: backend.map_or("unknown", Backend::name),
                exact: row.get(4)?,
                missing: text::words(row, 5)?,
                ephemeral_range: ranges.into_iter().map(range).collect(),
                netns: row.get(12)?,
            },
            is_sticky: row.get(7)?,
            started_ns: row.get(8)?,
            offset_ns: row.get(11)?,
            stopped_ns: row.get(9)?,
            observed: row
                .get::<_, Option<i64>>(10)?
                .map(|ns| Duration::from_nanos(u64::try_from(ns).unwrap_or(0))),
        })
    })
}
