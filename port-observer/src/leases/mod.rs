//! Leases: ports of pools that are an owner's until it gives them back, or for a time. They mark ports and
//! bind nothing. All that is known of them is in one file, which commands share ([`Store`]).

mod choice;
pub mod json;
mod moment;
mod store;
pub mod text;
mod view;

use std::time::Duration;

pub use self::{
    choice::{Candidate, Refusal},
    moment::Moment,
    store::{Change, Store},
    view::{Seen, Unleased, View},
};
use crate::pools::{Place, Pool, PortSet, Scope};

/// The longest name of an owner, or key, in bytes.
pub const MOST_BYTES: usize = 256;

/// Where ports are to come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A pool.
    Pool(String),
    /// The pools of a group, in turns.
    Group(String),
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Whose the ports are to be.
    pub owner: &'a str,
    /// The same key gets the same lease for as long as that lives.
    pub key: Option<&'a str>,
    /// How many units, of the pool's ports each.
    pub units: u32,
    /// For how long; `None`: until they are given back.
    pub ttl: Option<Duration>,
}

/// Which ports of a pool are leased.
pub fn of_pool(leases: &[Lease], pool: &Pool) -> PortSet {
    let scope = Scope::of(pool);
    let here = leases.iter().filter(|lease| lease.scope.meets(&scope));
    let ports: PortSet = here.flat_map(|lease| lease.ports.ranges()).collect();
    ports.intersection(&pool.ports)
}

/// Ports that are somebody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its number, which no other gets, also when it has ended.
    pub id: i64,
    /// The pool that its ports came from, whatever that has now.
    pub pool: String,
    /// Where the ports are.
    pub scope: Scope,
    /// Which.
    pub ports: PortSet,
    /// How many units that is.
    pub units: u32,
    /// Whose.
    pub owner: String,
    /// What it was asked for with.
    pub key: Option<String>,
    /// When it began, in milliseconds since 1970.
    pub since_ms: i64,
    /// For how long at a time; `None`: until it is given back.
    pub ttl: Option<Duration>,
    /// When it ends, unless it is renewed.
    pub end: Option<Moment>,
}

impl Lease {
    /// How long it lives on; `None`: until it is given back.
    pub fn left(&self, now: &Moment) -> Option<Duration> {
        self.end.as_ref().map(|end| end.after(now))
    }

    /// It has not ended.
    fn is_live(&self, now: &Moment) -> bool {
        self.left(now) != Some(Duration::ZERO)
    }

    /// It, as a pool of its own.
    pub fn as_pool(&self) -> Pool {
        let place = Place { file: "leases".into(), line: None };
        Pool {
            protocols: Some(self.scope.protocols),
            address: self.scope.address.clone(),
            netns: self.scope.namespace.clone(),
            ..Pool::new(&*self.pool, self.ports.ranges().collect(), place)
        }
    }
}

#[cfg(test)]
mod tests;
