//! Rules as nft prints them, as far as they are understood.

use std::{collections::HashMap, fmt::Write as _};

use super::{
    expression::{Expression, Register, Verdict},
    ruleset::{Element, Firewall, IPV6, Key},
};

/// How long a rule is shown, in characters, and how many elements of a set.
const MOST_CHARACTERS: usize = 160;
const MOST_ELEMENTS: usize = 6;

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Port,
    Address,
    Protocol,
    Name,
    State,
    Number,
}

#[derive(Clone, Debug)]
struct Shown {
    name: String,
    kind: Kind,
    /// Under a mask: the bits are asked for.
    mask: Option<Vec<u8>>,
}

/// A rule.
pub(super) fn rule(rule: &[Expression], chain: &Key, firewall: &Firewall) -> String {
    let mut registers: HashMap<Register, Shown> = HashMap::new();
    let mut words: Vec<String> = Vec::new();
    let mut protocol: Option<String> = None;
    let mut at = 0;
    while at < rule.len() {
        let name = |register: &Register, registers: &HashMap<Register, Shown>| {
            registers.get(register).cloned().unwrap_or(Shown {
                name: "?".to_owned(),
                kind: Kind::Number,
                mask: None,
            })
        };
        match &rule[at] {
            Expression::Payload { to, base, offset, length } => {
                let shown = payload(*base, *offset, *length, chain.0, protocol.as_deref());
                registers.insert(*to, shown);
            }
            Expression::Meta { to, key } => {
                registers.insert(*to, meta(*key));
            }
            Expression::Ct { to, key } => {
                let (name, kind) = match key {
                    0 => ("ct state".to_owned(), Kind::State),
                    2 => ("ct status".to_owned(), Kind::Number),
                    3 => ("ct mark".to_owned(), Kind::Number),
                    key => (format!("ct key {key}"), Kind::Number),
                };
                registers.insert(*to, Shown { name, kind, mask: None });
            }
            Expression::Fib { to, .. } => {
                let name = "fib".to_owned();
                registers.insert(*to, Shown { name, kind: Kind::Number, mask: None });
            }
            Expression::Load { to, name } => {
                let name = name.clone();
                registers.insert(*to, Shown { name, kind: Kind::Number, mask: None });
            }
            Expression::Constant { .. } => {}
            Expression::Bitwise { from, to, mask, .. } => {
                let shown = Shown { mask: Some(mask.clone()), ..name(from, &registers) };
                registers.insert(*to, shown);
            }
            Expression::Compare { from, operator, data } => {
                let shown = name(from, &registers);
                // What only says which header comes next is not printed.
                let is_said = shown.name == "meta l4proto" || shown.name == "meta nfproto";
                let is_followed = rule[at + 1..]
                    .iter()
                    .any(|next| matches!(next, Expression::Payload { base: 1 | 2, .. }));
                if shown.name == "meta l4proto" && *operator == 0 {
                    protocol = Some(bytes(data, &shown));
                }
                let end = match rule.get(at + 1) {
                    Some(Expression::Compare { from: same, operator: 3, data })
                        if same == from && *operator == 5 =>
                    {
                        at += 1;
                        Some(data)
                    }
                    _ => None,
                };
                if !(is_said && is_followed && *operator == 0) {
                    words.push(compare(&shown, *operator, data, end));
                }
            }
            Expression::Range { from, is_not, low, high } => {
                let shown = name(from, &registers);
                let not = if *is_not { "!= " } else { "" };
                let (low, high) = (bytes(low, &shown), bytes(high, &shown));
                words.push(format!("{} {not}{low}-{high}", shown.name));
            }
            Expression::Lookup { set, from, to, is_not } => {
                let shown = name(from, &registers);
                let how = match (to.is_some(), is_not) {
                    (true, _) if rule[at].is_verdict_map() => "vmap ",
                    (true, _) => "map ",
                    (false, true) => "!= ",
                    (false, false) => "",
                };
                let key = (chain.0, chain.1.clone(), set.clone());
                let set = match firewall.sets.get(&key).filter(|set| set.is_anonymous) {
                    // The fields of a concatenation are not told apart.
                    Some(known) if known.key_bytes > 4 && shown.kind != Kind::Address => {
                        ". … { … }".to_owned()
                    }
                    Some(known) => elements(&known.elements, &shown),
                    None => format!("@{set}"),
                };
                words.push(format!("{} {how}{set}", shown.name));
            }
            Expression::Verdict(verdict) => words.push(self::verdict(verdict)),
            Expression::Statement(name) if matches!(&**name, "counter" | "log") => {
                words.push(name.clone());
            }
            Expression::Statement(_) => {}
            Expression::Condition(name) | Expression::Target(name) => {
                words.push(format!("[{name}]"));
            }
            Expression::Match { name, .. } => words.push(format!("[{name}]")),
            Expression::NoTrack => words.push("notrack".to_owned()),
        }
        at += 1;
    }
    cut(&words.join(" "))
}

/// The first characters.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn payload(base: u32, offset: u32, length: u32, family: u8, protocol: Option<&str>) -> Shown {
    let is_v6 = family == IPV6 || (base == 1 && (length == 16 || matches!(offset, 8 | 24)));
    let (name, kind) = match (base, offset) {
        (2, 0) if length == 2 => (format!("{} sport", protocol.unwrap_or("th")), Kind::Port),
        (2, 2) if length == 2 => (format!("{} dport", protocol.unwrap_or("th")), Kind::Port),
        (2, 13) => ("tcp flags".to_owned(), Kind::Number),
        (1, 8) if is_v6 => ("ip6 saddr".to_owned(), Kind::Address),
        (1, 24) if is_v6 => ("ip6 daddr".to_owned(), Kind::Address),
        (1, 12) => ("ip saddr".to_owned(), Kind::Address),
        (1, 16) => ("ip daddr".to_owned(), Kind::Address),
        (1, 9) => ("ip protocol".to_owned(), Kind::Protocol),
        (1, 6) if is_v6 => ("ip6 nexthdr".to_owned(), Kind::Protocol),
        (base, offset) => {
            let base = match base {
                0 => "ll",
                1 => "nh",
                _ => "th",
            };
            (format!("@{base},{},{}", offset.wrapping_mul(8), length.wrapping_mul(8)), Kind::Number)
        }
    };
    Shown { name, kind, mask: None }
}

fn meta(key: u32) -> Shown {
    let (name, kind) = match key {
        3 => ("meta mark", Kind::Number),
        4 => ("iif", Kind::Number),
        6 => ("iifname", Kind::Name),
        10 => ("meta skuid", Kind::Number),
        15 => ("meta nfproto", Kind::Protocol),
        16 => ("meta l4proto", Kind::Protocol),
        19 => ("meta pkttype", Kind::Number),
        key => return Shown { name: format!("meta key {key}"), kind: Kind::Number, mask: None },
    };
    Shown { name: name.to_owned(), kind, mask: None }
}

fn compare(shown: &Shown, operator: u32, data: &[u8], end: Option<&Vec<u8>>) -> String {
    let is_zero = data.iter().all(|byte| *byte == 0);
    if let (Some(mask), Kind::State, 1, true) = (&shown.mask, shown.kind, operator, is_zero) {
        return format!("{} {}", shown.name, bytes(mask, shown));
    }
    let symbol = match (operator, end) {
        (_, Some(_)) | (0, _) => "",
        (1, _) => "!= ",
        (2, _) => "< ",
        (3, _) => "<= ",
        (4, _) => "> ",
        _ => ">= ",
    };
    let mut text = format!("{} {symbol}{}", shown.name, bytes(data, shown));
    if let Some(end) = end {
        let _ = write!(text, "-{}", bytes(end, shown));
    } else if shown.kind == Kind::Address {
        let full = if shown.name.starts_with("ip6") { 16 } else { 4 };
        let bits: u32 = match &shown.mask {
            Some(mask) => mask.iter().map(|byte| byte.count_ones()).sum(),
            None => u32::try_from(data.len() * 8).unwrap_or(0),
        };
        if bits < full * 8 {
            let _ = write!(text, "/{bits}");
        }
    }
    text
}

fn bytes(data: &[u8], shown: &Shown) -> String {
    let padded = |length: usize| {
        let mut all = data.to_vec();
        all.resize(length, 0);
        all
    };
    match shown.kind {
        Kind::Port if data.len() == 2 => u16::from_be_bytes([data[0], data[1]]).to_string(),
        Kind::Address if shown.name.starts_with("ip6") => {
            let octets: [u8; 16] = padded(16).try_into().unwrap_or_default();
            std::net::Ipv6Addr::from(octets).to_string()
        }
        Kind::Address => {
            let octets: [u8; 4] = padded(4).try_into().unwrap_or_default();
            std::net::Ipv4Addr::from(octets).to_string()
        }
        Kind::Protocol => match (data.first(), &*shown.name) {
            (Some(2), "meta nfproto") => "ipv4".to_owned(),
            (Some(10), "meta nfproto") => "ipv6".to_owned(),
            (Some(1), _) => "icmp".to_owned(),
            (Some(6), _) => "tcp".to_owned(),
            (Some(17), _) => "udp".to_owned(),
            (Some(58), _) => "ipv6-icmp".to_owned(),
            (number, _) => number.copied().unwrap_or_default().to_string(),
        },
        Kind::Name => {
            let end = data.iter().position(|byte| *byte == 0);
            let name = String::from_utf8_lossy(&data[..end.unwrap_or(data.len())]).into_owned();
            match end {
                Some(_) => format!("\"{name}\""),
                None => format!("\"{name}*\""),
            }
        }
        Kind::State => {
            let bits = data.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes));
            let names =
                [(1, "invalid"), (2, "established"), (4, "related"), (8, "new"), (64, "untracked")];
            let set = names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name);
            set.collect::<Vec<_>>().join(",")
        }
        _ => format!("0x{}", data.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}

fn elements(elements: &[Element], shown: &Shown) -> String {
    let one = |element: &Element| {
        let key = match (element.is_rest, element.low == element.high) {
            (true, _) => "*".to_owned(),
            (false, true) => bytes(&element.low, shown),
            (false, false) => {
                format!("{}-{}", bytes(&element.low, shown), bytes(&element.high, shown))
            }
        };
        match &element.verdict {
            Some(verdict) => format!("{key} : {}", self::verdict(verdict)),
            None => key,
        }
    };
    let mut all: Vec<String> = elements.iter().take(MOST_ELEMENTS).map(one).collect();
    if elements.len() > MOST_ELEMENTS {
        all.push("…".to_owned());
    }
    format!("{{ {} }}", all.join(", "))
}

fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Reject => "reject".to_owned(),
        Verdict::Continue => "continue".to_owned(),
        Verdict::Return => "return".to_owned(),
        Verdict::Jump(to) => format!("jump {to}"),
        Verdict::Goto(to) => format!("goto {to}"),
        Verdict::Other => "queue".to_owned(),
    }
}
