//! What is written once in a segment, and referred to: addresses, processes, strings.

use std::{hash::Hash, sync::Arc};

use foldhash::HashMap;
use rusqlite::{Connection, Result, params};

use super::{numbers::signed, path::Path};
use crate::{event::Flow, process::Process, report::Caller};

/// How many different values of a table are remembered at a time.
const REMEMBERED: usize = 65_536;

/// What is in the tables that others refer to. Begun anew with each segment, so that what an old
/// segment alone has can go with it.
#[derive(Default)]
pub struct Known {
    /// What comes next.
    pub next: Next,
    strings: HashMap<String, i64>,
    processes: HashMap<(u32, u64), (Arc<Process>, i64)>,
    paths: HashMap<Path, i64>,
}

/// The numbers that the next rows have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Next {
    /// Of `paths`.
    pub path: i64,
    /// Of `processes`.
    pub process: i64,
    /// Of `strings`.
    pub string: i64,
}

impl Known {
    /// Nothing is known; the next rows have these numbers.
    pub fn from(next: Next) -> Self {
        Self { next, ..Self::default() }
    }

    /// The number of a path, which is written if it is new.
    pub fn path(&mut self, connection: &Connection, flow: &Flow, device: u32) -> Result<i64> {
        let path = Path::of(flow, device);
        if let Some(id) = self.paths.get(&path) {
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
        remember(&mut self.paths, path, id);
        Ok(id)
    }

    /// The numbers of a process, which is written if it is new, and of its thread.
    pub fn caller(
        &mut self,
        connection: &Connection,
        caller: Option<&Caller>,
    ) -> Result<(Option<i64>, Option<u32>)> {
        let Some(Caller { process, tid }) = caller else { return Ok((None, None)) };
        let key = (process.pid, process.start_time_ns);
        if let Some((known, id)) = self.processes.get(&key)
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
                 start_time_ns, cgroup, cut) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
                // No text of a process is cut.
                None::<u8>,
            ])?;
        remember(&mut self.processes, key, (Arc::clone(process), id));
        Ok((Some(id), Some(*tid)))
    }

    fn string(&mut self, connection: &Connection, text: Option<&str>) -> Result<Option<i64>> {
        let Some(text) = text else { return Ok(None) };
        if let Some(id) = self.strings.get(text) {
            return Ok(Some(*id));
        }
        let id = self.next.string;
        self.next.string += 1;
        connection
            .prepare_cached("INSERT INTO strings (id, text) VALUES (?, ?)")?
            .execute(params![id, text])?;
        remember(&mut self.strings, text.to_owned(), id);
        Ok(Some(id))
    }
}

fn remember<K: Eq + Hash, V>(known: &mut HashMap<K, V>, key: K, value: V) {
    if known.len() >= REMEMBERED {
        known.clear();
    }
    known.insert(key, value);
}
