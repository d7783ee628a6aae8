//! The rows that others refer to, one by one.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Result};

use super::{entry::Input, path::Path, reader::Run};
use crate::{
    event::{LossPlace, NamespaceSettings, Protocol},
    ports::{PortRange, Ports, ReservedPorts},
    probe::Backend,
    process::{Cut, Process, container::container},
    report::{EphemeralRange, Start},
};

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
    "accept",
    "listen",
    "fin_received",
    "existing",
    "rehash",
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

/// A path; `None`: it makes no sense.
pub(super) fn path(connection: &Connection, id: i64) -> Result<Option<Path>> {
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
    Ok(found.and_then(|(netns, protocol, local, remote, device)| {
        let protocol = [Protocol::Tcp, Protocol::Udp].into_iter().find(|p| p.name() == protocol)?;
        let remote = match remote {
            Some(text) => Some(text.parse().ok()?),
            None => None,
        };
        Some(Path { netns, protocol, local: local.parse().ok()?, remote, device })
    }))
}

/// A process.
pub(super) fn process(connection: &Connection, version: i32, id: i64) -> Result<Option<Process>> {
    let cut = if version >= 2 { "p.cut" } else { "NULL" };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT p.pid, p.name, e.text, l.text, p.uid, p.start_time_ns, c.text, {cut} FROM processes p \
         LEFT JOIN strings e ON e.id = p.executable \
         LEFT JOIN strings l ON l.id = p.command_line \
         LEFT JOIN strings c ON c.id = p.cgroup WHERE p.id = ?"
    ))?;
    statement
        .query_row([id], |row| {
            let command_line: Option<String> = row.get(3)?;
            let cgroup: Option<String> = row.get(6)?;
            Ok(Process {
                pid: row.get(0)?,
                name: row.get(1)?,
                executable: row.get::<_, Option<String>>(2)?.map(Into::into),
                command_line: command_line
                    .and_then(|words| serde_json::from_str::<Vec<String>>(&words).ok())
                    .unwrap_or_default()
                    .into(),
                uid: row.get(4)?,
                start_time_ns: row.get::<_, i64>(5)?.cast_unsigned(),
                container: cgroup.as_deref().and_then(container).map(Into::into),
                cgroup: cgroup.map(Into::into),
                cut: Cut::from_bits(row.get::<_, Option<i64>>(7)?.unwrap_or(0)),
                ..Process::default()
            })
        })
        .optional()
}

/// What an event has beside its row.
pub(super) fn detail(connection: &Connection, event: i64) -> Result<Option<String>> {
    connection
        .prepare_cached("SELECT value FROM details WHERE event = ?")?
        .query_row([event], |row| row.get(0))
        .optional()
}

/// What was lost.
pub(super) fn loss(connection: &Connection, event: i64) -> Result<Option<Input>> {
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

/// The settings of namespaces: of an event, or of a segment.
pub(super) fn namespaces(
    connection: &Connection,
    which: &str,
    of: i64,
) -> Result<Vec<NamespaceSettings>> {
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

/// The inode number of the network namespace that had this name, the latest if there were several.
pub(super) fn netns(connection: &Connection, name: &str) -> Result<Option<u32>> {
    let mut statement =
        connection.prepare("SELECT netns, names FROM namespaces ORDER BY id DESC")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let names: String = row.get(1)?;
        let names: Vec<String> = serde_json::from_str(&names).unwrap_or_default();
        if names.iter().any(|known| known == name) {
            return row.get(0).map(Some);
        }
    }
    Ok(None)
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
