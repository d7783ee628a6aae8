//! Asks the ledger for what is on the screen, and for no more: some answers go over every holding.

use std::sync::Arc;

use super::state::{
    Activity, BAR_SECONDS, BARS, Close, Detail, Header, Picture, PortMap, ProcessActivity,
    ProcessRow, Question, SpaceActivity, SpaceRow, View, focus, key_of, second,
};
use crate::{
    forensics,
    ledger::{Held, Ledger, SpaceKey},
    ports::Ports,
    process::Process,
    report::{NamespaceUse, ProcessUse, Space, SpaceKind, TcpUse},
};

/// How many spaces are listed: the fullest.
const SPACES: usize = 200;
/// How many processes are listed: the largest.
const PROCESSES: usize = 1_000;
/// How many ports are listed one by one.
const PORTS: usize = 1_000;

/// Makes a picture of now; what is not asked for stays as it was in the last one.
pub fn picture(
    ledger: &mut Ledger,
    activity: &Activity,
    now_ns: u64,
    question: &Question,
    last: Picture,
) -> Picture {
    ledger.advance(now_ns);
    let namespaces = ledger.holdings().namespace_ports();
    let mut ask = Ask { ledger, activity, now: second(now_ns), question, namespaces: &namespaces };
    let wants = |view: View| question.views.contains(&view);
    let spaces = ask.spaces();
    let mut picture = Picture {
        time_ns: now_ns,
        offset_ns: activity.offset_ns,
        header: ask.header(&spaces),
        failed: activity.failures.total(),
        since: activity.since,
        detail: None,
        ..last
    };
    if wants(View::Processes) {
        picture.processes = ask.processes();
    }
    if wants(View::Destinations) {
        picture.destinations = ask.destinations(spaces);
    }
    if wants(View::Failures) {
        let is_there = |netns: u32| question.netns.is_none_or(|wanted| wanted == netns);
        let rows = activity.failures.rows().filter(|row| is_there(row.port.netns));
        picture.failures = rows.cloned().collect();
    }
    if wants(View::Ports) {
        picture.ports = ask.ports();
    }
    picture.detail = question.close.and_then(|close| ask.detail(close));
    picture.namespaces = namespaces;
    picture
}

/// Looks closely at what is asked for; nothing: it is not there any more.
pub fn detail(
    ledger: &mut Ledger,
    activity: &Activity,
    now_ns: u64,
    question: &Question,
    last: &Picture,
) -> Option<Detail> {
    ledger.advance(now_ns);
    let now = second(now_ns);
    let mut ask = Ask { ledger, activity, now, question, namespaces: &last.namespaces };
    ask.detail(question.close?)
}

struct Ask<'a> {
    ledger: &'a mut Ledger,
    activity: &'a Activity,
    now: u64,
    question: &'a Question,
    namespaces: &'a [NamespaceUse],
}

impl Ask<'_> {
    fn is_there(&self, netns: u32) -> bool {
        self.question.netns.is_none_or(|wanted| wanted == netns)
    }

    fn focus(&self) -> Option<&NamespaceUse> {
        focus(self.namespaces, self.question.netns)
    }

    fn spaces(&self) -> Vec<Space> {
        self.ledger.holdings().fullest(SPACES, &|space| self.is_there(space.netns))
    }

    fn header(&self, spaces: &[Space]) -> Header {
        let Activity { start, events, lost, since, .. } = self.activity;
        let time_left = |space: &&Space| space.seconds_to_exhaustion.filter(|_| space.headroom > 0);
        let first_full = spaces.iter().filter(|space| time_left(space).is_some()).min_by(|a, b| {
            f64::total_cmp(&time_left(a).unwrap_or(0.0), &time_left(b).unwrap_or(0.0))
        });
        let mut header = Header {
            events_per_second: events.per_second(self.now, *since),
            lost: *lost,
            knows_all: self.ledger.knows_all(),
            fullest: spaces.first().cloned(),
            full: spaces.iter().filter(|space| space.headroom == 0).count(),
            first_full: first_full.cloned(),
            ..Header::default()
        };
        if let Some(start) = start {
            header.host.clone_from(&start.host);
            header.kernel.clone_from(&start.kernel);
            header.missing.clone_from(&start.missing);
            (header.backend, header.exact) = (start.backend, start.exact);
        }
        header
    }

    fn processes(&self) -> Vec<ProcessRow> {
        let holdings = self.ledger.holdings();
        let uses = holdings.process_use(self.question.netns, PROCESSES, &|_| true);
        let mut rows: Vec<ProcessRow> = uses.into_iter().map(|used| self.process(used)).collect();
        // Who holds nothing any more, or never got anything.
        let is_listed =
            |process: Option<&Process>| rows.iter().any(|row| row.key() == key_of(process));
        let others: Vec<ProcessRow> = self
            .activity
            .processes()
            .filter(|(_, did)| self.question.netns.is_none_or(|netns| did.was_in(netns)))
            .filter(|(_, did)| did.failures > 0 || did.taken.last() + BAR_SECONDS > self.now)
            .filter(|(_, did)| !is_listed(did.process().map(Arc::as_ref)))
            .map(|(_, did)| ProcessUse {
                process: did.process().cloned(),
                tcp: TcpUse::default(),
                udp_ports: 0,
            })
            .map(|used| self.process(used))
            .collect();
        rows.extend(others);
        rows
    }

    fn process(&self, used: ProcessUse) -> ProcessRow {
        let did = self.activity.of_process(&key_of(used.process.as_deref()));
        let bars = |did: &ProcessActivity| did.taken.bars(self.now, BARS, BAR_SECONDS);
        let per_second =
            |did: &ProcessActivity| did.taken.per_second(self.now, self.activity.since);
        ProcessRow {
            per_second: did.map_or(0.0, per_second),
            failures: did.map_or(0, |did| did.failures),
            bars: did.map_or_else(Vec::new, bars),
            used,
        }
    }

    fn destinations(&self, spaces: Vec<Space>) -> Vec<SpaceRow> {
        let keys: Vec<SpaceKey> = spaces.iter().map(SpaceKey::from).collect();
        let largest = self.ledger.holdings().largest_holders(&keys, 1);
        let mut rows: Vec<SpaceRow> = spaces.into_iter().map(|space| self.space(space)).collect();
        for (row, largest) in rows.iter_mut().zip(largest) {
            row.largest = largest.into_iter().next();
        }
        rows
    }

    fn space(&self, space: Space) -> SpaceRow {
        let did = self.activity.of_space(&SpaceKey::from(&space)).copied();
        let SpaceActivity { search_ns, last_port, failures, .. } = did.unwrap_or_default();
        let low = self.ports_of(space.netns).map(|ports| ports.ephemeral.min);
        let is_second = |port: u16| low.is_some_and(|low| port % 2 != low % 2);
        let is_second_parity =
            matches!(space.kind, SpaceKind::Connect { .. }) && last_port.is_some_and(is_second);
        SpaceRow { space, largest: None, search_ns, is_second_parity, failures }
    }

    fn ports_of(&self, netns: u32) -> Option<&Ports> {
        let mut namespaces = self.namespaces.iter();
        namespaces.find(|namespace| namespace.netns == netns)?.ports.as_ref()
    }

    fn ports(&self) -> PortMap {
        let Some(focus) = self.focus() else { return PortMap::default() };
        let netns = focus.netns;
        let mut held = self.ledger.holdings().held_ports(netns, self.question.protocol);
        held.sort_unstable_by_key(|held| held.port);
        PortMap { netns, ports: focus.ports.clone(), held }
    }

    fn detail(&mut self, close: Close) -> Option<Detail> {
        match close {
            Close::Process(key) => {
                let holdings = self.ledger.holdings();
                let uses = holdings.process_use(self.question.netns, 1, &|it| key_of(it) == key);
                let used = uses.into_iter().next().or_else(|| {
                    let process = self.activity.of_process(&key)?.process().cloned();
                    Some(ProcessUse { process, tcp: TcpUse::default(), udp_ports: 0 })
                })?;
                let places = key.map_or_else(Vec::new, |key| holdings.places_of(key));
                Some(Detail::Process { row: Box::new(self.process(used)), places })
            }
            Close::Space(key) => {
                let space = self.ledger.holdings().space(&key)?;
                let row = self.space(space);
                let story = self.ledger.story_of(key);
                Some(Detail::Space { row: Box::new(row), story })
            }
            Close::Failure(number) => {
                let call = self.activity.failures.rows().find(|row| row.number == number)?;
                let range = self.ports_of(call.port.netns).map(|ports| ports.ephemeral);
                let worst = call.worst;
                let incident = call.story.as_ref().map(|story| {
                    let refused = (call.errno, worst.calls, worst.threads);
                    forensics::of_call(&call.port, call.via, refused, story, range)
                });
                Some(Detail::Failure { call: Arc::clone(call), incident: incident.map(Box::new) })
            }
            Close::Ports(first, last) => Some(self.one_by_one(first, last)),
            Close::Pool(number) => Some(Detail::Pool(number)),
        }
    }

    fn one_by_one(&self, first: u16, last: u16) -> Detail {
        let protocol = self.question.protocol;
        let netns = self.focus().map_or(0, |focus| focus.netns);
        let holdings = self.ledger.holdings();
        let mut all = (first..=last).flat_map(|port| holdings.held_on(netns, protocol, port));
        let rows = all.by_ref().take(PORTS).map(Held::report);
        Detail::Ports { first, last, rows: rows.collect(), more: all.count() }
    }
}
