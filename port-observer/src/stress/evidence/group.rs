//! What is seen of a control group and those that it is in (cgroup v2).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::read;
use crate::kernel::cgroup;

/// A control group: what it and all that it is in have of their limits. Counters grow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its directory; `None`: it can't be found.
    pub path: Option<PathBuf>,
    /// Processes and threads, and `pids.max`, of the one that is nearest to it.
    pub pids: Option<(u64, u64)>,
    /// How often one refused a process or thread (`pids.events`).
    pub pids_refused: u64,
    /// How often one had no memory left to give, for which it kills (`memory.events`: `oom`; `oom_kill` are
    /// those too that the host killed).
    pub memory_refused: u64,
    /// How often one was at `memory.max`, which caches alone may come to.
    pub memory_full: u64,
}

impl Group {
    /// That of a process.
    pub fn of(pid: u32) -> Self {
        path_of(pid).map_or_else(Self::default, |path| Self::at(&path))
    }

    /// The one in this directory.
    pub fn at(path: &Path) -> Self {
        let mount = cgroup::mount().unwrap_or_default();
        let mut group = Self { path: Some(path.to_owned()), ..Self::default() };
        for level in path.ancestors().take_while(|level| level.starts_with(&mount)) {
            group.take(level);
        }
        group
    }

    /// Takes in what one level shows.
    fn take(&mut self, level: &Path) {
        let file = |name: &str| read(&level.join(name).to_string_lossy());
        let number = |name: &str| file(name).trim().parse::<u64>().ok();
        if let Some((now, most)) = number("pids.current").zip(number("pids.max")) {
            let left = |(now, most): (u64, u64)| most.saturating_sub(now);
            if self.pids.is_none_or(|nearest| left((now, most)) < left(nearest)) {
                self.pids = Some((now, most));
            }
        }
        // What others below the same level meet is not this one's. Before Linux 6.11 there is no local file of
        // `pids`, and the group that forks counts, whichever level's limit it is (`pids_event`).
        let events = |name: &str| match file(&format!("{name}.events.local")) {
            text if text.is_empty() => file(&format!("{name}.events")),
            text => text,
        };
        let (pids, memory) = (events("pids"), events("memory"));
        self.pids_refused += count(&pids, "max");
        self.memory_refused += count(&memory, "oom");
        self.memory_full += count(&memory, "max");
    }

    /// What came since then, of the same group.
    pub fn since(mut self, then: &Self) -> Self {
        if self.path == then.path {
            self.pids_refused = self.pids_refused.saturating_sub(then.pids_refused);
            self.memory_refused = self.memory_refused.saturating_sub(then.memory_refused);
            self.memory_full = self.memory_full.saturating_sub(then.memory_full);
        }
        self
    }
}

/// The directory of a process's group.
pub fn path_of(pid: u32) -> Option<PathBuf> {
    let text = read(&format!("/proc/{pid}/cgroup"));
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(cgroup::mount()?.join(path))
}

/// An event's count: a line `name count`.
fn count(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_before_does_not_count_unless_it_was_another_group() {
        assert_eq!(count("low 0\nmax 3\noom 2\noom_kill 1\n", "oom"), 2);
        let of = |path: &str, pids_refused| Group {
            path: Some(path.into()),
            pids_refused,
            ..Group::default()
        };
        assert_eq!(of("/a", 7).since(&of("/a", 5)).pids_refused, 2);
        assert_eq!(of("/a", 7).since(&of("/b", 5)).pids_refused, 7);
    }
}
