//! Sockets that a program has open, by what its calls return: to know when it has the most.

use std::collections::{HashMap, HashSet};

use nix::unistd::Pid;

use crate::stress::evidence::read;

/// It is looked at again where it has one in so many more.
const MORE: usize = 50;

/// Of all its processes. Descriptors that are duplicated, passed or inherited are not known.
#[derive(Debug, Default)]
pub struct Open {
    /// Threads that are in a call which makes a socket.
    making: HashSet<Pid>,
    /// The process of a thread.
    processes: HashMap<Pid, Pid>,
    descriptors: HashMap<Pid, HashSet<u64>>,
    /// How many a process had that was looked at for it.
    most: usize,
}

impl Open {
    /// A thread begins a call.
    pub fn calls(&mut self, thread: Pid, makes_socket: bool) {
        if makes_socket {
            self.making.insert(thread);
        } else {
            self.making.remove(&thread);
        }
    }

    /// Its call returns, without an error.
    pub fn made(&mut self, thread: Pid, returned: u64) {
        if self.making.remove(&thread) {
            let process = self.process(thread);
            self.descriptors.entry(process).or_default().insert(returned);
        }
    }

    /// It closes a descriptor. Whether it has more sockets open than were ever looked at.
    pub fn closes(&mut self, thread: Pid, descriptor: u64) -> bool {
        let process = self.process(thread);
        let Some(open) = self.descriptors.get_mut(&process) else { return false };
        let count = open.len();
        if !open.remove(&descriptor) || count <= self.most + self.most / MORE {
            return false;
        }
        self.most = count;
        true
    }

    /// How many a process has; of its other threads: none.
    pub fn of(&self, process: Pid) -> usize {
        self.descriptors.get(&process).map_or(0, HashSet::len)
    }

    /// A process is at its end. Whether it has more sockets open than were ever looked at.
    pub fn ends(&mut self, process: Pid) -> bool {
        let count = self.of(process);
        let is_more = count > self.most + self.most / MORE;
        if is_more {
            self.most = count;
        }
        is_more
    }

    /// A thread, or a process, has ended.
    pub fn ended(&mut self, thread: Pid) {
        self.making.remove(&thread);
        self.processes.remove(&thread);
        self.descriptors.remove(&thread);
    }

    fn process(&mut self, thread: Pid) -> Pid {
        *self.processes.entry(thread).or_insert_with(|| {
            let status = read(&format!("/proc/{thread}/status"));
            let group = status.lines().find_map(|line| line.strip_prefix("Tgid:\t")?.parse().ok());
            group.map_or(thread, Pid::from_raw)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_at_before_the_first_of_the_most_is_closed() {
        let mut open = Open::default();
        // No process has this number: it is its own.
        let thread = Pid::from_raw(i32::MAX);
        let makes = |open: &mut Open, descriptors: std::ops::Range<u64>| {
            for descriptor in descriptors {
                open.calls(thread, true);
                open.made(thread, descriptor);
            }
        };
        makes(&mut open, 3..103);
        // connect() returns 0, which is no descriptor.
        open.calls(thread, false);
        open.made(thread, 0);
        assert_eq!(open.of(thread), 100);
        assert!(!open.closes(thread, 0), "no socket");
        assert!(open.closes(thread, 3));
        assert!(!open.closes(thread, 4), "fewer than there were");
        makes(&mut open, 3..5);
        makes(&mut open, 103..105);
        assert!(!open.closes(thread, 3), "one in fifty more");
        makes(&mut open, 3..4);
        makes(&mut open, 105..106);
        assert!(open.closes(thread, 3));
        assert!(!open.ends(thread), "looked at");
        makes(&mut open, 200..210);
        assert!(open.ends(thread));
        open.ended(thread);
        assert_eq!(open.of(thread), 0);
    }
}
