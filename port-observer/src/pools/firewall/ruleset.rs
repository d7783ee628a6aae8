//! Chains, rules and sets, decoded from what the kernel lists.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    attributes::Attributes,
    expression::{Expression, Verdict},
};

/// Bounds of what is decoded; what is more makes the answer unknown.
const MOST_CHAINS: usize = 10_000;
const MOST_RULES: usize = 50_000;
const MOST_EXPRESSIONS: usize = 128;
const MOST_ELEMENTS: usize = 100_000;

/// `NFPROTO_…`
pub(super) const INET: u8 = 1;
pub(super) const IPV4: u8 = 2;
pub(super) const IPV6: u8 = 10;
/// `NF_INET_PRE_ROUTING`, `NF_INET_LOCAL_IN`
const PREROUTING: u32 = 0;
const INPUT: u32 = 1;
/// `NFT_TABLE_F_DORMANT`
const DORMANT: u32 = 1;
/// `NFT_SET_ANONYMOUS`, `NFT_SET_INTERVAL`, `NFT_SET_TIMEOUT`, `NFT_SET_EVAL`, `NFT_SET_CONCAT`
const ANONYMOUS: u32 = 1;
const INTERVAL: u32 = 4;
const CHANGES: u32 = 0x10 | 0x20;
const CONCATENATION: u32 = 0x80;
/// `NFT_SET_ELEM_INTERVAL_END`, `NFT_SET_ELEM_CATCHALL`
const END: u32 = 1;
const CATCH_ALL: u32 = 2;

/// A chain or set, by family, table and name.
pub type Key = (u8, String, String);

/// A message of the kernel: its family, and its attributes.
pub type Message = (u8, Vec<u8>);

/// A chain.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    /// Of a base chain of hook input: whether its policy is to drop.
    pub(super) input: Option<bool>,
    /// A base chain that translates addresses before packets come to hook input.
    pub(super) translates: bool,
    pub(super) rules: Vec<Vec<Expression>>,
}

/// A set or map.
#[derive(Clone, Debug, Default)]
pub(super) struct Set {
    pub(super) is_anonymous: bool,
    /// Packets change it, or it was not read as a whole.
    pub(super) is_uncertain: bool,
    pub(super) flags: u32,
    pub(super) key_bytes: usize,
    pub(super) elements: Vec<Element>,
}

/// An element: keys from `low` to `high`, both included; of a map with a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) low: Vec<u8>,
    pub(super) high: Vec<u8>,
    /// What no other element has.
    pub(super) is_rest: bool,
    pub(super) verdict: Option<Verdict>,
}

/// The rules of a network namespace, as far as they decide about packets to its own ports.
#[derive(Clone, Debug, Default)]
pub struct Firewall {
    pub(super) chains: BTreeMap<Key, Chain>,
    pub(super) sets: BTreeMap<Key, Set>,
    /// Some packets are not tracked.
    pub(super) has_untracked: bool,
    /// There is more than is decoded.
    pub(super) is_too_large: bool,
    /// Tables of iptables-legacy, which are not read.
    pub legacy: Vec<String>,
}

impl Firewall {
    /// Decodes what the kernel lists. What makes no sense is left out.
    pub fn decode(
        tables: &[Message],
        chains: &[Message],
        rules: &[Message],
        sets: &[Message],
    ) -> Self {
        let mut firewall = Self::default();
        let dormant: BTreeSet<(u8, String)> = tables
            .iter()
            .map(|(family, bytes)| (family, Attributes(bytes)))
            .filter(|(_, table)| table.number(2).unwrap_or(0) & DORMANT != 0)
            .filter_map(|(family, table)| Some((*family, table.text(1)?)))
            .collect();
        for (family, bytes) in chains {
            let all = Attributes(bytes);
            let (Some(table), Some(name)) = (all.text(1), all.text(3)) else { continue };
            let is_read = matches!(*family, INET | IPV4 | IPV6);
            if !is_read || dormant.contains(&(*family, table.clone())) {
                continue;
            }
            if firewall.chains.len() == MOST_CHAINS {
                firewall.is_too_large = true;
                break;
            }
            let is_base = |hook: u32, kind: &str| {
                all.nested(4).number(1) == Some(hook) && all.text(7).as_deref() == Some(kind)
            };
            let input = is_base(INPUT, "filter").then(|| all.number(5) == Some(0));
            let translates = is_base(PREROUTING, "nat");
            let chain = Chain { input, translates, rules: Vec::new() };
            firewall.chains.insert((*family, table, name), chain);
        }
        for (number, (family, bytes)) in rules.iter().enumerate() {
            firewall.is_too_large |= number == MOST_RULES;
            if number == MOST_RULES {
                break;
            }
            let all = Attributes(bytes);
            let (Some(table), Some(chain)) = (all.text(1), all.text(2)) else { continue };
            let Some(chain) = firewall.chains.get_mut(&(*family, table, chain)) else { continue };
            let list = all.nested(4);
            let mut rule: Vec<Expression> = list
                .take(MOST_EXPRESSIONS)
                .map(|(_, expression)| Expression::decode(Attributes(expression)))
                .collect();
            if list.count() > MOST_EXPRESSIONS {
                rule.insert(0, Expression::Condition("…".to_owned()));
            }
            firewall.has_untracked |= rule.contains(&Expression::NoTrack);
            chain.rules.push(rule);
        }
        for (family, bytes) in sets {
            let all = Attributes(bytes);
            let (Some(table), Some(name)) = (all.text(1), all.text(2)) else { continue };
            let flags = all.number(3).unwrap_or(0);
            let set = Set {
                is_anonymous: flags & ANONYMOUS != 0,
                is_uncertain: flags & CHANGES != 0,
                flags,
                key_bytes: all.number(5).unwrap_or(0) as usize,
                elements: Vec::new(),
            };
            firewall.sets.insert((*family, table, name), set);
        }
        firewall
    }

    /// The base chains of hook input.
    pub(super) fn bases(&self) -> impl Iterator<Item = (&Key, &Chain)> {
        self.chains.iter().filter(|(_, chain)| chain.input.is_some())
    }

    /// The sets whose elements are needed.
    pub fn wanted(&self) -> Vec<Key> {
        let all = self.chains.iter();
        let bases = all.filter(|(_, chain)| chain.input.is_some() || chain.translates);
        let mut left: Vec<Key> = bases.map(|(key, _)| key.clone()).collect();
        let (mut seen, mut wanted) = (BTreeSet::new(), BTreeSet::new());
        // Chains that a map leads to are not known before its elements are: all of its table count.
        while let Some(key) = left.pop() {
            let Some(chain) = self.chains.get(&key).filter(|_| !seen.contains(&key)) else {
                continue;
            };
            for expression in chain.rules.iter().flatten() {
                match expression {
                    Expression::Lookup { set, .. } => {
                        wanted.insert((key.0, key.1.clone(), set.clone()));
                        if expression.is_verdict_map() {
                            let of_table = self.chains.keys();
                            left.extend(
                                of_table.filter(|one| (one.0, &one.1) == (key.0, &key.1)).cloned(),
                            );
                        }
                    }
                    Expression::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) => {
                        left.push((key.0, key.1.clone(), to.clone()));
                    }
                    _ => {}
                }
            }
            seen.insert(key);
        }
        wanted.into_iter().filter(|key| self.sets.contains_key(key)).collect()
    }

    /// Decodes the elements of a set.
    pub fn set_elements(&mut self, key: &Key, messages: &[Message]) {
        let known: usize = self.sets.values().map(|set| set.elements.len()).sum();
        let Some(set) = self.sets.get_mut(key) else { return };
        let mut room = MOST_ELEMENTS.saturating_sub(known);
        let mut raw: Vec<(Vec<u8>, u32, Element)> = Vec::new();
        for (_, bytes) in messages {
            for (_, element) in Attributes(bytes).nested(3) {
                let Some(left) = room.checked_sub(1) else {
                    set.is_uncertain = true;
                    break;
                };
                room = left;
                let all = Attributes(element);
                let flags = all.number(3).unwrap_or(0);
                let is_rest = flags & CATCH_ALL != 0;
                let low = all.nested(1).get(1).unwrap_or_default().to_vec();
                let high = all.nested(10).get(1).map_or_else(|| low.clone(), <[u8]>::to_vec);
                let verdict = Verdict::of_data(all.nested(2));
                raw.push((low.clone(), flags, Element { low, high, is_rest, verdict }));
            }
        }
        let is_by_ends = set.flags & INTERVAL != 0 && set.flags & CONCATENATION == 0;
        if is_by_ends {
            ends(&mut raw);
        }
        set.elements = raw.into_iter().map(|(_, _, element)| element).collect();
    }
}

/// Intervals are listed as where they begin and where what comes after them begins.
fn ends(raw: &mut Vec<(Vec<u8>, u32, Element)>) {
    let keys: BTreeSet<Vec<u8>> = raw
        .iter()
        .filter(|(_, flags, _)| flags & CATCH_ALL == 0)
        .map(|(key, _, _)| key.clone())
        .collect();
    raw.retain(|(_, flags, _)| flags & END == 0);
    raw.sort_by(|one, other| (one.2.is_rest, &one.0).cmp(&(other.2.is_rest, &other.0)));
    for (key, _, element) in raw {
        // Kernels that list the end too are taken at their word.
        if element.is_rest || element.high != element.low {
            continue;
        }
        let after = (std::ops::Bound::Excluded(&*key), std::ops::Bound::Unbounded);
        element.high = match keys.range::<Vec<u8>, _>(after).next() {
            Some(next) => before(next),
            None => vec![0xff; key.len()],
        };
    }
}

/// One less, as a big-endian number.
fn before(key: &[u8]) -> Vec<u8> {
    let mut key = key.to_vec();
    for byte in key.iter_mut().rev() {
        let (less, borrows) = byte.overflowing_sub(1);
        *byte = less;
        if !borrows {
            break;
        }
    }
    key
}
