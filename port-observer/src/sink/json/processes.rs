//! The `process` objects. They are the larger part of a line and the same from line to line, so
//! each is made once.

use std::io;
use std::sync::Arc;

use foldhash::HashMap;
use serde_json::value::RawValue;

use super::{to_json, types};
use crate::process::Process;
use crate::report::Caller;
use crate::sink::clock::UtcClock;

/// How many are kept.
const KEPT: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Processes {
    clock: UtcClock,
    offset_is_set: bool,
    /// By the process's address and the thread. Holding the process keeps its address its own.
    made: HashMap<(usize, u32), (Arc<Process>, Box<RawValue>)>,
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

    pub(super) fn get(&mut self, caller: &Caller) -> io::Result<&RawValue> {
        let key = (Arc::as_ptr(&caller.process).addr(), caller.tid);
        if self.made.len() >= KEPT && !self.made.contains_key(&key) {
            self.made.clear();
        }
        let (_, object) = match self.made.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let object = object(caller, &mut self.clock)?;
                entry.insert((Arc::clone(&caller.process), object))
            }
        };
        Ok(object)
    }
}

fn object(caller: &Caller, clock: &mut UtcClock) -> io::Result<Box<RawValue>> {
    let mut bytes = Vec::with_capacity(512);
    to_json(&types::Process::new(caller, clock), &mut bytes)?;
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    Ok(RawValue::from_string(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(pid: u32) -> Caller {
        Caller { process: Arc::new(Process { pid, ..Process::default() }), tid: pid }
    }

    #[test]
    fn more_processes_than_are_kept_each_have_their_own_object() {
        let mut processes = Processes::default();
        for pid in 1..10_000 {
            // Freed at once, so that an address not held would soon be another's.
            let caller = caller(pid);
            let object = processes.get(&caller).unwrap().get();
            assert_eq!(object, format!("{{\"pid\":{pid},\"tid\":{pid}}}"));
            assert!(processes.made.len() <= KEPT);
        }
    }

    #[test]
    fn two_threads_of_a_process_are_told_apart() {
        let mut processes = Processes::default();
        let first = caller(1);
        let second = Caller { tid: 2, ..first.clone() };
        assert_eq!(processes.get(&first).unwrap().get(), r#"{"pid":1,"tid":1}"#);
        assert_eq!(processes.get(&second).unwrap().get(), r#"{"pid":1,"tid":2}"#);
    }
}
