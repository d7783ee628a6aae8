//! Calls that wanted one certain port or 4-tuple, which somebody had, or an address that was not there: by
//! who called and for what.

use std::sync::Arc;

use foldhash::HashMap;

use crate::{
    event::{Endpoint, Protocol, Refusal, Via},
    process::Process,
    report::{Holder, Port},
    words::{
        conflicts::{self, Refused},
        refusals,
    },
};

/// How many are kept apart.
const KEPT: usize = 1_000;
/// How many are named in a report.
const NAMED: usize = 50;

/// Calls of one process that wanted one port, 4-tuple or address.
#[derive(Clone, Debug)]
pub struct Taken {
    /// When the first failed, nanoseconds since 1970.
    pub began_ns: i64,
    /// When the last did.
    pub ended_ns: i64,
    /// Whose calls; `None`: not known.
    pub process: Option<Arc<Process>>,
    /// The inode number of the network namespace.
    pub netns: u32,
    /// Its names, as they were at the last call.
    pub names: Vec<String>,
    /// The protocol.
    pub protocol: Protocol,
    /// Which call.
    pub via: Via,
    /// What it wanted; `None`: several.
    pub local: Option<Endpoint>,
    /// Where to.
    pub remote: Option<Endpoint>,
    /// What the callers got.
    pub errno: i32,
    /// How many.
    pub count: u64,
    /// Who had it when it was last known, the largest first.
    pub holders: Vec<Holder>,
    /// That it was the address that was wanting, and why; `None`: somebody had the port.
    pub refusal: Option<Refusal>,
}

impl Taken {
    /// What would have helped, a sentence each.
    pub fn remedies(&self) -> Vec<String> {
        if let Some(refusal) = self.refusal {
            return refusals::remedies(refusal, self.local, self.remote);
        }
        self.local.map_or_else(Vec::new, |_| {
            let caller = self.process.as_deref();
            let call = Refused { via: self.via, protocol: self.protocol, caller };
            conflicts::remedies(&self.holders, call)
        })
    }
}

/// All of a recording.
#[derive(Clone, Debug, Default)]
pub struct AllTaken {
    /// Those that failed most, most first.
    pub most: Vec<Taken>,
    /// How many calls failed, these and others.
    pub count: u64,
}

type Key = (
    Option<(u32, u64)>,
    u32,
    Protocol,
    Via,
    Option<Endpoint>,
    Option<Endpoint>,
    i32,
    Option<Refusal>,
);

/// Gathers them, in bounded memory.
#[derive(Default)]
pub(super) struct Gathered {
    by_key: HashMap<Key, Taken>,
    count: u64,
}

impl Gathered {
    /// So many more calls that failed alike.
    pub(super) fn add(
        &mut self,
        now_ns: i64,
        (port, names): (&Port, &[String]),
        (via, errno, refusal): (Via, i32, Option<Refusal>),
        holders: &[Holder],
        count: u64,
    ) {
        self.count = self.count.saturating_add(count);
        let process = port.caller.as_ref().map(|caller| &caller.process);
        let who = process.map(|process| (process.pid, process.start_time_ns));
        let key = (who, port.netns, port.protocol, via, port.local, port.remote, errno, refusal);
        if self.by_key.len() >= KEPT && !self.by_key.contains_key(&key) {
            // Half of them make room: those that failed least, the oldest first.
            let rank = |(key, taken): (&Key, &Taken)| (taken.count, taken.ended_ns, *key);
            let mut all: Vec<(u64, i64, Key)> = self.by_key.iter().map(rank).collect();
            all.sort_unstable_by_key(|&(count, ended_ns, _)| (count, ended_ns));
            for (_, _, key) in &all[..KEPT / 2] {
                self.by_key.remove(key);
            }
        }
        let taken = self.by_key.entry(key).or_insert_with(|| Taken {
            began_ns: now_ns,
            ended_ns: now_ns,
            process: process.cloned(),
            netns: port.netns,
            names: Vec::new(),
            protocol: port.protocol,
            via,
            local: port.local,
            remote: port.remote,
            errno,
            count: 0,
            holders: Vec::new(),
            refusal,
        });
        if taken.names != names {
            taken.names = names.to_vec();
        }
        taken.count = taken.count.saturating_add(count);
        taken.began_ns = taken.began_ns.min(now_ns);
        taken.ended_ns = taken.ended_ns.max(now_ns);
        if !holders.is_empty() {
            taken.holders = holders.to_vec();
        }
    }

    /// No more will come.
    pub(super) fn finish(self) -> AllTaken {
        let mut most: Vec<Taken> = self.by_key.into_values().collect();
        most.sort_by_key(|taken| (std::cmp::Reverse(taken.count), taken.began_ns));
        most.truncate(NAMED);
        AllTaken { most, count: self.count }
    }
}
