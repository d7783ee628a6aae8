//! The expressions of a rule, decoded (`enum nft_expr_attributes` and those of each expression).

use super::attributes::Attributes;

/// A register, by its first unit of 4 bytes (`NFT_REG32_00` is 8).
pub(super) type Register = u32;

/// `NFT_REG_VERDICT`
const VERDICT: u32 = 0;

/// What an expression does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    /// Bytes of a packet's header: 0 link, 1 network, 2 transport.
    Payload { to: Register, base: u32, offset: u32, length: u32 },
    /// What comes with a packet (`enum nft_meta_keys`).
    Meta { to: Register, key: u32 },
    /// Connection tracking (`enum nft_ct_keys`).
    Ct { to: Register, key: u32 },
    /// The routing table: `result` (`enum nft_fib_result`) by `flags`.
    Fib { to: Register, result: u32, flags: u32 },
    /// Something else, by its name.
    Load { to: Register, name: String },
    /// A constant.
    Constant { to: Register, data: Vec<u8> },
    /// `(from & mask) ^ xor`
    Bitwise { from: Register, to: Register, mask: Vec<u8>, xor: Vec<u8> },
    /// Goes on if it compares so (`enum nft_cmp_ops`).
    Compare { from: Register, operator: u32, data: Vec<u8> },
    /// Goes on if it lies between, both included.
    Range { from: Register, is_not: bool, low: Vec<u8>, high: Vec<u8> },
    /// Goes on if it is in a set; `is_verdict`: with the verdict that a map has for it.
    Lookup { set: String, from: Register, is_not: bool, to: Option<Register> },
    /// The end.
    Verdict(Verdict),
    /// What changes nothing of whether a packet goes on.
    Statement(String),
    /// A condition that is not understood, by its name.
    Condition(String),
    /// A match of iptables.
    Match { name: String, revision: u32, info: Vec<u8> },
    /// A target of iptables that ends a rule in a way that is not understood.
    Target(String),
    /// Packets that come later are not tracked.
    NoTrack,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    /// Dropped, and the sender is told.
    Reject,
    Continue,
    Return,
    Jump(String),
    Goto(String),
    /// Somebody else decides.
    Other,
}

impl Verdict {
    /// `NFTA_DATA_VERDICT`
    pub(super) fn of_data(data: Attributes<'_>) -> Option<Self> {
        data.get(2)?;
        let verdict = data.nested(2);
        let chain = || verdict.text(2).unwrap_or_default();
        Some(match verdict.number(1)?.cast_signed() {
            0 => Self::Drop,
            1 => Self::Accept,
            -1 | -2 => Self::Continue,
            -3 => Self::Jump(chain()),
            -4 => Self::Goto(chain()),
            -5 => Self::Return,
            _ => Self::Other,
        })
    }
}

/// `NFT_REG_1` to `NFT_REG_4` have 4 units each.
fn register(number: u32) -> Register {
    match number {
        1..=4 => 8 + (number - 1) * 4,
        other => other,
    }
}

impl Expression {
    /// Decodes an expression.
    pub(super) fn decode(expression: Attributes<'_>) -> Self {
        let name = expression.text(1).unwrap_or_default();
        let all = expression.nested(2);
        Self::known(&name, all).unwrap_or(Self::Condition(name))
    }

    fn known(name: &str, all: Attributes<'_>) -> Option<Self> {
        let at = |kind: u16| all.number(kind).map(register);
        let value = |kind: u16| all.nested(kind).get(1).map(<[u8]>::to_vec);
        let load = |to: u32| Self::Load { to, name: name.to_owned() };
        Some(match name {
            "payload" => match (at(1), all.number(2), all.number(3), all.number(4)) {
                (Some(to), Some(base), Some(offset), Some(length)) => {
                    Self::Payload { to, base, offset, length }
                }
                _ => Self::Statement(name.to_owned()),
            },
            "meta" => match (at(1), all.number(2)) {
                (Some(to), Some(key)) => Self::Meta { to, key },
                _ => Self::Statement(name.to_owned()),
            },
            "ct" => match (at(1), all.number(2)) {
                (Some(to), Some(key)) => Self::Ct { to, key },
                _ => Self::Statement(name.to_owned()),
            },
            "fib" => Self::Fib { to: at(1)?, result: all.number(2)?, flags: all.number(3)? },
            "rt" | "numgen" | "osf" | "xfrm" => load(at(1)?),
            "socket" | "hash" | "tunnel" => load(at(2)?),
            "exthdr" => at(1).map_or_else(|| Self::Statement(name.to_owned()), load),
            // Of less than one number nothing is turned round (nft_byteorder_eval).
            "byteorder" if at(1) == at(2) && all.number(4)? < all.number(5)? => {
                Self::Statement(name.to_owned())
            }
            "byteorder" => load(at(2)?),
            "bitwise" => match (value(4), value(5)) {
                (Some(mask), Some(xor)) => Self::Bitwise { from: at(1)?, to: at(2)?, mask, xor },
                _ => load(at(2)?),
            },
            "immediate" => match Verdict::of_data(all.nested(2)) {
                Some(verdict) if at(1) == Some(VERDICT) => Self::Verdict(verdict),
                _ => Self::Constant { to: at(1)?, data: value(2)? },
            },
            "cmp" => Self::Compare { from: at(1)?, operator: all.number(2)?, data: value(3)? },
            "range" => Self::Range {
                from: at(1)?,
                is_not: all.number(2)? == 1,
                low: value(3)?,
                high: value(4)?,
            },
            "lookup" => Self::Lookup {
                set: all.text(1)?,
                from: at(2)?,
                to: at(3),
                is_not: all.number(5).unwrap_or(0) & 1 != 0,
            },
            "reject" => Self::Verdict(Verdict::Reject),
            "queue" | "synproxy" | "nat" | "redir" | "masq" => Self::Verdict(Verdict::Other),
            "notrack" => Self::NoTrack,
            "counter" | "log" | "last" | "dup" => Self::Statement(name.to_owned()),
            "match" => Self::Match {
                name: all.text(1)?,
                revision: all.number(2)?,
                info: all.get(3)?.to_vec(),
            },
            "target" => match &*all.text(1)? {
                "REJECT" => Self::Verdict(Verdict::Reject),
                "DROP" => Self::Verdict(Verdict::Drop),
                "LOG" | "NFLOG" | "MARK" | "CONNMARK" | "SET" | "CT" | "TRACE" | "ULOG" => {
                    Self::Statement(all.text(1)?)
                }
                other => Self::Target(other.to_owned()),
            },
            _ => return None,
        })
    }

    /// Whether it is of a kind that a map with verdicts has.
    pub(super) fn is_verdict_map(&self) -> bool {
        matches!(self, Self::Lookup { to: Some(to), .. } if *to == VERDICT)
    }
}
