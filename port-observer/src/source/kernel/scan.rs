//! What is there already: all sockets and TIME_WAIT entries that hold a port, from the kernel
//! programs' iterators, or from socket diagnostics where those can't be had.

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    fs::File,
    io::{ErrorKind, Read as _},
};

use anyhow::{Context as _, Result, bail};
use port_observer_ebpf::CallRecord;

use super::super::poll::{Poll, Scope};
use crate::{
    decode::{decode, is_port_fixed},
    event::{Event, Existing, Protocol, SocketId, Task, TcpState},
    kernel::netns::Namespace,
    probe::Iterators,
};

/// The kernel hands out at most 8 pages at once (bpf_seq_read, kernel/bpf/bpf_iter.c).
const READ_BYTES: usize = 64 * 1024;
const RECORD_BYTES: usize = size_of::<CallRecord>();
/// How many entries are handed over at once of what was read before.
const CHUNK: usize = 256;

/// A scan under way. It goes by chunks, so that whoever calls may do other things in between.
///
/// The open files of all processes come first: they tell who has which socket, and are the only
/// way to TCP sockets that are bound and neither connected nor listening. Then come the sockets of
/// one network namespace after the other, then what remains of the first. With it, sockets whose port was
/// asked for by number and that no list of their namespace shows: their connection has ended since
/// (refused, reset), or was about to begin, and they keep their port (`SOCK_BINDPORT_LOCK`,
/// `inet_put_port` in tcp_set_state, net/ipv4/tcp.c).
pub struct Scan {
    protocols: Vec<Protocol>,
    /// Iterators that are open and not read to their end, the first being read.
    open: VecDeque<(Pass, File)>,
    namespaces: VecDeque<Namespace>,
    /// Of the last read: a record may lie across two of them.
    bytes: Vec<u8>,
    owners: Owners,
    /// TCP sockets that are only bound, or may be by now, until they are seen elsewhere.
    bound: HashMap<SocketId, Existing>,
    looked: HashSet<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Files,
    Sockets,
}

impl Scan {
    /// Begins. `namespaces` are those to look into.
    ///
    /// # Errors
    /// When the kernel refuses the first iterator.
    pub fn new(
        iterators: &mut Iterators<'_>,
        namespaces: Vec<Namespace>,
        protocols: &[Protocol],
    ) -> Result<Self> {
        let files = iterators.files()?.open()?;
        let protocols = if protocols.is_empty() {
            vec![Protocol::Tcp, Protocol::Udp]
        } else {
            protocols.to_vec()
        };
        Ok(Self {
            protocols,
            open: VecDeque::from([(Pass::Files, files)]),
            namespaces: namespaces.into(),
            bytes: Vec::new(),
            owners: Owners::default(),
            bound: HashMap::new(),
            looked: HashSet::new(),
        })
    }

    /// The next part of what there is, which may be empty; `None`: that was all. What the kernel
    /// tells by events after this was read, and before it is handed on, is newer.
    ///
    /// # Errors
    /// When the kernel refuses an iterator, or writes what makes no sense.
    pub fn chunk(&mut self, iterators: &mut Iterators<'_>) -> Result<Option<Vec<Existing>>> {
        if let Some((pass, file)) = self.open.front_mut() {
            let pass = *pass;
            return match read(file, &mut self.bytes) {
                Ok(0) => {
                    self.open.pop_front();
                    if !self.bytes.is_empty() {
                        bail!("an iterator ended within a record");
                    }
                    Ok(Some(Vec::new()))
                }
                Ok(_) => self.records(pass).map(Some),
                // It has gone over very many that are no sockets, or was interrupted.
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
                {
                    Ok(Some(Vec::new()))
                }
                Err(error) => Err(error).context("can't read an iterator"),
            };
        }
        if let Some(namespace) = self.namespaces.pop_front() {
            let prepared = self.protocols.iter().map(|&protocol| iterators.sockets(protocol));
            let prepared = prepared.collect::<Result<Vec<_>>>()?;
            // An iterator is about the namespace in which it is opened.
            let open = || prepared.into_iter().map(|one| one.open()).collect::<Result<Vec<_>>>();
            match namespace.run(open) {
                Ok(files) => {
                    self.looked.insert(namespace.inode);
                    self.open.extend(files.into_iter().map(|file| (Pass::Sockets, file)));
                }
                Err(error) => log::debug!("left out of the scan: {error:#}"),
            }
            return Ok(Some(Vec::new()));
        }
        if self.bound.is_empty() {
            return Ok(None);
        }
        let some: Vec<SocketId> = self.bound.keys().take(CHUNK).copied().collect();
        let take = |socket: &SocketId| {
            let one = self.bound.remove(socket)?;
            // A connection of a namespace that was not looked into is one for all that is known.
            let is_bound = one.state == TcpState::BOUND_INACTIVE;
            let may_be_bound = is_bound || self.looked.contains(&one.flow.netns);
            may_be_bound.then(|| Existing { task: self.owners.of(*socket), ..one })
        };
        Ok(Some(some.iter().filter_map(take).collect()))
    }

    /// The namespaces that were looked into so far.
    pub fn looked(&self) -> &HashSet<u32> {
        &self.looked
    }

    fn records(&mut self, pass: Pass) -> Result<Vec<Existing>> {
        let mut found = Vec::new();
        let records = self.bytes.chunks_exact(RECORD_BYTES);
        let rest = records.remainder().to_vec();
        for record in records {
            let Event::Existing(mut one) = decode(record).context("an iterator's record")? else {
                bail!("an iterator gave something that is not about a socket");
            };
            let Some(socket) = one.socket else { continue };
            if pass == Pass::Files {
                if let Some(task) = &one.task {
                    self.owners.add(socket, task);
                }
                if one.state == TcpState::BOUND_INACTIVE || is_port_fixed(record) {
                    self.bound.insert(socket, *one);
                }
            } else {
                self.bound.remove(&socket);
                one.task = self.owners.of(socket);
                found.push(*one);
            }
        }
        self.bytes = rest;
        Ok(found)
    }
}

/// Appends what one read gives; how much that was.
fn read(file: &mut File, bytes: &mut Vec<u8>) -> std::io::Result<usize> {
    let before = bytes.len();
    bytes.resize(before + READ_BYTES, 0);
    let result = file.read(&mut bytes[before..]);
    bytes.truncate(before + *result.as_ref().unwrap_or(&0));
    result
}

/// Who has which socket open: of several processes, the one that started first.
#[derive(Default)]
struct Owners {
    sockets: HashMap<SocketId, u32>,
    tasks: Vec<Task>,
    known: HashMap<(u32, u64), u32>,
}

impl Owners {
    fn add(&mut self, socket: SocketId, task: &Task) {
        let number = *self.known.entry((task.pid, task.start_time_ns)).or_insert_with(|| {
            self.tasks.push(task.clone());
            self.tasks.len() as u32 - 1
        });
        let started = |number: u32| self.tasks[number as usize].start_time_ns;
        match self.sockets.entry(socket) {
            Entry::Vacant(place) => {
                place.insert(number);
            }
            Entry::Occupied(mut place) => {
                if started(number) < started(*place.get()) {
                    place.insert(number);
                }
            }
        }
    }

    fn of(&self, socket: SocketId) -> Option<Task> {
        Some(self.tasks[*self.sockets.get(&socket)? as usize].clone())
    }
}

/// The same from socket diagnostics, all at once, and the namespaces that were looked into. The
/// kernel's identity of a socket is not to be had from them.
///
/// # Errors
/// When no namespace can be looked into.
pub fn diagnostics(scope: Scope, protocols: &[Protocol]) -> Result<(Vec<Existing>, HashSet<u32>)> {
    let mut poll = Poll::new(scope, protocols);
    let mut existing = poll.baseline()?;
    for one in &mut existing {
        one.socket = None;
    }
    Ok((existing, poll.looked()))
}

#[cfg(test)]
mod tests;
