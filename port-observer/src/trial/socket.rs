//! UDP sockets, and what the kernel says of them.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::{AsRawFd as _, RawFd},
};

use crate::{kernel::descriptors, pools::PortSet};

/// Asked for where packets of many calls come in; the kernel gives what it allows (net.core.rmem_max).
const MANY_BYTES: libc::c_int = 8 << 20;
/// `SO_MEMINFO` (include/uapi/asm-generic/socket.h).
const SO_MEMINFO: libc::c_int = 55;

/// Lets this process open as many sockets as it may.
pub fn raise_limits() {
    descriptors::raise();
}

/// A socket of this address and port, which blocks nobody.
pub(super) fn bind(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((address, port))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The highest two ports that belong together, an even one and the next, of those that are free and in none
/// of these pools; `None`: there are none.
pub(super) fn bind_outside(address: IpAddr, pools: &PortSet) -> Option<(UdpSocket, UdpSocket)> {
    let is_outside = |port: &u16| !pools.contains(*port) && !pools.contains(port + 1);
    let mut ports = (2..=65_534).rev().step_by(2).filter(is_outside);
    ports.find_map(|port| Some((bind(address, port).ok()?, bind(address, port + 1).ok()?)))
}

/// Makes as much room for packets as the kernel allows.
pub(super) fn enlarge(socket: &UdpSocket) {
    let bytes = MANY_BYTES;
    for option in [libc::SO_RCVBUFFORCE, libc::SO_RCVBUF] {
        let size = (&raw const bytes).cast();
        let length = size_of_val(&bytes) as libc::socklen_t;
        // SAFETY: the kernel reads `length` bytes of `bytes`.
        let set =
            unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, size, length) };
        if set == 0 {
            return;
        }
    }
}

/// How many packets the kernel dropped that had come to this socket, most for want of room (`SO_MEMINFO`,
/// from Linux 4.12 on; sock_diag(7)). `None`: it does not say.
pub(super) fn dropped(socket: RawFd) -> Option<u64> {
    let mut numbers = [0u32; 16];
    let mut length = size_of_val(&numbers) as libc::socklen_t;
    let at = numbers.as_mut_ptr().cast();
    // SAFETY: the kernel writes at most `length` bytes to `numbers`.
    let got =
        unsafe { libc::getsockopt(socket, libc::SOL_SOCKET, SO_MEMINFO, at, &raw mut length) };
    let known = length as usize / size_of::<u32>();
    let drops = usize::try_from(libc::SK_MEMINFO_DROPS).ok()?;
    (got == 0 && drops < known).then(|| numbers[drops].into())
}

/// Both ports of an address: of RTP, and the next, of RTCP.
pub(super) fn both(rtp: SocketAddr) -> Option<[SocketAddr; 2]> {
    Some([rtp, SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?)])
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::ports::PortRange;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn what_a_full_buffer_drops_is_counted() {
        let socket = bind(LOOPBACK, 0).unwrap();
        assert_eq!(dropped(socket.as_raw_fd()), Some(0));
        enlarge(&socket);
        let small: libc::c_int = 1;
        // SAFETY: the kernel reads four bytes of `small`.
        let set = unsafe {
            let at = (&raw const small).cast();
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, at, 4)
        };
        assert_eq!(set, 0);
        for _ in 0..100 {
            socket.send_to(&[0; 172], socket.local_addr().unwrap()).unwrap();
        }
        assert!(dropped(socket.as_raw_fd()).unwrap() > 50);
    }

    #[test]
    fn two_ports_that_belong_together_are_found_outside_of_pools() {
        let pools = PortSet::from_iter([PortRange { min: 60_001, max: 65_535 }]);
        let (rtp, rtcp) = bind_outside(LOOPBACK, &pools).unwrap();
        let port = rtp.local_addr().unwrap().port();
        assert!(port <= 59_998 && port.is_multiple_of(2), "{port}");
        assert_eq!(rtcp.local_addr().unwrap().port(), port + 1);
        let all = PortSet::from_iter([PortRange { min: 1, max: 65_535 }]);
        assert!(bind_outside(LOOPBACK, &all).is_none());
    }
}
