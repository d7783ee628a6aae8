//! The numbers that stand in a recording for what has a name elsewhere. They stay.

use super::row::flags;
use crate::{
    event::{Reason, Refusal, TcpState, Via},
    ledger::{Held, Holds},
};

/// As SQLite has integers; the kernel's addresses become small negative ones.
pub fn signed(value: u64) -> i64 {
    value.cast_signed()
}

/// The number of a call.
pub fn via_number(via: Via) -> u8 {
    match via {
        Via::Connect => 1,
        Via::Bind => 2,
        Via::Autobind => 3,
        Via::Listen => 4,
    }
}

/// The call of a number.
pub fn via(number: u8) -> Option<Via> {
    [Via::Connect, Via::Bind, Via::Autobind, Via::Listen]
        .into_iter()
        .find(|via| via_number(*via) == number)
}

/// The number of a reason.
pub fn reason_number(reason: Reason) -> u8 {
    match reason {
        Reason::Closed => 1,
        Reason::TimeWaitExpired => 2,
        Reason::TimeWaitReused => 3,
        Reason::Reconciled => 4,
        Reason::TimeWaitReset => 5,
    }
}

/// The reason of a number.
pub fn reason(number: u8) -> Option<Reason> {
    [
        Reason::Closed,
        Reason::TimeWaitExpired,
        Reason::TimeWaitReused,
        Reason::Reconciled,
        Reason::TimeWaitReset,
    ]
    .into_iter()
    .find(|reason| reason_number(*reason) == number)
}

/// The number of why a call was refused, apart from those of releases.
pub fn refusal_number(refusal: Refusal) -> u8 {
    match refusal {
        Refusal::AddressNotLocal => 16,
        Refusal::NoSourceAddress => 17,
    }
}

/// Why a call was refused, by its number.
pub fn refusal(number: u8) -> Option<Refusal> {
    Refusal::ALL.into_iter().find(|refusal| refusal_number(*refusal) == number)
}

/// The number of what keeps a port.
pub fn holds_number(holds: Holds) -> u8 {
    match holds {
        Holds::Bound => 1,
        Holds::Listening => 2,
        Holds::Connected => 3,
        Holds::TimeWait => 4,
    }
}

/// What keeps a port, by its number. Older recordings have 5 for connections that one side has closed.
pub fn holds(number: u8) -> Holds {
    [Holds::Bound, Holds::Listening, Holds::TimeWait]
        .into_iter()
        .find(|holds| holds_number(*holds) == number)
        .unwrap_or(Holds::Connected)
}

/// The state of a connection that is held, by the number of what keeps the port and its flags.
pub fn held_state(number: u8, bits: u16) -> TcpState {
    let state = (bits >> flags::STATE_SHIFT).to_le_bytes()[0];
    let older = if number == 5 { TcpState::CLOSE_WAIT } else { TcpState::ESTABLISHED };
    TcpState::try_from(state).unwrap_or(older)
}

/// The flags of a holding.
pub fn held_flags(held: &Held) -> u16 {
    let of = |is_set: bool, flag: u16| if is_set { flag } else { 0 };
    of(held.sharing.connect_bind, flags::CONNECT_BIND)
        | of(held.sharing.ipv6_only, flags::IPV6_ONLY)
        | of(held.reuse.fin_wait2, flags::FIN_WAIT2)
        | of(held.reuse.timestamps, flags::TIMESTAMPS)
        | of(held.is_bound, flags::BLOCKED)
        | u16::from(held.connection.number()) << flags::STATE_SHIFT
}
