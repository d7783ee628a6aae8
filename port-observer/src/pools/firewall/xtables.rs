//! Matches of iptables that iptables-nft leaves as they are (`include/uapi/linux/netfilter/xt_*.h`).

use super::{
    matching::Matching,
    packet::{NEW, Packets, UNTRACKED},
};
use crate::{event::Protocol, ports::PortRange};

/// What a match does.
pub(super) fn matching(name: &str, revision: u32, info: &[u8], packets: &Packets) -> Matching {
    let found = match (name, revision) {
        ("comment", _) => Some(Matching::full()),
        ("tcp", _) => tcp_or_udp(info, Protocol::Tcp, packets),
        ("udp", _) => tcp_or_udp(info, Protocol::Udp, packets),
        ("multiport", 1) => multiport(info),
        ("conntrack", 2 | 3) => conntrack(info, packets),
        ("state", _) => number(info, 0, 4).map(|mask| states(mask, packets)),
        _ => None,
    };
    found.unwrap_or_else(Matching::unknown)
}

/// A number of the host's order.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u32> {
    match length {
        1 => bytes.get(at).map(|byte| u32::from(*byte)),
        2 => Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?).into()),
        _ => Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?)),
    }
}

fn port(bytes: &[u8], at: usize) -> Option<u16> {
    u16::try_from(number(bytes, at, 2)?).ok()
}

/// `struct xt_tcp`, `struct xt_udp`: ports of the source, of the destination, and what is inverted.
fn tcp_or_udp(info: &[u8], protocol: Protocol, packets: &Packets) -> Option<Matching> {
    if protocol != packets.protocol {
        return Some(Matching::none());
    }
    let range = |at| Some(PortRange { min: port(info, at)?, max: port(info, at + 2)? });
    let (from, to) = (range(0)?, range(4)?);
    let is_any = |range: PortRange| range == super::matching::ALL_PORTS;
    // Flags and an option of TCP come before what is inverted.
    let (inverted, has_more) = match protocol {
        Protocol::Tcp => (number(info, 11, 1)?, number(info, 8, 2)? != 0),
        Protocol::Udp => (number(info, 8, 1)?, false),
    };
    let mut matching = Matching::ports(to);
    if inverted & 2 != 0 {
        matching = matching.not();
    }
    if !is_any(from) || inverted & 1 != 0 {
        matching = matching.and(Matching::of_some_senders());
    }
    if has_more || inverted & !3 != 0 {
        matching = matching.and(Matching::unknown());
    }
    Some(matching)
}

/// `struct xt_multiport_v1`
fn multiport(info: &[u8]) -> Option<Matching> {
    const MOST: usize = 15;
    let (kind, count) = (number(info, 0, 1)?, number(info, 1, 1)? as usize);
    let is_inverted = number(info, 2 + MOST * 3, 1)? != 0;
    match kind {
        // XT_MULTIPORT_SOURCE, XT_MULTIPORT_DESTINATION; either is not told apart.
        0 => return Some(Matching::of_some_senders()),
        1 => {}
        _ => return None,
    }
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < count.min(MOST) {
        let min = port(info, 2 + at * 2)?;
        let is_range = number(info, 2 + MOST * 2 + at, 1)? != 0 && at + 1 < MOST;
        at += usize::from(is_range);
        let max = port(info, 2 + at * 2)?;
        at += 1;
        if min <= max {
            ranges.push(Matching::ports(PortRange { min, max }));
        }
    }
    let found = Matching { is_narrow: false, ..Matching::any(ranges) };
    Some(if is_inverted { found.not() } else { found })
}

/// `struct xt_conntrack_mtinfo2`, `…3`, as far as it asks for states alone.
fn conntrack(info: &[u8], packets: &Packets) -> Option<Matching> {
    const STATE: u32 = 1;
    const FLAGS_AT: usize = 146;
    let (asked, inverted) = (number(info, FLAGS_AT, 2)?, number(info, FLAGS_AT + 2, 2)?);
    if asked != STATE {
        return None;
    }
    let found = states(number(info, FLAGS_AT + 4, 2)?, packets);
    Some(if inverted & STATE != 0 { found.not() } else { found })
}

/// Of `XT_CONNTRACK_STATE_…`: that of new packets has the bit of connection tracking itself.
fn states(mask: u32, packets: &Packets) -> Matching {
    debug_assert_eq!((NEW, UNTRACKED), (8, 64));
    let states = packets.states();
    match states.iter().filter(|state| mask & **state != 0).count() {
        0 => Matching::none(),
        count if count == states.len() => Matching::full(),
        _ => Matching::some(),
    }
}
