//! How a socket comes by its source.

use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;
use tests::socket::{Held, tcp, tcp6};

/// How a socket comes by its source address and port.
#[derive(Clone, Copy, Debug)]
pub enum Source {
    /// connect() chooses both.
    Any,
    /// bind() with IP_BIND_ADDRESS_NO_PORT gives the address, connect() the port.
    Late(IpAddr),
    /// bind() gives both.
    Bound(SocketAddr),
    /// As any, over an IPv6 socket to a v4-mapped address.
    Mapped,
}

impl Source {
    /// A socket to connect to this destination with. To IPv6, only `Any` makes sense.
    pub fn socket(self, to: SocketAddr) -> (Held, Result<(), Errno>) {
        match self {
            _ if to.is_ipv6() => (tcp6(), Ok(())),
            Self::Any => (tcp(), Ok(())),
            Self::Mapped => (tcp6(), Ok(())),
            Self::Late(address) => {
                let mut held = tcp().bind_address_no_port();
                let result = held.try_bind(SocketAddr::new(address, 0));
                (held, result)
            }
            Self::Bound(at) => {
                let mut held = tcp();
                let result = held.try_bind(at);
                (held, result)
            }
        }
    }

    /// The destination as the socket takes it.
    pub fn to(self, to: SocketAddr) -> SocketAddr {
        match (self, to.ip()) {
            (Self::Mapped, IpAddr::V4(address)) => {
                SocketAddr::new(address.to_ipv6_mapped().into(), to.port())
            }
            _ => to,
        }
    }
}
