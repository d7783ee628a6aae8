//! The states of TCP.

/// How long the kernel keeps TIME_WAIT: `TCP_TIMEWAIT_LEN` (include/net/tcp.h), 60 s.
pub const TIME_WAIT_NS: u64 = 60_000_000_000;

/// A TCP state, numbered as in the kernel (`include/net/tcp_states.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TcpState(u8);

impl TcpState {
    const NAMES: [&str; 13] = [
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
        "CLOSE",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
        "NEW_SYN_RECV",
        "BOUND_INACTIVE",
    ];
    /// Connected.
    pub const ESTABLISHED: Self = Self(1);
    /// connect() is under way.
    pub const SYN_SENT: Self = Self(2);
    /// A peer's connect() is under way.
    pub const SYN_RECV: Self = Self(3);
    /// Closed here, which the peer has not acknowledged.
    pub const FIN_WAIT1: Self = Self(4);
    /// Closed here and acknowledged, the peer's FIN is awaited.
    pub const FIN_WAIT2: Self = Self(5);
    /// The socket is gone, the port is kept.
    pub const TIME_WAIT: Self = Self(6);
    /// Not connected.
    pub const CLOSE: Self = Self(7);
    /// The peer has closed, this side has not.
    pub const CLOSE_WAIT: Self = Self(8);
    /// Closed by the peer and then here, which the peer has not acknowledged.
    pub const LAST_ACK: Self = Self(9);
    /// A listener.
    pub const LISTEN: Self = Self(10);
    /// Both sides closed at once.
    pub const CLOSING: Self = Self(11);
    /// Bound and not connected, as socket diagnostics call it.
    pub const BOUND_INACTIVE: Self = Self(13);

    /// Those of connections.
    pub const CONNECTED: [Self; 8] = [
        Self::ESTABLISHED,
        Self::SYN_SENT,
        Self::SYN_RECV,
        Self::FIN_WAIT1,
        Self::FIN_WAIT2,
        Self::CLOSE_WAIT,
        Self::LAST_ACK,
        Self::CLOSING,
    ];

    /// The kernel's name.
    pub fn name(self) -> &'static str {
        Self::NAMES[usize::from(self.0) - 1]
    }

    /// The kernel's number, 1 to 13.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for TcpState {
    type Error = u8;

    fn try_from(number: u8) -> Result<Self, u8> {
        if (1..=13).contains(&number) { Ok(Self(number)) } else { Err(number) }
    }
}
