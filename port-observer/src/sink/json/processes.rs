//! The `process` objects. They are the larger part of a line and the same from line to line, so
//! each is made once.

use std::io;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::types;
use crate::cache::Cache;
use crate::process::Process;
use crate::sink::clock::UtcClock;
use crate::words::escape::write_json;

/// How many bytes of them are kept: one has up to 6 for each byte of its command line.
const KEPT_BYTES: usize = 8 << 20;

/// The objects of a list of holders, in its order; `None` where the process is not known.
pub(super) type Objects = Vec<Option<Arc<RawValue>>>;

#[derive(Debug)]
pub(super) struct Processes {
    clock: UtcClock,
    offset_is_set: bool,
    has_no_command_lines: bool,
    /// By the process's address and the thread, 0: none. Holding the process keeps its address its
    /// own.
    made: Cache<(usize, u32), (Arc<Process>, Arc<RawValue>)>,
}

impl Default for Processes {
    fn default() -> Self {
        let made = Cache::new(KEPT_BYTES);
        Self { clock: UtcClock::default(), offset_is_set: false, has_no_command_lines: false, made }
    }
}

impl Processes {
    /// A process is known by its start time, so that must not change with the clock: the first
    /// offset stays.
    pub(super) fn set_offset(&mut self, offset_ns: i64) {
        if !self.offset_is_set {
            self.offset_is_set = true;
            self.clock.set_offset(offset_ns);
            self.made.clear();
        }
    }

    /// From now on objects have no command line.
    pub(super) fn leave_out_command_lines(&mut self) {
        self.has_no_command_lines = true;
        self.made.clear();
    }

    /// Processes of another boot begin: their first offset.
    pub(super) fn begin(&mut self, offset_ns: i64) {
        self.offset_is_set = false;
        self.set_offset(offset_ns);
    }

    /// The object of a process as one of its threads; 0: as none.
    pub(super) fn get(&mut self, process: &Arc<Process>, tid: u32) -> io::Result<Arc<RawValue>> {
        let key = (Arc::as_ptr(process).addr(), tid);
        if let Some((_, object)) = self.made.get(&key) {
            return Ok(Arc::clone(object));
        }
        let object = self.object(process, tid)?;
        let bytes = process.bytes() + object.get().len();
        self.made.insert(key, (Arc::clone(process), Arc::clone(&object)), bytes);
        Ok(object)
    }

    /// The objects of processes that hold something: no thread does.
    pub(super) fn of_holders<'a>(
        &mut self,
        processes: impl Iterator<Item = Option<&'a Arc<Process>>>,
    ) -> io::Result<Objects> {
        processes.map(|process| process.map(|p| self.get(p, 0)).transpose()).collect()
    }

    fn object(&mut self, process: &Process, tid: u32) -> io::Result<Arc<RawValue>> {
        let mut bytes = Vec::with_capacity(512);
        let tid = (tid != 0).then_some(tid);
        let object = types::Process::new(process, tid, &mut self.clock);
        let object = if self.has_no_command_lines { object.without_command_line() } else { object };
        write_json(&object, &mut bytes)?;
        let text = String::from_utf8(bytes).map_err(io::Error::other)?;
        Ok(RawValue::from_string(text)?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32) -> Arc<Process> {
        Arc::new(Process { pid, ..Process::default() })
    }

    #[test]
    fn more_processes_than_are_kept_each_have_their_own_object() {
        let mut processes = Processes::default();
        for pid in 1..100_000 {
            // Freed at once, so that an address not held would soon be another's.
            let process = process(pid);
            let object = processes.get(&process, pid).unwrap();
            assert_eq!(object.get(), format!("{{\"pid\":{pid},\"tid\":{pid}}}"));
        }
        assert!(processes.made.bytes() <= KEPT_BYTES);
    }

    #[test]
    fn two_threads_of_a_process_are_told_apart() {
        let mut processes = Processes::default();
        let process = process(1);
        assert_eq!(processes.get(&process, 1).unwrap().get(), r#"{"pid":1,"tid":1}"#);
        assert_eq!(processes.get(&process, 2).unwrap().get(), r#"{"pid":1,"tid":2}"#);
    }

    #[test]
    fn more_holders_than_are_kept_each_have_their_own_object_without_a_thread() {
        let all: Vec<Arc<Process>> = (1..10_000).map(process).collect();
        let some = all.iter().map(Some).chain([None]);
        let objects = Processes::default().of_holders(some).unwrap();
        for (pid, object) in (1..10_000).zip(&objects) {
            assert_eq!(object.as_ref().unwrap().get(), format!("{{\"pid\":{pid}}}"));
        }
        assert!(objects.last().unwrap().is_none());
    }
}
