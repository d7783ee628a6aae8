//! What is written once in a segment, and referred to: addresses, processes, strings.

use std::sync::Arc;

use rusqlite::{Connection, Result, params};

use super::{numbers::signed, path::Path};
use crate::{
    cache::Cache,
    event::Flow,
    process::{Caller, Process, container::container},
};

/// How many bytes of the values of each table are remembered. What was forgotten is written again.
const REMEMBERED_BYTES: usize = 8 << 20;

/// What is in the tables that others refer to. Begun anew with each segment, so that what an old
/// segment alone has can go with it.
pub struct Known {
    /// What comes next.
    pub next: Next,
    strings: Cache<Arc<str>, i64>,
    /// By process id, start time and name.
    processes: Cache<(u32, u64, String), (Arc<Process>, i64)>,
    paths: Cache<Path, i64>,
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

impl Default for Known {
    fn default() -> Self {
        Self::from(Next::default())
    }
}

impl Known {
    /// Nothing is known; the next rows have these numbers.
    pub fn from(next: Next) -> Self {
        Self {
            next,
            strings: Cache::new(REMEMBERED_BYTES),
            processes: Cache::new(REMEMBERED_BYTES),
            paths: Cache::new(REMEMBERED_BYTES),
        }
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
        self.paths.insert(path, id, 0);
        Ok(id)
    }

    /// The numbers of a process, which is written if it is new, and of its thread.
    pub fn caller(
        &mut self,
        connection: &Connection,
        caller: Option<&Caller>,
    ) -> Result<(Option<i64>, Option<u32>)> {
        let Some(Caller { process, tid }) = caller else { return Ok((None, None)) };
        let key = (process.pid, process.start_time_ns, process.name.clone());
        if let Some((known, id)) = self.processes.get(&key)
            && (Arc::ptr_eq(known, process) || known == process)
        {
            return Ok((Some(*id), Some(*tid)));
        }
        let executable = self.string(connection, process.executable.clone())?;
        let command_line = match &process.command_line[..] {
            [] => None,
            words => Some(serde_json::to_string(words).unwrap_or_default().into()),
        };
        let command_line = self.string(connection, command_line)?;
        let cgroup = self.string(connection, process.cgroup.clone())?;
        let id = self.next.process;
        self.next.process += 1;
        connection
            .prepare_cached(
                "INSERT INTO processes (id, pid, name, executable, command_line, uid, \
                 start_time_ns, cgroup, cut, exec_name, container) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
                Some(process.cut.bits()).filter(|bits| *bits != 0),
                process.exec_name,
                name_of_container(process),
            ])?;
        self.processes.insert(key, (Arc::clone(process), id), process.bytes());
        Ok((Some(id), Some(*tid)))
    }

    fn string(&mut self, connection: &Connection, text: Option<Arc<str>>) -> Result<Option<i64>> {
        let Some(text) = text else { return Ok(None) };
        if let Some(id) = self.strings.get(&text) {
            return Ok(Some(*id));
        }
        let id = self.next.string;
        self.next.string += 1;
        connection
            .prepare_cached("INSERT INTO strings (id, text) VALUES (?, ?)")?
            .execute(params![id, text])?;
        let bytes = text.len();
        self.strings.insert(text, id, bytes);
        Ok(Some(id))
    }
}

/// What its container is called, where the cgroup does not show that.
fn name_of_container(process: &Process) -> Option<&str> {
    let name = process.container.as_ref()?.name.as_deref()?;
    let shown = process.cgroup.as_deref().and_then(container).and_then(|shown| shown.name);
    (shown.as_deref() != Some(name)).then_some(name)
}
