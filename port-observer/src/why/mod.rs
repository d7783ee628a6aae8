//! `why`: whether one call can succeed now, what blocks it, who, and what would help. Pure: from what
//! was listed to the answer.

mod bind;
mod connect;
mod groups;
pub mod json;
pub mod target;
#[cfg(test)]
mod tests;
pub mod text;

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use crate::{
    event::{Endpoint, NamespaceSettings, Protocol, UNSPECIFIED_V4, UNSPECIFIED_V6},
    ledger::Holdings,
    process::Process,
    report::{Space, SpaceKind},
};
pub use groups::Holder;
pub use target::Target;

/// The call that is asked about, of a socket without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// connect() without a port of its own.
    Connect {
        /// The local address, as the kernel would choose it or as it was given.
        source: IpAddr,
        /// Where to.
        destination: Endpoint,
        /// bind() gives the address before; matters for UDP.
        is_bound: bool,
    },
    /// bind(); port 0: any.
    Bind {
        /// The local address and port.
        local: Endpoint,
    },
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The inode number of the network namespace.
    pub netns: u32,
    /// What a person calls it, where it is not the own.
    pub netns_name: Option<String>,
    /// What stands before a command that is to run in it, with a space at its end; empty in the own.
    pub enter: String,
    /// The protocol.
    pub protocol: Protocol,
    /// The call.
    pub call: Call,
}

/// Whether the call can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It can.
    Free,
    /// No port is left for it.
    Exhausted,
    /// Somebody has the port.
    Taken,
    /// The address is not one of this host.
    NotLocal,
    /// Could not be determined.
    Unknown,
}

impl Verdict {
    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Exhausted => "exhausted",
            Self::Taken => "taken",
            Self::NotLocal => "not_local",
            Self::Unknown => "unknown",
        }
    }

    /// The exit code of the command.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Free => 0,
            Self::Exhausted | Self::Taken | Self::NotLocal => 1,
            Self::Unknown => 3,
        }
    }
}

/// A TIME_WAIT entry between the two ends that are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWait {
    /// Milliseconds until its timer ends.
    pub expires_ms: u32,
    /// The peer's FIN is awaited.
    pub fin_wait2: bool,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    /// Who holds which port, with the settings of the namespace.
    pub holdings: &'a Holdings,
    /// The TIME_WAIT entries between the two ends, by local port; those of `bind`, on its port.
    pub time_waits: HashMap<u16, TimeWait>,
    /// Processes that were seen to call connect() to the destination.
    pub callers: Vec<Arc<Process>>,
    /// Which ports bind() took is known also of connections.
    pub knows_binds: bool,
    /// TCP sockets that are only bound are listed.
    pub lists_bound: bool,
    /// A bind() to a port below this takes CAP_NET_BIND_SERVICE.
    pub unprivileged_from: u16,
    /// Whoever asks has that.
    pub may_bind_low: bool,
    /// What could not be seen, a sentence each.
    pub missing: Vec<String>,
}

/// How ports are blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// bind() took them.
    Bound,
    /// The same 4-tuple, or for bind(): connect() chose the port.
    Connected,
    /// A TIME_WAIT entry.
    TimeWait,
    /// A listener.
    Listener,
    /// A connection that a listener accepted.
    Accepted,
    /// `ip_local_reserved_ports`
    Reserved,
}

impl How {
    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Connected => "connected",
            Self::TimeWait => "time_wait",
            Self::Listener => "listener",
            Self::Accepted => "accepted",
            Self::Reserved => "reserved",
        }
    }
}

/// Ports that the call can't have, for one reason.
#[derive(Clone, Debug, PartialEq)]
pub struct Blocked {
    /// How.
    pub how: How,
    /// How many.
    pub ports: u32,
    /// By whom, the largest first; empty where it is nobody.
    pub holders: Vec<Holder>,
    /// Why just there.
    pub reason: String,
}

/// What would let the call succeed.
#[derive(Clone, Debug, PartialEq)]
pub struct Remedy {
    /// The name that the JSON has.
    pub change: &'static str,
    /// In words.
    pub text: String,
    /// The line to type or to write.
    pub command: Option<String>,
    /// How many ports more this very call could have.
    pub gain: u32,
    /// It is concluded from what is usual.
    pub likely: bool,
}

/// What would not help.
#[derive(Clone, Debug, PartialEq)]
pub struct Unhelpful {
    /// The name that the JSON has.
    pub change: &'static str,
    /// Why not.
    pub reason: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// To what.
    pub question: Question,
    /// Whether it can succeed.
    pub verdict: Verdict,
    /// Why, in a sentence.
    pub summary: String,
    /// What the call chooses from; `None` where it chooses nothing.
    pub space: Option<Space>,
    /// What blocks ports, the most first.
    pub blocked: Vec<Blocked>,
    /// What would help, what is best first.
    pub remedies: Vec<Remedy>,
    /// What would not.
    pub would_not_help: Vec<Unhelpful>,
    /// What is not known, a sentence each.
    pub missing: Vec<String>,
}

impl Answer {
    /// Of a call that fails, or of which nothing is known, before any port is chosen.
    pub fn without_ports(question: Question, verdict: Verdict, summary: String) -> Self {
        Self {
            question,
            verdict,
            summary,
            space: None,
            blocked: Vec::new(),
            remedies: Vec::new(),
            would_not_help: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// An address that is none of this host.
    pub fn not_local(question: Question, address: IpAddr) -> Self {
        let summary = format!(
            "{address} is not an address of this host{}: `{}ip address` shows those that are",
            if question.netns_name.is_some() { " in that network namespace" } else { "" },
            question.enter
        );
        let mut answer = Self::without_ports(question, Verdict::NotLocal, summary);
        answer.would_not_help = vec![
            Unhelpful {
                change: "widen_range",
                reason: "no port was looked for: the address is refused before".to_owned(),
            },
            Unhelpful {
                change: "so_reuseaddr",
                reason: "it is about ports that others have, not about addresses".to_owned(),
            },
        ];
        answer
    }
}

/// Answers, from what was seen.
pub fn answer(question: Question, facts: &Facts<'_>) -> Answer {
    let Some(settings) = facts.holdings.settings_of(question.netns) else {
        let summary = "the port settings of the network namespace could not be read".to_owned();
        let mut answer = Answer::without_ports(question, Verdict::Unknown, summary);
        answer.missing.clone_from(&facts.missing);
        return answer;
    };
    match (question.protocol, question.call) {
        (Protocol::Tcp, Call::Connect { source, destination, .. }) => {
            connect::answer(question, (source, destination), settings, facts)
        }
        // Of UDP, connect() binds before it has an address (inet_autobind).
        (Protocol::Udp, Call::Connect { source, is_bound, .. }) => {
            let address = match source {
                source if is_bound => source,
                IpAddr::V4(_) => UNSPECIFIED_V4,
                IpAddr::V6(_) => UNSPECIFIED_V6,
            };
            bind::any(question, address, settings, facts)
        }
        (_, Call::Bind { local }) if local.port == 0 => {
            bind::any(question, local.address, settings, facts)
        }
        (_, Call::Bind { local }) => bind::one(question, local, settings, facts),
    }
}

/// A space with so many ports used.
fn space(kind: SpaceKind, question: &Question, capacity: u32, used: u32) -> Space {
    Space {
        kind,
        netns: question.netns,
        protocol: question.protocol,
        capacity,
        used,
        headroom: capacity.saturating_sub(used),
        growth_per_second: None,
        own_range: None,
        seconds_to_exhaustion: None,
    }
}

/// `40000-40599`, and how many of it are reserved.
fn range(settings: &NamespaceSettings) -> String {
    let ports = &settings.ports;
    let reserved = match ports.reserved.count_in(ports.ephemeral) {
        0 => String::new(),
        count => format!(", {count} of it reserved"),
    };
    format!("{}-{}{reserved}", ports.ephemeral.min, ports.ephemeral.max)
}

/// A range of odd size has one end that a call may leave out (`__inet_hash_connect`,
/// net/ipv4/inet_hashtables.c: `remaining &= ~1U`).
fn is_an_end_left_out(settings: &NamespaceSettings, port: u16) -> bool {
    let range = settings.ports.ephemeral;
    range.count() % 2 == 1 && range.count() > 1 && (port == range.min || port == range.max)
}

/// The lowest port that `widen_range` proposes; those below take a privilege.
const WIDEST_MIN: u16 = 1024;

/// A remedy that adds all ports from [`WIDEST_MIN`] on, of which so many can't be had.
fn widen(question: &Question, settings: &NamespaceSettings, taken_outside: u32) -> Option<Remedy> {
    let ports = &settings.ports;
    let whole = crate::ports::PortRange { min: WIDEST_MIN, max: u16::MAX };
    let in_both = crate::ports::PortRange {
        min: whole.min.max(ports.ephemeral.min),
        max: ports.ephemeral.max,
    };
    let already = if in_both.min <= in_both.max {
        in_both.count() - ports.reserved.count_in(in_both)
    } else {
        0
    };
    let all = whole.count() - ports.reserved.count_in(whole);
    let gain = all.saturating_sub(already).saturating_sub(taken_outside);
    (gain > 0).then(|| Remedy {
        change: "widen_range",
        text:
            "widen ip_local_port_range; reserve in ip_local_reserved_ports what services listen on"
                .to_owned(),
        command: Some(format!(
            "{}sysctl -w net.ipv4.ip_local_port_range=\"{WIDEST_MIN} {}\"",
            question.enter,
            u16::MAX
        )),
        gain,
        likely: false,
    })
}
