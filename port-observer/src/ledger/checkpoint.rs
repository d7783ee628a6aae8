//! The whole state of the holdings at one moment, to be put down and taken up again.

use foldhash::{HashSet, HashSetExt as _};

use super::{Holding, Holdings, Holds, Ledger, Role, holding::Shares, port};
use crate::{
    event::{Flow, NamespaceSettings, Protocol, Reason, Reuse, Sharing, SocketId, TcpState},
    process::Caller,
    report::{self, Body, Port, Report},
};

/// A holding, with all that is known of it.
#[derive(Clone, Debug)]
pub struct Held {
    /// Its identity; 0 for a TIME_WAIT entry of a source that does not know it.
    pub socket: SocketId,
    /// Where.
    pub flow: Flow,
    /// Who took the port, if known.
    pub caller: Option<Caller>,
    /// When the port was taken (`CLOCK_BOOTTIME`), if that was seen.
    pub since_ns: Option<u64>,
    /// When TIME_WAIT began.
    pub began_ns: u64,
    /// What it is to the port.
    pub role: Role,
    /// What keeps the port.
    pub holds: Holds,
    /// The state of a connection, as it was last listed.
    pub connection: TcpState,
    /// Who else may have the port.
    pub sharing: Sharing,
    /// When TIME_WAIT may be taken over.
    pub reuse: Reuse,
    /// A bind() has succeeded on its port since that last had no holder.
    pub is_bound: bool,
}

/// All that a ledger needs to go on from a moment: it knows then who holds what, not how full
/// spaces were before.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// The settings of the network namespaces that are known.
    pub namespaces: Vec<NamespaceSettings>,
    /// The holdings.
    pub held: Vec<Held>,
    /// Sockets whose TIME_WAIT entry keeps their port, and that port: their own release will free
    /// nothing.
    pub succeeded: Vec<(SocketId, u16)>,
}

impl Held {
    pub(super) fn of(holding: &Holding, is_bound: bool) -> Self {
        let Shares { connect_bind, ipv6_only } = holding.sharing;
        Self {
            socket: holding.socket,
            flow: holding.flow(),
            caller: holding.caller(),
            since_ns: holding.since_ns(),
            began_ns: holding.began_ns,
            role: holding.role,
            holds: holding.holds,
            connection: holding.connection,
            sharing: Sharing { connect_bind, ipv6_only, device: 0 },
            reuse: holding.reuse,
            is_bound,
        }
    }

    fn holding(&self) -> Holding {
        let mut holding = Holding::new(self.socket, self.flow, self.holds);
        holding.set_caller(self.caller.clone());
        holding.taken_at(self.since_ns.unwrap_or(0));
        holding.began_ns = self.began_ns;
        holding.role = self.role;
        holding.connection = self.connection;
        holding.sharing = self.sharing.into();
        holding.reuse = self.reuse;
        holding
    }

    /// As it is shown.
    pub fn report(self) -> report::Holding {
        report::Holding {
            state: self.state(),
            port: Port {
                netns: self.flow.netns,
                protocol: self.flow.protocol,
                local: Some(self.flow.local),
                remote: self.flow.remote,
                caller: self.caller,
            },
            inode: None,
        }
    }

    /// Its state, as far as the ledger tells states apart.
    pub fn state(&self) -> TcpState {
        match (self.holds, self.flow.protocol) {
            (Holds::Listening, _) => TcpState::LISTEN,
            (Holds::Connected, _) => self.connection,
            (Holds::Bound, Protocol::Tcp) => TcpState::BOUND_INACTIVE,
            (Holds::Bound, Protocol::Udp) => TcpState::CLOSE,
            (Holds::TimeWait, _) if self.reuse.fin_wait2 => TcpState::FIN_WAIT2,
            (Holds::TimeWait, _) => TcpState::TIME_WAIT,
        }
    }
}

impl Holdings {
    /// All that there is to know for going on from here.
    pub fn checkpoint(&self) -> Checkpoint {
        let held = |(index, holding): (usize, &Holding)| {
            #[expect(clippy::cast_possible_truncation, reason = "was made from an Index")]
            let is_bound = self.bucket_is_bound(index as u32);
            Held::of(holding, is_bound)
        };
        Checkpoint {
            namespaces: self.settings().cloned().collect(),
            held: self.slab.iter().map(held).collect(),
            succeeded: self.succeeded(),
        }
    }

    fn settings(&self) -> impl Iterator<Item = &NamespaceSettings> {
        self.namespaces.values().filter_map(|namespace| namespace.settings.as_deref())
    }
}

impl Ledger {
    /// From now on these are the holdings. Says what is new and what is gone, in between having
    /// been lost or not being known.
    pub fn restore(&mut self, now_ns: u64, mut checkpoint: Checkpoint, out: &mut Vec<Report>) {
        self.began_ns.get_or_insert(now_ns);
        self.holdings.advance(now_ns);
        for settings in checkpoint.namespaces {
            self.holdings.set_namespace(settings);
        }
        let mut sockets: HashSet<SocketId> = HashSet::new();
        let mut flows: HashSet<Flow> = HashSet::new();
        for held in &checkpoint.held {
            if held.socket.0 == 0 {
                flows.insert(held.flow);
            } else {
                sockets.insert(held.socket);
            }
        }
        let gone = self.holdings.select(|holding| match holding.socket.0 {
            0 => !flows.contains(&holding.flow()),
            _ => !sockets.contains(&holding.socket),
        });
        for index in gone {
            let holding = self.holdings.remove(index);
            self.freed(now_ns, &holding, Reason::Reconciled, out);
        }
        // TIME_WAIT entries get old enough to be taken over in this order.
        checkpoint.held.sort_by_key(|held| held.began_ns);
        for held in &checkpoint.held {
            self.restore_one(now_ns, held, out);
        }
        for (socket, port) in checkpoint.succeeded {
            self.holdings.succeed(socket, port);
        }
        self.all_is_known();
    }

    fn restore_one(&mut self, now_ns: u64, held: &Held, out: &mut Vec<Report>) {
        let known = match held.socket.0 {
            0 => self.holdings.find_flow(&held.flow),
            _ => self.holdings.find(held.socket),
        };
        if let Some(index) = known {
            let holding = self.holdings.get(index);
            let is_same_port = (holding.flow(), holding.since_ns()) == (held.flow, held.since_ns);
            let is_same = is_same_port
                && (holding.holds, holding.sharing) == (held.holds, held.sharing.into());
            if is_same {
                self.holdings.get_mut(index).reuse = held.reuse;
                return;
            }
            let gone = self.holdings.remove(index);
            if !is_same_port {
                self.freed(now_ns, &gone, Reason::Reconciled, out);
            } else if held.holds == Holds::TimeWait && held.role == Role::Owner {
                let body = Body::TimeWait { port: port(&held.holding()) };
                out.push(Report { time_ns: now_ns, body });
            }
        }
        let mut holding = held.holding();
        holding.seen = self.scan.number();
        if known.is_none() && held.role == Role::Owner {
            let body = Body::Existing { port: port(&holding), state: held.state() };
            out.push(Report { time_ns: now_ns, body });
        }
        match self.holdings.insert(holding, held.is_bound) {
            Some(index) => self.holdings.ripens(index),
            None => self.unaccounted += 1,
        }
    }
}
