//! Whether the packet filter of a pool's network namespace drops new flows to its ports: nftables, base
//! chains of hook input. Pure: what the kernel lists comes in as it lists it.
//!
//! A base chain is followed with the first packets of flows, from anybody on any interface but loopback.
//! Nothing is claimed that the rules do not make certain: where a port ends at an `accept` too, on whatever
//! condition, the warning is another one; where an expression is not understood, it says "may".

mod attributes;
mod expression;
mod matching;
mod packet;
mod ruleset;
mod show;
#[cfg(test)]
mod tests;
mod walk;
mod xtables;

use std::net::IpAddr;

pub use self::ruleset::Firewall;
use self::{
    packet::Packets,
    ruleset::{INET, IPV4, IPV6, Key},
    walk::{Decision, End, Ends},
};
use super::{
    kernel::enter,
    pool::Pool,
    ports::PortSet,
    problem::{Code, Problem, Problems, Severity},
    rules::subject,
};
use crate::event::Protocol;

/// Rules that are named in a warning.
const MOST_RULES: usize = 3;
/// Pools that are named in a problem that is of all.
const MOST_POOLS: usize = 10;

/// Why rules are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// It takes a privilege that the caller has not.
    Forbidden(String),
    /// Anything else.
    Failed(String),
}

/// The rules of a network namespace, as pools name it; `None`: the own.
pub type OfNamespace = (Option<String>, Result<Firewall, Unread>);

/// How certain it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Certainty {
    /// All are dropped.
    All,
    /// All but what some rules accept.
    Others,
    /// It depends on what is not understood, or not on ports alone.
    May,
}

/// What a base chain does with ports of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding<'a> {
    certainty: Certainty,
    ports: PortSet,
    is_rejected: bool,
    dropped_by: Vec<Decision<'a>>,
    accepted_by: Vec<Decision<'a>>,
}

/// Checks the pools that are in this namespace. Says whether the caller lacks the privilege for that, which
/// is a problem and no fault of what is checked.
pub fn check(pools: &[Pool], (netns, firewall): &OfNamespace, problems: &mut Problems) -> bool {
    let pools: Vec<&Pool> =
        pools.iter().filter(|pool| pool.netns == *netns && is_of_input(pool)).collect();
    let Some(first) = pools.first() else { return false };
    let not_checked = |what: String, fix: &str| Problem {
        severity: Severity::Warning,
        code: Code::NotChecked,
        pools: pools.iter().take(MOST_POOLS).map(|pool| pool.name.clone()).collect(),
        message: what,
        place: Some(first.place.clone()),
        fix: Some(fix.to_owned()),
    };
    let firewall = match firewall {
        Ok(firewall) => firewall,
        Err(error @ (Unread::Forbidden(reason) | Unread::Failed(reason))) => {
            let what = format!("whether a firewall drops the ports is not known: {reason}");
            problems.push(not_checked(what, "run it on the host where the pools are, as root"));
            return matches!(error, Unread::Forbidden(_));
        }
    };
    if !firewall.legacy.is_empty() {
        let what = format!(
            "rules of iptables (legacy) are not read: the tables {}",
            firewall.legacy.join(", ")
        );
        problems.push(not_checked(what, "see `iptables-legacy-save`, or use iptables-nft"));
    }
    if firewall.is_too_large {
        let what = "nftables has more rules than are read: they are not checked".to_owned();
        problems.push(not_checked(what, "see `nft list ruleset`"));
        return false;
    }
    let mut steps = walk::MOST_STEPS;
    for pool in &pools {
        for (base, _) in firewall.bases() {
            if problems.is_full() {
                problems.omit(Severity::Warning);
                continue;
            }
            of_chain(pool, firewall, base, netns.as_deref(), &mut steps, problems);
        }
    }
    false
}

/// Whether packets to a pool's ports come to hook input: those to a container's are forwarded, and what is
/// loopback's own comes from nobody else.
fn is_of_input(pool: &Pool) -> bool {
    let is_loopback = address(pool).is_some_and(|address| address.is_loopback());
    !pool.is_forwarded && !is_loopback
}

fn address(pool: &Pool) -> Option<IpAddr> {
    let address: IpAddr = pool.address.as_ref()?.parse().ok()?;
    Some(address.to_canonical())
}

fn of_chain(
    pool: &Pool,
    firewall: &Firewall,
    base: &Key,
    netns: Option<&str>,
    steps: &mut usize,
    problems: &mut Problems,
) {
    let to = address(pool).filter(|address| !address.is_unspecified());
    // 0.0.0.0 is IPv4 alone, :: may be both.
    let is_v4_alone = address(pool).is_some_and(|address| address.is_ipv4());
    let mut is_unknown = false;
    let mut found: Vec<(Finding<'_>, Vec<(Protocol, bool)>)> = Vec::new();
    for is_v6 in [false, true] {
        let is_other = if is_v6 { is_v4_alone } else { to.is_some_and(|to| to.is_ipv6()) };
        let packets = |protocol| {
            let has_untracked = firewall.has_untracked;
            Packets { protocol, is_v6, to, has_untracked }
        };
        if is_other || !packets(Protocol::Udp).are_seen(base.0) {
            continue;
        }
        let mut of = |protocol| {
            let packets = packets(protocol);
            let ports = untranslated(firewall, &packets, &pool.ports, steps);
            let found = ports.and_then(|ports| findings(firewall, base, &packets, &ports, steps));
            is_unknown |= found.is_none();
            found.unwrap_or_default()
        };
        let [mut tcp, mut udp] = [Protocol::Tcp, Protocol::Udp]
            .map(|protocol| if pool.protocols().has(protocol) { of(protocol) } else { Vec::new() });
        if pool.protocols.is_none() {
            // It is for one of them, and not said for which.
            let ports = |all: &[Finding<'_>]| -> PortSet {
                all.iter().flat_map(|one| one.ports.ranges()).collect()
            };
            let (of_tcp, of_udp) = (ports(&tcp), ports(&udp));
            tcp.iter_mut().for_each(|one| one.ports = one.ports.intersection(&of_udp));
            udp.iter_mut().for_each(|one| one.ports = one.ports.intersection(&of_tcp));
        }
        for (protocol, all) in [(Protocol::Tcp, tcp), (Protocol::Udp, udp)] {
            for one in all.into_iter().filter(|one| !one.ports.is_empty()) {
                match found.iter_mut().find(|(known, _)| *known == one) {
                    Some((_, of)) => of.push((protocol, is_v6)),
                    None => found.push((one, vec![(protocol, is_v6)])),
                }
            }
        }
    }
    if is_unknown {
        let (subject, chain) = (subject(pool), named(base));
        let message =
            format!("{subject}: the chain {chain} is too long a way to follow to its end");
        let problem = Problem::warning(Code::NotChecked, message, pool.place.clone());
        problems.push(problem.of([&*pool.name]).fix("see `nft list ruleset`"));
    }
    for (finding, of) in found {
        let is_one_family = base.0 == INET && !(is_v4_alone || to.is_some());
        problems.push(warning(pool, firewall, base, netns, &finding, &of, is_one_family));
    }
}

/// The ports of which no packet goes elsewhere before it comes to hook input, as to a container.
fn untranslated(
    firewall: &Firewall,
    packets: &Packets,
    ports: &PortSet,
    steps: &mut usize,
) -> Option<PortSet> {
    let mut left = ports.clone();
    let all = firewall.chains.iter();
    for (base, _) in all.filter(|(base, chain)| chain.translates && packets.are_seen(base.0)) {
        let ends = Ends::of(firewall, base, packets, ports, steps);
        if ends.is_unknown {
            return None;
        }
        for end in ends.accepted.iter().filter(|end| !end.is_known) {
            left = left.without(&end.ports);
        }
    }
    Some(left)
}

/// What a base chain does with packets of one protocol and family.
fn findings<'a>(
    firewall: &'a Firewall,
    base: &'a Key,
    packets: &Packets,
    ports: &PortSet,
    steps: &mut usize,
) -> Option<Vec<Finding<'a>>> {
    let ends = Ends::of(firewall, base, packets, ports, steps);
    if ends.is_unknown {
        return None;
    }
    let ports_of = |all: &[End<'_>], is_wanted: fn(&End<'_>) -> bool| -> PortSet {
        all.iter().filter(|end| is_wanted(end)).flat_map(|end| end.ports.ranges()).collect()
    };
    let full_of = |all: &[End<'_>], is_wanted: fn(&End<'_>) -> bool| -> PortSet {
        all.iter().filter(|end| is_wanted(end)).flat_map(|end| end.full.ranges()).collect()
    };
    let accepted = ports_of(&ends.accepted, |_| true);
    let accepted_full = full_of(&ends.accepted, |end| end.is_known);
    let accepted_unknown = ports_of(&ends.accepted, |end| !end.is_known);
    let dropped = ports_of(&ends.dropped, |_| true);
    let dropped_full = full_of(&ends.dropped, |_| true);
    let dropped_partly = ports_of(&ends.dropped, |end| end.is_about_ports).without(&dropped_full);
    let others = dropped_full.intersection(&accepted).without(&accepted_full);
    let unclear = others.intersection(&accepted_unknown);
    let partly = dropped_partly.intersection(&accepted).without(&others);
    let found = [
        (Certainty::All, dropped.without(&accepted)),
        (Certainty::Others, others.without(&accepted_unknown)),
        (Certainty::May, unclear.ranges().chain(partly.ranges()).collect()),
    ]
    .into_iter()
    .filter(|(_, ports)| !ports.is_empty())
    .map(|(certainty, ports)| {
        let by = |all: &[End<'a>], is_shown: fn(&End<'_>) -> bool| -> Vec<Decision<'a>> {
            let hit = all.iter().filter(|end| !end.ports.intersection(&ports).is_empty());
            let mut all: Vec<Decision<'a>> = Vec::new();
            for end in hit.filter(|end| is_shown(end)) {
                if !all.contains(&end.by) {
                    all.push(end.by);
                }
            }
            all
        };
        let is_rejected = ends
            .dropped
            .iter()
            .any(|end| end.is_rejected && !end.ports.intersection(&ports).is_empty());
        Finding {
            certainty,
            is_rejected,
            // What is about certain senders alone explains nothing, beside what is not.
            dropped_by: by(&ends.dropped, |end| !end.full.is_empty() || end.is_about_ports),
            accepted_by: match certainty {
                Certainty::All => Vec::new(),
                _ => by(&ends.accepted, |end| end.by != Decision::Policy),
            },
            ports,
        }
    });
    Some(found.collect())
}

fn warning(
    pool: &Pool,
    firewall: &Firewall,
    base: &Key,
    netns: Option<&str>,
    finding: &Finding<'_>,
    of: &[(Protocol, bool)],
    may_be_one_family: bool,
) -> Problem {
    let (protocols, over) = of_what(of, may_be_one_family);
    let ports = finding.ports.told();
    let ended = if finding.is_rejected { "rejected" } else { "dropped" };
    let chain = named(base);
    let dropped_by = decisions(&finding.dropped_by, firewall, base);
    let accepted_by = decisions(&finding.accepted_by, firewall, base);
    let what = match finding.certainty {
        Certainty::All => format!("are {ended} by the firewall: {dropped_by}"),
        Certainty::Others => format!(
            "are {ended} by the firewall ({dropped_by}), but for those that an earlier rule accepts: {accepted_by}"
        ),
        Certainty::May if accepted_by.is_empty() => format!(
            "may be {ended} by the firewall, which depends on more than their port: {dropped_by}"
        ),
        Certainty::May => format!(
            "may be {ended} by the firewall ({dropped_by}): what comes before depends on more than their port: \
             {accepted_by}"
        ),
    };
    let shown = pool.shown();
    let message = format!(
        "{} ({shown}): new flows from outside to {ports} ({protocols}{over}) {what}",
        subject(pool)
    );
    let problem = Problem::warning(Code::Firewall, message, pool.place.clone());
    let problem = problem.of([&*pool.name]);
    match fix(base, netns, finding, protocols) {
        Some(line) if finding.certainty == Certainty::All => problem.fix(line),
        Some(line) => problem.fix(format!("if others are to reach them too: {line}")),
        None => problem.fix(format!("accept them first in the chain {chain}")),
    }
}

/// The protocols, and over which family alone, if it is one.
fn of_what(of: &[(Protocol, bool)], may_be_one_family: bool) -> (&'static str, &'static str) {
    let has = |protocol| of.iter().any(|(one, _)| *one == protocol);
    let protocols = match (has(Protocol::Tcp), has(Protocol::Udp)) {
        (true, true) => "tcp, udp",
        (true, false) => "tcp",
        _ => "udp",
    };
    let is_all = |is_v6| of.iter().all(|(_, one)| *one == is_v6);
    let over = match may_be_one_family {
        true if is_all(false) => " over IPv4",
        true if is_all(true) => " over IPv6",
        _ => "",
    };
    (protocols, over)
}

/// The line that lets them in: at the beginning of the base chain.
fn fix(base: &Key, netns: Option<&str>, finding: &Finding<'_>, protocols: &str) -> Option<String> {
    const MOST_RANGES: usize = 50;
    let is_plain = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    let (_, table, chain) = base;
    if !is_plain(table) || !is_plain(chain) || finding.ports.ranges().count() > MOST_RANGES {
        return None;
    }
    let ports = finding.ports.to_string();
    let ports = match ports.contains(',') {
        true => format!("{{ {} }}", ports.replace(',', ", ")),
        false => ports,
    };
    let what = match protocols {
        "tcp, udp" => format!("meta l4proto {{ tcp, udp }} th dport {ports}"),
        one => format!("{one} dport {ports}"),
    };
    let enter = enter(netns);
    Some(format!("{enter}nft insert rule {} {table} {chain} {what} accept", family(base.0)))
}

fn family(family: u8) -> &'static str {
    match family {
        IPV4 => "ip",
        IPV6 => "ip6",
        _ => "inet",
    }
}

fn named((family, table, chain): &Key) -> String {
    show::cut(&format!("{} {table} {chain}", self::family(*family)))
}

fn decisions(all: &[Decision<'_>], firewall: &Firewall, base: &Key) -> String {
    let one = |decision: &Decision<'_>| match decision {
        Decision::Policy => format!("chain {}: policy drop", named(base)),
        Decision::Rule(chain, number) => {
            let rules = firewall.chains.get(*chain).map_or(&[][..], |chain| &chain.rules);
            let rule = rules.get(*number).map(|rule| show::rule(rule, chain, firewall));
            format!("chain {}: `{}`", named(chain), rule.unwrap_or_default())
        }
    };
    let mut shown: Vec<String> = all.iter().take(MOST_RULES).map(one).collect();
    if all.len() > MOST_RULES {
        shown.push(format!("and {} more", all.len() - MOST_RULES));
    }
    shown.join("; ")
}
