//! Which rows a view has, and in which order.

use std::{cmp::Ordering, sync::Arc};

use super::{
    failures::FailedCall,
    picture::{Picture, ProcessRow, SpaceRow},
};
use crate::{
    ledger::HeldPort,
    process::Process,
    report::{PoolLook, PoolUse, Space},
    words::{
        errno::ErrorName,
        figures::{ends, holder_name},
    },
};

/// How a view is sorted: by a column, and which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort<C> {
    /// By which column.
    pub by: C,
    /// The other way round than is usual for it.
    pub is_reversed: bool,
}

impl<C: Copy + PartialEq> Sort<C> {
    /// By this column, as is usual.
    pub fn new(by: C) -> Self {
        Self { by, is_reversed: false }
    }

    /// By the column after it.
    pub fn next(&mut self, all: &[C]) {
        let at = all.iter().position(|column| *column == self.by).unwrap_or(0);
        *self = Self::new(all[(at + 1) % all.len()]);
    }

    fn order(&self, ordering: Ordering) -> Ordering {
        if self.is_reversed { ordering.reverse() } else { ordering }
    }
}

/// What processes are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessColumn {
    /// Ports held, most first.
    Held,
    /// Connections.
    Established,
    /// TIME_WAIT entries.
    TimeWait,
    /// Bound and listening.
    Bound,
    /// Ports taken a second.
    PerSecond,
    /// Failed calls.
    Failures,
    /// The name.
    Name,
}

impl ProcessColumn {
    /// In the order in which they are gone through.
    pub const ALL: [Self; 7] = [
        Self::Held,
        Self::Established,
        Self::TimeWait,
        Self::Bound,
        Self::PerSecond,
        Self::Failures,
        Self::Name,
    ];
}

/// What destinations are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceColumn {
    /// The part that is used, most first.
    Used,
    /// How many ports are left, fewest first.
    Headroom,
    /// The growth, most first.
    Growth,
    /// When it will be full, soonest first.
    TimeLeft,
    /// How long the search takes, longest first.
    Search,
    /// Failed calls.
    Failures,
}

impl SpaceColumn {
    /// In the order in which they are gone through.
    pub const ALL: [Self; 6] =
        [Self::Used, Self::Headroom, Self::Growth, Self::TimeLeft, Self::Search, Self::Failures];
}

/// What failures are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureColumn {
    /// The newest first.
    Time,
    /// The most first.
    Count,
}

impl FailureColumn {
    /// In the order in which they are gone through.
    pub const ALL: [Self; 2] = [Self::Time, Self::Count];
}

/// What pools are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolColumn {
    /// The part that is used, most first.
    Used,
    /// How many ports are left, fewest first.
    Free,
    /// When it will be full, soonest first.
    TimeLeft,
    /// Refused calls.
    Refused,
    /// The name.
    Name,
}

impl PoolColumn {
    /// In the order in which they are gone through.
    pub const ALL: [Self; 5] = [Self::Used, Self::Free, Self::TimeLeft, Self::Refused, Self::Name];
}

/// A text that rows are to have in them, in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needle(String);

impl Needle {
    /// This text.
    pub fn new(text: &str) -> Self {
        Self(text.to_lowercase())
    }

    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn is_in(&self, text: &str) -> bool {
        text.to_lowercase().contains(&self.0)
    }

    /// Whether a process has it in its number, name, container or command line.
    pub fn is_of_process(&self, process: Option<&Process>) -> bool {
        if self.is_empty() {
            return true;
        }
        let Some(process) = process else { return self.is_in("not known") };
        let container = process.container.as_ref();
        self.is_in(&holder_name(Some(process)))
            || process.command_line.iter().any(|word| self.is_in(word))
            || process.executable.as_deref().is_some_and(|path| self.is_in(path))
            || container.is_some_and(|container| {
                self.is_in(&container.id)
                    || container.name.as_deref().is_some_and(|n| self.is_in(n))
            })
    }

    /// Whether a space has it in its addresses.
    pub fn is_of_space(&self, space: &Space) -> bool {
        self.is_empty() || self.is_in(&ends(space)) || self.is_in(&space.netns.to_string())
    }

    fn is_of_failure(&self, call: &FailedCall) -> bool {
        let port = &call.port;
        self.is_of_process(port.caller.as_ref().map(|caller| &*caller.process))
            || self.is_in(&ErrorName(call.errno).to_string())
            || port.remote.is_some_and(|remote| self.is_in(&remote.to_string()))
            || port.local.is_some_and(|local| self.is_in(&local.to_string()))
            || call.story.as_ref().is_some_and(|story| self.is_of_space(&story.space))
    }

    /// Whether a port has it in its holder; a number is a port to go to, and leaves none out.
    pub fn is_of_port(&self, held: &HeldPort) -> bool {
        self.0.parse::<u16>().is_ok() || self.is_of_process(held.process.as_deref())
    }
}

/// The processes, as they are listed.
pub fn processes<'a>(
    picture: &'a Picture,
    needle: &Needle,
    sort: Sort<ProcessColumn>,
) -> Vec<&'a ProcessRow> {
    let wanted = |row: &&ProcessRow| needle.is_of_process(row.used.process.as_deref());
    let mut rows: Vec<&ProcessRow> = picture.processes.iter().filter(wanted).collect();
    let tcp = |row: &ProcessRow| row.used.tcp;
    let bound = |row: &ProcessRow| tcp(row).counts.bound + tcp(row).counts.listening;
    rows.sort_by(|a, b| {
        let ordering = match sort.by {
            ProcessColumn::Held => b.held().cmp(&a.held()),
            ProcessColumn::Established => tcp(b).counts.established.cmp(&tcp(a).counts.established),
            ProcessColumn::TimeWait => tcp(b).counts.time_wait.cmp(&tcp(a).counts.time_wait),
            ProcessColumn::Bound => bound(b).cmp(&bound(a)),
            ProcessColumn::PerSecond => b.per_second.total_cmp(&a.per_second),
            ProcessColumn::Failures => b.failures.cmp(&a.failures),
            ProcessColumn::Name => name(a).cmp(name(b)),
        };
        sort.order(ordering)
            .then_with(|| b.held().cmp(&a.held()))
            .then_with(|| b.failures.cmp(&a.failures))
            .then_with(|| a.key().cmp(&b.key()))
    });
    rows
}

fn name(row: &ProcessRow) -> &str {
    row.used.process.as_ref().map_or("", |process| &process.name)
}

/// The destinations, as they are listed.
pub fn spaces<'a>(
    picture: &'a Picture,
    needle: &Needle,
    sort: Sort<SpaceColumn>,
) -> Vec<&'a SpaceRow> {
    let wanted = |row: &&SpaceRow| {
        let largest = row.largest.as_ref().and_then(|holder| holder.process.as_deref());
        needle.is_of_space(&row.space) || (largest.is_some() && needle.is_of_process(largest))
    };
    let mut rows: Vec<&SpaceRow> = picture.destinations.iter().filter(wanted).collect();
    let most = |number: Option<f64>| number.unwrap_or(f64::NEG_INFINITY);
    rows.sort_by(|a, b| {
        let (of_a, of_b) = (&a.space, &b.space);
        let ordering = match sort.by {
            SpaceColumn::Used => of_b.used_percent().total_cmp(&of_a.used_percent()),
            SpaceColumn::Headroom => of_a.headroom.cmp(&of_b.headroom),
            SpaceColumn::Growth => {
                most(of_b.growth_per_second).total_cmp(&most(of_a.growth_per_second))
            }
            SpaceColumn::TimeLeft => time_left(of_a).total_cmp(&time_left(of_b)),
            SpaceColumn::Search => most(b.search_ns).total_cmp(&most(a.search_ns)),
            SpaceColumn::Failures => b.failures.cmp(&a.failures),
        };
        sort.order(ordering)
            .then_with(|| of_b.used.cmp(&of_a.used))
            .then_with(|| ends(of_a).cmp(&ends(of_b)))
    });
    rows
}

fn time_left(space: &Space) -> f64 {
    if space.headroom == 0 { 0.0 } else { space.seconds_to_exhaustion.unwrap_or(f64::INFINITY) }
}

/// The pools, as they are listed, each with its number.
pub fn pools<'a>(
    picture: &'a Picture,
    needle: &Needle,
    netns: Option<u32>,
    sort: Sort<PoolColumn>,
) -> Vec<(usize, &'a PoolLook)> {
    let wanted = |(_, of): &(usize, &PoolLook)| {
        let mut holders = of.holders.iter().filter_map(|holder| holder.process.as_deref());
        let is_there = netns.is_none() || of.pool.netns.is_none() || of.pool.netns == netns;
        is_there
            && (needle.is_empty()
                || needle.is_in(&of.pool.name)
                || needle.is_in(&of.pool.range)
                || holders.any(|process| needle.is_of_process(Some(process))))
    };
    let mut rows: Vec<(usize, &PoolLook)> =
        picture.pools.iter().enumerate().filter(wanted).collect();
    let time_left = |pool: &PoolUse| match pool.is_full {
        true => 0.0,
        false => pool.seconds_to_exhaustion.unwrap_or(f64::INFINITY),
    };
    rows.sort_by(|(_, PoolLook { pool: a, .. }), (_, PoolLook { pool: b, .. })| {
        let ordering = match sort.by {
            PoolColumn::Used => b.used_percent().total_cmp(&a.used_percent()),
            PoolColumn::Free => a.free.cmp(&b.free),
            PoolColumn::TimeLeft => time_left(a).total_cmp(&time_left(b)),
            PoolColumn::Refused => b.refused.cmp(&a.refused),
            PoolColumn::Name => a.name.cmp(&b.name),
        };
        sort.order(ordering).then_with(|| b.used.cmp(&a.used))
    });
    rows
}

/// The failures, as they are listed.
pub fn failures<'a>(
    picture: &'a Picture,
    needle: &Needle,
    sort: Sort<FailureColumn>,
) -> Vec<&'a Arc<FailedCall>> {
    let wanted = |call: &&Arc<FailedCall>| needle.is_empty() || needle.is_of_failure(call);
    let mut rows: Vec<&Arc<FailedCall>> = picture.failures.iter().filter(wanted).collect();
    rows.sort_by(|a, b| {
        let ordering = match sort.by {
            FailureColumn::Time => b.time_ns.cmp(&a.time_ns),
            FailureColumn::Count => b.count.cmp(&a.count),
        };
        sort.order(ordering).then_with(|| b.number.cmp(&a.number))
    });
    rows
}
