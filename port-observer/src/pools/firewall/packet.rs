//! The packets that rules are held against: the first of a new flow to a port of this host, from anybody
//! outside of it.

use std::{collections::HashMap, net::IpAddr};

use super::{
    expression::{Expression, Register, Verdict},
    matching::{Domain, Matching},
    ruleset::{Firewall, IPV4, IPV6, Key, Set},
    xtables,
};
use crate::event::Protocol;

/// `NF_CT_STATE_BIT(IP_CT_NEW)`, `NF_CT_STATE_UNTRACKED_BIT`
pub(super) const NEW: u32 = 8;
pub(super) const UNTRACKED: u32 = 64;
/// The flags of a TCP header with which a connection begins: SYN, and it with ECE and CWR (RFC 3168, 6.1.1).
const SYN: [u8; 2] = [0x02, 0xc2];

/// Packets of a protocol and family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packets {
    pub(super) protocol: Protocol,
    pub(super) is_v6: bool,
    /// The address that they are for, if that is known.
    pub(super) to: Option<IpAddr>,
    pub(super) has_untracked: bool,
}

/// What registers have: by their first unit, with the length in bytes.
type Registers = HashMap<Register, (Domain, usize)>;

impl Packets {
    /// Whether a chain of this family sees them.
    pub(super) fn are_seen(&self, family: u8) -> bool {
        family == super::ruleset::INET || (family == IPV6) == self.is_v6
    }

    pub(super) fn number(&self) -> u8 {
        match self.protocol {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }

    /// The states that they can have for connection tracking.
    pub(super) fn states(&self) -> Vec<u32> {
        if self.has_untracked { vec![NEW, UNTRACKED] } else { vec![NEW] }
    }

    /// What a rule does with them: for which of them, and what.
    pub(super) fn held_against(
        &self,
        rule: &[Expression],
        chain: &Key,
        firewall: &Firewall,
    ) -> Vec<(Matching, Verdict)> {
        let mut registers = Registers::new();
        let mut matching = Matching::full();
        let mut found = Vec::new();
        for expression in rule {
            let condition = match expression {
                Expression::Payload { to, base, offset, length } => {
                    let domain = self.payload(*base, *offset, *length);
                    registers.insert(*to, (domain, *length as usize));
                    continue;
                }
                Expression::Meta { to, key } => {
                    registers.insert(*to, self.meta(*key));
                    continue;
                }
                Expression::Ct { to, key } => {
                    registers.insert(*to, self.ct(*key));
                    continue;
                }
                Expression::Fib { to, result, flags } => {
                    registers.insert(*to, fib(*result, *flags));
                    continue;
                }
                Expression::Load { to, .. } => {
                    registers.insert(*to, (Domain::Unknown, 4));
                    continue;
                }
                Expression::Constant { to, data } => {
                    registers.insert(*to, (Domain::Known(vec![data.clone()]), data.len()));
                    continue;
                }
                Expression::Bitwise { from, to, mask, xor } => {
                    let domain = domain(&registers, *from).bitwise(mask, xor);
                    registers.insert(*to, (domain, mask.len()));
                    continue;
                }
                Expression::Compare { from, operator, data } => {
                    domain(&registers, *from).compare(*operator, data)
                }
                Expression::Range { from, is_not, low, high } => {
                    let within = domain(&registers, *from).within(low, high);
                    if *is_not { within.not() } else { within }
                }
                Expression::Lookup { set, from, to, is_not } => {
                    let key = (chain.0, chain.1.clone(), set.clone());
                    let set = firewall.sets.get(&key);
                    if expression.is_verdict_map() {
                        found.extend(verdicts(set, &registers, *from, &matching));
                        // What is in no element goes on with the next rule.
                        return found;
                    }
                    if let Some(to) = to {
                        registers.insert(*to, (Domain::Unknown, 4));
                    }
                    let within = set.map_or_else(Matching::unknown, |set| {
                        Matching::any(
                            elements(set, &registers, *from).map(|(matching, _)| matching),
                        )
                        .uncertain_if(set.is_uncertain)
                    });
                    if *is_not { within.not() } else { within }
                }
                Expression::Verdict(verdict) => {
                    found.push((matching, verdict.clone()));
                    return found;
                }
                Expression::Match { name, revision, info } => {
                    xtables::matching(name, *revision, info, self)
                }
                Expression::Target(_) => {
                    // It may end the rule in any way.
                    let matching =
                        Matching { is_known: false, all: Default::default(), ..matching };
                    found.push((matching, Verdict::Other));
                    return found;
                }
                Expression::Condition(_) => {
                    // It may have changed registers.
                    registers.clear();
                    Matching::unknown()
                }
                Expression::Statement(_) | Expression::NoTrack => continue,
            };
            matching = matching.and(condition);
        }
        found
    }

    /// A piece of a header.
    fn payload(&self, base: u32, offset: u32, length: u32) -> Domain {
        let protocol = || Domain::Known(vec![vec![self.number()]]);
        match (base, offset, length) {
            (0, ..) => Domain::Sender,
            (1, 9, 1) if !self.is_v6 => protocol(),
            (1, 6, 1) if self.is_v6 => protocol(),
            (1, 12..16, _) if !self.is_v6 && offset + length <= 16 => Domain::Sender,
            (1, 8..24, _) if self.is_v6 && offset + length <= 24 => Domain::Sender,
            (1, 16, 1..=4) if !self.is_v6 => self.destination(length),
            (1, 24, 1..=16) if self.is_v6 => self.destination(length),
            (2, 0, 2) => Domain::Sender,
            (2, 2, 2) => Domain::Port,
            (2, 13, 1) if self.protocol == Protocol::Tcp => {
                Domain::Known(SYN.map(|flags| vec![flags]).into())
            }
            _ => Domain::Unknown,
        }
    }

    fn destination(&self, length: u32) -> Domain {
        let bytes = match self.to {
            Some(IpAddr::V4(address)) => address.octets().to_vec(),
            Some(IpAddr::V6(address)) => address.octets().to_vec(),
            None => return Domain::Differs,
        };
        Domain::Known(vec![bytes.into_iter().take(length as usize).collect()])
    }

    fn meta(&self, key: u32) -> (Domain, usize) {
        let known = |bytes: &[u8]| (Domain::Known(vec![bytes.to_vec()]), bytes.len());
        match key {
            // NFT_META_PROTOCOL
            1 => known(if self.is_v6 { &[0x86, 0xdd] } else { &[0x08, 0x00] }),
            // NFT_META_IIF
            4 => (Domain::Interface { loopback: 1u32.to_ne_bytes().into() }, 4),
            // NFT_META_IIFNAME
            6 => (Domain::Interface { loopback: b"lo".into() }, 16),
            // NFT_META_NFPROTO
            15 => known(&[if self.is_v6 { IPV6 } else { IPV4 }]),
            // NFT_META_L4PROTO
            16 => known(&[self.number()]),
            // NFT_META_PKTTYPE: PACKET_HOST
            19 => known(&[0]),
            _ => (Domain::Unknown, 4),
        }
    }

    fn ct(&self, key: u32) -> (Domain, usize) {
        match key {
            // NFT_CT_STATE
            0 => {
                let states = self.states().into_iter().map(|state| state.to_ne_bytes().to_vec());
                (Domain::Known(states.collect()), 4)
            }
            // NFT_CT_DIRECTION: IP_CT_DIR_ORIGINAL
            1 => (Domain::Known(vec![vec![0]]), 1),
            // NFT_CT_STATUS: what was translated is marked there.
            2 => (Domain::Differs, 4),
            // NFT_CT_SRC, NFT_CT_PROTO_SRC
            8 => (Domain::Sender, 16),
            11 => (Domain::Sender, 2),
            // NFT_CT_PROTOCOL
            10 => (Domain::Known(vec![vec![self.number()]]), 1),
            // NFT_CT_SRC_IP, NFT_CT_SRC_IP6
            19 => (Domain::Sender, 4),
            21 => (Domain::Sender, 16),
            _ => (Domain::Unknown, 4),
        }
    }
}

/// `NFT_FIB_RESULT_ADDRTYPE` of the destination: what comes in to a port is for a local address
/// (`RTN_LOCAL`). That of a sender, and its way back, differ.
fn fib(result: u32, flags: u32) -> (Domain, usize) {
    const OF_SENDER: u32 = 1;
    const OF_DESTINATION: u32 = 2;
    match (result, flags & (OF_SENDER | OF_DESTINATION)) {
        (3, OF_DESTINATION) => (Domain::Known(vec![2u32.to_ne_bytes().into()]), 4),
        (_, OF_SENDER) => (Domain::Sender, 4),
        _ => (Domain::Unknown, 4),
    }
}

fn domain(registers: &Registers, at: Register) -> Domain {
    registers.get(&at).map_or(Domain::Unknown, |(domain, _)| domain.clone())
}

/// The elements of a set, each with what it matches.
fn elements<'a>(
    set: &'a Set,
    registers: &'a Registers,
    from: Register,
) -> impl Iterator<Item = (Matching, Option<&'a Verdict>)> {
    // A concatenation has a field for each register, filled up to units of 4 bytes.
    let mut fields: Vec<(usize, usize, Domain)> = Vec::new();
    let mut at = 0;
    while at < set.key_bytes {
        let unit = from + u32::try_from(at / 4).unwrap_or(u32::MAX / 2);
        let (domain, length) = registers.get(&unit).cloned().unwrap_or((Domain::Unknown, 4));
        let length = length.clamp(1, set.key_bytes - at);
        fields.push((at, length, domain));
        at += length.next_multiple_of(4);
    }
    // Where fields do not depend on what is known, one element is as any other.
    let is_alike = set.elements.iter().all(|element| element.verdict.is_none())
        && fields.iter().all(|(_, _, domain)| {
            matches!(domain, Domain::Sender | Domain::Differs | Domain::Unknown)
        });
    let of_element = move |low: &[u8], high: &[u8]| {
        let mut matching = Matching::full();
        for (at, length, domain) in &fields {
            let cut = |bytes: &[u8]| bytes.get(*at..at + length).map(<[u8]>::to_vec);
            matching = matching.and(match (cut(low), cut(high)) {
                (Some(low), Some(high)) => domain.within(&low, &high),
                _ => Matching::unknown(),
            });
        }
        matching
    };
    let without_rest: Vec<(Matching, Option<&Verdict>)> = set
        .elements
        .iter()
        .filter(|element| !element.is_rest)
        .take(if is_alike { 1 } else { usize::MAX })
        .map(|element| (of_element(&element.low, &element.high), element.verdict.as_ref()))
        .collect();
    let rest = set.elements.iter().find(|element| element.is_rest).map(|element| {
        let others = Matching::any(without_rest.iter().map(|(matching, _)| matching.clone()));
        (others.not(), element.verdict.as_ref())
    });
    without_rest.into_iter().chain(rest)
}

/// What a map with verdicts does with what has got so far.
fn verdicts(
    set: Option<&Set>,
    registers: &Registers,
    from: Register,
    matching: &Matching,
) -> Vec<(Matching, Verdict)> {
    let Some(set) = set.filter(|set| !set.is_uncertain) else {
        let unknown = Matching::unknown().and(matching.clone());
        return vec![(unknown, Verdict::Other)];
    };
    elements(set, registers, from)
        .filter_map(|(one, verdict)| Some((matching.clone().and(one), verdict?.clone())))
        .collect()
}

impl Matching {
    /// Of a set that changes.
    fn uncertain_if(self, is_uncertain: bool) -> Self {
        if is_uncertain { Self { names_ports: self.names_ports, ..Self::unknown() } } else { self }
    }
}
