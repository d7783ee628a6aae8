//! A program of the user's that makes the connections itself: which processes it is, and which sockets they
//! have.

use std::{
    collections::{HashMap, HashSet},
    fs,
};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::evidence::read;

/// Who makes the connections, in place of clients of this program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Program {
    /// A command and its arguments, started in the place.
    Command(Vec<String>),
    /// A process that runs already, where it is.
    Running(u32),
}

/// What a program has of connections at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// Sockets that the process with the most of them has open.
    pub sockets: u64,
    /// Connections that it has an end of, or both.
    pub connections: u64,
    /// Those that it has both ends of.
    pub both_ends: u64,
}

/// The sockets of processes.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Their numbers (`socket:[…]`).
    pub inodes: HashSet<u32>,
    /// How many the process with the most has.
    pub most: u64,
    /// That process.
    pub who: Option<u32>,
}

impl Sockets {
    /// Those that these processes have open.
    pub fn of(pids: &[u32]) -> Self {
        let mut sockets = Self::default();
        for pid in pids {
            let open = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            let inodes = open.filter_map(|entry| {
                let link = fs::read_link(entry.path()).ok()?;
                link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u32>().ok()
            });
            let inodes: HashSet<u32> = inodes.collect();
            if inodes.len() as u64 > sockets.most {
                (sockets.most, sockets.who) = (inodes.len() as u64, Some(*pid));
            }
            sockets.inodes.extend(inodes);
        }
        sockets
    }
}

/// All processes that live here, with their parents.
pub fn processes() -> HashMap<u32, u32> {
    let mut parents = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // "pid (name) state parent …": a name may have anything in it.
        let stat = read(&format!("/proc/{pid}/stat"));
        let mut rest = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let (state, parent) = (rest.next(), rest.next().and_then(|parent| parent.parse().ok()));
        if let (Some(state), Some(parent)) = (state, parent)
            && !matches!(state, "Z" | "X")
        {
            parents.insert(pid, parent);
        }
    }
    parents
}

/// These processes and all that descend from them, in order.
pub fn tree(parents: &HashMap<u32, u32>, roots: &HashSet<u32>) -> Vec<u32> {
    let is_of = |pid: u32| {
        let mut at = pid;
        // A line of parents is no longer than there are processes.
        for _ in 0..=parents.len() {
            if roots.contains(&at) {
                return true;
            }
            match parents.get(&at) {
                Some(&parent) => at = parent,
                None => return false,
            }
        }
        false
    };
    let mut pids: Vec<u32> = parents.keys().copied().filter(|&pid| is_of(pid)).collect();
    pids.sort_unstable();
    pids
}

/// A process that runs, and all that descend from it, in the network namespace that it is in.
///
/// # Errors
/// When there is none.
pub fn running(pid: u32) -> Result<Vec<u32>> {
    let parents = processes();
    if !parents.contains_key(&pid) {
        bail!("there is no process {pid}");
    }
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let of_root = namespace(pid);
    let mut pids = tree(&parents, &[pid].into());
    pids.retain(|&one| namespace(one) == of_root);
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_what_descends_from_its_roots() {
        let parents = [(1, 0), (2, 1), (3, 2), (4, 1), (5, 3), (9, 8)].into();
        assert_eq!(tree(&parents, &[2].into()), [2, 3, 5]);
        assert_eq!(tree(&parents, &[9].into()), [9]);
        assert_eq!(tree(&parents, &[7].into()), Vec::<u32>::new());
    }

    #[test]
    fn this_process_runs_and_has_the_sockets_that_it_opens() {
        let own = std::process::id();
        assert!(running(own).unwrap().contains(&own));
        assert_eq!(processes().get(&own), Some(&nix::unistd::getppid().as_raw().cast_unsigned()));
        let before = Sockets::of(&[own]).most;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(Sockets::of(&[own]).most > before, "{listener:?}");
        assert!(running(u32::MAX).is_err());
    }
}
