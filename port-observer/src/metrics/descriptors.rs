//! How many files the largest processes have open, of how many they may.

use std::{fs, os::unix::fs::MetadataExt as _};

use super::family::{Family, Kind, Sample, as_f64};
use crate::{report::NamedUse, words::escape::escape};

/// How many processes of one name are looked at: the first.
const PIDS: usize = 8;
/// Beyond so many, descriptors are not counted one by one.
const COUNTED: usize = 65_536;

/// Of the processes of one name, the one with the fewest descriptors left.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Descriptors {
    process: String,
    open: u64,
    limit: u64,
}

impl Descriptors {
    /// Of the processes that hold the most.
    pub(super) fn of(largest: &[NamedUse]) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for one in largest {
            let Some(name) = &one.name else { continue };
            for pid in one.pids.iter().take(PIDS) {
                let (Some(open), Some(limit)) = (open(*pid), limit(*pid)) else { continue };
                let tightest = Self { process: name.clone(), open, limit };
                match found.iter_mut().find(|known| known.process == *name) {
                    None => found.push(tightest),
                    Some(known) if known.left() > tightest.left() => *known = tightest,
                    Some(_) => {}
                }
            }
        }
        found
    }

    fn left(&self) -> u64 {
        self.limit.saturating_sub(self.open)
    }
}

/// How many descriptors a process has open. Since Linux 6.2 the size of /proc/PID/fd says it
/// (`proc_fd_getattr`, fs/proc/fd.c); before, they are counted.
fn open(pid: u32) -> Option<u64> {
    let path = format!("/proc/{pid}/fd");
    match fs::metadata(&path).ok()?.size() {
        0 => {
            let count = fs::read_dir(&path).ok()?.take(COUNTED + 1).count();
            (count <= COUNTED).then_some(count as u64)
        }
        size => Some(size),
    }
}

/// The soft limit of open files (`Max open files`, fs/proc/base.c: `proc_pid_limits`).
fn limit(pid: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    parse_limit(&limits)
}

fn parse_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The families of both numbers.
pub(super) fn families(all: &[Descriptors]) -> [Family; 2] {
    let each = |value: fn(&Descriptors) -> u64| -> Vec<Sample> {
        let sample = |one: &Descriptors| {
            Sample::new(vec![("process", escape(&one.process).into_owned())], as_f64(value(one)))
        };
        all.iter().map(sample).collect()
    };
    [
        Family::new(
            Kind::Gauge,
            "port_observer_process_open_fds",
            "Open file descriptors; of the largest holders of ports, by name the one with the fewest left.",
        )
        .of(each(|one| one.open)),
        Family::new(
            Kind::Gauge,
            "port_observer_process_max_fds",
            "The soft limit of open file descriptors of the same process.",
        )
        .of(each(|one| one.limit)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(parse_limit(limits), Some(1024));
        assert_eq!(parse_limit("Max open files            unlimited  unlimited  files"), None);
        assert_eq!(parse_limit(""), None);
    }

    #[test]
    fn this_process_has_descriptors_open_and_a_limit() {
        let pid = std::process::id();
        let use_of = |name: &str| NamedUse {
            netns: 1,
            name: Some(name.to_owned()),
            pids: vec![pid, u32::MAX],
            tcp: crate::report::Counts::default(),
            udp: 0,
        };
        let found = Descriptors::of(&[use_of("a"), use_of("a"), use_of("b")]);
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|one| one.open > 2 && one.limit > one.open), "{found:?}");
    }
}
