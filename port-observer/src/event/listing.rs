//! What the kernel lists at a moment, and what is asked of a source.

use std::collections::HashSet;

use foldhash::HashMap;

use super::{Flow, Protocol, SocketId, TcpState};

/// One look at some of the kernel's lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// When, nanoseconds since boot: before the look.
    pub time_ns: u64,
    /// Inode numbers of the network namespaces that were looked at.
    pub namespaces: HashSet<u32>,
    /// TCP 4-tuples in TIME_WAIT, and whether the peer's FIN is still awaited, if they were looked at.
    pub time_waits: Option<HashMap<Flow, bool>>,
    /// UDP sockets with a port, if they were looked at.
    pub udp: Option<Vec<ListedSocket>>,
    /// The sockets of a protocol but for listeners and TIME_WAIT entries, if they were looked at.
    pub sockets: Option<(Protocol, HashMap<Flow, ListedState>)>,
    /// The sockets and TIME_WAIT entries on one port, if they were looked at.
    pub on_port: Option<Vec<OnPort>>,
}

/// A socket's state, and what tells who has it open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedState {
    /// The state, of TCP. ESTABLISHED stands for any that events tell.
    pub state: TcpState,
    /// The inode number by which processes have it open, 0: none can.
    pub inode: u32,
}

/// What is on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnPort {
    /// Where it is.
    pub flow: Flow,
    /// Its state, `TIME_WAIT` for any TIME_WAIT entry.
    pub state: TcpState,
    /// The inode number by which processes have it open, 0: none can.
    pub inode: u32,
}

/// A socket in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedSocket {
    /// Its socket cookie: a list does not show kernel addresses.
    pub socket: SocketId,
    /// Where it is.
    pub flow: Flow,
    /// `IPV6_V6ONLY`.
    pub ipv6_only: bool,
    /// The inode number by which processes have it open, 0: none has.
    pub inode: u32,
}

/// What the ledger wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The lists that complete what events tell, once a second.
    Lists {
        /// How many TIME_WAIT entries are known; 0: these need not be listed.
        time_waits: usize,
    },
    /// All that is held: so many ends of sockets were not told.
    Scan {
        /// How many more since this was last asked.
        missed: u64,
    },
    /// In which state the sockets of a network namespace are, and who has them open, at once: an answer
    /// waits for it.
    States {
        /// Its inode number.
        netns: u32,
        /// The protocol.
        protocol: Protocol,
        /// When it is to be known for, nanoseconds since boot.
        time_ns: u64,
    },
    /// What is on a port, at once: an answer waits for it.
    Port {
        /// The inode number of the network namespace.
        netns: u32,
        /// The protocol.
        protocol: Protocol,
        /// The number.
        port: u16,
        /// When it is to be known for, nanoseconds since boot.
        time_ns: u64,
    },
}
