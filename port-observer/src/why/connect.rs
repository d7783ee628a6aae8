//! connect() of TCP that has the kernel choose the port.

mod advice;
mod count;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{Answer, Blocked, Facts, How, Question, Verdict, groups::Groups, range, space};
use crate::{
    event::{Endpoint, NamespaceSettings},
    report::{SpaceKind, Standing},
    words::figures::age,
};
pub(super) use advice::NO_PORT;
use count::{Class, Count};

/// Who calls connect() from here to there, by name.
pub(super) type Callers = BTreeMap<String, BTreeSet<u32>>;

pub(super) fn answer(
    question: Question,
    ends: (IpAddr, Endpoint),
    settings: &NamespaceSettings,
    facts: &Facts<'_>,
) -> Answer {
    let count = Count::of(&question, ends, settings, facts);
    let (source, destination) = ends;
    let kind = SpaceKind::Connect { source, destination };
    let space = space(kind, &question, settings.ports.capacity(), count.used);
    let headroom = space.headroom;
    // Without knowing what bind() took, any port that somebody has may be closed to connect().
    let certain = headroom.saturating_sub(count.doubtful);
    let verdict = match (headroom, certain) {
        (0, _) => Verdict::Exhausted,
        _ if count.is_left_out => Verdict::Unknown,
        (_, 0) => Verdict::Unknown,
        _ => Verdict::Free,
    };
    let capacity = space.capacity;
    let range = range(settings);
    let summary = match verdict {
        Verdict::Exhausted if capacity == 0 => format!("the range {range} has no port to choose"),
        Verdict::Exhausted => format!("all {capacity} ports of {range} are taken for it"),
        Verdict::Unknown if count.is_left_out => format!(
            "the one port that is left is an end of a range of odd size ({range}), which a call may \
             leave out"
        ),
        Verdict::Unknown => format!(
            "{} of {capacity} ports of {range} can't be had; whether it can have one of the {headroom} \
             others, which connections elsewhere hold, is not known{}",
            count.used,
            if count.likely_bound >= count.doubtful.min(headroom) { " (likely not)" } else { "" }
        ),
        _ if count.doubtful > 0 => {
            format!("{certain} to {headroom} of {capacity} ports of {range} are left for it")
        }
        _ => format!("{headroom} of {capacity} ports of {range} are left for it"),
    };
    let mut missing = facts.missing.clone();
    if count.doubtful > 0 {
        let likely = match count.likely_bound {
            0 => String::new(),
            ports => format!(
                "; of {ports} that is likely, for they are of the parity that bind() takes first, while \
                 those that connect() takes first were free"
            ),
        };
        missing.push(format!(
            "whether bind() took the {} ports that connections elsewhere hold, before connect(): then \
             no other connect() can share them{likely}",
            count.doubtful
        ));
    }
    let callers = callers(&count, facts);
    let likely = match (callers.len(), callers.first_key_value()) {
        (1, Some((name, pids))) => Some((name.as_str(), pids)),
        _ => None,
    };
    let unknown: u32 = [Class::TimeWait, Class::FinWait2]
        .iter()
        .filter_map(|class| count.classes.get(class))
        .map(|of| of.groups.unknown())
        .sum();
    if unknown > 0 {
        missing.push(whose(unknown, &callers));
    }
    let blocked = blocked(&count, ends, settings, likely, facts);
    let (remedies, would_not_help) = if verdict == Verdict::Free {
        (Vec::new(), Vec::new())
    } else {
        let advice = advice::Advice { question: &question, ends, settings, count: &count, likely };
        (advice.remedies(), advice.would_not_help())
    };
    Answer {
        question,
        verdict,
        summary,
        space: Some(space),
        blocked,
        remedies,
        would_not_help,
        missing,
    }
}

/// Those that have a connection there, or were seen to try.
fn callers(count: &Count, facts: &Facts<'_>) -> Callers {
    let mut callers = count.callers.clone();
    for process in &facts.callers {
        callers.entry(process.name.clone()).or_default().insert(process.pid);
    }
    callers
}

/// Whose TIME_WAIT entries are, as far as that can be said: the kernel keeps no owner of them.
fn whose(unknown: u32, callers: &Callers) -> String {
    let names: Vec<String> =
        callers.keys().map(|name| crate::words::escape::escape(name).into_owned()).collect();
    let concluded = match &names[..] {
        [] => "nobody was seen to connect there".to_owned(),
        [one] => format!("{one} alone was seen to connect there"),
        several => format!("those that were seen to connect there: {}", several.join(", ")),
    };
    format!(
        "whose {unknown} TIME_WAIT entries are: they are the kernel's, and only `live`, started before, \
         tells who left them; {concluded}"
    )
}

fn blocked(
    count: &Count,
    (source, destination): (IpAddr, Endpoint),
    settings: &NamespaceSettings,
    likely: Option<(&str, &BTreeSet<u32>)>,
    facts: &Facts<'_>,
) -> Vec<Blocked> {
    let to = format!("from {source} to {destination}");
    let longest = facts.time_waits.values().map(|one| one.expires_ms).max().unwrap_or(0);
    let mut blocked: Vec<Blocked> = count
        .classes
        .iter()
        .map(|(class, of)| Blocked {
            how: class.how(),
            ports: of.groups.ports(),
            holders: of.groups.holders(likely.filter(|_| class.is_time_wait())),
            reason: reason(*class, &to, longest, settings),
        })
        .collect();
    blocked.sort_by_key(|one| std::cmp::Reverse(one.ports));
    if count.reserved > 0 {
        blocked.push(Blocked {
            how: How::Reserved,
            ports: count.reserved,
            holders: Groups::default().holders(None),
            reason:
                "in ip_local_reserved_ports: automatic choice passes them over; not part of the \
                     capacity"
                    .to_owned(),
        });
    }
    blocked
}

fn reason(class: Class, to: &str, longest_ms: u32, settings: &NamespaceSettings) -> String {
    match class {
        Class::Bound => {
            "taken by bind() before connect(): no other connect() can share them, wherever it goes"
                .to_owned()
        }
        Class::BoundIdle => {
            "bound and not connected: connect() passes over what bind() took".to_owned()
        }
        Class::Listener => {
            "a listener has the port: connect() passes over what bind() took".to_owned()
        }
        Class::Accepted => {
            "accepted connections keep their listener's port: connect() passes over it".to_owned()
        }
        Class::Connected(Standing::SynSent) => {
            format!("connections {to} in SYN_SENT: the destination does not answer")
        }
        Class::Connected(Standing::CloseWait) => {
            format!("connections {to} in CLOSE_WAIT: the peer has closed, the process has not")
        }
        Class::Connected(Standing::FinWait) => format!(
            "connections {to} that are closed here, and wait for the peer to close or to take in what \
             was sent"
        ),
        Class::Connected(_) => format!("connections {to}: each needs a port of its own"),
        Class::FinWait2 => {
            format!("closed {to}, the peer has not closed: such an entry stays for tcp_fin_timeout")
        }
        Class::TimeWait => {
            let setting = match settings.tw_reuse {
                0 => "tcp_tw_reuse is 0",
                2 => "tcp_tw_reuse is 2, for loopback alone",
                _ => "too young for tcp_tw_reuse, or without timestamps",
            };
            format!(
                "TIME_WAIT {to}: closed here first, the kernel keeps the 4-tuple for 60 s ({setting}; \
                 the last of these ends in {})",
                age(f64::from(longest_ms) / 1000.0)
            )
        }
    }
}
