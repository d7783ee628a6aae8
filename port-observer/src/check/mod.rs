//! The check for monitoring systems: how much of a port range is used, and whether that is too much.

pub mod account;
pub mod json;
pub mod kept;
mod look;
mod query;
mod tally;
mod terms;
pub mod text;
mod threshold;

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::event::{Protocol, TcpState};
use crate::kernel::netns::Namespace;
use crate::ports::PortRange;
use crate::report::{CauseKind, Evidence, Sources, used_percent};
use crate::words::causes::{Call, advice};
use crate::words::missing;

pub use look::look;
pub use query::Query;
pub use tally::{BindHeldPorts, Busiest, Tally};
pub use terms::Terms;
pub use threshold::Threshold;

/// How many addresses and processes are told.
const TOP: usize = 10;
/// So many names of those who hold ports by bind() are told.
const BIND_HOLDERS: usize = 3;

/// Where the kernel is asked, and what for.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Where; one or more.
    pub namespaces: Vec<Namespace>,
    /// They are all there were: one that has ended meanwhile is not missed.
    pub all: bool,
    /// What was not looked into, a sentence each.
    pub missing: Vec<String>,
    /// What is checked.
    pub terms: Terms,
    /// Processes are looked up also where all is well.
    pub always_processes: bool,
}

/// What a monitoring system is told, ordered by what is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// All is well.
    Ok,
    /// Soon it is not.
    Warning,
    /// It can't be told.
    Unknown,
    /// It is not.
    Critical,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Warning, Self::Unknown, Self::Critical];

    /// The exit code of a monitoring plugin.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }

    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Unknown => "unknown",
        }
    }
}

/// What was found in one network namespace.
#[derive(Debug)]
pub struct Finding {
    /// Its name, else its inode number.
    pub namespace: String,
    /// How it is.
    pub status: Status,
    /// The range that is checked.
    pub range: PortRange,
    /// How many ports of the range are reserved (`ip_local_reserved_ports`).
    pub reserved: u32,
    /// What was counted.
    pub tally: Tally,
    /// Processes by how many sockets they have in the range, with TIME_WAIT as one of them.
    pub processes: Vec<Consumer>,
    /// Where this comes from.
    pub sources: Sources,
    /// TCP sockets that are only bound are counted too.
    pub lists_bound: bool,
    /// Why it is not known which ports of connections bind() took; `None`: it is.
    pub unknown_binds: Option<String>,
    /// Who keeps ports from connect() by bind(), listeners left out: by name, the most first.
    pub bind_holders: Vec<(String, BindHolder)>,
    /// What could not be seen, a sentence each.
    pub missing: Vec<String>,
    /// Why the numbers can't be trusted, if they can't.
    pub doubt: Option<String>,
}

/// Who has sockets in a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// The process; `None`: none, or not known.
    pub pid: Option<u32>,
    /// Its name, `TIME_WAIT`, or `not known`.
    pub name: String,
    /// How many.
    pub count: u32,
}

/// Processes of one name that keep ports from connect() by bind().
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BindHolder {
    /// How many there are.
    pub processes: u32,
    /// How many sockets they have on such ports.
    pub sockets: u32,
}

/// By name, the most sockets first: of processes that have so many each.
fn bind_holders(processes: impl Iterator<Item = (String, u32)>) -> Vec<(String, BindHolder)> {
    let mut by_name: BTreeMap<String, BindHolder> = BTreeMap::new();
    for (name, sockets) in processes {
        let holder = by_name.entry(name).or_default();
        holder.processes += 1;
        holder.sockets += sockets;
    }
    let mut holders: Vec<_> = by_name.into_iter().collect();
    holders.sort_by_key(|(_, holder)| std::cmp::Reverse(holder.sockets));
    holders
}

/// All that was found.
#[derive(Debug)]
pub struct Answer {
    /// What was asked.
    pub terms: Terms,
    /// By namespace, the worst first. At least one, if nothing failed.
    pub findings: Vec<Finding>,
    /// Namespaces that could not be checked, and why.
    pub failures: Vec<String>,
}

impl Finding {
    /// How many ports the range has.
    pub fn total(&self) -> u32 {
        self.tally.ports().capacity()
    }

    /// How many of them are used, in percent.
    pub fn used_percent(&self) -> f64 {
        used_percent(self.tally.used(), self.total())
    }

    /// The source and destination that connect() has the fewest ports for.
    pub fn busiest(&self) -> Option<Busiest> {
        self.tally.busiest()
    }

    /// What the thresholds are compared with: used, of how many.
    fn measure(&self, per_destination: bool) -> (u32, u32) {
        let used = match self.busiest() {
            Some(busiest) if per_destination => busiest.used,
            None if per_destination => self.tally.blocked(),
            _ => self.tally.used(),
        };
        (used, self.total())
    }

    /// How it is by the thresholds.
    fn judge(&self, terms: &Terms) -> Status {
        let (used, total) = self.measure(terms.per_destination);
        if self.doubt.is_some() {
            Status::Unknown
        } else if terms.critical.is_reached(used, total, false) {
            Status::Critical
        } else if terms.warning.is_reached(used, total, true) {
            Status::Warning
        } else {
            Status::Ok
        }
    }

    /// That it is not known what bind() took, where the answer may depend on it.
    fn binds_missed(&self, terms: &Terms) -> Option<String> {
        let matters = terms.per_destination || self.status != Status::Ok;
        let reason = self.unknown_binds.as_deref().filter(|_| matters)?;
        self.tally.has_connections().then(|| missing::binds(reason))
    }

    /// In a sentence or two, with what to change where something is wrong.
    pub fn message(&self, terms: &Terms) -> String {
        if let Some(doubt) = &self.doubt {
            return doubt.clone();
        }
        let (used, total) = (self.tally.used(), self.total());
        let protocol = terms.protocol.name();
        let PortRange { min, max } = self.range;
        let mut message = format!(
            "{:.0}% of {protocol} ports {min}-{max} used ({used} of {total})",
            self.used_percent().floor()
        );
        if terms.per_destination {
            message.push_str(&match self.busiest() {
                Some(Busiest { source, destination, used }) => {
                    let percent = used_percent(used, total).floor();
                    format!(", {percent:.0}% for {source} → {destination} ({used} of {total})")
                }
                None => ", no connections".to_owned(),
            });
        }
        if self.status == Status::Ok {
            return message;
        }
        if let Some(largest) = self.processes.first() {
            let Consumer { pid, name, count } = largest;
            let pid = pid.map_or_else(String::new, |pid| format!(" {pid}"));
            message.push_str(&format!(", {count} by {name}{pid}"));
        }
        let bind_held = self.tally.bind_held();
        if bind_held > 0 {
            message
                .push_str(&format!(", {bind_held} taken by bind(), which connect() can't share"));
            if !self.bind_holders.is_empty() {
                message.push_str(&format!(" ({})", self.listed_bind_holders()));
            }
        }
        if let Some(remedy) = self.remedy(terms) {
            message.push_str(": ");
            message.push_str(&remedy);
        }
        message
    }

    /// What to change, by what keeps most ports; in the ledger's words.
    fn remedy(&self, terms: &Terms) -> Option<String> {
        let (used, total) = self.measure(terms.per_destination);
        if used == 0 && total > 0 {
            // A threshold that warns of nothing being used.
            return None;
        }
        if terms.range.is_some() || terms.protocol == Protocol::Udp {
            return Some(
                "close what is not needed, the largest holder's first, or widen the range"
                    .to_owned(),
            );
        }
        let is_on_loopback = self.busiest().is_some_and(|one| one.source.is_loopback());
        let mut evidence = Evidence {
            capacity: total,
            time_wait: self.tally.shared_time_waits(),
            // On loopback, tcp_tw_reuse is 1 in effect by default.
            reusable: self.tally.shared_time_waits() * u32::from(!is_on_loopback),
            bound: self.tally.blocked(),
            ..Evidence::default()
        };
        for state in TcpState::CONNECTED {
            *evidence.connections(state) += self.tally.shared_in_state(state);
        }
        // A TIME_WAIT entry may be in this state too.
        let in_time_wait = self.tally.shared_in_state(TcpState::TIME_WAIT);
        let entries = self.tally.shared_time_waits().saturating_sub(in_time_wait);
        evidence.other = evidence.other.saturating_sub(entries);
        let cause = evidence.cause();
        if cause.kind == CauseKind::BindHeld
            && let Some(remedy) = self.remedy_of_bind()
        {
            return Some(remedy);
        }
        Some(advice(&cause, Call::Connect).to_owned())
    }

    /// What helps where bind() holds most ports: nothing of the range, which it would take too. `None`:
    /// mostly listeners have them.
    fn remedy_of_bind(&self) -> Option<String> {
        let (bind_held, blocked) = (self.tally.bind_held(), self.tally.blocked());
        if bind_held * 2 < blocked {
            return None;
        }
        let name = |(name, _): &(String, BindHolder)| format!("in {name}");
        let who = self.bind_holders.first().map_or_else(|| "in who holds them".to_owned(), name);
        let idle = self.tally.in_state(TcpState::BOUND_INACTIVE);
        Some(if idle * 2 > bind_held {
            format!(
                "{who}, close sockets that are bound and not used; where connect() follows, set \
                 IP_BIND_ADDRESS_NO_PORT before bind()"
            )
        } else {
            format!(
                "{who}, set IP_BIND_ADDRESS_NO_PORT before bind(), or leave bind() out: connect() then \
                 chooses a port that other destinations can share"
            )
        })
    }

    /// `510 by etl-worker, 3 processes`
    fn listed_bind_holders(&self) -> String {
        let (named, others) = self.bind_holders.split_at(self.bind_holders.len().min(BIND_HOLDERS));
        let one = |(name, BindHolder { processes, sockets }): &(String, BindHolder)| {
            let processes = match processes {
                1 => String::new(),
                several => format!(", {several} processes"),
            };
            format!("{sockets} by {name}{processes}")
        };
        let mut parts: Vec<String> = named.iter().map(one).collect();
        if !others.is_empty() {
            let sockets: u32 = others.iter().map(|(_, holder)| holder.sockets).sum();
            parts.push(format!("{sockets} by others"));
        }
        parts.join("; ")
    }
}

impl Answer {
    /// Judges what was found.
    fn new(terms: Terms, mut findings: Vec<Finding>, failures: Vec<String>) -> Self {
        for finding in &mut findings {
            finding.status = finding.judge(&terms);
            finding.missing.extend(finding.binds_missed(&terms));
        }
        findings.sort_by(|one, other| {
            let measure = |finding: &Finding| {
                let (used, total) = finding.measure(terms.per_destination);
                used_percent(used, total)
            };
            other.status.cmp(&one.status).then(measure(other).total_cmp(&measure(one)))
        });
        Self { terms, findings, failures }
    }

    /// The worst of all; what could not be checked is never well.
    pub fn status(&self) -> Status {
        let worst = self.findings.iter().map(|finding| finding.status).max();
        let failed = (!self.failures.is_empty() || worst.is_none()).then_some(Status::Unknown);
        worst.max(failed).unwrap_or(Status::Unknown)
    }

    /// What is wrong, or how well it is; with what was not seen.
    pub fn message(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        if let Some(worst) = self.findings.first() {
            let mut message = worst.message(&self.terms);
            if self.findings.len() > 1 {
                let count = self.findings.len();
                message = format!(
                    "network namespace {}, the worst of {count}: {message}",
                    worst.namespace
                );
            }
            parts.push(message);
        }
        parts.extend(self.failures.iter().map(|failure| format!("not checked: {failure}")));
        parts.join("; ")
    }
}

/// An address as `/proc/net/tcp` and `/proc/net/tcp6` write it: words in the processor's order.
fn hexadecimal(address: IpAddr) -> String {
    let word = |bytes: &[u8]| match bytes.first_chunk::<4>() {
        Some(bytes) => format!("{:08X}", u32::from_ne_bytes(*bytes)),
        None => String::new(),
    };
    match address {
        IpAddr::V4(address) => word(&address.octets()),
        IpAddr::V6(address) => address.octets().chunks(4).map(word).collect(),
    }
}
