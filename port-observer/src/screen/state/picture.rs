//! What the screen shows of one moment: answers of the ledger, with what happened lately.

use std::sync::Arc;

use super::{
    View,
    activity::{ProcessKey, key_of},
    failures::FailedCall,
};
use crate::{
    event::Protocol,
    forensics::Incident,
    ledger::{HeldPort, PlaceUse, SpaceKey},
    ports::Ports,
    report::{self, Holder, NamespaceUse, PoolLook, ProcessUse, Space, Story},
    words::namespaces,
};

/// How many seconds a bar of a process's sparkline stands for.
pub const BAR_SECONDS: u64 = 10;
/// How many bars there are: five minutes.
pub const BARS: usize = 30;

/// One moment.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    /// When (`CLOCK_BOOTTIME`).
    pub time_ns: u64,
    /// Realtime less boottime.
    pub offset_ns: i64,
    /// What stands above all views.
    pub header: Header,
    /// All namespaces, the one with the most ports used first.
    pub namespaces: Vec<NamespaceUse>,
    /// The processes that hold ports, or that did something lately.
    pub processes: Vec<ProcessRow>,
    /// The fullest spaces.
    pub destinations: Vec<SpaceRow>,
    /// Calls that failed, the newest first.
    pub failures: Vec<Arc<FailedCall>>,
    /// How many failed in all, since this second.
    pub failed: u64,
    /// The first second, since boot, of which something is known.
    pub since: u64,
    /// The ports of the namespace in focus.
    pub ports: PortMap,
    /// The pools that are watched, as they were declared.
    pub pools: Vec<PoolLook>,
    /// What is looked at closely.
    pub detail: Option<Detail>,
}

impl Picture {
    /// What a namespace is called, or else its number, ready to be shown.
    pub fn name_of(&self, netns: u32) -> String {
        namespaces::name(netns, self.names(netns))
    }

    /// The number of a namespace, with its names.
    pub fn numbered(&self, netns: u32) -> String {
        namespaces::numbered(netns, self.names(netns))
    }

    fn names(&self, netns: u32) -> &[String] {
        let known = self.namespaces.iter().find(|namespace| namespace.netns == netns);
        known.map_or(&[], |namespace| &namespace.names)
    }
}

/// The namespace in focus: the one that is asked for, or else the one with the most ports in use.
pub fn focus(namespaces: &[NamespaceUse], wanted: Option<u32>) -> Option<&NamespaceUse> {
    match wanted {
        Some(netns) => namespaces.iter().find(|namespace| namespace.netns == netns),
        None => namespaces.first(),
    }
}

/// What stands above all views.
#[derive(Clone, Debug, Default)]
pub struct Header {
    /// The host's name.
    pub host: String,
    /// `uname -r`.
    pub kernel: String,
    /// Which backend.
    pub backend: &'static str,
    /// Whether every acquire and release is seen.
    pub exact: bool,
    /// What the backend can't see.
    pub missing: Vec<String>,
    /// Events a second.
    pub events_per_second: f64,
    /// Events that were lost.
    pub lost: u64,
    /// All that was held before is known.
    pub knows_all: bool,
    /// The fullest space.
    pub fullest: Option<Space>,
    /// How many spaces are full.
    pub full: usize,
    /// The space that will be full first, if any grows.
    pub first_full: Option<Space>,
}

/// A process and what it does.
#[derive(Clone, Debug)]
pub struct ProcessRow {
    /// What it holds.
    pub used: ProcessUse,
    /// Ports that it takes a second.
    pub per_second: f64,
    /// Calls that failed.
    pub failures: u64,
    /// Ports that it took, by [`BAR_SECONDS`], the newest last.
    pub bars: Vec<u32>,
}

impl ProcessRow {
    /// Which.
    pub fn key(&self) -> ProcessKey {
        key_of(self.used.process.as_deref())
    }

    /// Ports of both protocols.
    pub fn held(&self) -> u32 {
        self.used.tcp.ports + self.used.udp_ports
    }
}

/// A space and what happens in it.
#[derive(Clone, Debug)]
pub struct SpaceRow {
    /// How full it is.
    pub space: Space,
    /// Who holds the most of it.
    pub largest: Option<Holder>,
    /// How long the kernel searches for a port, if that is measured.
    pub search_ns: Option<f64>,
    /// connect() looks through the ports of the range's low end's parity first, then through the
    /// others: the last port that it chose is one of those.
    pub is_second_parity: bool,
    /// Calls that failed.
    pub failures: u64,
}

impl SpaceRow {
    /// Which.
    pub fn key(&self) -> SpaceKey {
        let Space { netns, protocol, kind, .. } = self.space;
        SpaceKey { netns, protocol, kind }
    }
}

/// The ports of a namespace.
#[derive(Clone, Debug, Default)]
pub struct PortMap {
    /// Which namespace; 0: none is known.
    pub netns: u32,
    /// Which of them there are, if known.
    pub ports: Option<Ports>,
    /// Those that are held, in order.
    pub held: Vec<HeldPort>,
}

/// What is looked at closely.
#[derive(Clone, Debug)]
pub enum Detail {
    /// A process, and where to it holds ports.
    Process {
        /// What is known of it.
        row: Box<ProcessRow>,
        /// Where to, most first.
        places: Vec<PlaceUse>,
    },
    /// A space, and who holds its ports.
    Space {
        /// What is known of it.
        row: Box<SpaceRow>,
        /// Its holders, and if it is full, why.
        story: Option<Box<Story>>,
    },
    /// A call that failed.
    Failure {
        /// Which.
        call: Arc<FailedCall>,
        /// What would have helped; of a port that the kernel was to choose.
        incident: Option<Box<Incident>>,
    },
    /// Ports and their holders, one by one.
    Ports {
        /// The first port.
        first: u16,
        /// The last port.
        last: u16,
        /// Who holds them.
        rows: Vec<report::Holding>,
        /// How many more there are.
        more: usize,
    },
    /// A pool, by its number in the picture.
    Pool(usize),
}

/// What of it is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Only this namespace.
    pub netns: Option<u32>,
    /// What is on the screen.
    pub views: Vec<View>,
    /// The protocol of the map of ports.
    pub protocol: Protocol,
    /// What is looked at closely.
    pub close: Option<Close>,
}

/// Something that is looked at closely.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Close {
    /// A process.
    Process(ProcessKey),
    /// A space.
    Space(SpaceKey),
    /// A failed call, by its number.
    Failure(u64),
    /// Ports from the first to the last.
    Ports(u16, u16),
    /// A pool, by its number.
    Pool(usize),
}
