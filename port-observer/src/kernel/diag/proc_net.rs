//! The fallback: `/proc/net/tcp` and its kin (`get_tcp4_sock` in `net/ipv4/tcp_ipv4.c`), which show
//! the namespace of the process, or here of the thread that reads them.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Context;

use super::{DiagSocket, Dump, Request, wire};
use crate::event::{Endpoint, Flow, Protocol, TcpState};

const DIRECTORY: &str = "/proc/thread-self/net";

/// Appends the sockets of one protocol, IPv4 and IPv6, filtered as asked.
pub(super) fn append(request: &Request, protocol: Protocol, dump: &mut Dump) -> anyhow::Result<()> {
    for ipv6 in [false, true] {
        let path = format!("{DIRECTORY}/{}{}", protocol.name(), if ipv6 { "6" } else { "" });
        let file = match File::open(&path) {
            Ok(file) => file,
            // A kernel without IPv6.
            Err(error) if ipv6 && error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error).with_context(|| format!("cannot open {path}")),
        };
        for line in BufReader::new(file).split(b'\n').skip(1) {
            let line = line.with_context(|| format!("cannot read {path}"))?;
            match parse(&String::from_utf8_lossy(&line), protocol, dump.netns) {
                Some(socket) if wanted(&socket, request) => dump.sockets.push(socket),
                Some(_) => {}
                None => dump.malformed += 1,
            }
        }
    }
    Ok(())
}

fn wanted(socket: &DiagSocket, request: &Request) -> bool {
    request.states.contains(socket.state)
        && request.ports.as_ref().is_none_or(|ports| ports.contains(&socket.flow.local.port))
}

/// One line: `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`.
pub(super) fn parse(line: &str, protocol: Protocol, netns: u32) -> Option<DiagSocket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = endpoint(fields.next()?)?;
    let remote = endpoint(fields.next()?)?;
    let state = TcpState::try_from(u8::from_str_radix(fields.next()?, 16).ok()?).ok()?;
    let (timer, ticks) = fields.nth(1)?.split_once(':')?;
    let inode = fields.nth(3)?.parse().ok()?;
    let ticks = u64::from_str_radix(ticks, 16).ok()?;
    Some(DiagSocket {
        flow: Flow { netns, protocol, local, remote: (!remote.is_unset()).then_some(remote) },
        state: wire::bound_as_such(state, protocol),
        // 3: a TIME_WAIT entry (`get_timewait4_sock`).
        time_wait: protocol == Protocol::Tcp && timer == "03",
        // Clock ticks of 10 ms (USER_HZ).
        expires_ms: u32::try_from(ticks.saturating_mul(10)).unwrap_or(u32::MAX),
        is_unread: false,
        accept_queue: (0, 0),
        inode,
        cookie: 0,
        v6only: None,
        interface: 0,
    })
}

/// `0100007F:1F90`: the address as words of the processor's byte order, the port as a number.
fn endpoint(field: &str) -> Option<Endpoint> {
    let (address, port) = field.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    if !address.is_ascii() {
        return None;
    }
    let word = |at: usize| {
        let digits = address.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let address: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (at, place) in bytes.chunks_exact_mut(4).enumerate() {
                place.copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(Endpoint::new(address, port))
}
