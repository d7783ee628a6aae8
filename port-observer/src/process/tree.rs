//! A process and all that descend from it, wherever they are reparented to and however long they are
//! gone.

use std::{collections::HashSet, os::unix::fs::MetadataExt as _};

use foldhash::HashMap;

use super::{
    Process,
    proc_fs::{ProcFs, ticks},
};
use crate::event::{Event, Exec, Fork};

/// So many members are remembered before the older of those that are gone are forgotten: their
/// TIME_WAIT entries are theirs for a minute.
const MOST_MEMBERS: usize = 1 << 17;
/// So many that are none.
const MOST_STRANGERS: usize = 1 << 14;
/// A line of parents is followed so far.
const MOST_PARENTS: usize = 256;
/// `PROC_PID_INIT_INO` (include/linux/proc_ns.h): the first pid namespace.
const FIRST_PID_NAMESPACE: u64 = 0xeffffffc;

/// A process id and the start in ticks, which `/proc` shows no finer.
type Id = (u32, u64);

/// A process and all that descend from it. Fed with all events in their order; where those can't tell
/// who is whose child, parents are looked up in `/proc`, while they live.
#[derive(Debug)]
pub struct Tree {
    root: Id,
    /// With when they were added, counted.
    members: HashMap<Id, u64>,
    added: u64,
    most: usize,
    /// Events may not have told of a fork.
    looks: bool,
    /// Looked up, and not of the tree.
    strangers: HashSet<Id>,
    proc_fs: ProcFs,
    /// Events have the process ids of the first pid namespace, `/proc` has others.
    is_inside: bool,
}

impl Tree {
    /// That of a process that lives. `tells_forks`: events tell of every fork from now on.
    pub fn new(pid: u32, tells_forks: bool) -> Self {
        let namespace = std::fs::metadata("/proc/self/ns/pid");
        let is_inside = namespace.is_ok_and(|found| found.ino() != FIRST_PID_NAMESPACE);
        Self::over(ProcFs::default(), pid, tells_forks, is_inside && tells_forks, MOST_MEMBERS)
    }

    fn over(proc_fs: ProcFs, pid: u32, tells_forks: bool, is_inside: bool, most: usize) -> Self {
        let start_time_ns = proc_fs.stat(pid).map_or(0, |stat| stat.start_time_ns);
        let root = (pid, ticks(start_time_ns));
        let mut tree = Self {
            root,
            members: HashMap::default(),
            added: 0,
            most,
            looks: !tells_forks,
            strangers: HashSet::new(),
            proc_fs,
            is_inside,
        };
        if !is_inside {
            tree.add(root);
        }
        tree
    }

    /// Takes in what an event says of processes.
    pub fn take_in(&mut self, event: &Event) {
        match event {
            Event::Fork(fork) => self.fork(fork),
            Event::Exec(exec) => self.exec(exec),
            Event::Lost { .. } => {
                self.looks = true;
                self.strangers.clear();
            }
            Event::Socket(_)
            | Event::Existing(_)
            | Event::ScanBegins
            | Event::ScanEnded { .. }
            | Event::Listing(_)
            | Event::Namespace(_)
            | Event::NamespaceGone(_) => {}
        }
    }

    /// Whether a process is of the tree.
    pub fn has(&mut self, process: &Process) -> bool {
        let id = (process.pid, ticks(process.start_time_ns));
        if self.members.contains_key(&id) {
            return true;
        }
        if !self.looks || self.is_inside || self.strangers.contains(&id) {
            return false;
        }
        self.look_up(id)
    }

    /// The same, of a process of which [`Tree::has`] was asked before.
    pub fn knows(&self, process: &Process) -> bool {
        self.members.contains_key(&(process.pid, ticks(process.start_time_ns)))
    }

    fn fork(&mut self, fork: &Fork) {
        let parent = (fork.parent_pid, ticks(fork.parent_start_time_ns));
        if self.members.contains_key(&parent) {
            self.add((fork.child_pid, ticks(fork.child_start_time_ns)));
        }
    }

    /// Within a pid namespace the root is known by its start alone: the first that executes something
    /// and was started then is it, since it was held until all was told.
    fn exec(&mut self, exec: &Exec) {
        let id = (exec.task.pid, ticks(exec.task.start_time_ns));
        if self.is_inside && self.members.is_empty() && id.1 == self.root.1 {
            self.add(id);
        }
    }

    /// Follows the parents of a process, as far as they live.
    fn look_up(&mut self, id: Id) -> bool {
        let mut line = Vec::new();
        let mut at = id;
        while line.len() < MOST_PARENTS {
            if self.members.contains_key(&at) {
                line.into_iter().for_each(|one| self.add(one));
                return true;
            }
            let Some(stat) =
                self.proc_fs.stat(at.0).filter(|stat| ticks(stat.start_time_ns) == at.1)
            else {
                // Gone: whose it was can't be told.
                return false;
            };
            line.push(at);
            let Some(parent) = self.proc_fs.stat(stat.parent) else { break };
            at = (stat.parent, ticks(parent.start_time_ns));
        }
        if self.strangers.len() >= MOST_STRANGERS {
            self.strangers.clear();
        }
        self.strangers.insert(id);
        false
    }

    fn add(&mut self, id: Id) {
        self.added += 1;
        self.members.insert(id, self.added);
        if self.members.len() >= self.most {
            self.forget();
        }
    }

    /// Forgets the older half of those that are gone.
    fn forget(&mut self) {
        let living = self.proc_fs.pids().unwrap_or_default();
        let since = self.added - (self.most / 2) as u64;
        let is_living = |pid: &u32| living.binary_search(pid).is_ok();
        self.members.retain(|(pid, _), added| *added > since || is_living(pid));
        if self.members.len() >= self.most {
            // More live than are remembered.
            self.most *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::event::{LossKind, LossPlace, Task};

    const TICK_NS: u64 = 10_000_000;

    /// A /proc with these processes: id, parent, start in ticks.
    fn proc_fs(processes: &[(u32, u32, u64)]) -> (tempfile::TempDir, ProcFs) {
        let directory = tempfile::tempdir().unwrap();
        for (pid, parent, start) in processes {
            let path = directory.path().join(pid.to_string());
            fs::create_dir(&path).unwrap();
            let zeros = "0 ".repeat(17);
            fs::write(path.join("stat"), format!("{pid} (a b) S {parent} {zeros}{start} 0"))
                .unwrap();
        }
        let proc_fs = ProcFs::at(directory.path());
        (directory, proc_fs)
    }

    fn process(pid: u32, start: u64) -> Process {
        Process { pid, start_time_ns: start * TICK_NS + 7, ..Process::default() }
    }

    fn fork(parent: (u32, u64), child: (u32, u64)) -> Event {
        Event::Fork(Fork {
            parent_pid: parent.0,
            parent_start_time_ns: parent.1 * TICK_NS + 7,
            child_pid: child.0,
            child_start_time_ns: child.1 * TICK_NS + 7,
        })
    }

    fn exec(pid: u32, start: u64) -> Event {
        Event::Exec(Box::new(Exec {
            task: Task {
                pid,
                tid: pid,
                name: "a".to_owned(),
                uid: 0,
                start_time_ns: start * TICK_NS + 7,
                cgroup_id: 0,
            },
            executable: String::new(),
            command_line: Vec::new(),
            cgroup_name: String::new(),
            is_executable_cut: false,
            is_command_line_cut: false,
            is_cgroup_name_cut: false,
        }))
    }

    fn lost() -> Event {
        let (place, kind) = (LossPlace::KernelBuffer, LossKind::of("fork"));
        Event::Lost { count: 1, place, kind, task: None }
    }

    #[test]
    fn descendants_are_of_the_tree_whoever_is_gone_between() {
        let (_directory, proc_fs) = proc_fs(&[(1, 0, 0), (10, 1, 100), (50, 1, 90)]);
        let mut tree = Tree::over(proc_fs, 10, true, false, MOST_MEMBERS);
        tree.take_in(&fork((10, 100), (11, 101)));
        tree.take_in(&fork((11, 101), (12, 102)));
        tree.take_in(&fork((50, 90), (51, 103)));
        assert!(tree.has(&process(10, 100)) && tree.has(&process(11, 101)));
        assert!(tree.has(&process(12, 102)) && tree.knows(&process(12, 102)));
        assert!(!tree.has(&process(1, 0)) && !tree.has(&process(50, 90)));
        assert!(!tree.has(&process(51, 103)));
        // Another process with a member's number.
        assert!(!tree.has(&process(12, 500)));
    }

    #[test]
    fn what_forks_do_not_tell_is_looked_up_while_parents_live() {
        let processes = [(1, 0, 0), (10, 1, 100), (11, 10, 101), (12, 11, 102), (50, 1, 90)];
        let (directory, proc_fs) = proc_fs(&processes);
        let mut tree = Tree::over(proc_fs.clone(), 10, true, false, MOST_MEMBERS);
        assert!(!tree.has(&process(12, 102)));
        tree.take_in(&lost());
        assert!(tree.has(&process(12, 102)) && tree.knows(&process(11, 101)));
        assert!(!tree.has(&process(50, 90)) && !tree.has(&process(12, 500)));
        // Reparented since: it stays what it was.
        fs::remove_dir_all(directory.path().join("11")).unwrap();
        assert!(tree.has(&process(12, 102)));
        assert!(Tree::over(proc_fs, 10, false, false, MOST_MEMBERS).has(&process(10, 100)));
    }

    #[test]
    fn within_a_pid_namespace_the_root_is_the_first_of_its_start_that_executes_something() {
        let (_directory, proc_fs) = proc_fs(&[(1, 0, 0), (10, 1, 100)]);
        let mut tree = Tree::over(proc_fs, 10, true, true, MOST_MEMBERS);
        for (pid, start) in [(4_000, 99), (4_010, 100), (4_020, 100)] {
            tree.take_in(&exec(pid, start));
        }
        tree.take_in(&fork((4_010, 100), (4_011, 200)));
        assert!(tree.has(&process(4_010, 100)) && tree.has(&process(4_011, 200)));
        assert!(!tree.has(&process(10, 100)) && !tree.has(&process(4_020, 100)));
    }

    #[test]
    fn old_members_that_are_gone_are_forgotten_and_those_that_live_never() {
        let (_directory, proc_fs) = proc_fs(&[(10, 1, 100), (11, 1, 101)]);
        let mut tree = Tree::over(proc_fs, 10, true, false, 64);
        tree.take_in(&fork((10, 100), (11, 101)));
        for pid in 100..1_000 {
            tree.take_in(&fork((11, 101), (pid, u64::from(pid))));
            assert!(tree.members.len() < 64);
        }
        assert!(tree.has(&process(10, 100)) && tree.has(&process(11, 101)));
        assert!(tree.has(&process(999, 999)) && !tree.has(&process(100, 100)));
    }
}
