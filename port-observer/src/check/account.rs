//! The answer of an observer that watches all the time: from its account, without asking the kernel.

use std::collections::HashMap;

use super::{
    Answer, BindHeldPorts, BindHolder, Consumer, Finding, Status, TOP, Tally, Terms, bind_holders,
    tally::Held,
};
use crate::event::{Flow, Protocol, TcpState};
use crate::ledger::{Holding, Holdings, Holds};
use crate::report::{NamespaceUse, Sources};

/// What the observer can say of its account.
#[derive(Debug)]
pub struct Account<'a> {
    /// Who holds which port.
    pub holdings: &'a Holdings,
    /// Where it comes from.
    pub sources: Sources,
    /// Why its numbers can't be trusted, if they can't.
    pub doubt: Option<String>,
}

/// `namespaces`: by name or inode number; `None`: all. Those that are not watched are failures.
pub fn look(account: &Account<'_>, namespaces: Option<&[String]>, terms: Terms) -> Answer {
    let known = account.holdings.namespace_ports();
    let find = |asked: &String| {
        let is_it =
            |one: &&NamespaceUse| one.netns.to_string() == *asked || one.names.contains(asked);
        (asked.clone(), known.iter().find(is_it).map(|one| one.netns))
    };
    let asked: Vec<(String, Option<u32>)> = match namespaces {
        Some(names) => names.iter().map(find).collect(),
        None => known.iter().map(|one| (one.netns.to_string(), Some(one.netns))).collect(),
    };
    let mut findings = Vec::new();
    let mut failures = Vec::new();
    for (asked, netns) in asked {
        match netns.and_then(|netns| account.look_into(netns, &terms)) {
            Some(finding) => findings.push(finding),
            None => failures.push(format!("network namespace {asked}: it is not watched here")),
        }
    }
    Answer::new(terms, findings, failures)
}

impl Account<'_> {
    fn look_into(&self, netns: u32, terms: &Terms) -> Option<Finding> {
        let settings = self.holdings.settings_of(netns)?;
        let ephemeral = settings.ports.ephemeral;
        let (range, counted) = terms.ports(&settings.ports);
        let reserved = settings.ports.reserved.count_in(range);
        let mut missing = Vec::new();
        if range.min < ephemeral.min || range.max > ephemeral.max {
            missing.push(format!(
                "connections that a listener accepted on ports outside of {}-{}",
                ephemeral.min, ephemeral.max
            ));
        }
        let blocked = self.holdings.buckets(netns, terms.protocol).filter(|one| one.is_blocked);
        let blocked: BindHeldPorts = blocked.map(|bucket| bucket.port).collect();
        let mut tally = Tally::new(terms.protocol, counted).knowing(blocked);
        let mut consumers = Consumers::default();
        let offers = |port| tally.ports().offers(port);
        let buckets = self.holdings.buckets(netns, terms.protocol);
        let buckets: Vec<_> = buckets.filter(|bucket| offers(bucket.port)).collect();
        for bucket in buckets {
            let is_listened = bucket.holders().any(|holding| holding.holds == Holds::Listening);
            for holding in bucket.holders() {
                tally.add(&held(holding));
                consumers.add(holding, bucket.is_blocked && !is_listened);
            }
        }
        Some(Finding {
            namespace: settings.names.first().cloned().unwrap_or_else(|| netns.to_string()),
            status: Status::Unknown,
            range,
            reserved,
            tally,
            processes: consumers.largest(),
            sources: self.sources,
            lists_bound: true,
            unknown_binds: None,
            bind_holders: consumers.bind_holders(),
            missing,
            doubt: self.doubt.clone(),
        })
    }
}

fn held(holding: &Holding) -> Held {
    let Flow { protocol, local, remote, .. } = holding.flow();
    let state = match (holding.holds, protocol) {
        (Holds::Bound, Protocol::Udp) => TcpState::CLOSE,
        (Holds::Bound, Protocol::Tcp) => TcpState::BOUND_INACTIVE,
        (Holds::Listening, _) => TcpState::LISTEN,
        (Holds::Connected, _) => holding.connection,
        (Holds::TimeWait, _) if holding.reuse.fin_wait2 => TcpState::FIN_WAIT2,
        (Holds::TimeWait, _) => TcpState::TIME_WAIT,
    };
    let time_wait = holding.holds == Holds::TimeWait;
    Held { local, remote, state, time_wait, inode: 0 }
}

/// Sockets by the process that took their ports; `None`: not known.
#[derive(Default)]
struct Consumers(HashMap<Option<(u32, u64)>, One>);

#[derive(Default)]
struct One {
    name: String,
    count: u32,
    bind_held: u32,
}

impl Consumers {
    fn add(&mut self, holding: &Holding, is_bind_held: bool) {
        let process = holding.process();
        let key = process.map(|process| (process.pid, process.start_time_ns));
        let one = self.0.entry(key).or_insert_with(|| One {
            name: process.map_or("not known", |process| &process.name).to_owned(),
            ..One::default()
        });
        one.count += 1;
        one.bind_held += u32::from(is_bind_held);
    }

    fn largest(&self) -> Vec<Consumer> {
        let consumer = |(key, one): (&Option<(u32, u64)>, &One)| Consumer {
            pid: key.map(|(pid, _)| pid),
            name: one.name.clone(),
            count: one.count,
        };
        let mut largest: Vec<Consumer> = self.0.iter().map(consumer).collect();
        largest.sort_by_key(|consumer| (std::cmp::Reverse(consumer.count), consumer.pid));
        largest.truncate(TOP);
        largest
    }

    fn bind_holders(&self) -> Vec<(String, BindHolder)> {
        let holders = self.0.values().filter(|one| one.bind_held > 0);
        bind_holders(holders.map(|one| (one.name.clone(), one.bind_held)))
    }
}
