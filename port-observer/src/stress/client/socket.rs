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

use crate::stress::{Bind, parts::ClientJob};

/// A socket that connects; whether it stands already.
pub(super) fn begin(
    job: &ClientJob,
    from: Option<SocketAddr>,
    to: SocketAddr,
) -> Result<(OwnedFd, bool), (&'static str, Errno)> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let of_type = if job.udp { SockType::Datagram } else { SockType::Stream };
    let fd = socket(family, of_type, flags, None).map_err(|errno| ("socket", errno))?;
    let set = |errno| ("setsockopt", errno);
    match job.bind {
        Bind::None | Bind::NoPort if from.is_some() && !job.udp => {
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

/// Whether a filter of system calls refuses this call, of those that a connection takes: what the kernel refuses
/// first of all, because of its arguments, is refused with this error too. A filter comes before
/// (`syscall_enter_from_user_mode`, kernel/entry); modules of security and programs of control groups come after.
pub(super) fn is_filtered(call: &str, errno: i32) -> bool {
    // SAFETY: no call is given memory, and none makes anything: -1 is no descriptor, and 15 no type of socket
    // (`SOCK_TYPE_MASK`).
    let result = unsafe {
        match call {
            "socket" => libc::socket(libc::AF_INET, libc::SOCK_CLOEXEC | 15, 0),
            "setsockopt" => libc::setsockopt(-1, 0, 0, std::ptr::null(), 0),
            "bind" => libc::bind(-1, std::ptr::null(), 0),
            "connect" => libc::connect(-1, std::ptr::null(), 0),
            "epoll_ctl" => libc::epoll_ctl(-1, libc::EPOLL_CTL_DEL, -1, std::ptr::null_mut()),
            _ => return false,
        }
    };
    let itself = if call == "socket" { libc::EINVAL } else { libc::EBADF };
    result < 0 && Errno::last_raw() == errno && errno != itself
}

/// The error of a connection that was being made; 0: it stands.
pub(super) fn error_of(fd: BorrowedFd<'_>) -> i32 {
    nix::sys::socket::getsockopt(&fd, sockopt::SocketError).unwrap_or(libc::EIO)
}
