//! One dump over a netlink socket.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
    setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::wire::{self, Message};
use super::{DiagSocket, Request, Summary};
use crate::event::Protocol;

/// More than the kernel sends at once (32 KiB, `netlink_dump`).
const BUFFER_BYTES: usize = 64 * 1024;
/// The kernel answers at once; a filter in between may swallow the request.
const TIMEOUT_SECONDS: i64 = 10;

/// Asks for the sockets of one protocol, IPv4 and IPv6.
pub(super) fn walk(
    request: &Request,
    protocol: Protocol,
    netns: u32,
    each: &mut impl FnMut(DiagSocket),
) -> anyhow::Result<Summary> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )
    .context("cannot open a netlink socket for socket diagnostics")?;
    setsockopt(&netlink, ReceiveTimeout, &TimeVal::seconds(TIMEOUT_SECONDS))
        .context("cannot set a timeout on a netlink socket")?;
    let mut walk = Walk { netlink, protocol, netns, sequence: 0, buffer: vec![0; BUFFER_BYTES] };
    if protocol == Protocol::Tcp {
        let legacy = wire::legacy_tcp_request(request.states, request.ports.as_ref());
        match walk.ask(legacy, each) {
            // Without it: nothing has been listed then.
            Err(error) if is(&error, &[Errno::EOPNOTSUPP, Errno::EINVAL]) => {}
            result => return result,
        }
    }
    walk.by_family(request, each)
}

fn is(error: &anyhow::Error, any_of: &[Errno]) -> bool {
    error.downcast_ref::<Errno>().is_some_and(|errno| any_of.contains(errno))
}

struct Walk {
    netlink: OwnedFd,
    protocol: Protocol,
    netns: u32,
    /// Of the last request: answers carry it.
    sequence: u32,
    buffer: Vec<u8>,
}

impl Walk {
    /// In two passes: the only way for UDP.
    fn by_family(
        &mut self,
        request: &Request,
        each: &mut impl FnMut(DiagSocket),
    ) -> anyhow::Result<Summary> {
        let (protocol, states, ports) = (self.protocol, request.states, request.ports.as_ref());
        let mut summary = self.ask(wire::family_request(protocol, false, states, ports), each)?;
        match self.ask(wire::family_request(protocol, true, states, ports), each) {
            Ok(more) => summary.add(more),
            // A kernel without IPv6 has no handler for it.
            Err(error) if is(&error, &[Errno::ENOENT]) => {}
            Err(error) => return Err(error),
        }
        Ok(summary)
    }

    fn ask(
        &mut self,
        request: wire::Ask,
        each: &mut impl FnMut(DiagSocket),
    ) -> anyhow::Result<Summary> {
        let protocol = self.protocol.name();
        self.sequence += 1;
        let request = request.bytes(self.sequence);
        sendto(self.netlink.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())
            .with_context(|| format!("cannot ask for the {protocol} sockets"))?;
        let mut summary = Summary::default();
        loop {
            // MSG_TRUNC: the length of the whole datagram, to see when it did not fit.
            let received =
                match recv(self.netlink.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_TRUNC) {
                    Ok(received) => received,
                    Err(Errno::EINTR) => continue,
                    Err(error) => {
                        return Err(error)
                            .with_context(|| format!("no answer about the {protocol} sockets"));
                    }
                };
            let Some(mut datagram) = self.buffer.get(..received) else {
                bail!("an answer about the {protocol} sockets is longer than {BUFFER_BYTES} bytes");
            };
            if datagram.is_empty() {
                bail!("an empty answer about the {protocol} sockets");
            }
            while let Some(raw) = wire::next(&mut datagram) {
                let Ok(raw) = raw else {
                    summary.malformed += 1;
                    continue;
                };
                if raw.sequence != self.sequence {
                    continue;
                }
                summary.interrupted |= i32::from(raw.flags) & libc::NLM_F_DUMP_INTR != 0;
                match wire::classify(raw) {
                    Ok(Message::Socket(payload)) => {
                        match wire::socket(payload, self.protocol, self.netns) {
                            Ok(socket) => each(socket),
                            Err(wire::Malformed) => summary.malformed += 1,
                        }
                    }
                    Ok(Message::Done(0)) => return Ok(summary),
                    Ok(Message::Done(errno) | Message::Error(errno)) => {
                        return Err(self.refused(errno));
                    }
                    Ok(Message::Other) => {}
                    Err(wire::Malformed) => summary.malformed += 1,
                }
            }
        }
    }

    fn refused(&self, errno: i32) -> anyhow::Error {
        let protocol = self.protocol.name();
        let errno = Errno::from_raw(errno);
        let what = match errno {
            Errno::ENOENT | Errno::EOPNOTSUPP => format!(
                "this kernel has no socket diagnostics for {protocol}: load the module with \
                 `modprobe -a inet_diag {protocol}_diag`"
            ),
            Errno::EPERM | Errno::EACCES => format!(
                "socket diagnostics for {protocol} are not permitted: a seccomp filter or security \
                 module forbids them"
            ),
            _ => format!("socket diagnostics for {protocol} failed"),
        };
        anyhow::Error::new(errno).context(what)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::kernel::testing::in_fresh_namespace;

    fn walk(protocol: Protocol) -> Walk {
        let netlink = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        );
        let buffer = vec![0; BUFFER_BYTES];
        Walk { netlink: netlink.unwrap(), protocol, netns: 1, sequence: 0, buffer }
    }

    #[test]
    fn two_passes_find_what_one_finds() {
        in_fresh_namespace(|| {
            let listeners = ["127.0.0.1:0", "[::1]:0"].map(|one| TcpListener::bind(one).unwrap());
            let _clients = listeners
                .each_ref()
                .map(|listener| TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            let ports = listeners.each_ref().map(|one| one.local_addr().unwrap().port());
            for port in ports {
                let request = Request { ports: Some(port..=port), ..Request::default() };
                let (mut one, mut two) = (Vec::new(), Vec::new());
                let legacy = wire::legacy_tcp_request(request.states, request.ports.as_ref());
                walk(Protocol::Tcp).ask(legacy, &mut |socket| one.push(socket)).unwrap();
                walk(Protocol::Tcp).by_family(&request, &mut |socket| two.push(socket)).unwrap();
                one.sort_by_key(|socket| socket.cookie);
                two.sort_by_key(|socket| socket.cookie);
                assert_eq!(one.len(), 2, "{one:?}");
                assert_eq!(one, two);
            }
        });
    }

    #[test]
    fn a_refusal_says_what_to_do_and_keeps_its_number() {
        let walk = walk(Protocol::Udp);
        for (errno, advice) in [
            (Errno::ENOENT, "modprobe -a inet_diag udp_diag"),
            (Errno::EOPNOTSUPP, "modprobe -a inet_diag udp_diag"),
            (Errno::EPERM, "security module"),
            (Errno::EIO, "failed"),
        ] {
            let error = walk.refused(errno as i32);
            assert!(format!("{error:#}").contains(advice), "{error:#}");
            assert!(is(&error, &[errno]));
        }
    }
}
