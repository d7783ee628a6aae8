//! The lines that the processes of a run exchange.

use std::{
    io::{self, BufRead, Read as _},
    net::SocketAddr,
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Bind, Close, Limit, Outcome, Plan, Refusals};

/// No line is longer.
const LONGEST: u64 = 4 << 20;

/// Which process of a run this is, and what it is to do: the first line of its standard input.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum Job {
    /// The first process of the place, or the one that watches a process where it is.
    Run(Plan),
    /// Connects.
    Client(ClientJob),
    /// Takes connections.
    Server(ServerJob),
    /// Runs a program of the user's.
    Program(ProgramJob),
    /// Observes the place, from outside.
    Observe(ObserveJob),
}

/// What a client does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientJob {
    /// Its `RLIMIT_NOFILE`.
    pub nofile: u64,
    /// It may run into that, and has to end before otherwise.
    pub meets_nofile: bool,
    /// Where from: addresses with port 0, which are bound; none: as connect() chooses.
    pub sources: Vec<SocketAddr>,
    /// Where to, one or more.
    pub destinations: Vec<SocketAddr>,
    /// How.
    pub bind: Bind,
    /// By UDP.
    pub udp: bool,
    /// What is done with connections.
    pub close: Close,
    /// How many connections others have made before.
    pub first: u64,
    /// With how many of all it is done.
    pub wanted: Option<u64>,
    /// At most so many attempts a second.
    pub rate: Option<u32>,
    /// Until when, nanoseconds since boot.
    pub until_ns: u64,
}

/// What a server does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServerJob {
    /// Its `RLIMIT_NOFILE`.
    pub nofile: u64,
    /// It may run into that, and leaves connections to others before otherwise.
    pub meets_nofile: bool,
    /// The descriptor of its listening socket.
    pub listener: i32,
    /// It closes what it accepts.
    pub closes: bool,
    /// Its socket is one of UDP, and takes no connections.
    pub udp: bool,
}

/// Which program is run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProgramJob {
    /// The command and its arguments.
    pub command: Vec<String>,
    /// Its `RLIMIT_NOFILE`; `None`: as it is.
    pub nofile: Option<u64>,
}

/// What is observed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ObserveJob {
    /// The inode number of the place's network namespace.
    pub netns: u32,
    /// Only these processes are told of; none: all.
    pub pids: Vec<u32>,
    /// Only what connects to this is told of.
    pub to: Option<SocketAddr>,
    /// The backend's name; `None`: the best.
    pub backend: Option<String>,
    /// The size of the ring buffer in bytes.
    pub buffer_size: u32,
    /// Where events are recorded.
    pub record: Option<std::path::PathBuf>,
    /// It gives up what it does not need.
    pub is_confined: bool,
}

/// What a process says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The place stands, its server listens.
    Ready,
    /// How far clients are.
    Progress(Progress),
    /// A client is done: it keeps what it has open until its standard input ends.
    Ended {
        /// Why.
        end: End,
        /// How far it got.
        progress: Progress,
    },
    /// A process of the program is held until an order comes.
    Held {
        /// Its calls that failed for want of something.
        refused: Refusals,
    },
    /// The program has ended.
    Exited {
        /// How.
        how: String,
        /// It says that it did what it was to.
        is_success: bool,
        /// Its calls that failed for want of something.
        refused: Refusals,
    },
    /// The observer observes.
    Observing,
    /// The observer has seen so many connections begin.
    Searched {
        /// How many.
        connections: u64,
        /// How long half of them searched at most.
        p50_ns: u64,
    },
    /// What the observer saw.
    Observed(super::Observed),
    /// The run is over.
    Over(Box<Outcome>),
    /// It failed, and why.
    Failed {
        /// A sentence.
        why: String,
    },
}

/// How far a client is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Nanoseconds since boot.
    pub at_ns: u64,
    /// Connections that were made.
    pub worked: u64,
    /// The most that stood at a time, of those that are kept.
    pub peak: u64,
    /// When that was: nanoseconds since boot.
    pub peak_ns: u64,
    /// Those that are being made.
    pub pending: u64,
    /// Attempts that failed, by error.
    pub refused: Refusals,
    /// Attempts that took a second or more: SYNs were sent again.
    pub retried: u64,
    /// Connections that the server closed, where it was not to.
    pub closed: u64,
    /// A filter of system calls refuses the call that fails: it fails with the same error where the kernel
    /// itself has another to give.
    pub is_filtered: bool,
    /// The beginning of what it said before.
    pub heard: Option<String>,
    /// How long connections took that were made since it was last said, in nanoseconds: how many of each.
    pub took: Vec<(u64, u64)>,
}

impl Progress {
    /// All attempts that failed.
    pub fn failed(&self) -> u64 {
        self.refused.values().sum()
    }
}

/// Why a client is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// All wanted connections are there.
    Reached,
    /// Another process has to go on: this one has no more descriptors.
    Full,
    /// The kernel refuses each attempt.
    Refused {
        /// The call that it refused.
        call: String,
        /// With which error.
        errno: i32,
    },
    /// Attempts get no answer, or next to none.
    Stalled,
    /// The server closes what it accepts.
    Closed,
    /// The time is over.
    Duration,
    /// It was told to.
    Told,
    /// The program that connected has ended.
    Exited {
        /// How.
        how: String,
        /// It says that it did what it was to.
        is_success: bool,
    },
    /// The host has too little memory left.
    Memory,
    /// The process died.
    Died {
        /// How.
        how: String,
    },
}

impl End {
    /// Whether a process was killed, as the kernel does for want of memory.
    pub fn is_by_kill(&self) -> bool {
        match self {
            Self::Died { how } | Self::Exited { how, .. } => how.contains("SIGKILL"),
            _ => false,
        }
    }

    /// The limit that an end names by itself.
    pub fn limit(&self) -> Option<Limit> {
        match self {
            Self::Reached => Some(Limit::Requested),
            Self::Duration | Self::Told => Some(Limit::Duration),
            Self::Memory => Some(Limit::Memory),
            _ => None,
        }
    }
}

/// Says a line.
///
/// # Errors
/// When nobody listens.
pub fn say(line: &Line) -> Result<()> {
    write(&mut io::stdout().lock(), line)
}

/// Writes a line.
///
/// # Errors
/// As for [`say`].
pub fn write(out: &mut impl io::Write, line: &impl Serialize) -> Result<()> {
    let mut bytes = serde_json::to_vec(line).context("can't write JSON")?;
    bytes.push(b'\n');
    out.write_all(&bytes).and_then(|()| out.flush()).context("can't write to the other process")
}

/// Reads a line. `None`: there are no more.
///
/// # Errors
/// When it is none of these, or can't be read.
pub fn read<T: DeserializeOwned>(from: &mut impl BufRead) -> Result<Option<T>> {
    let mut text = String::new();
    let length = from.take(LONGEST).read_line(&mut text).context("can't read a line")?;
    match length {
        0 => Ok(None),
        _ if !text.ends_with('\n') => bail!("a line that does not end"),
        _ => serde_json::from_str(&text).map(Some).context("a line that makes no sense"),
    }
}

/// Says why a part of a run failed, to the one who started it.
pub fn fail(error: &anyhow::Error) {
    let _ = say(&Line::Failed { why: format!("{error:#}") });
}
