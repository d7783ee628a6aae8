//! What the kernel says of the network namespaces that pools are in.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result, bail};

use crate::{
    event::{Existing, Task},
    kernel::{netns::Namespace, sysctl},
    pools::{Facts, Held, Holder, Pool},
    process::ProcessTable,
    source::{
        poll::{Poll, Scope},
        settings,
    },
    words,
};

/// Namespaces that are looked into.
pub(super) const MOST_NAMESPACES: usize = 64;

/// What was found in which namespace.
pub struct Looks {
    /// Each namespace once.
    pub facts: Vec<Facts>,
    /// Which of them each pool is in.
    pub of_pools: Vec<usize>,
}

/// Looks once into each namespace that a pool is in, by its name; `None`: the own. What holds ports of pools
/// there is listed, and what else `matters`.
pub fn look<'a>(
    pools: &'a [Pool],
    name_of: impl FnMut(&'a Pool) -> Option<&'a str>,
    matters: impl Fn(&Existing) -> bool,
) -> Looks {
    let names: Vec<Option<&str>> = pools.iter().map(name_of).collect();
    let mut looks = Looks { facts: Vec::new(), of_pools: Vec::new() };
    let mut known: Vec<Option<&str>> = Vec::new();
    for &name in &names {
        let at = known.iter().position(|one| *one == name).unwrap_or_else(|| {
            let is_wanted = |one: &Existing| {
                let mut here = pools.iter().zip(&names).filter(|(_, of)| **of == name);
                here.any(|(pool, _)| pool.ports.contains(one.flow.local.port)) || matters(one)
            };
            looks.facts.push(of_namespace(name, namespace(known.len(), name), is_wanted));
            known.push(name);
            known.len() - 1
        });
        looks.of_pools.push(at);
    }
    looks
}

/// The namespace that each pool names, else that of its container if that runs here.
pub fn with_containers<'a>() -> impl FnMut(&'a Pool) -> Option<&'a str> {
    let mut running = HashMap::new();
    move |pool| {
        let mut runs = |container: &&'a str| -> bool {
            *running.entry(*container).or_insert_with(|| settings::resolve(container).is_ok())
        };
        pool.netns.as_deref().or_else(|| pool.container.as_deref().filter(&mut runs))
    }
}

fn namespace(number: usize, name: Option<&str>) -> Result<Namespace> {
    if number >= MOST_NAMESPACES {
        bail!("{MOST_NAMESPACES} network namespaces at most are looked into at once");
    }
    name.map_or_else(Namespace::own, settings::resolve)
}

fn of_namespace(
    name: Option<&str>,
    namespace: Result<Namespace>,
    is_wanted: impl Fn(&Existing) -> bool,
) -> Facts {
    let mut facts = Facts { netns: name.map(str::to_owned), ..Facts::default() };
    match namespace {
        Ok(namespace) => {
            let ports = sysctl::ports(&namespace);
            facts.ports = Some(ports.map_err(|error| format!("{error:#}")));
            let held = held(&namespace, is_wanted, &mut facts.missing);
            facts.held = Some(held.map_err(|error| format!("{error:#}")));
        }
        Err(error) => facts.ports = Some(Err(format!("{error:#}"))),
    }
    facts
}

/// What holds ports there that matter.
fn held(
    namespace: &Namespace,
    is_wanted: impl Fn(&Existing) -> bool,
    missing: &mut Vec<String>,
) -> Result<Vec<Held>> {
    let mut poll = Poll::new(Scope::Given(vec![namespace.clone()]), &[]).with_iterator();
    let existing = poll.baseline().context("the sockets that are there can't be listed")?;
    let mut processes = ProcessTable::default();
    let mut holders = BTreeMap::new();
    let held: Vec<Held> = existing
        .iter()
        .filter(|one| is_wanted(one))
        .map(|one| Held {
            protocol: one.flow.protocol,
            local: one.flow.local,
            is_connected: one.flow.remote.is_some(),
            state: one.state,
            holder: one.task.as_ref().map(|task| {
                let known = holders.entry(task.pid);
                known.or_insert_with(|| holder(task, &mut processes)).clone()
            }),
        })
        .collect();
    let limits = poll.limits();
    missing.extend(limits.unreadable.iter().cloned());
    if limits.hidden_processes > 0 && held.iter().any(|one| one.holder.is_none()) {
        missing.push(words::missing::processes(limits.hidden_processes));
    }
    Ok(held)
}

/// Who a process is.
pub fn holder(task: &Task, processes: &mut ProcessTable) -> Holder {
    Holder::of(&processes.resolve(task))
}
