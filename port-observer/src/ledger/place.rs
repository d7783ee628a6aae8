//! Where a holding is, in little room.

use std::{
    hash::{BuildHasher, Hash as _, Hasher},
    net::{IpAddr, Ipv4Addr},
};

use super::SpaceKey;
use crate::{
    event::{Endpoint, Flow, Protocol},
    report::SpaceKind,
};

/// A [`Flow`] in 24 bytes if it is of IPv4.
#[derive(Clone, Debug)]
pub struct Place {
    netns: u32,
    local_port: u16,
    remote_port: u16,
    addresses: Addresses,
}

/// Both sides, of which the other may be none. The protocol finds its room in each variant, where it
/// would cost the place eight bytes.
#[derive(Clone, Debug)]
enum Addresses {
    V4 { protocol: Protocol, local: Ipv4Addr, remote: Option<Ipv4Addr> },
    Any { protocol: Protocol, both: Box<(IpAddr, Option<IpAddr>)> },
}

impl From<&Flow> for Place {
    fn from(flow: &Flow) -> Self {
        let protocol = flow.protocol;
        let remote = flow.remote.map(|remote| remote.address);
        let addresses = match (flow.local.address, remote) {
            (IpAddr::V4(local), None) => Addresses::V4 { protocol, local, remote: None },
            (IpAddr::V4(local), Some(IpAddr::V4(remote))) => {
                Addresses::V4 { protocol, local, remote: Some(remote) }
            }
            both => Addresses::Any { protocol, both: Box::new(both) },
        };
        Self {
            netns: flow.netns,
            local_port: flow.local.port,
            remote_port: flow.remote.map_or(0, |remote| remote.port),
            addresses,
        }
    }
}

impl Place {
    /// As it was.
    pub fn flow(&self) -> Flow {
        let remote = match &self.addresses {
            Addresses::V4 { remote, .. } => remote.map(IpAddr::V4),
            Addresses::Any { both, .. } => both.1,
        };
        Flow {
            netns: self.netns,
            protocol: self.protocol(),
            local: Endpoint { address: self.address(), port: self.local_port },
            remote: remote.map(|address| Endpoint { address, port: self.remote_port }),
        }
    }

    /// The inode number of the network namespace.
    pub fn netns(&self) -> u32 {
        self.netns
    }

    /// The protocol.
    pub fn protocol(&self) -> Protocol {
        match self.addresses {
            Addresses::V4 { protocol, .. } | Addresses::Any { protocol, .. } => protocol,
        }
    }

    /// The port itself: namespace, protocol, number.
    pub fn port(&self) -> (u32, Protocol, u16) {
        (self.netns, self.protocol(), self.local_port)
    }

    /// Whether the port is the one of this flow.
    pub fn is_at(&self, flow: &Flow) -> bool {
        self.port() == (flow.netns, flow.protocol, flow.local.port)
    }

    /// The local address.
    pub fn address(&self) -> IpAddr {
        match &self.addresses {
            Addresses::V4 { local, .. } => IpAddr::V4(*local),
            Addresses::Any { both, .. } => both.0,
        }
    }

    /// Whether it has a peer.
    pub fn has_remote(&self) -> bool {
        match &self.addresses {
            Addresses::V4 { remote, .. } => remote.is_some(),
            Addresses::Any { both, .. } => both.1.is_some(),
        }
    }
}

/// The hash of a flow: of few words, where the derived one is of each octet and tag.
pub fn hash(hasher: &impl BuildHasher, flow: &Flow) -> u64 {
    let mut hasher = hasher.build_hasher();
    let ports =
        u32::from(flow.local.port) << 16 | flow.remote.map_or(0, |remote| u32::from(remote.port));
    hasher.write_u64(u64::from(flow.netns) << 32 | u64::from(ports));
    write_address(&mut hasher, flow.local.address);
    if let Some(remote) = flow.remote {
        write_address(&mut hasher, remote.address);
    }
    flow.protocol.hash(&mut hasher);
    hasher.finish()
}

/// The hash of the space of this key, as that of a flow.
pub fn space_hash(hasher: &impl BuildHasher, key: &SpaceKey) -> u64 {
    let mut hasher = hasher.build_hasher();
    let (address, port) = match key.kind {
        SpaceKind::Connect { source, destination: Endpoint { address, port } } => {
            write_address(&mut hasher, address);
            (source, port)
        }
        SpaceKind::Bind { address } => (address, 0),
    };
    write_address(&mut hasher, address);
    hasher.write_u64(u64::from(key.netns) << 32 | u64::from(port));
    key.protocol.hash(&mut hasher);
    hasher.finish()
}

/// An address in one word.
fn write_address(hasher: &mut impl Hasher, address: IpAddr) {
    match address {
        IpAddr::V4(address) => hasher.write_u32(address.to_bits()),
        IpAddr::V6(address) => hasher.write_u128(address.to_bits()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_comes_out_as_it_went_in() {
        let at = |text: &str| Endpoint::from(text.parse::<std::net::SocketAddr>().unwrap());
        for (local, remote) in [
            ("10.0.0.1:40000", None),
            ("10.0.0.1:40000", Some("10.0.0.2:443")),
            ("10.0.0.1:40000", Some("0.0.0.0:0")),
            ("[::]:80", None),
            ("[::]:80", Some("[::]:0")),
            ("[2001:db8::1]:40000", Some("[2001:db8::2]:443")),
            ("[::]:40000", Some("10.0.0.2:443")),
        ] {
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let flow = Flow { netns: 7, protocol, local: at(local), remote: remote.map(at) };
                assert_eq!(Place::from(&flow).flow(), flow);
            }
        }
    }

    #[test]
    fn a_place_is_small() {
        assert_eq!(size_of::<Place>(), 24);
    }
}
