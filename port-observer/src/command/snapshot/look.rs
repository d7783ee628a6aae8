//! From the kernel's lists, through the ledger, to what is told of it.

use anyhow::{Context as _, Result};

use crate::{
    command::one_look::take_in,
    config::SnapshotConfig,
    event::{Event, Existing, Protocol, SocketId, TcpState},
    kernel::{
        clock, diag,
        netns::{self, Namespace},
        release,
    },
    ledger::{self, Ledger},
    process::OwnerSearch,
    report::{Holding, Port, Snapshot, Sources},
    source::{
        is_blocking_sticky,
        owners::Way,
        poll::{Limits, OTHERS_ARE_HIDDEN, Poll, Scope},
        settings,
    },
    words,
};

/// As many as the ledger can number: the list is read anyhow, and nothing is added later.
const MAX_HOLDINGS: usize = u32::MAX as usize;

/// Namespaces whose settings can't be read are named up to so many.
const MOST_UNREAD: usize = 10;

/// Reads the kernel's lists once, as the ledger understands them.
///
/// # Errors
/// When no namespace can be looked into, or /proc can't be read.
pub(super) fn look(config: &SnapshotConfig) -> Result<Snapshot> {
    let (namespaces, mut missing) = namespaces(config)?;
    let (host, kernel) = release::host()?;
    let time_ns = clock::now_boot_ns()?;
    let options = ledger::Options {
        sticky: is_blocking_sticky(),
        max_holdings: MAX_HOLDINGS,
        ..ledger::Options::default()
    };
    let mut ledger = Ledger::new(options);
    let mut lines = Vec::new();
    let mut unset = Vec::new();
    let mut long_bytes = 0;
    let mut owners = OwnerSearch::default();
    for namespace in &namespaces {
        match settings::read(namespace, &mut owners, &mut long_bytes) {
            Ok(Some(settings)) => {
                ledger.apply(time_ns, Event::Namespace(Box::new(settings)), None, &mut lines);
            }
            Ok(None) => unset.push((namespace.inode, "it has ended".to_owned())),
            Err(error) => unset.push((namespace.inode, format!("{error:#}"))),
        }
    }
    let mut poll = Poll::new(Scope::Given(namespaces), &config.protocols).with_iterator();
    let existing = poll.baseline().context("the sockets that are there can't be listed")?;
    let sockets: Vec<SocketId> = existing.iter().filter_map(|one| one.socket).collect();
    let looked = poll.looked();
    // Of one that can't be looked into, that is said already.
    unset.retain(|(netns, _)| looked.contains(netns));
    missing.extend(unread(&unset));
    missing.extend(limits(poll.limits(), &existing, config));
    take_in(&mut ledger, time_ns, existing);
    Ok(Snapshot {
        time_ns,
        host,
        kernel,
        missing,
        sources: Sources::of_lists(
            poll.limits().fallback.is_some(),
            poll.limits().way.map(Way::name),
        ),
        summary: ledger.summary(time_ns, config.top, &|_| true, &|_| true),
        holdings: config.holdings.then(|| holdings(&ledger, &poll, &sockets, config)),
        asked: config.asked(),
    })
}

/// Those that are asked for, or all that may be looked into; and what is not seen then.
fn namespaces(config: &SnapshotConfig) -> Result<(Vec<Namespace>, Vec<String>)> {
    if !config.netns.is_empty() {
        return Ok((config.netns.clone(), Vec::new()));
    }
    Ok(match Scope::default() {
        Scope::Own => (vec![Namespace::own()?], vec![OTHERS_ARE_HIDDEN.to_owned()]),
        _ => (netns::list()?.namespaces, Vec::new()),
    })
}

/// Whose settings are not known, and why: a sentence each, and one for all beyond [`MOST_UNREAD`].
fn unread(unset: &[(u32, String)]) -> Vec<String> {
    let (named, others) = unset.split_at(unset.len().min(MOST_UNREAD));
    let mut sentences: Vec<String> = named
        .iter()
        .map(|(netns, why)| format!("the settings of the network namespace {netns}: {why}"))
        .collect();
    if !others.is_empty() {
        sentences.push(format!("the settings of {} more network namespaces", others.len()));
    }
    sentences
}

/// What the lists could not show, a sentence each.
fn limits(limits: &Limits, existing: &[Existing], config: &SnapshotConfig) -> Vec<String> {
    let mut missing = limits.unreadable.clone();
    let has_tcp = config.protocols.is_empty() || config.protocols.contains(&Protocol::Tcp);
    let fallback = limits.fallback.as_deref();
    let lists_bound = !has_tcp || fallback.is_some() || diag::lists_bound_sockets() != Some(false);
    missing.extend(words::missing::sockets(has_tcp, fallback, lists_bound));
    if limits.malformed > 0 {
        missing.push(format!("{} sockets: their records made no sense", limits.malformed));
    }
    let (entries, sockets): (Vec<&Existing>, Vec<&Existing>) =
        existing.iter().partition(|one| one.state == TcpState::TIME_WAIT);
    if limits.hidden_processes > 0 && sockets.iter().any(|one| one.task.is_none()) {
        missing.push(words::missing::processes(limits.hidden_processes));
    }
    if !entries.is_empty() {
        missing.push("whose a TIME_WAIT was: only `live`, started before, tells".to_owned());
    }
    missing.extend(limits.unknown_binds.as_deref().map(words::missing::binds));
    missing
}

/// One by one, in order; those of the ports that are asked for.
fn holdings(
    ledger: &Ledger,
    poll: &Poll,
    sockets: &[SocketId],
    config: &SnapshotConfig,
) -> Vec<Holding> {
    let all = ledger.holdings();
    let mut holdings: Vec<Holding> = sockets
        .iter()
        .filter_map(|&socket| {
            let holding = all.get(all.find(socket)?);
            let listed = poll.socket(socket)?;
            let flow = holding.flow();
            let port = Port {
                netns: flow.netns,
                protocol: flow.protocol,
                local: Some(flow.local),
                remote: flow.remote,
                caller: holding.caller(),
            };
            let inode = (listed.inode != 0).then_some(listed.inode);
            config.asks_for(flow.local.port).then_some(Holding { port, state: listed.state, inode })
        })
        .collect();
    holdings.sort_by_key(Holding::order);
    holdings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_can_not_be_read_are_named_and_many_are_counted() {
        let unset: Vec<(u32, String)> = (1..=12).map(|netns| (netns, "why".to_owned())).collect();
        assert_eq!(unread(&unset[..1]), ["the settings of the network namespace 1: why"]);
        let sentences = unread(&unset);
        assert_eq!((sentences.len(), unread(&[]).len()), (11, 0));
        assert_eq!(sentences[10], "the settings of 2 more network namespaces");
    }
}
