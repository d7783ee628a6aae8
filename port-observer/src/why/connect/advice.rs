//! What would help connect(), with what it brings, and what would not.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    super::{Question, Remedy, Unhelpful, groups::Groups, widen},
    count::{Class, Count, OfClass},
};
use crate::{
    event::{Endpoint, NamespaceSettings},
    ledger::rules::may_reuse,
    report::Standing,
    words::escape::escape,
};

/// The line that keeps bind() from taking a port.
pub(in super::super) const NO_PORT: &str =
    "int on = 1; setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);";
/// So many names have a remedy of their own.
const NAMES: usize = 3;

/// What advice is made of.
pub(super) struct Advice<'a> {
    pub(super) question: &'a Question,
    pub(super) ends: (IpAddr, Endpoint),
    pub(super) settings: &'a NamespaceSettings,
    pub(super) count: &'a Count,
    /// Whose TIME_WAIT entries are that nobody is known to have left.
    pub(super) likely: Option<(&'a str, &'a BTreeSet<u32>)>,
}

impl Advice<'_> {
    /// First what mends the cause, the largest gain first, then what adds ports.
    pub(super) fn remedies(&self) -> Vec<Remedy> {
        let mut causes = self.of_bound();
        causes.extend(self.of_connections());
        causes.extend(self.of_time_wait());
        causes.sort_by_key(|remedy| std::cmp::Reverse(remedy.gain));
        causes.extend(self.more_ports());
        causes
    }

    fn class(&self, class: Class) -> Option<&OfClass> {
        self.count.classes.get(&class)
    }

    fn of_bound(&self) -> Vec<Remedy> {
        let mut remedies = Vec::new();
        if self.count.likely_bound > 0 {
            remedies.push(Remedy {
                change: "ip_bind_address_no_port",
                text: "in who has these connections: set IP_BIND_ADDRESS_NO_PORT before bind(), or leave \
                       bind() out; connect() then chooses a port that other destinations can share"
                    .to_owned(),
                command: Some(NO_PORT.to_owned()),
                gain: self.count.likely_bound,
                likely: true,
            });
        }
        for (name, gain) in largest(self.class(Class::Bound).map(|of| &of.freed)) {
            remedies.push(Remedy {
                change: "ip_bind_address_no_port",
                text: format!(
                    "in {}: set IP_BIND_ADDRESS_NO_PORT before bind(), or leave bind() out; connect() \
                     then chooses a port that other destinations can share",
                    shown(name)
                ),
                command: Some(NO_PORT.to_owned()),
                gain,
                likely: false,
            });
        }
        for (name, gain) in largest(self.class(Class::BoundIdle).map(|of| &of.freed)) {
            remedies.push(Remedy {
                change: "close_bound",
                text: format!(
                    "in {}: close sockets that are bound and not used; where connect() follows, set \
                     IP_BIND_ADDRESS_NO_PORT before bind()",
                    shown(name)
                ),
                command: None,
                gain,
                likely: false,
            });
        }
        remedies
    }

    fn of_connections(&self) -> Vec<Remedy> {
        let mut remedies = Vec::new();
        for (class, of) in &self.count.classes {
            let Class::Connected(standing) = class else { continue };
            let (change, what) = match standing {
                Standing::CloseWait => (
                    "close_leak",
                    "close connections that the peer has closed (read() gave it 0): a leak in that \
                     program; restarting it closes them for now",
                ),
                Standing::SynSent => (
                    "connect_timeout",
                    "give up on connect() sooner (a shorter timeout, or tcp_syn_retries), try less at \
                     the same time; look at the destination, or at what is between",
                ),
                Standing::FinWait => {
                    ("peer", "look at the peer, which does not close or does not read")
                }
                _ => (
                    "share_connections",
                    "use fewer connections at the same time (a pool with a limit, multiplexing)",
                ),
            };
            for (name, gain) in by_name(&of.groups) {
                remedies.push(Remedy {
                    change,
                    text: format!("in {}: {what}", shown(name.as_deref())),
                    command: None,
                    gain,
                    likely: false,
                });
            }
        }
        remedies
    }

    fn of_time_wait(&self) -> Vec<Remedy> {
        let mut remedies = Vec::new();
        if let Some(of) = self.class(Class::TimeWait) {
            let mut names = by_name(&of.groups);
            let unknown = of.groups.unknown();
            if let Some((likely, _)) = self.likely {
                match names.iter_mut().find(|(name, _)| name.as_deref() == Some(likely)) {
                    Some((_, gain)) => *gain += unknown,
                    None => {
                        names.retain(|(name, _)| name.is_some());
                        names.push((Some(likely.to_owned()), unknown));
                    }
                }
            }
            let is_concluded = |name: &Option<String>| {
                unknown > 0 && name.as_deref() == self.likely.map(|(name, _)| name)
            };
            for (name, gain) in names.into_iter().filter(|(_, gain)| *gain > 0) {
                remedies.push(Remedy {
                    change: "keep_alive",
                    text: format!(
                        "in {}: keep connections and use them again (keep-alive, a pool); the ports come \
                         back within 60 s",
                        name.as_deref().map_or("whoever left them".into(), escape)
                    ),
                    command: None,
                    gain,
                    likely: name.is_some() && is_concluded(&name),
                });
            }
        }
        let (source, destination) = self.ends;
        let reuses = may_reuse(self.settings.tw_reuse, source, destination.address);
        if !reuses && self.count.reusable > 0 {
            remedies.push(Remedy {
                change: "tcp_tw_reuse",
                text: "let connect() take over TIME_WAIT entries that are older than 1 s"
                    .to_owned(),
                command: Some(format!("{}sysctl -w net.ipv4.tcp_tw_reuse=1", self.question.enter)),
                gain: self.count.reusable,
                likely: false,
            });
        }
        remedies
    }

    fn more_ports(&self) -> Vec<Remedy> {
        let mut remedies = Vec::new();
        let reserved = self.count.reserved - self.count.reserved_taken;
        if reserved > 0 {
            remedies.push(Remedy {
                change: "reserved_ports",
                text: "reserve fewer ports of the range".to_owned(),
                command: Some(format!(
                    "{}sysctl net.ipv4.ip_local_reserved_ports",
                    self.question.enter
                )),
                gain: reserved,
                likely: false,
            });
        }
        remedies.extend(widen(self.question, self.settings, self.count.taken_outside));
        let each = self.settings.ports.capacity().saturating_sub(self.count.blocked);
        if each > 0 {
            remedies.push(Remedy {
                change: "source_addresses",
                text: "connect from one more source address, with IP_BIND_ADDRESS_NO_PORT set before \
                       bind(), or to one more address or port of the service: each has ports of its own"
                    .to_owned(),
                command: None,
                gain: each,
                likely: self.count.doubtful > 0,
            });
        }
        remedies
    }

    /// What people try, and why it would change nothing for this call.
    pub(super) fn would_not_help(&self) -> Vec<Unhelpful> {
        let mut all = Vec::new();
        let mut add = |change, reason: String| all.push(Unhelpful { change, reason });
        let time_waits = self.count.time_waits();
        let (source, destination) = self.ends;
        let reuses = may_reuse(self.settings.tw_reuse, source, destination.address);
        if time_waits > 0 {
            if self.class(Class::FinWait2).is_none() {
                add(
                    "tcp_fin_timeout",
                    "it is for FIN_WAIT2; TIME_WAIT lasts 60 s, which no setting changes \
                     (TCP_TIMEWAIT_LEN)"
                        .to_owned(),
                );
            }
            let who =
                self.likely.map_or("the process that left them".into(), |(name, _)| escape(name));
            add(
                "restart",
                format!(
                    "of {who}: TIME_WAIT entries are the kernel's, and stay when a process ends"
                ),
            );
        }
        if reuses {
            add("tcp_tw_reuse", "it is in effect for this destination already".to_owned());
        } else if self.count.reusable == 0 {
            let reason = if time_waits > 0 {
                "the TIME_WAIT entries are too young, or have no timestamps"
            } else {
                "no TIME_WAIT entry is what blocks a port for this destination"
            };
            add("tcp_tw_reuse", reason.to_owned());
        }
        let is_nobody_bound = self.class(Class::Bound).is_none_or(|of| of.freed.is_empty());
        if is_nobody_bound && self.count.doubtful == 0 {
            add(
                "ip_bind_address_no_port",
                "no connection's port that blocks this call was taken by bind()".to_owned(),
            );
        }
        if self
            .count
            .classes
            .keys()
            .any(|class| matches!(class, Class::Connected(Standing::SynSent)))
        {
            add(
                "more_ports",
                "a wider range or more addresses: more ports would only wait in SYN_SENT too"
                    .to_owned(),
            );
        }
        if self
            .count
            .classes
            .keys()
            .any(|class| matches!(class, Class::Connected(Standing::CloseWait)))
        {
            add(
                "more_ports",
                "a wider range or more addresses: they only buy the leak time".to_owned(),
            );
        }
        add(
            "file_descriptors",
            "ports are what is missing; without descriptors the error is EMFILE or ENFILE"
                .to_owned(),
        );
        add("so_reuseaddr", "connect() does not look at it when it chooses a port".to_owned());
        all
    }
}

/// The largest of these.
fn largest(freed: Option<&BTreeMap<Option<String>, u32>>) -> Vec<(Option<&str>, u32)> {
    let mut all: Vec<(Option<&str>, u32)> =
        freed.into_iter().flatten().map(|(name, ports)| (name.as_deref(), *ports)).collect();
    all.sort_by_key(|(name, ports)| (std::cmp::Reverse(*ports), *name));
    all.truncate(NAMES);
    all
}

fn by_name(groups: &Groups) -> Vec<(Option<String>, u32)> {
    let holders = groups.holders(None).into_iter();
    holders.take(NAMES).map(|holder| (holder.name, holder.ports)).collect()
}

fn shown(name: Option<&str>) -> String {
    name.map_or_else(|| "the program that holds them".to_owned(), |name| escape(name).into_owned())
}
