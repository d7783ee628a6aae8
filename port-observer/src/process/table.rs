//! The processes that events speak of, kept past their end.

use std::{collections::HashSet, sync::Arc};

use foldhash::HashMap;

use super::bounds::{Cut, Total, Weight};
use super::cgroup::{Cgroups, Place};
use super::proc_fs::{ProcFs, same_start, ticks};
use super::program::{Knowledge, Program};
use super::{Caller, Process};
use crate::event::{Event, Exec, Fork, Task};

/// How many processes may be added before those that are gone are looked for and dropped.
const SWEEP_EVERY: usize = 16_384;
/// The same while there is little room for their texts.
const SWEEP_WHEN_SHORT: usize = 1_024;
/// Answers about one process that are remembered: each thread may have a name of its own.
pub(super) const ANSWERS: usize = 16;
/// How the kernel begins the names of the threads that work for io_uring (io_uring/io-wq.c, sqpoll.c):
/// these are no names that a program chose.
const OF_IO_URING: [&str; 2] = ["iou-wrk-", "iou-sqp-"];

/// Who each (process id, start time) is. Fed with [`Exec`] and [`Fork`] events in their order, and
/// asked with the [`Task`] of a call. What the kernel's side kept comes first; `/proc/PID` completes
/// it, while the process lives, when it is first asked for.
#[derive(Debug)]
pub struct ProcessTable {
    proc_fs: ProcFs,
    cgroups: Cgroups,
    /// By process id and start time in ticks, which `/proc` shows no finer.
    pub(super) entries: HashMap<(u32, u64), Entry>,
    /// Counts sweeps. An entry that was used since the last one stays.
    generation: u32,
    /// How many entries the last sweep left.
    swept: usize,
    /// How much text is kept of processes.
    total: Total,
    /// Counts losses of events. What is known from before a loss may be outdated.
    epoch: u32,
}

#[derive(Debug)]
pub(super) struct Entry {
    /// The finest that is known.
    start_time_ns: u64,
    /// Shared with children that run the same program.
    program: Arc<Program>,
    /// The last answers, the newest last.
    pub(super) resolved: Vec<Resolved>,
    generation: u32,
    epoch: u32,
}

#[derive(Debug)]
pub(super) struct Resolved {
    process: Arc<Process>,
    uid: u32,
    cgroup_id: u64,
}

impl Resolved {
    /// Whether it answers all but for the name.
    fn is_of(&self, task: &Task) -> bool {
        (self.uid, self.cgroup_id) == (task.uid, task.cgroup_id)
    }
}

/// The name at the call, if a program chose it.
fn chosen_name(task: &Task) -> Option<&str> {
    let name = task.name.as_str();
    let is_chosen = !name.is_empty() && !OF_IO_URING.iter().any(|of| name.starts_with(of));
    is_chosen.then_some(name)
}

/// The name of a process in a call, and that of its program, if it is another.
fn names(task: &Task, program: &Program) -> (String, Option<Arc<str>>) {
    let of_program = program.name.as_deref();
    let name = chosen_name(task).or(of_program).unwrap_or(&task.name);
    let exec_name = of_program.filter(|of_program| *of_program != name);
    (name.to_owned(), exec_name.map(Into::into))
}

impl Entry {
    /// Remembers an answer.
    fn answered(&mut self, task: &Task, process: &Arc<Process>) {
        if self.resolved.len() == ANSWERS {
            self.resolved.remove(0);
        }
        let (uid, cgroup_id) = (task.uid, task.cgroup_id);
        self.resolved.push(Resolved { process: Arc::clone(process), uid, cgroup_id });
    }
}

impl Default for ProcessTable {
    fn default() -> Self {
        Self::new(ProcFs::default())
    }
}

impl ProcessTable {
    /// An empty table over a /proc.
    pub fn new(proc_fs: ProcFs) -> Self {
        Self::with_total(proc_fs, Total::default())
    }

    pub(super) fn with_total(proc_fs: ProcFs, total: Total) -> Self {
        let cgroups = Cgroups::new(&proc_fs.mountinfo(), total.clone());
        Self {
            proc_fs,
            cgroups,
            entries: HashMap::default(),
            generation: 0,
            swept: 0,
            total,
            epoch: 0,
        }
    }

    /// That of this host, with all that run now. What can't be listed is looked up one by one.
    pub fn seeded() -> Self {
        let mut table = Self::default();
        if let Err(error) = table.seed() {
            log::warn!("processes that run already are looked up one by one: {error}");
        }
        table
    }

    /// Who called in an event. Takes in what the event says of processes, so all events come here,
    /// in their order.
    pub fn caller(&mut self, event: &Event) -> Option<Caller> {
        match event {
            Event::Exec(exec) => self.exec(exec),
            Event::Fork(fork) => self.fork(fork),
            Event::Lost { .. } => self.events_lost(),
            Event::Socket(_)
            | Event::Existing(_)
            | Event::ScanBegins
            | Event::ScanEnded { .. }
            | Event::Listing(_)
            | Event::Namespace(_)
            | Event::NamespaceGone(_) => {}
        }
        let task = event.task()?;
        Some(Caller { process: self.resolve(task), tid: task.tid })
    }

    /// A process that has each of these sockets open, by the socket's inode number, and whether the open
    /// files of every process could be read: if so, nobody has those that are left out.
    pub fn openers(&self, sockets: &HashSet<u32>) -> (HashMap<u32, Task>, bool) {
        if sockets.is_empty() {
            return (HashMap::default(), true);
        }
        let Ok(owners) = self.proc_fs.socket_owners(sockets) else {
            return (HashMap::default(), false);
        };
        // A process may have very many of them.
        let mut tasks: HashMap<u32, Option<Task>> = HashMap::default();
        let pids = owners.pids.into_iter();
        let openers = pids.filter_map(|(inode, pid)| {
            let task = tasks.entry(pid).or_insert_with(|| self.proc_fs.task(pid));
            Some((inode, task.clone()?))
        });
        (openers.collect(), owners.hidden_processes == 0)
    }

    /// Takes in the processes that run now, so that they are known when they end. Begin it after the
    /// probes: what is known from events by then stays. Returns how many there are.
    ///
    /// # Errors
    /// When /proc can't be listed.
    pub fn seed(&mut self) -> std::io::Result<usize> {
        let pids = self.proc_fs.pids()?;
        Ok(pids.into_iter().filter(|&pid| self.load(pid).is_some()).count())
    }

    /// A process began a program. What was resolved before keeps the earlier one.
    pub fn exec(&mut self, exec: &Exec) {
        let by_id = self.cgroups.by_id_at_once(exec.task.cgroup_id);
        let by_id = by_id.filter(|place| place.says_something());
        let by_name = || match exec.cgroup_name.as_str() {
            "" => None,
            name => Some(self.cgroups.at(name, exec.is_cgroup_name_cut)),
        };
        let program = Program::of_exec(exec, by_id.or_else(by_name), &self.total);
        self.insert(exec.task.pid, exec.task.start_time_ns, Arc::new(program));
    }

    /// A process was born: until it execs it runs what its parent runs.
    pub fn fork(&mut self, fork: &Fork) {
        let parent = (fork.parent_pid, ticks(fork.parent_start_time_ns));
        let known = self
            .entries
            .get(&parent)
            .filter(|entry| same_start(entry.start_time_ns, fork.parent_start_time_ns))
            .map(|entry| Arc::clone(&entry.program));
        let program = known.or_else(|| {
            // Not seeded, or its exec was lost. It may have another program by now, and the child
            // may be another's by number: so only what lives is read.
            if !self.proc_fs.is(fork.parent_pid, fork.parent_start_time_ns) {
                return None;
            }
            self.load(fork.parent_pid)
        });
        if let Some(program) = program {
            self.insert(fork.child_pid, fork.child_start_time_ns, program);
        }
    }

    /// Events were lost, execs maybe: what is known is checked against /proc when next asked for.
    pub fn events_lost(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
    }

    /// The process that made a call, as it was then as far as is known.
    pub fn resolve(&mut self, task: &Task) -> Arc<Process> {
        let key = (task.pid, ticks(task.start_time_ns));
        if let Some(entry) = self.entries.get_mut(&key)
            && same_start(entry.start_time_ns, task.start_time_ns)
            && entry.epoch == self.epoch
            && let Some(known) = entry.resolved.iter().rfind(|one| one.is_of(task))
        {
            entry.generation = self.generation;
            let name = chosen_name(task).or(entry.program.name.as_deref()).unwrap_or(&task.name);
            let mut of_task = entry.resolved.iter().filter(|one| one.is_of(task));
            if let Some(resolved) = of_task.rfind(|one| one.process.name == name) {
                return Arc::clone(&resolved.process);
            }
            let (name, exec_name) = names(task, &entry.program);
            let process = Arc::new(Process { name, exec_name, ..(*known.process).clone() });
            entry.answered(task, &process);
            return process;
        }
        self.resolve_anew(key, task)
    }

    /// How many processes it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn resolve_anew(&mut self, key: (u32, u64), task: &Task) -> Arc<Process> {
        let entry = self
            .entries
            .get(&key)
            .filter(|entry| same_start(entry.start_time_ns, task.start_time_ns));
        let (known, current) = match entry {
            Some(entry) => (Arc::clone(&entry.program), entry.epoch == self.epoch),
            None => (Arc::default(), false),
        };
        let start_time_ns =
            entry.map_or(task.start_time_ns, |entry| entry.start_time_ns.max(task.start_time_ns));
        let program = self.complete(task, known, current);
        let place = self.place(task, &program);
        let (name, exec_name) = names(task, &program);
        let process = Arc::new(Process {
            pid: task.pid,
            name,
            exec_name,
            executable: program.executable.clone(),
            command_line: Arc::clone(&program.command_line),
            uid: Some(task.uid),
            start_time_ns,
            cgroup: place.as_ref().map(|place| Arc::clone(&place.path)).filter(|p| !p.is_empty()),
            container: place.as_ref().and_then(|place| place.container.clone()),
            cut: Cut { cgroup: place.as_ref().is_some_and(|place| place.is_cut), ..program.cut },
            weight: Weight {
                program: program.weight.clone(),
                place: place.map(|place| Arc::clone(&place.weight)),
            },
        });
        self.insert(task.pid, start_time_ns, program);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.answered(task, &process);
        }
        process
    }

    /// Fills in from /proc what the kernel's side could not keep, if the process lives and still runs
    /// the same program.
    fn complete(&mut self, task: &Task, known: Arc<Program>, current: bool) -> Arc<Program> {
        let needed = match known.knowledge {
            Knowledge::Nothing | Knowledge::Partial => true,
            Knowledge::Full => !current,
        };
        if !needed {
            return known;
        }
        let Some(stat) = self.proc_fs.stat(task.pid) else { return known };
        if !same_start(stat.start_time_ns, task.start_time_ns) {
            return known;
        }
        let read = self.read(task.pid, stat.name);
        // The process id may have gone to another while it was read.
        if !self.proc_fs.is(task.pid, task.start_time_ns) {
            return known;
        }
        if known.knowledge == Knowledge::Nothing || !current {
            return Arc::new(read);
        }
        // None: it has begun another program since, whose event is yet to come, or has overwritten its
        // command line.
        known.completed(read, &self.total).map_or(known, Arc::new)
    }

    /// The best that is known of the cgroup: by its id, or as /proc shows it, or what was kept of it. On
    /// hosts with cgroup v1, the unified hierarchy may say nothing.
    fn place(&mut self, task: &Task, program: &Program) -> Option<Arc<Place>> {
        let by_id = self.cgroups.by_id(task.cgroup_id);
        let says =
            |place: &Option<Arc<Place>>| place.as_ref().is_some_and(|place| place.says_something());
        if says(&by_id) && !self.cgroups.has_v1 {
            return by_id;
        }
        let is_alive = self.proc_fs.is(task.pid, task.start_time_ns);
        let read = is_alive.then(|| self.read_place(task.pid)).flatten();
        let known = [read, by_id.clone(), program.cgroup.clone()];
        known.into_iter().find(says).flatten().or(by_id)
    }

    fn read_place(&mut self, pid: u32) -> Option<Arc<Place>> {
        let path = self.proc_fs.cgroup(pid)?;
        Some(self.cgroups.at(&path, false))
    }

    /// Reads a running process into the table, unless it is there with something known.
    fn load(&mut self, pid: u32) -> Option<Arc<Program>> {
        let stat = self.proc_fs.stat(pid)?;
        let start_time_ns = stat.start_time_ns;
        let entry = self.entries.get(&(pid, ticks(start_time_ns)));
        if let Some(entry) = entry.filter(|one| one.program.knowledge != Knowledge::Nothing) {
            return Some(Arc::clone(&entry.program));
        }
        let program = Arc::new(self.read(pid, stat.name));
        if !self.proc_fs.is(pid, start_time_ns) {
            return None;
        }
        self.insert(pid, start_time_ns, Arc::clone(&program));
        Some(program)
    }

    fn read(&mut self, pid: u32, name: String) -> Program {
        let executable = self.proc_fs.executable(pid);
        let arguments = self.proc_fs.command_line(pid);
        let place = self.read_place(pid);
        Program::read(name, executable, arguments, place, &self.total)
    }

    fn insert(&mut self, pid: u32, start_time_ns: u64, program: Arc<Program>) {
        let (generation, epoch) = (self.generation, self.epoch);
        let entry = Entry { start_time_ns, program, resolved: Vec::new(), generation, epoch };
        self.entries.insert((pid, ticks(start_time_ns)), entry);
        let every = if self.total.is_short() { SWEEP_WHEN_SHORT } else { SWEEP_EVERY };
        if self.entries.len() >= self.swept + every {
            self.sweep();
        }
    }

    /// Drops the processes that are gone and were not used since the last sweep.
    fn sweep(&mut self) {
        // Without a list of the living, age alone decides: those that live are read again.
        let living = self.proc_fs.pids().unwrap_or_default();
        let mut newest: HashMap<u32, u64> = HashMap::default();
        for &(pid, start) in self.entries.keys() {
            let latest = newest.entry(pid).or_default();
            *latest = start.max(*latest);
        }
        let generation = self.generation;
        self.entries.retain(|(pid, start), entry| {
            let alive = living.binary_search(pid).is_ok() && newest.get(pid) == Some(start);
            alive || entry.generation == generation
        });
        self.generation = generation.wrapping_add(1);
        self.swept = self.entries.len();
    }

    #[cfg(test)]
    pub(super) fn sweep_now(&mut self) {
        self.sweep();
    }
}
