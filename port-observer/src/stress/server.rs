//! The server: accepts, answers what it is sent, closes with the other end or first.

use std::{
    net::SocketAddr,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        resource::{Resource, setrlimit},
        socket::{MsgFlags, SockFlag, SockaddrStorage, accept4, recv, recvfrom, send, sendto},
    },
};
use slab::Slab;

use super::{RESERVE, parts::ServerJob};

/// The number of the listening socket among those that are waited for.
const LISTENER: u64 = u64::MAX;
/// While there is no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(10);

/// Runs a server until it is told to stop.
///
/// # Errors
/// When the kernel refuses what it needs.
pub fn run(job: &ServerJob, stop: &dyn Fn() -> bool) -> Result<()> {
    // After clients.
    super::place::set_oom_score(900);
    let limit = job.nofile;
    setrlimit(Resource::RLIMIT_NOFILE, limit, limit)
        .with_context(|| format!("can't set RLIMIT_NOFILE to {limit}"))?;
    // SAFETY: whoever started this process left it this descriptor, and nothing else here owns it.
    let listener = unsafe { OwnedFd::from_raw_fd(job.listener) };
    if job.udp {
        return answer_datagrams(&listener, stop);
    }
    let epoll =
        Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("can't wait for connections")?;
    let wait = || {
        // Of several processes one is woken.
        EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE, LISTENER)
    };
    epoll.add(&listener, wait()).context("can't wait for connections")?;
    let mut server = Server { epoll, open: Slab::new(), closes: job.closes };
    let mut is_taking = true;
    let mut events = [EpollEvent::empty(); 256];
    while !stop() {
        let timeout = EpollTimeout::from(20u8);
        let count = match server.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno).context("can't wait for connections"),
        };
        let mut is_waiting = false;
        for event in &events[..count] {
            match event.data() {
                LISTENER => is_waiting = true,
                key => server.answer(usize::try_from(key).unwrap_or(usize::MAX)),
            }
        }
        let has_room = job.meets_nofile || server.open.len() as u64 + RESERVE < job.nofile;
        if is_taking && !has_room {
            // Others take the next.
            server.epoll.delete(&listener).context("can't leave connections to others")?;
            is_taking = false;
        } else if !is_taking && has_room {
            server.epoll.add(&listener, wait()).context("can't wait for connections")?;
            is_taking = true;
        }
        if is_taking && is_waiting {
            server.take(&listener, job);
        }
    }
    Ok(())
}

/// Sends back what comes, until it is told to stop.
fn answer_datagrams(socket: &OwnedFd, stop: &dyn Fn() -> bool) -> Result<()> {
    let mut bytes = [0; 4096];
    while !stop() {
        let mut waited = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut waited, PollTimeout::from(20u8)) {
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(errno).context("can't wait for datagrams"),
        }
        while let Ok((length, Some(from))) =
            recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut bytes)
        {
            let _ = sendto(socket.as_raw_fd(), &bytes[..length], &from, MsgFlags::MSG_NOSIGNAL);
        }
    }
    Ok(())
}

struct Server {
    epoll: Epoll,
    open: Slab<OwnedFd>,
    closes: bool,
}

impl Server {
    /// Accepts what waits, as long as there is room.
    fn take(&mut self, listener: &OwnedFd, job: &ServerJob) {
        // What is open is answered in between.
        for _ in 0..256 {
            if !job.meets_nofile && self.open.len() as u64 + RESERVE >= job.nofile {
                return;
            }
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            match accept4(listener.as_raw_fd(), flags) {
                Ok(fd) if self.closes => {
                    // SAFETY: accept4 has just made it.
                    drop(unsafe { OwnedFd::from_raw_fd(fd) });
                }
                Ok(fd) => {
                    let entry = self.open.vacant_entry();
                    // SAFETY: accept4 has just made it.
                    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
                    let event = EpollEvent::new(EpollFlags::EPOLLIN, entry.key() as u64);
                    if self.epoll.add(&fd, event).is_ok() {
                        entry.insert(fd);
                    }
                }
                Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
                    std::thread::sleep(PAUSE);
                    return;
                }
                Err(_) => return,
            }
        }
    }

    /// Sends back what came, or closes what the other end closed.
    fn answer(&mut self, key: usize) {
        let Some(fd) = self.open.get(key) else { return };
        let mut bytes = [0; 4096];
        match recv(fd.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
            Ok(length) if length > 0 => {
                let _ = send(fd.as_raw_fd(), &bytes[..length], MsgFlags::MSG_NOSIGNAL);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            _ => {
                self.open.remove(key);
            }
        }
    }
}

/// Marks a descriptor as one that a started process keeps.
///
/// # Errors
/// When the kernel refuses.
pub fn keep(fd: BorrowedFd<'_>) -> nix::Result<()> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).map(drop)
}

/// The own server's socket: of UDP, or with the longest queue that the kernel allows (`somaxconn`).
///
/// # Errors
/// When the kernel refuses.
pub fn listen(at: SocketAddr, is_udp: bool) -> Result<OwnedFd> {
    use nix::sys::socket::{
        AddressFamily, Backlog, SockType, bind, listen, setsockopt, socket, sockopt,
    };
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let of_type = if is_udp { SockType::Datagram } else { SockType::Stream };
    let fd = socket(family, of_type, flags, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(at))?;
    if !is_udp {
        listen(&fd, Backlog::MAXCONN)?;
    }
    Ok(fd)
}
