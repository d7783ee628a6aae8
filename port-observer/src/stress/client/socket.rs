//! The sockets of a client.

use std::{
    net::SocketAddr,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket,
        sockopt,
    },
};

use crate::stress::Bind;

/// A socket that connects; whether it stands already.
pub(super) fn begin(
    bind_by: Bind,
    from: Option<SocketAddr>,
    to: SocketAddr,
) -> Result<(OwnedFd, bool), (&'static str, Errno)> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Stream, flags, None).map_err(|errno| ("socket", errno))?;
    let set = |errno| ("setsockopt", errno);
    match bind_by {
        Bind::None | Bind::NoPort if from.is_some() => {
            setsockopt(&fd, sockopt::IpBindAddressNoPort, &true).map_err(set)?;
        }
        Bind::Reuseaddr => setsockopt(&fd, sockopt::ReuseAddr, &true).map_err(set)?,
        _ => {}
    }
    if let Some(from) = from {
        bind(fd.as_raw_fd(), &SockaddrStorage::from(from)).map_err(|errno| ("bind", errno))?;
    }
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) => Ok((fd, true)),
        Err(Errno::EINPROGRESS | Errno::EINTR) => Ok((fd, false)),
        Err(errno) => Err(("connect", errno)),
    }
}

/// The error of a connection that was being made; 0: it stands.
pub(super) fn error_of(fd: BorrowedFd<'_>) -> i32 {
    nix::sys::socket::getsockopt(&fd, sockopt::SocketError).unwrap_or(libc::EIO)
}
