//! Why a space is full, and what to change.

use std::borrow::Cow;

use super::figures::{age, rate};
use crate::event::Protocol;
use crate::report::{Cause, CauseKind, Counts, Evidence, Holder, Space, SpaceKind};

/// The cause in a few words, and the numbers that say so.
pub fn evidence(cause: &Cause) -> String {
    let &Evidence {
        capacity, time_wait, established, syn_sent, close_wait, closing, other, ..
    } = &cause.evidence;
    let &Evidence { bound, bound_connected, median_age_seconds, growth, is_udp, .. } =
        &cause.evidence;
    let finite = |number: Option<f64>| number.filter(|number| number.is_finite());
    match cause.kind {
        CauseKind::Churn => {
            let closed = finite(growth.map(|growth| growth.closed_per_second))
                .map_or_else(String::new, |closed| {
                    format!(", connections close at {}", rate(closed))
                });
            format!("churn, {time_wait} of {capacity} ports wait in TIME_WAIT{closed}")
        }
        CauseKind::Leak => {
            let age = finite(median_age_seconds).map_or_else(String::new, |seconds| {
                format!(", half of them for {} or more", age(seconds))
            });
            let growth = finite(growth.map(|growth| growth.used_per_second))
                .filter(|growth| *growth > 0.0)
                .map_or_else(String::new, |growth| format!(", growing {}", rate(growth)));
            let (what, count) = match is_udp {
                true => ("sockets", established + bound),
                false => ("connections", established + other),
            };
            format!("leak, {what} hold {count} of {capacity} ports{age}{growth}")
        }
        CauseKind::BindHeld if bound_connected > 0 => format!(
            "bind() took {bound} of {capacity} ports, {bound_connected} of them for connections: what \
             bind() gives, no other call of bind() gets"
        ),
        CauseKind::BindHeld => format!(
            "bind() and listeners hold {bound} of {capacity} ports, which connect() can't share"
        ),
        CauseKind::Unanswered => format!(
            "unanswered, {syn_sent} of {capacity} ports wait in SYN_SENT for the destination to answer"
        ),
        CauseKind::NotClosed => format!(
            "not closed, {close_wait} of {capacity} ports are in CLOSE_WAIT: the peer has closed, the \
             process has not"
        ),
        CauseKind::NotRead => format!(
            "not read, {closing} of {capacity} ports are closed here and wait for the peer to take in \
             what was sent (FIN_WAIT1)"
        ),
        CauseKind::Concurrency if is_udp => format!(
            "concurrency, sockets in use hold {} of {capacity} ports; of UDP, each needs one of its own",
            established + bound
        ),
        CauseKind::Concurrency => format!(
            "concurrency, connections in use hold {} of {capacity} ports",
            established + other
        ),
        CauseKind::SmallRange => format!(
            "a small range, it has only {capacity} ports, and connections in use hold {} of them",
            established + other
        ),
    }
}

/// The call that found no port, as far as it matters for what helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// connect() of TCP.
    Connect,
    /// bind() of TCP to port 0.
    Bind,
    /// Any call of UDP, whose ports no two destinations share.
    Udp,
}

impl Call {
    /// The call that chooses from this space.
    pub fn of(space: &Space) -> Self {
        match (space.protocol, space.kind) {
            (Protocol::Udp, _) => Self::Udp,
            (Protocol::Tcp, SpaceKind::Connect { .. }) => Self::Connect,
            (Protocol::Tcp, SpaceKind::Bind { .. }) => Self::Bind,
        }
    }
}

/// What to change. Nothing is named that would not have helped this call.
pub fn advice(cause: &Cause, call: Call) -> &'static str {
    match (call, cause.kind) {
        (Call::Udp, _) => {
            "close UDP sockets that are done with, use one socket for many destinations, or widen \
             ip_local_port_range"
        }
        (_, CauseKind::Unanswered) => {
            "look at the destination, or at what is between; give up on connect() sooner (a shorter \
             timeout, or tcp_syn_retries) and try less at the same time; more ports would only wait too"
        }
        (_, CauseKind::NotClosed) => {
            "have the largest holder close connections that the peer has closed (read() gave it 0): a \
             leak in that program; a wider ip_local_port_range only buys time"
        }
        (_, CauseKind::NotRead) => {
            "look at the peer, which does not read or is gone; tcp_orphan_retries says for how long such \
             connections are kept"
        }
        (_, CauseKind::Leak) => {
            "close connections that are done with, the largest holder's first; a wider \
             ip_local_port_range only buys time"
        }
        (Call::Bind, CauseKind::BindHeld)
            if cause.evidence.bound_connected * 2 < cause.evidence.bound =>
        {
            "close what is bound and not used, bind() ports outside ip_local_port_range, or widen that; \
             where connect() follows, IP_BIND_ADDRESS_NO_PORT lets it choose the port"
        }
        // Destinations share what connect() has chosen.
        (Call::Bind, _) => {
            "set IP_BIND_ADDRESS_NO_PORT before a bind() that connect() follows: it takes no port, and \
             connect() has all that are free towards its own destination"
        }
        (Call::Connect, CauseKind::Churn) if cause.evidence.reusable > 0 => {
            "reuse connections (keep-alive, pooling), set tcp_tw_reuse to 1, or widen \
             ip_local_port_range"
        }
        (Call::Connect, CauseKind::Churn) => {
            "reuse connections (keep-alive, pooling), or widen ip_local_port_range"
        }
        (Call::Connect, CauseKind::BindHeld) => {
            "let connect() choose the port (no bind() before it, or IP_BIND_ADDRESS_NO_PORT), or \
             bind() ports outside ip_local_port_range"
        }
        (Call::Connect, CauseKind::Concurrency) => {
            "share connections (pooling), use more source or destination addresses, or widen \
             ip_local_port_range"
        }
        (Call::Connect, CauseKind::SmallRange) => {
            "share connections (pooling), widen ip_local_port_range, or reserve fewer ports \
             (ip_local_reserved_ports)"
        }
    }
}

/// What to change where a call found no port in this space.
pub fn advice_on(cause: &Cause, space: &Space) -> Cow<'static, str> {
    let Some(range) = space.own_range else {
        return advice(cause, Call::of(space)).into();
    };
    let widen = format!(
        "widen the range that the program gives this socket by IP_LOCAL_PORT_RANGE ({}-{}), or leave \
         that option out; a wider ip_local_port_range alone changes nothing for it",
        range.min, range.max
    );
    let first = match (space.protocol, cause.kind) {
        (
            _,
            CauseKind::Unanswered | CauseKind::NotClosed | CauseKind::NotRead | CauseKind::Leak,
        ) => {
            return advice(cause, Call::of(space)).into();
        }
        (Protocol::Udp, _) => "close UDP sockets that are done with, or ",
        (Protocol::Tcp, CauseKind::Churn) => "reuse connections (keep-alive, pooling), or ",
        (Protocol::Tcp, CauseKind::BindHeld | CauseKind::Concurrency | CauseKind::SmallRange) => "",
    };
    format!("{first}{widen}").into()
}

/// What holds the ports of a holder, by how many.
pub fn counts(holder: &Holder) -> String {
    counted(&holder.counts)
}

/// Ports by what holds them.
pub fn counted(counts: &Counts) -> String {
    let named = counts.named().into_iter();
    let some: Vec<String> = named
        .filter(|(count, ..)| *count > 0)
        .map(|(count, name, _)| format!("{count} {name}"))
        .collect();
    if some.is_empty() { "none".to_owned() } else { some.join(", ") }
}

/// The cause in full, with all numbers that are known.
pub fn because(cause: &Cause) -> String {
    let Cause { kind, evidence } = cause;
    let Evidence { capacity, time_wait, established, bound, .. } = evidence;
    let Evidence { syn_sent, close_wait, closing, other, .. } = evidence;
    let what = match kind {
        CauseKind::Churn => "connections come and go faster than TIME_WAIT ends",
        CauseKind::Leak => "connections are opened, kept for long, and hardly any closed",
        CauseKind::BindHeld if evidence.bound_connected > 0 => {
            "ports were taken by bind(), for connections most of them, and no other call of bind() gets them"
        }
        CauseKind::BindHeld => "ports are held by bind(), which connect() can't share",
        CauseKind::Unanswered => "the destination does not answer",
        CauseKind::NotClosed => "the peers have closed their connections, the process has not",
        CauseKind::NotRead => {
            "the peers do not take in what was sent before the connections were closed"
        }
        CauseKind::Concurrency if evidence.is_udp => {
            "that many sockets are in use at the same time; of UDP, each needs a port of its own"
        }
        CauseKind::Concurrency => "that many connections are in use at the same time",
        CauseKind::SmallRange => "the range is small",
    };
    let mut text = format!(
        "{} ({what}): of {capacity} ports {time_wait} in TIME_WAIT, {established} established",
        kind.name().replace('_', " ")
    );
    let states = [
        (syn_sent, "in SYN_SENT"),
        (close_wait, "in CLOSE_WAIT"),
        (closing, "in FIN_WAIT1 or the like"),
        (other, "connected otherwise"),
    ];
    for (count, name) in states.into_iter().filter(|(count, _)| **count > 0) {
        text.push_str(&format!(", {count} {name}"));
    }
    text.push_str(&format!(", {bound} taken by bind()"));
    if let Some(closed) = evidence.closed_per_second() {
        text.push_str(&format!("; closed {}", rate(closed)));
    }
    if let Some(grew) = evidence.growth_per_second() {
        text.push_str(&format!("; used grew {}", rate(grew)));
    }
    if let Some(seconds) = evidence.median_age_seconds {
        text.push_str(&format!("; median age of the connections {}", age(seconds)));
    }
    text
}
