//! Processes of one name as one: of a thousand short-lived ones, none says much by itself.

use std::{cmp::Reverse, hash::Hash};

use foldhash::HashMap;

use super::{Failed, Group};
use crate::{process::Process, report::Holder};

/// The processes of a name are told apart if so many of them have half of what all have.
pub(super) const APART: usize = 4;
/// And of these, those that have this part of it.
const LARGE: u64 = 20;

/// Who holds ports, the largest first, of holders of whom the largest come first.
pub(super) fn holders(holders: &[Holder]) -> Vec<Group> {
    let single = |holder: &Holder| Group { holder: holder.clone(), processes: 1 };
    let name = |group: &Group| {
        (group.holder.process.as_deref().map(name), group.holder.open_in.as_deref().map(name))
    };
    by_name(
        holders.iter().map(single).collect(),
        name,
        |group| (Reverse(group.holder.total().into()), pid(group.holder.process.as_deref())),
        |group, more| {
            group.processes += more.processes;
            group.holder.counts += more.holder.counts;
        },
    )
}

/// Whose calls failed, most first.
pub(super) fn failed(failed: Vec<Failed>) -> Vec<Failed> {
    by_name(
        failed,
        |one| (one.process.as_deref().map(name), one.errno),
        |one| (Reverse(one.count), pid(one.process.as_deref())),
        |group, more| {
            group.processes += more.processes;
            group.count += more.count;
        },
    )
}

/// A name, in a container.
fn name(process: &Process) -> (String, Option<String>) {
    (process.name.clone(), process.container.as_ref().map(|container| container.id.clone()))
}

fn pid(process: Option<&Process>) -> u32 {
    process.map_or(0, |process| process.pid)
}

/// `order`: how much each has, and what decides between those that have as much.
fn by_name<T, K: Eq + Hash>(
    all: Vec<T>,
    name: impl Fn(&T) -> K,
    order: impl Fn(&T) -> (Reverse<u64>, u32),
    merge: impl Fn(&mut T, T),
) -> Vec<T> {
    let mut names: HashMap<K, Vec<T>> = HashMap::default();
    for one in all {
        names.entry(name(&one)).or_default().push(one);
    }
    let mut groups = Vec::new();
    for mut group in names.into_values() {
        group.sort_by_key(&order);
        let amount = |one: &T| order(one).0.0;
        let all: u64 = group.iter().map(amount).sum();
        let largest: u64 = group.iter().take(APART).map(amount).sum();
        let is_large = |one: &&T| amount(one).saturating_mul(LARGE) >= all;
        let are_apart = largest.saturating_mul(2) >= all;
        let large = group.iter().take(APART).take_while(is_large).count();
        let rest = group.split_off(if are_apart { large } else { 0 });
        groups.extend(group);
        groups.extend(rest.into_iter().reduce(|mut group, more| {
            merge(&mut group, more);
            group
        }));
    }
    groups.sort_by_key(order);
    groups
}
