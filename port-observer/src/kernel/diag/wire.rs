//! The bytes of a socket diagnostics request and its answer (`include/uapi/linux/inet_diag.h`,
//! `include/uapi/linux/netlink.h`). Pure: no bytes make it panic.
//!
//! netlink-packet-sock-diag does not know the legacy request, which dumps IPv4 and IPv6 in one
//! pass, and allocates twice for every socket: so this is done here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::{DiagSocket, States};
use crate::event::{Endpoint, Flow, Protocol, TcpState};

/// `TCPDIAG_GETSOCK`: the legacy request; its family is ignored (`inet_diag_dump_compat`).
pub(super) const LEGACY_TCP: u16 = 18;
/// `SOCK_DIAG_BY_FAMILY`
pub(super) const BY_FAMILY: u16 = 20;
/// `AF_INET`
const FAMILY_IPV4: u8 = 2;
/// `AF_INET6`
const FAMILY_IPV6: u8 = 10;
const HEADER_BYTES: usize = 16;
const MESSAGE_BYTES: usize = 72;
/// `INET_DIAG_SKV6ONLY`
const ATTRIBUTE_V6ONLY: u16 = 11;
/// `idiag_timer` of a TIME_WAIT entry (`inet_twsk_diag_fill`).
const TIMER_TIME_WAIT: u8 = 3;

/// A part of the kernel's answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// A socket, for [`socket`].
    Socket(&'a [u8]),
    /// `NLMSG_DONE`, with the error that ended the dump, positive, or 0.
    Done(i32),
    /// `NLMSG_ERROR`, with the error, positive.
    Error(i32),
    /// Something else that carries no socket.
    Other,
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A netlink message: its header's fields and its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raw<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub payload: &'a [u8],
}

/// Takes the next message off a datagram. `None` at its end.
pub(super) fn next<'a>(datagram: &mut &'a [u8]) -> Option<Result<Raw<'a>, Malformed>> {
    if datagram.is_empty() {
        return None;
    }
    let all = std::mem::take(datagram);
    let read = || {
        let length = usize::try_from(u32_at(all, 0)?).ok()?;
        let payload = all.get(HEADER_BYTES..length)?;
        let raw = Raw {
            kind: u16_at(all, 4)?,
            flags: u16_at(all, 6)?,
            sequence: u32_at(all, 8)?,
            payload,
        };
        // Messages are aligned to 4 bytes (NLMSG_ALIGN), the last needs no padding.
        Some((raw, all.get(length.next_multiple_of(4)..).unwrap_or_default()))
    };
    // After a length that makes no sense, nothing says where the next message begins.
    let (raw, rest) = match read() {
        Some(found) => found,
        None => return Some(Err(Malformed)),
    };
    *datagram = rest;
    Some(Ok(raw))
}

/// Tells what a message is.
pub(super) fn classify(raw: Raw<'_>) -> Result<Message<'_>, Malformed> {
    match i32::from(raw.kind) {
        libc::NLMSG_DONE => Ok(Message::Done(errno(raw.payload).unwrap_or(0))),
        libc::NLMSG_ERROR => errno(raw.payload).map(Message::Error).ok_or(Malformed),
        _ if raw.kind == LEGACY_TCP || raw.kind == BY_FAMILY => Ok(Message::Socket(raw.payload)),
        _ => Ok(Message::Other),
    }
}

/// The leading number of the payload: a negative errno.
fn errno(payload: &[u8]) -> Option<i32> {
    payload.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes).saturating_neg())
}

/// Decodes `struct inet_diag_msg` and the attributes after it, in the answer to a request for
/// `protocol` in the namespace `netns`.
pub(super) fn socket(
    message: &[u8],
    protocol: Protocol,
    netns: u32,
) -> Result<DiagSocket, Malformed> {
    try_socket(message, protocol, netns).ok_or(Malformed)
}

fn try_socket(message: &[u8], protocol: Protocol, netns: u32) -> Option<DiagSocket> {
    let attributes = message.get(MESSAGE_BYTES..)?;
    let family = message[0];
    let local = Endpoint::new(address(message, family, 8)?, port(message, 4)?);
    let remote = Endpoint::new(address(message, family, 24)?, port(message, 6)?);
    let time_wait = message[2] == TIMER_TIME_WAIT && protocol == Protocol::Tcp;
    let state = TcpState::try_from(message[1]).ok()?;
    let mut socket = DiagSocket {
        flow: Flow { netns, protocol, local, remote: (!remote.is_unset()).then_some(remote) },
        state: bound_as_such(state, protocol),
        time_wait,
        expires_ms: if message[2] == 0 { 0 } else { u32_at(message, 52)? },
        is_unread: u32_at(message, 60)? > 1 || message[3] > 0,
        accept_queue: match state {
            TcpState::LISTEN => (u32_at(message, 56)?, u32_at(message, 60)?),
            _ => (0, 0),
        },
        inode: u32_at(message, 68)?,
        cookie: u64::from(u32_at(message, 44)?) | u64::from(u32_at(message, 48)?) << 32,
        v6only: None,
        interface: u32_at(message, 40)?,
    };
    for (kind, value) in Attributes(attributes) {
        if kind == ATTRIBUTE_V6ONLY {
            socket.v6only = value.first().map(|&flag| flag != 0);
        }
    }
    Some(socket)
}

/// A TCP socket that the kernel lists as CLOSE is one that is only bound: asked for by the pseudo
/// state, answered with the socket's own (`inet_diag_dump_icsk`).
pub(super) fn bound_as_such(state: TcpState, protocol: Protocol) -> TcpState {
    match protocol {
        Protocol::Tcp if state == TcpState::CLOSE => TcpState::BOUND_INACTIVE,
        Protocol::Tcp | Protocol::Udp => state,
    }
}

fn address(message: &[u8], family: u8, at: usize) -> Option<IpAddr> {
    match family {
        FAMILY_IPV4 => Some(Ipv4Addr::from(*message.get(at..)?.first_chunk::<4>()?).into()),
        FAMILY_IPV6 => Some(Ipv6Addr::from(*message.get(at..)?.first_chunk::<16>()?).into()),
        _ => None,
    }
}

fn port(message: &[u8], at: usize) -> Option<u16> {
    message.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// Netlink attributes: kind and value, ending at the first that does not fit.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)?;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// A request to dump: its kind, and all that follows the header.
pub(super) struct Ask {
    kind: u16,
    body: Vec<u8>,
}

/// Asks for TCP over IPv4 and IPv6 in one pass (`struct inet_diag_req`).
pub(super) fn legacy_tcp_request(states: States, ports: Option<&RangeInclusive<u16>>) -> Ask {
    let mut body = vec![0; 60];
    // The family is ignored; that of IPv4 is what old programs send.
    body[0] = FAMILY_IPV4;
    body[52..56].copy_from_slice(&states.0.to_ne_bytes());
    Ask::new(LEGACY_TCP, body, ports)
}

/// Asks for one family of one protocol (`struct inet_diag_req_v2`).
pub(super) fn family_request(
    protocol: Protocol,
    ipv6: bool,
    states: States,
    ports: Option<&RangeInclusive<u16>>,
) -> Ask {
    let mut body = vec![0; 56];
    body[0] = if ipv6 { FAMILY_IPV6 } else { FAMILY_IPV4 };
    body[1] = match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    };
    body[4..8].copy_from_slice(&states.0.to_ne_bytes());
    Ask::new(BY_FAMILY, body, ports)
}

impl Ask {
    fn new(kind: u16, mut body: Vec<u8>, ports: Option<&RangeInclusive<u16>>) -> Self {
        if let Some(ports) = ports {
            // INET_DIAG_REQ_BYTECODE (1), 4 + 16 bytes.
            body.extend_from_slice(&20u16.to_ne_bytes());
            body.extend_from_slice(&1u16.to_ne_bytes());
            body.extend_from_slice(&port_filter(ports));
        }
        Self { kind, body }
    }

    /// The message; its answers carry the sequence number.
    pub(super) fn bytes(&self, sequence: u32) -> Vec<u8> {
        let flags = u16::try_from(libc::NLM_F_REQUEST | libc::NLM_F_DUMP).unwrap_or_default();
        let length = HEADER_BYTES + self.body.len();
        let mut message = Vec::with_capacity(length);
        message.extend_from_slice(&u32::try_from(length).unwrap_or_default().to_ne_bytes());
        message.extend_from_slice(&self.kind.to_ne_bytes());
        message.extend_from_slice(&flags.to_ne_bytes());
        message.extend_from_slice(&sequence.to_ne_bytes());
        message.extend_from_slice(&0u32.to_ne_bytes());
        message.extend_from_slice(&self.body);
        message
    }
}

/// The kernel's filter language (`inet_diag_bc_run`): local port ≥ start and ≤ end. An operation is
/// {code, bytes to skip when true, bytes to skip when false}; its operand is the `no` of a second.
/// Skipping to 4 bytes behind the end means no.
fn port_filter(ports: &RangeInclusive<u16>) -> [u8; 16] {
    /// `INET_DIAG_BC_S_GE`
    const AT_LEAST: u8 = 2;
    /// `INET_DIAG_BC_S_LE`
    const AT_MOST: u8 = 3;
    let mut code = [0; 16];
    for (at, operation, no, port) in
        [(0, AT_LEAST, 20u16, ports.start()), (8, AT_MOST, 12u16, ports.end())]
    {
        code[at] = operation;
        code[at + 1] = 8;
        code[at + 2..at + 4].copy_from_slice(&no.to_ne_bytes());
        code[at + 6..at + 8].copy_from_slice(&port.to_ne_bytes());
    }
    code
}
