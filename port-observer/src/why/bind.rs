//! bind() to one port or to any, and what of UDP comes to the same.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    Answer, Blocked, Call, Facts, How, Question, Remedy, Unhelpful, Verdict, WIDEST_MIN,
    connect::NO_PORT,
    groups::{Groups, Holder},
    range, space, widen,
};
use crate::{
    event::{Endpoint, Flow, NamespaceSettings, Protocol},
    ledger::{HeldBucket, Holding, Holds, Role, rules::overlaps},
    report::SpaceKind,
    words::{escape::escape, figures::age},
};

/// What is on ports, by how it is in the way.
#[derive(Default)]
struct Ways(BTreeMap<How, Groups>);

impl Ways {
    fn add(&mut self, how: How, holding: &Holding) {
        self.0.entry(how).or_default().add(holding.process().map(|process| &**process));
    }

    fn has(&self, how: How) -> bool {
        self.0.contains_key(&how)
    }

    fn blocked(&self, reason: impl Fn(How) -> String, ports: Option<u32>) -> Vec<Blocked> {
        let mut blocked: Vec<Blocked> = self
            .0
            .iter()
            .map(|(how, groups)| Blocked {
                how: *how,
                ports: ports.unwrap_or(groups.ports()),
                holders: groups.holders(None),
                reason: reason(*how),
            })
            .collect();
        blocked.sort_by_key(|one| (one.how != How::Listener, std::cmp::Reverse(one.ports)));
        blocked
    }
}

/// How a holder is on its port.
fn how(holding: &Holding, has_listener: bool, settings: &NamespaceSettings) -> How {
    let Flow { protocol, local, .. } = holding.flow();
    match (holding.holds, holding.role) {
        (Holds::Listening, _) => How::Listener,
        (Holds::Bound, _) => How::Bound,
        (Holds::TimeWait, _) => How::TimeWait,
        _ if protocol == Protocol::Udp => How::Connected,
        (Holds::Connected, Role::Child) => How::Accepted,
        (Holds::Connected, Role::Owner) if has_listener => How::Accepted,
        // connect() chooses of the range.
        (Holds::Connected, Role::Owner) if settings.ports.ephemeral.contains(local.port) => {
            How::Connected
        }
        (Holds::Connected, Role::Owner) => How::Accepted,
    }
}

fn has_listener(bucket: &HeldBucket<'_>) -> bool {
    bucket.holders().any(|holding| holding.holds == Holds::Listening)
}

/// bind() to port 0, and UDP's automatic bind.
pub(super) fn any(
    question: Question,
    address: IpAddr,
    settings: &NamespaceSettings,
    facts: &Facts<'_>,
) -> Answer {
    let ports = &settings.ports;
    let mut ways = Ways::default();
    let (mut used, mut taken_outside) = (0, 0);
    for bucket in facts.holdings.buckets(question.netns, question.protocol) {
        let Some(first) = bucket.holders().find(|holding| overlaps(address, holding)) else {
            continue;
        };
        if ports.offers(bucket.port) {
            used += 1;
            ways.add(how(first, has_listener(&bucket), settings), first);
        } else if bucket.port >= WIDEST_MIN
            && !ports.ephemeral.contains(bucket.port)
            && !ports.reserved.contains(bucket.port)
        {
            taken_outside += 1;
        }
    }
    let space = space(SpaceKind::Bind { address }, &question, ports.capacity(), used);
    let is_complete = question.protocol == Protocol::Udp || facts.lists_bound;
    let verdict = match space.headroom {
        0 => Verdict::Exhausted,
        // What is not listed may have any of them.
        _ if !is_complete => Verdict::Unknown,
        _ => Verdict::Free,
    };
    let (capacity, headroom, range) = (space.capacity, space.headroom, range(settings));
    let is_automatic = matches!(question.call, Call::Connect { .. });
    let who = if is_automatic { "UDP's automatic bind" } else { "bind() to port 0" };
    let summary = match verdict {
        Verdict::Exhausted => format!("all {capacity} ports of {range} are taken for {who}"),
        Verdict::Unknown => format!(
            "{used} of {capacity} ports of {range} are taken; sockets that are only bound are not listed"
        ),
        _ => format!("{headroom} of {capacity} ports of {range} are left for {who}"),
    };
    let reason = |how| match how {
        How::Connected if question.protocol == Protocol::Udp => {
            "connected UDP sockets: two sockets never share a port, whatever their destinations"
        }
        How::Connected => {
            "connections: bind() takes a port for all destinations, so it passes over what anybody has"
        }
        How::TimeWait => "TIME_WAIT entries: bind() passes over them, whatever tcp_tw_reuse is",
        How::Listener => "listeners",
        How::Accepted => "accepted connections, which keep their listener's port",
        How::Bound => "bound sockets",
        How::Reserved => "reserved",
    };
    let mut answer = Answer {
        verdict,
        summary,
        blocked: ways.blocked(|how| reason(how).to_owned(), None),
        space: Some(space),
        remedies: Vec::new(),
        would_not_help: Vec::new(),
        missing: facts.missing.clone(),
        question,
    };
    if verdict != Verdict::Exhausted {
        return answer;
    }
    let question = &answer.question;
    if question.protocol == Protocol::Tcp {
        answer.remedies.push(Remedy {
            change: "ip_bind_address_no_port",
            text: "where connect() follows: set IP_BIND_ADDRESS_NO_PORT before bind(), which then takes \
                   no port; what connect() has then says `port-observer why ADDRESS:PORT --source …`"
                .to_owned(),
            command: Some(NO_PORT.to_owned()),
            gain: 1,
            likely: true,
        });
    }
    let largest = ways.0.values().flat_map(|groups| groups.holders(None));
    let largest = largest.filter(|one| one.name.is_some()).max_by_key(|one| one.ports);
    if let Some(Holder { name: Some(name), ports, .. }) = largest {
        answer.remedies.push(Remedy {
            change: "close_leak",
            text: format!(
                "in {}: close sockets that are done with{}",
                escape(&name),
                if question.protocol == Protocol::Udp {
                    ", and use one socket for many destinations"
                } else {
                    ""
                }
            ),
            command: None,
            gain: ports,
            likely: false,
        });
    }
    answer.remedies.extend(widen(question, settings, taken_outside));
    let mut add = |change, reason: &str| {
        answer.would_not_help.push(Unhelpful { change, reason: reason.to_owned() });
    };
    if question.protocol == Protocol::Tcp {
        add("tcp_tw_reuse", "it is for connect(); bind() passes over every TIME_WAIT entry");
        if !ways.has(How::TimeWait) {
            add("tcp_fin_timeout", "no entry that waits is what blocks a port");
        } else {
            add("tcp_fin_timeout", "TIME_WAIT lasts 60 s, which no setting changes");
        }
        add(
            "so_reuseaddr",
            "for port 0 it does not let a port be shared (but ip_autobind_reuse 1)",
        );
    } else {
        add("ip_bind_address_no_port", "UDP ports are not shared by destination");
        add("destinations", "other destinations take a port each too");
        add("tcp_tw_reuse", "UDP has no TIME_WAIT");
    }
    add("file_descriptors", "ports are what is missing; without descriptors the error is EMFILE");
    answer
}

/// bind() to one port.
pub(super) fn one(
    question: Question,
    local: Endpoint,
    settings: &NamespaceSettings,
    facts: &Facts<'_>,
) -> Answer {
    let mut ways = Ways::default();
    let mut buckets = facts.holdings.buckets(question.netns, question.protocol);
    if let Some(bucket) = buckets.find(|bucket| bucket.port == local.port) {
        let has_listener = has_listener(&bucket);
        for holding in bucket.holders().filter(|holding| overlaps(local.address, holding)) {
            ways.add(how(holding, has_listener, settings), holding);
        }
    }
    let is_taken = !ways.0.is_empty();
    let takes_privilege = local.port < facts.unprivileged_from;
    let is_complete = question.protocol == Protocol::Udp || facts.lists_bound;
    let verdict = match is_taken {
        true => Verdict::Taken,
        false if !is_complete || (takes_privilege && !facts.may_bind_low) => Verdict::Unknown,
        false => Verdict::Free,
    };
    let privilege = format!(
        "a port below {} (ip_unprivileged_port_start) takes CAP_NET_BIND_SERVICE; without, bind() gives \
         EACCES",
        facts.unprivileged_from
    );
    let mut summary = match verdict {
        Verdict::Taken => format!("{local} is taken"),
        Verdict::Unknown if !is_complete => {
            format!("nobody was seen on {local}; sockets that are only bound are not listed")
        }
        _ => format!("nobody has {local}"),
    };
    let mut missing = facts.missing.clone();
    if takes_privilege {
        summary = format!("{summary}; {privilege}");
        if verdict == Verdict::Unknown {
            missing
                .push("whether the process that calls bind() has CAP_NET_BIND_SERVICE".to_owned());
        }
    }
    let longest_ms = facts.time_waits.values().map(|one| one.expires_ms).max().unwrap_or(0);
    let left = age(f64::from(longest_ms) / 1000.0);
    let mut answer = Answer {
        verdict,
        summary,
        blocked: ways.blocked(|how| reason(how, &question, &left), Some(1)),
        space: None,
        remedies: Vec::new(),
        would_not_help: Vec::new(),
        missing,
        question,
    };
    if is_taken {
        remedies(&mut answer, local, &ways, settings, &left);
    }
    answer
}

fn reason(how: How, question: &Question, left: &str) -> String {
    match how {
        How::Listener => "listens there".to_owned(),
        How::Accepted => {
            "connections that a listener on this port accepted: they keep the port when \
                          the listener is gone"
                .to_owned()
        }
        How::Connected if question.protocol == Protocol::Udp => "a connected UDP socket".to_owned(),
        How::Connected => "an outgoing connection: the port is in ip_local_port_range, of which \
                           connect() chooses"
            .to_owned(),
        How::Bound => "bound, and neither connected nor listening".to_owned(),
        How::TimeWait => {
            format!("TIME_WAIT entries of connections that had this port; the last ends in {left}")
        }
        How::Reserved => "reserved".to_owned(),
    }
}

fn remedies(
    answer: &mut Answer,
    local: Endpoint,
    ways: &Ways,
    settings: &NamespaceSettings,
    left: &str,
) {
    let question = &answer.question;
    let enter = &question.enter;
    let port = local.port;
    let has = |how| ways.has(how);
    let is_of_sockets = has(How::Listener) || has(How::Bound);
    let mut add = |change, text: String, command: Option<String>, gain, likely| {
        answer.remedies.push(Remedy { change, text, command, gain, likely });
    };
    let is_tcp = question.protocol == Protocol::Tcp;
    let is_server_left = has(How::Accepted) || has(How::TimeWait);
    if is_tcp && is_server_left && !is_of_sockets && !has(How::Connected) {
        add(
            "so_reuseaddr",
            "set SO_REUSEADDR before bind(), as servers do; it helps if who had the port had it set too"
                .to_owned(),
            Some("int on = 1; setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);".to_owned()),
            1,
            true,
        );
        if !has(How::Accepted) {
            add("wait", format!("wait: the last TIME_WAIT entry ends in {left}"), None, 1, false);
        }
    }
    let mut names = Vec::new();
    let mut pids = Vec::new();
    for holder in ways.0.values().flat_map(|groups| groups.holders(None)) {
        let Some(name) = holder.name else { continue };
        names.push(escape(&name).into_owned());
        pids.extend(holder.processes.iter().map(|(pid, _)| *pid));
    }
    names.dedup();
    pids.sort_unstable();
    pids.dedup();
    if !pids.is_empty() {
        let list: Vec<String> = pids.iter().map(u32::to_string).collect();
        add(
            "end_process",
            format!("end or restart who has it: {}", names.join(", ")),
            Some(format!("kill {}", list.join(" "))),
            // What stays in TIME_WAIT keeps the port.
            u32::from(!has(How::TimeWait)),
            false,
        );
    }
    if has(How::Connected) && is_tcp && settings.ports.offers(port) {
        add(
            "reserved_ports",
            "keep connect() away from this port from now on; the connection that has it has to end first"
                .to_owned(),
            Some(reserve(enter, port, settings)),
            0,
            false,
        );
    }
    let mut add = |change, reason: &str| {
        answer.would_not_help.push(Unhelpful { change, reason: reason.to_owned() });
    };
    if is_tcp {
        if has(How::Listener) {
            add("so_reuseaddr", "Linux never shares a port with a listener for it");
        } else if has(How::Connected) || has(How::Bound) {
            add("so_reuseaddr", "who has the port would have to have set it too");
        }
        if is_of_sockets {
            add("wait", "no timer ends a socket that a process has open");
        }
        if has(How::TimeWait) {
            add("tcp_fin_timeout", "TIME_WAIT lasts 60 s, which no setting changes");
            add("tcp_tw_reuse", "it is for connect(), not for bind()");
        }
    }
    add("widen_range", "bind() to a certain port does not look at ip_local_port_range");
}

/// The line that reserves a port beside those that are.
fn reserve(enter: &str, port: u16, settings: &NamespaceSettings) -> String {
    let mut all: Vec<String> = settings
        .ports
        .reserved
        .ranges()
        .iter()
        .map(|range| match range.min == range.max {
            true => range.min.to_string(),
            false => format!("{}-{}", range.min, range.max),
        })
        .collect();
    all.push(port.to_string());
    format!("{enter}sysctl -w net.ipv4.ip_local_reserved_ports={}", all.join(","))
}
