//! Who is in the way of a call that wants a certain port: what the kernel lists there at that moment,
//! joined with what the ledger knows of it.

use std::sync::Arc;

use foldhash::HashMap;

use super::{
    Holding, Holds, Ledger, Role, answers::OnPort, rules::overlaps_address, story::HOLDERS,
};
use crate::{
    event::{Flow, Protocol, TcpState, Via},
    process::Process,
    report::{Counts, Holder, How, Standing, Way},
};

impl Ledger {
    /// Who keeps a port that a call asked for by its number, the largest first.
    pub(super) fn in_the_way(&self, time_ns: u64, via: Via, flow: &Flow) -> Vec<Holder> {
        let listed = self.answers.on_port(time_ns, flow);
        let is_listed = |their: &Flow| listed.iter().any(|one| one.flow == *their);
        // A server's port may have very many holders.
        let by_flow: HashMap<Flow, &Holding> = if listed.is_empty() {
            HashMap::default()
        } else {
            let known = self.holdings.on_port(flow).map(|(_, holding)| holding);
            known.map(|holding| (holding.flow(), holding)).collect()
        };
        let mut ways = Ways::default();
        for one in listed {
            let known = by_flow.get(&one.flow).copied();
            let ipv6_only = known.is_some_and(|known| known.sharing.ipv6_only);
            if is_in_the_way(via, flow, (&one.flow, one.state), ipv6_only) {
                let one = &at_the_call(one, known);
                let how = self.how(one, known, listed);
                let took = known.and_then(Holding::process);
                let has = one.caller.as_ref().map(|caller| &caller.process);
                ways.add(took, has, (how, known.is_some_and(was_bound)), one);
            }
        }
        let known = self.holdings.on_port(flow).map(|(_, holding)| holding);
        for holding in known {
            // Older kernels do not list what is only bound.
            let is_unlisted = holding.holds == Holds::Bound && flow.protocol == Protocol::Tcp;
            if !listed.is_empty() && !is_unlisted {
                continue;
            }
            let their = holding.flow();
            let is_missing = !is_listed(&their);
            let state = match holding.standing() {
                Standing::TimeWait => TcpState::TIME_WAIT,
                Standing::Listening => TcpState::LISTEN,
                Standing::Bound => TcpState::BOUND_INACTIVE,
                _ => holding.connection,
            };
            let ipv6_only = holding.sharing.ipv6_only;
            if is_missing && is_in_the_way(via, flow, (&their, state), ipv6_only) {
                let one = OnPort { flow: their, state, is_nobodys: false, caller: None };
                let how = self.how(&one, Some(holding), listed);
                ways.add(holding.process(), None, (how, was_bound(holding)), &one);
            }
        }
        ways.largest()
    }

    /// What something on a port is. What the ledger does not know is told by the number of the port:
    /// connect() chooses of the ephemeral range.
    fn how(&self, one: &OnPort, known: Option<&Holding>, listed: &[OnPort]) -> How {
        let flow = &one.flow;
        let has_listener = || listed.iter().any(|other| other.state == TcpState::LISTEN);
        let is_client = match known {
            Some(known) if was_bound(known) => Standing::of(one.state) == Standing::TimeWait,
            Some(known) if known.since_ns().is_some() => known.role == Role::Owner,
            _ => {
                let namespace = self.holdings.namespaces.get(&flow.netns);
                let ports = namespace.and_then(|namespace| namespace.ports());
                ports.is_some_and(|ports| ports.offers(flow.local.port)) && !has_listener()
            }
        };
        match Standing::of(one.state) {
            Standing::TimeWait if is_client => How::TimeWaitClient,
            Standing::TimeWait => How::TimeWaitServer,
            _ if one.is_nobodys && known.is_none_or(|known| known.process().is_none()) => {
                How::Kernel
            }
            Standing::Listening => How::Listener,
            Standing::Bound => How::Bound,
            _ if flow.protocol == Protocol::Udp => How::Bound,
            _ if is_client => How::Outgoing,
            // What took the port itself, and not from a listener, had bound it.
            _ if known.is_some_and(|k| k.role == Role::Owner && k.since_ns().is_some()) => {
                How::Bound
            }
            _ => How::Accepted,
        }
    }
}

/// What was listed, as it was when the call was refused: the listing is made after it, and what the ledger
/// has as a connection by then has gone into TIME_WAIT since.
fn at_the_call(one: &OnPort, known: Option<&Holding>) -> OnPort {
    let mut one = one.clone();
    if let Some(known) = known.filter(|known| known.holds == Holds::Connected)
        && one.state == TcpState::TIME_WAIT
    {
        one.state = known.connection;
    }
    one
}

/// bind() was seen to give it the port.
fn was_bound(holding: &Holding) -> bool {
    holding.role == Role::Owner && holding.since_ns().is_some() && !holding.sharing.connect_bind
}

/// Whether a connection has been closed by its process, and waits for what the peer does.
fn is_closed_here(state: TcpState) -> bool {
    matches!(
        state,
        TcpState::FIN_WAIT1 | TcpState::FIN_WAIT2 | TcpState::CLOSING | TcpState::LAST_ACK
    )
}

fn is_in_the_way(
    via: Via,
    flow: &Flow,
    (theirs, state): (&Flow, TcpState),
    ipv6_only: bool,
) -> bool {
    match via {
        // Its own port, then: what is taken is the 4-tuple.
        Via::Connect => theirs.local.address == flow.local.address && theirs.remote == flow.remote,
        // Its own socket has the port too, and those that only are bound to it let it listen.
        Via::Listen if state != TcpState::LISTEN => false,
        Via::Bind | Via::Autobind | Via::Listen => {
            overlaps_address(flow.local.address, theirs.local.address, ipv6_only)
        }
    }
}

/// A process by number and start.
type ProcessKey = (u32, u64);

/// What is in the way, by process and by how.
#[derive(Default)]
struct Ways {
    by_key: HashMap<(Option<ProcessKey>, Option<ProcessKey>, How), usize>,
    holders: Vec<Holder>,
}

impl Ways {
    fn add(
        &mut self,
        took: Option<&Arc<Process>>,
        has: Option<&Arc<Process>>,
        (how, is_bound): (How, bool),
        one: &OnPort,
    ) {
        let id = |process: &Arc<Process>| (process.pid, process.start_time_ns);
        let process = took.or(has);
        let open_in = has.filter(|has| process.map(id) != Some(id(has)));
        let key = (process.map(id), open_in.map(id), how);
        let at = *self.by_key.entry(key).or_insert_with(|| {
            let OnPort { flow, state, .. } = one;
            let is_tcp = flow.protocol == Protocol::Tcp;
            self.holders.push(Holder {
                open_in: open_in.cloned(),
                way: Some(Way {
                    how,
                    state: is_tcp.then_some(*state),
                    local: flow.local,
                    remote: flow.remote,
                    is_bound,
                    is_orphan: is_tcp && is_closed_here(*state) && has.is_none(),
                }),
                ..Holder::new(process.cloned(), Counts::default())
            });
            self.holders.len() - 1
        });
        *self.holders[at].counts.of(Standing::of(one.state)) += 1;
    }

    fn largest(mut self) -> Vec<Holder> {
        let pid = |holder: &Holder| holder.process.as_ref().map_or(0, |process| process.pid);
        let is_listener = |holder: &Holder| holder.way.is_some_and(|way| way.how == How::Listener);
        self.holders.sort_by_key(|holder| {
            (std::cmp::Reverse(holder.total()), !is_listener(holder), pid(holder))
        });
        self.holders.truncate(HOLDERS);
        self.holders
    }
}
