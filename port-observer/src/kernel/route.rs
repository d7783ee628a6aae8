//! What the kernel would choose for a call, asked of the network namespace of the calling thread. No
//! packet is sent, and no TCP port is taken.

use std::{
    fs, io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, getpeername,
        getsockname, setsockopt, socket, sockopt::IpBindAddressNoPort,
    },
};

/// Ports that are tried for a moment where automatic choice has none left for UDP.
const TRIED: std::ops::Range<u16> = 1024..4096;

/// From which address connect() would go, and where to: 0.0.0.0 is this host. `source`: what bind()
/// gave before.
///
/// # Errors
/// The kernel's: there is no route (ENETUNREACH, EHOSTUNREACH), or it is forbidden.
pub fn ends(destination: SocketAddr, source: Option<SocketAddr>) -> io::Result<(IpAddr, IpAddr)> {
    let found = try_ends(destination, source);
    // UDP's connect() takes a port first (inet_autobind), and there may be none.
    if found == Err(Errno::EAGAIN) {
        let any: IpAddr = match destination {
            SocketAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        let from = source.unwrap_or(SocketAddr::new(any, 0));
        for port in TRIED {
            let mut from = from;
            from.set_port(port);
            match try_ends(destination, Some(from)) {
                Err(Errno::EADDRINUSE | Errno::EACCES) => {}
                found => return Ok(found?),
            }
        }
    }
    Ok(found?)
}

fn try_ends(destination: SocketAddr, source: Option<SocketAddr>) -> nix::Result<(IpAddr, IpAddr)> {
    let socket = open(destination, SockType::Datagram)?;
    if let Some(source) = source {
        // Without a port of its own, bind() gives the address alone.
        if source.port() == 0 {
            setsockopt(&socket, IpBindAddressNoPort, &true)?;
        }
        bind(socket.as_raw_fd(), &SockaddrStorage::from(source))?;
    }
    connect(socket.as_raw_fd(), &SockaddrStorage::from(destination))?;
    let address = |found: SockaddrStorage| {
        let v4 = found.as_sockaddr_in().map(|found| IpAddr::from(found.ip()));
        v4.or_else(|| found.as_sockaddr_in6().map(|found| IpAddr::from(found.ip())))
    };
    let own = address(getsockname(socket.as_raw_fd())?).ok_or(Errno::EAFNOSUPPORT)?;
    let peer = address(getpeername(socket.as_raw_fd())?).ok_or(Errno::EAFNOSUPPORT)?;
    Ok((own.to_canonical(), peer.to_canonical()))
}

/// Whether bind() to this address would be let through, whatever its port: TCP's bind() to no port
/// looks at the address alone (`IP_BIND_ADDRESS_NO_PORT`).
///
/// # Errors
/// What else the kernel refuses.
pub fn is_local(address: SocketAddr) -> io::Result<bool> {
    let mut address = address;
    address.set_port(0);
    let socket = open(address, SockType::Stream)?;
    setsockopt(&socket, IpBindAddressNoPort, &true)?;
    match bind(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) => Ok(true),
        Err(Errno::EADDRNOTAVAIL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn open(address: SocketAddr, kind: SockType) -> nix::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    socket(family, kind, SockFlag::SOCK_CLOEXEC, None)
}

/// An address with the interface that it is of, by name or number.
///
/// # Errors
/// There is no such interface.
pub fn scoped(address: IpAddr, scope: Option<&str>, port: u16) -> io::Result<SocketAddr> {
    match (address, scope) {
        (IpAddr::V6(address), Some(scope)) => {
            let number = match nix::net::if_::if_nametoindex(scope) {
                Ok(number) => number,
                Err(error) => scope.parse().map_err(|_| io::Error::from(error))?,
            };
            Ok(SocketAddrV6::new(address, port, 0, number).into())
        }
        (address, _) => Ok(SocketAddr::new(address, port)),
    }
}

/// From which port on bind() takes no privilege (`ip_unprivileged_port_start`).
pub fn unprivileged_from() -> u16 {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_this_host_is_from_itself() {
        let ends = ends("127.0.0.1:9".parse().unwrap(), None).unwrap();
        assert_eq!(ends, ("127.0.0.1".parse().unwrap(), "127.0.0.1".parse().unwrap()));
        let any = super::ends("0.0.0.0:9".parse().unwrap(), None).unwrap();
        assert!(any.1.is_loopback(), "{any:?}");
        let source = Some("127.0.0.5:0".parse().unwrap());
        let from = super::ends("127.0.0.1:9".parse().unwrap(), source).unwrap();
        assert_eq!(from.0, "127.0.0.5".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn an_address_of_nobody_here_is_not_local() {
        assert!(is_local("127.0.0.1:80".parse().unwrap()).unwrap());
        assert!(is_local("0.0.0.0:80".parse().unwrap()).unwrap());
        assert!(!is_local("203.0.113.5:80".parse().unwrap()).unwrap());
    }

    #[test]
    fn an_interface_is_found_by_name_and_number() {
        let scope = |scope| scoped("fe80::1".parse().unwrap(), Some(scope), 80);
        assert_eq!(scope("lo").unwrap().to_string(), "[fe80::1%1]:80");
        assert_eq!(scope("7").unwrap().to_string(), "[fe80::1%7]:80");
        assert!(scope("no such interface").is_err());
    }
}
