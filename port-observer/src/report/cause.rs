//! Why a space ran out of ports.

use crate::event::TcpState;

/// A range with fewer ports than this is small: the kernel's own default has 28,232.
const SMALL_CAPACITY: u32 = 1_000;
/// Connections that are younger than this at the median are not held for long.
const LONG_HELD_SECONDS: f64 = 10.0;
/// Of connections that leak, at most this part of the growth is closed.
const LEAK_CLOSED: f64 = 0.1;

/// Why a space ran out of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CauseKind {
    /// Mostly TIME_WAIT: connections come and go fast.
    Churn,
    /// Connections are held for long and grow in number.
    Leak,
    /// Ports are held by bind(), which connect() can't share.
    BindHeld,
    /// Connections wait for a destination that does not answer.
    Unanswered,
    /// The peers have closed, the process does not.
    NotClosed,
    /// The process has closed, the peers do not acknowledge what was sent.
    NotRead,
    /// Many connections in real use.
    Concurrency,
    /// The range is small.
    SmallRange,
}

impl CauseKind {
    /// The name that the JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::Churn => "churn",
            Self::Leak => "leak",
            Self::BindHeld => "bind_held",
            Self::Unanswered => "unanswered",
            Self::NotClosed => "not_closed",
            Self::NotRead => "not_read",
            Self::Concurrency => "concurrency",
            Self::SmallRange => "small_range",
        }
    }
}

/// What happened in a space over the last minute, or since it is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// By how much `used` grew per second; negative when it shrank.
    pub used_per_second: f64,
    /// How many connections were closed per second.
    pub closed_per_second: f64,
}

/// What keeps the ports of a space, in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Ports that the call could have had, reserved ones left out.
    pub capacity: u32,
    /// Of these, kept by TIME_WAIT.
    pub time_wait: u32,
    /// Of these, old enough to be taken over, if `tcp_tw_reuse` allowed it.
    pub reusable: u32,
    /// Kept by connections in use.
    pub established: u32,
    /// Kept by connections that wait for an answer (SYN_SENT).
    pub syn_sent: u32,
    /// Kept by connections that the peer has closed and the process has not (CLOSE_WAIT).
    pub close_wait: u32,
    /// Kept by connections that were closed here and whose peer has not acknowledged all that was sent
    /// (FIN_WAIT1, CLOSING, LAST_ACK).
    pub closing: u32,
    /// Kept by connections in any other state (FIN_WAIT2, SYN_RECV).
    pub other: u32,
    /// Kept by bind(), listeners and what a bind() made unsharable.
    pub bound: u32,
    /// Of these, by connections whose port bind() gave, for a call of bind().
    pub bound_connected: u32,
    /// The ports are of UDP, where each socket needs one of its own.
    pub is_udp: bool,
    /// The median age of the connections in use, if known.
    pub median_age_seconds: Option<f64>,
    /// How the space changed over the last minute, if known.
    pub growth: Option<Growth>,
}

/// Why, and the numbers that say so.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// Why.
    pub kind: CauseKind,
    /// What it was concluded from.
    pub evidence: Evidence,
}

impl Evidence {
    /// The count of connections in this state.
    pub fn connections(&mut self, state: TcpState) -> &mut u32 {
        match state {
            TcpState::ESTABLISHED => &mut self.established,
            TcpState::SYN_SENT => &mut self.syn_sent,
            TcpState::CLOSE_WAIT => &mut self.close_wait,
            TcpState::FIN_WAIT1 | TcpState::CLOSING | TcpState::LAST_ACK => &mut self.closing,
            _ => &mut self.other,
        }
    }

    /// The cause that the numbers show.
    pub fn cause(self) -> Cause {
        Cause { kind: self.kind(), evidence: self }
    }

    /// How many connections were closed per second, if known.
    pub fn closed_per_second(&self) -> Option<f64> {
        self.growth.map(|growth| growth.closed_per_second)
    }

    /// By how much `used` grew per second, if known.
    pub fn growth_per_second(&self) -> Option<f64> {
        self.growth.map(|growth| growth.used_per_second)
    }

    fn kind(&self) -> CauseKind {
        // No two sockets share a port of UDP, whether bind() took it or connect().
        if self.is_udp {
            return self.of_use();
        }
        let kinds = [
            (self.syn_sent, CauseKind::Unanswered),
            (self.close_wait, CauseKind::NotClosed),
            (self.closing, CauseKind::NotRead),
            (self.time_wait, CauseKind::Churn),
            (self.bound, CauseKind::BindHeld),
        ];
        let in_use = (self.established + self.other, self.of_use());
        // Of equals the first.
        let most = |a: (u32, CauseKind), b: (u32, CauseKind)| if b.0 > a.0 { b } else { a };
        kinds.into_iter().fold(in_use, most).1
    }

    /// Why connections in use hold so many.
    fn of_use(&self) -> CauseKind {
        if self.is_leak() {
            CauseKind::Leak
        } else if !self.is_udp && self.capacity < SMALL_CAPACITY {
            CauseKind::SmallRange
        } else {
            CauseKind::Concurrency
        }
    }

    /// Connections that are opened, held for long, and hardly any closed.
    fn is_leak(&self) -> bool {
        let is_long_held = self.median_age_seconds.is_some_and(|age| age >= LONG_HELD_SECONDS);
        is_long_held
            && self.growth.is_some_and(|growth| {
                growth.used_per_second > 0.0
                    && growth.closed_per_second <= growth.used_per_second * LEAK_CLOSED
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence(time_wait: u32, established: u32, bound: u32) -> Evidence {
        Evidence {
            capacity: time_wait + established + bound,
            time_wait,
            reusable: 0,
            established,
            bound,
            median_age_seconds: Some(30.0),
            ..Evidence::default()
        }
    }

    fn growing(used_per_second: f64, closed_per_second: f64) -> Option<Growth> {
        Some(Growth { used_per_second, closed_per_second })
    }

    #[test]
    fn what_keeps_most_ports_is_the_cause() {
        assert_eq!(evidence(20_000, 8_000, 232).cause().kind, CauseKind::Churn);
        assert_eq!(evidence(0, 8_000, 20_232).cause().kind, CauseKind::BindHeld);
        assert_eq!(evidence(8_000, 20_000, 232).cause().kind, CauseKind::Concurrency);
        assert_eq!(evidence(0, 10, 0).cause().kind, CauseKind::SmallRange);
        let of = |syn_sent, close_wait, closing| {
            let evidence = Evidence { syn_sent, close_wait, closing, ..evidence(90, 90, 90) };
            evidence.cause().kind
        };
        assert_eq!(of(91, 0, 0), CauseKind::Unanswered);
        assert_eq!(of(0, 91, 0), CauseKind::NotClosed);
        assert_eq!(of(0, 0, 91), CauseKind::NotRead);
        assert_eq!(of(90, 90, 90), CauseKind::SmallRange);
    }

    #[test]
    fn the_size_of_a_range_does_not_hide_that_udp_sockets_share_no_port() {
        let udp = |established, bound| Evidence { is_udp: true, ..evidence(0, established, bound) };
        assert_eq!(udp(50, 0).cause().kind, CauseKind::Concurrency);
        assert_eq!(udp(10, 40).cause().kind, CauseKind::Concurrency);
        let leak = Evidence { growth: growing(10.0, 0.0), ..udp(50, 0) };
        assert_eq!(leak.cause().kind, CauseKind::Leak);
    }

    #[test]
    fn connections_leak_if_they_are_held_and_grow() {
        let leak = Evidence { growth: growing(100.0, 1.0), ..evidence(0, 28_232, 0) };
        assert_eq!(leak.clone().cause().kind, CauseKind::Leak);
        let in_use = Evidence { growth: growing(100.0, 900.0), ..leak.clone() };
        assert_eq!(in_use.cause().kind, CauseKind::Concurrency);
        let steady = Evidence { growth: growing(0.0, 0.0), ..leak.clone() };
        assert_eq!(steady.cause().kind, CauseKind::Concurrency);
        let burst = Evidence { median_age_seconds: Some(1.0), ..leak };
        assert_eq!(burst.cause().kind, CauseKind::Concurrency);
    }
}
