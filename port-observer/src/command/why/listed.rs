//! The answer from one list of sockets, for whoever may not load kernel programs or needs none.

use anyhow::{Context as _, Result};

use super::Known;
use crate::{
    command::one_look::take_in,
    event::{Event, Protocol, TcpState},
    kernel::clock,
    ledger::{self, Ledger},
    process::OwnerSearch,
    source::{
        is_blocking_sticky,
        poll::{Poll, Scope},
        settings,
    },
    why::{self, Answer, Call, Question},
    words,
};

/// Answers. `no_programs`: why the kernel programs, which would tell more, are not used.
///
/// # Errors
/// When the sockets can't be listed.
pub(super) fn answer(
    question: Question,
    known: &Known<'_>,
    no_programs: Option<&str>,
) -> Result<Answer> {
    let time_ns = clock::now_boot_ns()?;
    let options = ledger::Options { sticky: is_blocking_sticky(), ..ledger::Options::default() };
    let mut ledger = Ledger::new(options);
    let mut missing = Vec::new();
    let mut lines = Vec::new();
    let mut long_bytes = 0;
    let mut owners = OwnerSearch::default();
    match settings::read(known.namespace, &mut owners, &mut long_bytes) {
        Ok(Some(settings)) => {
            ledger.apply(time_ns, Event::Namespace(Box::new(settings)), None, &mut lines);
        }
        Ok(None) => missing.push("the settings of the network namespace: it has ended".to_owned()),
        Err(error) => missing.push(format!("the settings of the network namespace: {error:#}")),
    }
    let scope = Scope::Given(vec![known.namespace.clone()]);
    let mut poll = Poll::new(scope, &[question.protocol]).with_iterator();
    let existing = poll.baseline().context("the sockets that are there can't be listed")?;
    let is_hidden =
        existing.iter().any(|one| one.task.is_none() && one.state != TcpState::TIME_WAIT);
    let limits = poll.limits();
    let is_tcp = question.protocol == Protocol::Tcp;
    let is_connect = matches!(question.call, Call::Connect { .. });
    // An iterator by itself takes less than they do.
    let knows_binds = limits.unknown_binds.is_none();
    if let Some(reason) = no_programs.filter(|_| is_connect && !knows_binds) {
        missing.push(words::missing::binds(reason));
    }
    missing.extend(limits.unreadable.clone());
    missing.extend(words::missing::sockets(is_tcp, limits.fallback.as_deref(), known.lists_bound));
    if limits.malformed > 0 {
        missing.push(format!("{} sockets: their records made no sense", limits.malformed));
    }
    if is_hidden && limits.hidden_processes > 0 {
        missing.push(words::missing::processes(limits.hidden_processes));
    }
    lines.clear();
    take_in(&mut ledger, time_ns, existing);
    // Says how many found no room.
    ledger.tick(time_ns, &mut lines);
    if let Some(report) = lines.first()
        && ledger.totals().lost > 0
    {
        log::debug!("{report:?}");
        missing.push(format!("{} sockets: there are more than are counted", ledger.totals().lost));
    }
    let has_fallback = poll.limits().fallback.is_some();
    let mut facts = known.facts(ledger.holdings(), &question, Vec::new(), knows_binds);
    facts.lists_bound = known.lists_bound && !has_fallback;
    missing.append(&mut facts.missing);
    facts.missing = missing;
    Ok(why::answer(question, &facts))
}
