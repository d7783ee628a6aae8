//! Who holds ports, by name, with all processes of the name.

use std::collections::{BTreeMap, BTreeSet};

use crate::process::Process;

/// Processes of one name, and the ports that they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Their name; `None`: who it is is not known.
    pub name: Option<String>,
    /// Each with its ports, the most first.
    pub processes: Vec<(u32, u32)>,
    /// All of their ports.
    pub ports: u32,
    /// Concluded, not seen.
    pub likely: bool,
}

/// Ports by name and process.
#[derive(Clone, Debug, Default)]
pub(super) struct Groups {
    by_name: BTreeMap<String, BTreeMap<u32, u32>>,
    unknown: u32,
}

impl Groups {
    /// One more port.
    pub(super) fn add(&mut self, process: Option<&Process>) {
        match process {
            Some(process) => {
                let of_name = self.by_name.entry(process.name.clone()).or_default();
                *of_name.entry(process.pid).or_default() += 1;
            }
            None => self.unknown += 1,
        }
    }

    /// All ports.
    pub(super) fn ports(&self) -> u32 {
        self.unknown + self.by_name.values().flat_map(BTreeMap::values).sum::<u32>()
    }

    /// Those of nobody who is known.
    pub(super) fn unknown(&self) -> u32 {
        self.unknown
    }

    /// The largest first, those that are not known last. `likely`: whose these are, if that can be
    /// concluded: a name and its processes.
    pub(super) fn holders(&self, likely: Option<(&str, &BTreeSet<u32>)>) -> Vec<Holder> {
        let mut holders: Vec<Holder> = self
            .by_name
            .iter()
            .map(|(name, of_name)| {
                let mut processes: Vec<(u32, u32)> =
                    of_name.iter().map(|(pid, ports)| (*pid, *ports)).collect();
                processes.sort_by_key(|(pid, ports)| (std::cmp::Reverse(*ports), *pid));
                let ports = of_name.values().sum();
                Holder { name: Some(name.clone()), processes, ports, likely: false }
            })
            .collect();
        holders.sort_by(|one, other| {
            other.ports.cmp(&one.ports).then_with(|| one.name.cmp(&other.name))
        });
        if self.unknown > 0 {
            let (name, processes) = match likely {
                // Which of several processes had how many is not known.
                Some((name, pids)) => {
                    let each = if pids.len() == 1 { self.unknown } else { 0 };
                    (Some(name.to_owned()), pids.iter().map(|pid| (*pid, each)).collect())
                }
                None => (None, Vec::new()),
            };
            let likely = name.is_some();
            holders.push(Holder { name, processes, ports: self.unknown, likely });
        }
        holders
    }
}
