//! Who is who: answered from /proc and the kernel's events, or from a recording.

use std::sync::Arc;

use foldhash::HashMap;

use crate::{
    event::{Event, Exec, Fork, Kind, Task},
    ledger::Who,
    process::{ProcFs, Process, ProcessTable},
    report::Caller,
};

/// How many processes of a recording are remembered beyond the one that is asked for.
const REMEMBERED: usize = 65_536;

impl Who for ProcessTable {
    fn resolve(&mut self, task: &Task) -> Arc<Process> {
        Self::resolve(self, task)
    }

    fn exec(&mut self, exec: &Exec) {
        Self::exec(self, exec);
    }

    fn fork(&mut self, fork: &Fork) {
        Self::fork(self, fork);
    }

    fn events_lost(&mut self) {
        Self::events_lost(self);
    }
}

/// The one that the ledger asks.
pub struct Processes {
    source: Source,
    /// Whether the last answer is kept.
    remembers: bool,
    last: Option<Caller>,
}

enum Source {
    /// Of a running kernel.
    Table(Box<ProcessTable>),
    /// Of a recording.
    Recorded {
        /// Who called in the event that is applied next.
        current: Option<Arc<Process>>,
        /// By process id and start time, as they were last.
        known: HashMap<(u32, u64), Arc<Process>>,
    },
}

impl Processes {
    /// Those of this host, with all that run now.
    pub fn seeded() -> Self {
        let mut table = ProcessTable::new(ProcFs::default());
        if let Err(error) = table.seed() {
            log::warn!("processes that run already are looked up one by one: {error}");
        }
        Self { source: Source::Table(Box::new(table)), remembers: false, last: None }
    }

    /// Those that [`Processes::set_current`] names.
    pub fn recorded() -> Self {
        let source = Source::Recorded { current: None, known: HashMap::default() };
        Self { source, remembers: false, last: None }
    }

    /// Keeps the last answer from now on.
    pub fn remember(&mut self) {
        self.remembers = true;
    }

    /// The last answer since this was last asked.
    pub fn take_last(&mut self) -> Option<Caller> {
        self.last.take()
    }

    /// Who called in the event that is applied next.
    pub fn set_current(&mut self, process: Option<&Arc<Process>>) {
        let Source::Recorded { current, known } = &mut self.source else { return };
        *current = process.cloned();
        if let Some(process) = process {
            if known.len() >= REMEMBERED {
                known.clear();
            }
            known.insert((process.pid, process.start_time_ns), Arc::clone(process));
        }
    }

    /// Resolves the caller of an event that the ledger asks for later, or maybe not at all.
    pub fn expect(&mut self, event: &Event) {
        match event {
            Event::Socket(event) => {
                if let Kind::Accept { task } = &event.kind {
                    self.resolve(task);
                }
            }
            Event::Existing(existing) => {
                if let Some(task) = &existing.task {
                    self.resolve(task);
                }
            }
            _ => {}
        }
    }
}

impl Who for Processes {
    fn resolve(&mut self, task: &Task) -> Arc<Process> {
        let process = match &mut self.source {
            Source::Table(table) => table.resolve(task),
            Source::Recorded { current, known } => {
                let is_it = |one: &&Arc<Process>| one.pid == task.pid;
                let known = || known.get(&(task.pid, task.start_time_ns));
                current.as_ref().filter(is_it).or_else(known).cloned().unwrap_or_else(|| {
                    Arc::new(Process {
                        pid: task.pid,
                        name: task.name.clone(),
                        uid: Some(task.uid),
                        start_time_ns: task.start_time_ns,
                        ..Process::default()
                    })
                })
            }
        };
        if self.remembers {
            self.last = Some(Caller { process: Arc::clone(&process), tid: task.tid });
        }
        process
    }

    fn exec(&mut self, exec: &Exec) {
        if let Source::Table(table) = &mut self.source {
            table.exec(exec);
        }
    }

    fn fork(&mut self, fork: &Fork) {
        if let Source::Table(table) = &mut self.source {
            table.fork(fork);
        }
    }

    fn events_lost(&mut self) {
        if let Source::Table(table) = &mut self.source {
            table.events_lost();
        }
    }
}
