//! The backend that needs no privilege: socket diagnostics, asked again and again and compared. It
//! sees what is there at each round, and infers from what a socket is which call took its port.

mod compare;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use anyhow::{Context, anyhow, bail};
use nix::unistd::geteuid;

use crate::event::{
    Event, Existing, Kind, Protocol, Reuse, Sharing, SocketEvent, SocketId, Task, TcpState,
};
use crate::kernel::clock::now_boot_ns;
use crate::kernel::diag::{self, Origin, Request};
use crate::kernel::netns::{self, Namespace};
use crate::probe::{BindHeld, OnHeldPort};
use crate::process::ProcFs;

use super::owners::{self, Way};
use compare::{Change, Held, Round, Snapshot, compare};

/// Which namespaces to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// That of the calling thread.
    Own,
    /// All that can be reached, listed anew each round.
    All,
    /// These, by their inode numbers.
    Only(Vec<u32>),
    /// These, also where nobody else would find them.
    Given(Vec<Namespace>),
}

/// What is not seen without [`Scope::All`].
pub const OTHERS_ARE_HIDDEN: &str = "other network namespaces: looking into them takes root";

impl Default for Scope {
    /// All for root, who may enter them, else the own.
    fn default() -> Self {
        if geteuid().is_root() { Self::All } else { Self::Own }
    }
}

/// What the last round could not see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// A sentence for each namespace that could not be looked into; its sockets stay as they were.
    pub unreadable: Vec<String>,
    /// Why diagnostics were not to be had and `/proc/net` was read.
    pub fallback: Option<String>,
    /// Records that made no sense.
    pub malformed: u64,
    /// Processes whose files may not be seen: their sockets have no process.
    pub hidden_processes: usize,
    /// How the processes were found, if any was looked for.
    pub way: Option<Way>,
    /// Why it is not known which ports of connections bind() took; `None`: it is.
    pub unknown_binds: Option<String>,
}

/// Compares rounds.
#[derive(Debug)]
pub struct Poll {
    scope: Scope,
    request: Request,
    proc_fs: ProcFs,
    /// Whether BPF iterators may be loaded.
    may_iterate: bool,
    /// The round before; `None` until the first.
    previous: Option<Snapshot>,
    limits: Limits,
}

impl Poll {
    /// Prepares; nothing is read yet. No protocols: all.
    pub fn new(scope: Scope, protocols: &[Protocol]) -> Self {
        let mut request = Request::default();
        if !protocols.is_empty() {
            request.protocols = protocols.to_vec();
        }
        Self {
            scope,
            request,
            proc_fs: ProcFs::default(),
            may_iterate: false,
            previous: None,
            limits: Limits::default(),
        }
    }

    /// Lets BPF iterators find the processes, where that is worth it, and what bind() took.
    pub fn with_iterator(self) -> Self {
        Self { may_iterate: true, ..self }
    }

    /// The first round: what is held already, listeners first. Later rounds compare with it.
    ///
    /// # Errors
    /// When no namespace can be looked into.
    pub fn baseline(&mut self) -> anyhow::Result<Vec<Existing>> {
        let snapshot = self.look(&Snapshot::default())?;
        let owners = self.owners(snapshot.sockets.values().map(|held| held.socket.inode))?;
        // After the list, which gives every socket its cookie.
        let bind_held = self.bind_held(&snapshot);
        let mut existing: Vec<Existing> = snapshot
            .sockets
            .iter()
            .map(|(&id, held)| {
                let task = owners.get(&held.socket.inode).cloned();
                let mut one = existing(id, held, snapshot.time_ns, task);
                if let Some(chosen_by_connect) = bind_held.get(&held.socket.cookie) {
                    one.blocked = Some(true);
                    one.sharing.connect_bind = *chosen_by_connect;
                }
                one
            })
            .collect();
        existing.sort_by_key(|one| (one.state != TcpState::LISTEN, one.socket));
        self.previous = Some(snapshot);
        Ok(existing)
    }

    /// Looks again and tells what has changed since the last round. The first is the baseline and
    /// yields what there is, as [`Event::Existing`]. The time of all events is that of the round.
    ///
    /// # Errors
    /// When no namespace can be looked into; the next round then compares with the last good one.
    pub fn round(&mut self) -> anyhow::Result<Vec<Event>> {
        let Some(previous) = self.previous.take() else {
            let existing = self.baseline()?.into_iter();
            return Ok(existing.map(|one| Event::Existing(Box::new(one))).collect());
        };
        let current = match self.look(&previous) {
            Ok(current) => current,
            Err(error) => {
                self.previous = Some(previous);
                return Err(error);
            }
        };
        let changes = compare(&previous, &current);
        let time_ns = current.time_ns;
        self.previous = Some(current);
        let owners = self.owners(changes.iter().map(|change| change.inode))?;
        Ok(changes.into_iter().map(|change| event(change, &owners, time_ns)).collect())
    }

    /// What the last round could not see.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The namespaces that the last round looked into.
    pub fn looked(&self) -> HashSet<u32> {
        self.previous.as_ref().map(|snapshot| snapshot.looked.clone()).unwrap_or_default()
    }

    /// The namespaces as of now.
    ///
    /// # Errors
    /// When /proc is not mounted.
    pub fn namespaces(&self) -> anyhow::Result<Vec<Namespace>> {
        match &self.scope {
            Scope::Own => Ok(vec![Namespace::own()?]),
            Scope::All => Ok(netns::list()?.namespaces),
            Scope::Only(inodes) => {
                let mut namespaces = netns::list()?.namespaces;
                namespaces.retain(|namespace| inodes.contains(&namespace.inode));
                Ok(namespaces)
            }
            Scope::Given(namespaces) => Ok(namespaces.clone()),
        }
    }

    /// A socket of the last round, as the kernel's list had it.
    pub fn socket(&self, id: SocketId) -> Option<&diag::DiagSocket> {
        Some(&self.previous.as_ref()?.sockets.get(&id)?.socket)
    }

    fn look(&mut self, previous: &Snapshot) -> anyhow::Result<Snapshot> {
        let namespaces = self.namespaces()?;
        let time_ns = now_boot_ns()?;
        let mut round = Round::default();
        let mut limits = Limits::default();
        for namespace in &namespaces {
            let inode = namespace.inode;
            match namespace.run(|| diag::dump(&self.request)) {
                Ok(dump) if dump.interrupted => {
                    // What is not in it may be there: nothing is taken for gone.
                    round.kept.insert(inode);
                    limits.unreadable.push(format!(
                        "the list of sockets of the network namespace {inode} changed while it was \
                         read, each time it was tried"
                    ));
                }
                Ok(dump) => {
                    if let Origin::ProcNet { reason } = dump.origin {
                        limits.fallback = Some(reason);
                    }
                    limits.malformed += dump.malformed;
                    round.looked.insert(inode);
                    round.list.extend(dump.sockets);
                }
                Err(error) => {
                    limits.unreadable.push(format!("{error:#}"));
                    round.kept.insert(inode);
                }
            }
        }
        if !round.kept.is_empty() {
            // A namespace that has ended took its sockets along.
            let listing = netns::list()?;
            round.kept.retain(|inode| listing.namespaces.iter().any(|one| one.inode == *inode));
        }
        if round.looked.is_empty() && !limits.unreadable.is_empty() {
            let reasons = limits.unreadable.join("; ");
            bail!("no network namespace can be looked into: {reasons}");
        }
        limits.hidden_processes = self.limits.hidden_processes;
        self.limits = limits;
        Ok(Snapshot::new(round, time_ns, previous))
    }

    /// What is on ports that connect() passes over, by socket cookie, and whether connect() chose the port.
    fn bind_held(&mut self, snapshot: &Snapshot) -> HashMap<u64, bool> {
        let is_connection = |held: &Held| {
            held.socket.flow.protocol == Protocol::Tcp && held.socket.flow.remote.is_some()
        };
        if !self.request.protocols.contains(&Protocol::Tcp)
            || !snapshot.sockets.values().any(is_connection)
        {
            return HashMap::new();
        }
        let mut found = HashMap::new();
        let done = match &self.limits.fallback {
            Some(_) => Err(anyhow!("/proc/net shows no socket cookies")),
            None if !self.may_iterate => Err(anyhow!("it was not looked for")),
            None => self.add_bind_held(snapshot, &mut found),
        };
        self.limits.unknown_binds = done.err().map(|error| format!("{error:#}"));
        // Those that nobody has listed.
        found.remove(&0);
        found
    }

    fn add_bind_held(
        &self,
        snapshot: &Snapshot,
        found: &mut HashMap<u64, bool>,
    ) -> anyhow::Result<()> {
        let iterator = BindHeld::load()?;
        let mut add = |one: OnHeldPort| {
            found.insert(one.cookie, one.connect_bind);
        };
        let mut done = Ok(());
        for namespace in self.namespaces()? {
            let inode = namespace.inode;
            if snapshot.looked.contains(&inode)
                && let Err(error) = namespace.run(|| iterator.for_each_here(&mut add))
            {
                done = Err(error.context(format!("in the network namespace {inode}")));
            }
        }
        done
    }

    /// The processes that have these sockets open: one walk, and only if there is any to look for.
    fn owners(&mut self, inodes: impl Iterator<Item = u32>) -> anyhow::Result<HashMap<u32, Task>> {
        let wanted: HashSet<u32> = inodes.filter(|inode| *inode != 0).collect();
        if wanted.is_empty() {
            return Ok(HashMap::new());
        }
        let found = if self.may_iterate {
            owners::socket_owners(&self.proc_fs, &wanted)
        } else {
            self.proc_fs.socket_owners(&wanted).map(|owners| (owners, Way::Proc))
        };
        let (owners, way) = found.context("cannot list /proc")?;
        self.limits.way = Some(way);
        self.limits.hidden_processes = owners.hidden_processes;
        let pids: HashSet<u32> = owners.pids.values().copied().collect();
        let tasks: HashMap<u32, Task> =
            pids.into_iter().filter_map(|pid| Some((pid, self.proc_fs.task(pid)?))).collect();
        Ok(owners
            .pids
            .into_iter()
            .filter_map(|(inode, pid)| Some((inode, tasks.get(&pid)?.clone())))
            .collect())
    }
}

fn existing(id: SocketId, held: &Held, time_ns: u64, task: Option<Task>) -> Existing {
    let Held { socket, child_of } = held;
    Existing {
        time_ns,
        socket: Some(id),
        flow: socket.flow,
        state: if socket.time_wait { TcpState::TIME_WAIT } else { socket.state },
        // Diagnostics don't tell whether there were timestamps; nearly all connections have them.
        reuse: socket
            .time_wait
            .then_some(Reuse { fin_wait2: socket.state == TcpState::FIN_WAIT2, timestamps: true }),
        sharing: Sharing {
            connect_bind: false,
            ipv6_only: socket.v6only == Some(true),
            device: socket.interface,
        },
        // An accepted child has its port from the listener, who bound it.
        blocked: child_of.is_some().then_some(true),
        task,
    }
}

fn event(change: Change, owners: &HashMap<u32, Task>, time_ns: u64) -> Event {
    let Change { socket, flow, mut kind, inode } = change;
    if let Kind::Acquire { task, .. } = &mut kind {
        *task = owners.get(&inode).cloned();
    }
    Event::Socket(SocketEvent { time_ns, socket, flow, kind })
}
