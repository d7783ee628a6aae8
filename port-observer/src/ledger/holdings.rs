//! Every socket and TIME_WAIT entry that keeps a port, by its identity.

// Every event is looked up here: a hash cheaper than the standard library's, and seeded too.
use foldhash::HashMap;

use crate::{
    event::{Flow, SocketId, Task},
    report::Caller,
};

/// What a socket is to its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It took the port, or is the TIME_WAIT entry of one that did.
    Owner,
    /// A listener's accepted child: its port was not taken anew.
    Child,
    /// A TIME_WAIT entry has succeeded it; its own release frees nothing.
    Succeeded,
}

/// One socket, or the TIME_WAIT entry that succeeds it, that keeps a port.
#[derive(Clone, Debug)]
pub struct Holding {
    /// Where.
    pub flow: Flow,
    /// Who took the port, if known.
    pub caller: Option<Caller>,
    /// When the port was taken (`CLOCK_BOOTTIME`), if that was seen.
    pub since_ns: Option<u64>,
    /// What it is to the port.
    pub role: Role,
}

/// A TIME_WAIT entry whose own identity the source does not know. Its flow is its key.
#[derive(Clone, Debug)]
struct TimeWait {
    caller: Option<Caller>,
    /// When the port was taken.
    since_ns: Option<u64>,
    /// When TIME_WAIT began.
    began_ns: u64,
}

/// All holdings.
#[derive(Debug, Default)]
pub struct Holdings {
    sockets: HashMap<SocketId, Holding>,
    /// By namespace, protocol and 4-tuple. Cleared by a release or by comparison with the kernel.
    time_waits: HashMap<Flow, TimeWait>,
    /// Who called connect(), until the port is chosen or the call failed.
    started: HashMap<SocketId, Task>,
}

impl Holdings {
    /// The holding of a socket.
    pub fn get_mut(&mut self, socket: SocketId) -> Option<&mut Holding> {
        self.sockets.get_mut(&socket)
    }

    /// Takes out the holding at this address if it keeps another port than the flow's: the address
    /// is another socket's by now.
    pub fn remove_other_port(&mut self, socket: SocketId, flow: &Flow) -> Option<Holding> {
        let port = |flow: &Flow| (flow.netns, flow.protocol, flow.local.port);
        let known = self.sockets.get(&socket)?;
        if port(&known.flow) == port(flow) { None } else { self.sockets.remove(&socket) }
    }

    /// A socket keeps a port from now on.
    pub fn insert(&mut self, socket: SocketId, holding: Holding) {
        self.sockets.insert(socket, holding);
    }

    /// A socket keeps its port no longer.
    pub fn remove(&mut self, socket: SocketId) -> Option<Holding> {
        self.sockets.remove(&socket)
    }

    /// connect() began.
    pub fn start(&mut self, socket: SocketId, task: Task) {
        self.started.insert(socket, task);
    }

    /// Who began the connect() of this socket.
    pub fn take_start(&mut self, socket: SocketId) -> Option<Task> {
        if self.started.is_empty() { None } else { self.started.remove(&socket) }
    }

    /// TIME_WAIT begins: hands the socket's holding on. `done`: the socket itself will not be
    /// released anymore.
    pub fn succeed(
        &mut self,
        socket: SocketId,
        successor: Option<SocketId>,
        done: bool,
        flow: Flow,
        now_ns: u64,
    ) -> Holding {
        let unknown = Holding { flow, caller: None, since_ns: None, role: Role::Owner };
        let mut holding = match self.sockets.get_mut(&socket) {
            Some(known) if known.role != Role::Succeeded => {
                let holding = known.clone();
                known.role = Role::Succeeded;
                known.caller = None;
                holding
            }
            Some(_) => unknown,
            None => {
                if !done {
                    let role = Role::Succeeded;
                    self.sockets.insert(socket, Holding { role, ..unknown.clone() });
                }
                unknown
            }
        };
        if done {
            self.sockets.remove(&socket);
        }
        holding.flow = flow;
        match successor {
            Some(successor) => {
                self.sockets.insert(successor, holding.clone());
            }
            None if holding.role == Role::Owner => {
                let (caller, since_ns) = (holding.caller.clone(), holding.since_ns);
                let entry = TimeWait { caller, since_ns, began_ns: now_ns };
                self.time_waits.insert(flow, entry);
            }
            None => {}
        }
        holding
    }

    /// Takes out the TIME_WAIT entry of this 4-tuple, if one without an identity is there.
    pub fn time_wait_without_socket(&mut self, flow: &Flow) -> Option<Holding> {
        if self.time_waits.is_empty() {
            return None;
        }
        let TimeWait { caller, since_ns, .. } = self.time_waits.remove(flow)?;
        Some(Holding { flow: *flow, caller, since_ns, role: Role::Owner })
    }

    /// The TIME_WAIT entries without an identity, and when TIME_WAIT began (`CLOCK_BOOTTIME`).
    pub fn time_waits(&self) -> impl ExactSizeIterator<Item = (&Flow, u64)> {
        self.time_waits.iter().map(|(flow, entry)| (flow, entry.began_ns))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sockets.len() + self.time_waits.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
