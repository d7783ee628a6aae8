//! What the server is answered, within what that may cost.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;

use super::{Sinks, leased::Leased, map, top};
use crate::{
    check::{
        self, Terms,
        account::{self, Account},
    },
    kernel::clock::{Budget, Cost},
    metrics::{self, Family, Gauges, Own},
    pipeline::Stream,
    probe::Backend,
    report::{Snapshot, Sources, Start},
    serve::Question,
};

/// Answers may take one part in so many of the time, and so much ahead: then the last metrics are
/// answered again, and other questions are not.
const COST: u32 = 5;
const AHEAD: Duration = Duration::from_secs(2);

/// Who answers.
pub(super) struct Answers {
    own: Own,
    host: String,
    kernel: String,
    missing: Vec<String>,
    sources: Sources,
    /// Its own network namespace.
    netns: u32,
    max_series: usize,
    budget: Budget,
    last: Option<Vec<Family>>,
}

impl Answers {
    /// Of the observer whose first line is this, in this network namespace.
    pub(super) fn new(own: Own, start: &Start, netns: u32, max_series: usize) -> Self {
        let is_poll = start.backend == Backend::Poll.name();
        Self {
            own,
            host: start.host.clone(),
            kernel: start.kernel.clone(),
            missing: start.missing.clone(),
            sources: Sources::of_lists(false, Some(if is_poll { "proc" } else { "bpf_iterator" })),
            netns,
            max_series,
            budget: Budget::new(COST, AHEAD),
            last: None,
        }
    }

    /// All metrics of this moment.
    pub(super) fn metrics(
        &mut self,
        stream: &mut Stream<Sinks>,
        leases: Option<BTreeMap<String, u32>>,
    ) -> Result<Vec<Family>> {
        let now_ns = stream.now_ns()?;
        let pools = metrics::Pools { uses: stream.pool_uses()?, leases };
        let (ledger, (counters, _)) = stream.both();
        let gauges = Gauges::read(ledger, counters, now_ns);
        Ok(metrics::families(counters, &gauges, &pools, &self.own, self.max_series))
    }

    /// Answers one question.
    pub(super) fn answer(
        &mut self,
        question: Question,
        stream: &mut Stream<Sinks>,
        leased: Option<&Leased>,
    ) -> Result<()> {
        let cost = Cost::begin();
        let is_affordable = self.budget.has_some();
        // Whoever asked may have left.
        match question {
            Question::Ready(answer) => drop(answer.send(())),
            Question::Metrics(answer) => {
                let families = match self.last.clone() {
                    Some(last) if !is_affordable => last,
                    _ => self.metrics(stream, leased.and_then(Leased::counts))?,
                };
                self.last = Some(families.clone());
                drop(answer.send(families));
            }
            Question::Snapshot { top, answer } if is_affordable => {
                drop(answer.send(self.snapshot(top, stream)?));
            }
            Question::Top(answer) if is_affordable => {
                let (now_ns, offset_ns) = (stream.now_ns()?, stream.offset_ns());
                let (ledger, (_, (failed, _))) = stream.both();
                drop(answer.send(Box::new(top::look(ledger, failed, now_ns, offset_ns))));
            }
            Question::Check { terms, namespaces, answer } if is_affordable => {
                drop(answer.send(Box::new(self.check(terms, namespaces.as_deref(), stream)?)));
            }
            Question::Map { netns, protocol, cells, answer } if is_affordable => {
                let (now_ns, offset_ns) = (stream.now_ns()?, stream.offset_ns());
                let of = (netns.unwrap_or(self.netns), protocol);
                let map = map::look(stream.ledger(), of, cells, now_ns, offset_ns);
                drop(answer.send(map.map(Box::new)));
            }
            // Dropped, it says that the observer is busy.
            Question::Top(_)
            | Question::Snapshot { .. }
            | Question::Check { .. }
            | Question::Map { .. } => {}
        }
        self.budget.spend(cost.so_far());
        Ok(())
    }

    /// `namespaces`: as they were asked for, none: its own; `None`: all.
    fn check(
        &self,
        terms: Terms,
        namespaces: Option<&[String]>,
        stream: &mut Stream<Sinks>,
    ) -> Result<check::Answer> {
        let now_ns = stream.now_ns()?;
        let ledger = stream.ledger();
        // What has expired by now is free.
        ledger.advance(now_ns);
        let own = [self.netns.to_string()];
        let namespaces = namespaces.map(|names| if names.is_empty() { &own } else { names });
        let doubt = "what was held before it started is not listed yet: ask again in a moment";
        let account = Account {
            holdings: ledger.holdings(),
            sources: self.sources,
            doubt: (!ledger.knows_all()).then(|| doubt.to_owned()),
        };
        Ok(account::look(&account, namespaces, terms))
    }

    fn snapshot(&self, top: usize, stream: &mut Stream<Sinks>) -> Result<(Box<Snapshot>, i64)> {
        let now_ns = stream.now_ns()?;
        let summary = stream.ledger().summary(now_ns, top, &|_| true, &|_| true);
        let snapshot = Snapshot {
            time_ns: now_ns,
            host: self.host.clone(),
            kernel: self.kernel.clone(),
            missing: self.missing.clone(),
            sources: self.sources,
            summary,
            holdings: None,
            asked: None,
        };
        Ok((Box::new(snapshot), stream.offset_ns()))
    }
}
