//! Whose ports are one series: a process that holds much by itself, or all of one name.

use std::sync::Arc;

use foldhash::HashMap;

use super::{super::group::APART, Held, Share};
use crate::{process::Process, report::Holder};

/// How many names, and how many processes, are told apart; what is held beyond them is others'.
const KNOWN: usize = 4_096;
/// How many processes a bucket has by themselves, and how many names beside them.
const IN_BUCKET: usize = 16;
/// A process is looked at by itself that holds this part of what is used,
const LARGE: u32 = 100;
/// and so many ports.
const LEAST: u32 = 3;

/// Names and processes, by number.
#[derive(Debug, Default)]
pub struct Names {
    by_key: HashMap<Key, usize>,
    all: Vec<Named>,
    /// How many of them are processes.
    processes: usize,
}

/// Processes that are one series.
#[derive(Clone, Debug)]
pub struct Named {
    /// One of them; `None`: those of whom nothing is known.
    pub process: Option<Arc<Process>>,
    /// There are more.
    pub is_several: bool,
    /// The number of all of this name.
    name: usize,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Of the container of this identifier.
    Name(String, Option<String>),
    /// By number and start.
    Process(u32, u64),
    Unknown,
}

impl Names {
    /// By number; of `holders`, the largest come first.
    pub fn shares(&mut self, holders: &[Holder]) -> Vec<Share> {
        let used: u32 = holders.iter().map(Holder::total).sum();
        let mut shares: HashMap<usize, Held> = HashMap::default();
        for (at, holder) in holders.iter().enumerate() {
            let total = holder.total();
            let is_large = at < IN_BUCKET && total >= LEAST && total.saturating_mul(LARGE) >= used;
            let Some(number) = self.number(holder.process.as_ref(), is_large) else { continue };
            let time_wait = holder.counts.time_wait;
            *shares.entry(number).or_default() += Held { in_use: total - time_wait, time_wait };
        }
        let mut shares: Vec<Share> =
            shares.into_iter().map(|(number, held)| Share { number, held }).collect();
        shares.sort_unstable_by_key(|share| (std::cmp::Reverse(share.held.total()), share.number));
        shares.truncate(2 * IN_BUCKET);
        shares
    }

    fn number(&mut self, process: Option<&Arc<Process>>, is_large: bool) -> Option<usize> {
        let Some(process) = process else { return self.find_or_add(Key::Unknown, None, None) };
        let container = process.container.as_ref().map(|container| container.id.clone());
        let name =
            self.find_or_add(Key::Name(process.name.clone(), container), Some(process), None)?;
        if !is_large {
            return Some(name);
        }
        let key = Key::Process(process.pid, process.start_time_ns);
        self.find_or_add(key, Some(process), Some(name)).or(Some(name))
    }

    fn find_or_add(
        &mut self,
        key: Key,
        process: Option<&Arc<Process>>,
        of: Option<usize>,
    ) -> Option<usize> {
        let id = |process: &Arc<Process>| (process.pid, process.start_time_ns);
        if let Some(number) = self.by_key.get(&key) {
            let known = &mut self.all[*number];
            known.is_several |= known.process.as_ref().map(id) != process.map(id);
            return Some(*number);
        }
        let count = if of.is_some() { self.processes } else { self.all.len() - self.processes };
        if count >= KNOWN {
            return None;
        }
        self.processes += usize::from(of.is_some());
        let number = self.all.len();
        self.by_key.insert(key, number);
        let name = of.unwrap_or(number);
        self.all.push(Named { process: process.cloned(), is_several: false, name });
        Some(number)
    }

    /// What of this number is.
    pub fn get(&self, number: usize) -> &Named {
        &self.all[number]
    }

    /// Of which number each is shown, by how much it holds in all: processes of which many have one
    /// name are one.
    pub fn merged(&self, totals: &HashMap<usize, u64>) -> HashMap<usize, usize> {
        let mut by_name: HashMap<usize, Vec<(u64, usize)>> = HashMap::default();
        for (number, total) in totals {
            by_name.entry(self.all[*number].name).or_default().push((*total, *number));
        }
        let mut merged = HashMap::default();
        for (name, mut parts) in by_name {
            parts.sort_unstable_by_key(|part| std::cmp::Reverse(*part));
            let all: u64 = parts.iter().map(|(total, _)| total).sum();
            let processes = parts.iter().filter(|(_, number)| *number != name);
            let largest: u64 = processes.take(APART).map(|(total, _)| total).sum();
            let are_apart = self.all[name].is_several && largest.saturating_mul(2) >= all;
            for (_, number) in parts {
                merged.insert(number, if are_apart { number } else { name });
            }
        }
        merged
    }
}
