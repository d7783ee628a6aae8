//! Between which addresses a socket is: a row of `paths`.

use std::net::IpAddr;

use crate::event::{Endpoint, Flow, Protocol};

/// A flow without its ports, and the interface that the socket is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// The inode number of the network namespace.
    pub netns: u32,
    /// The protocol.
    pub protocol: Protocol,
    /// The local address.
    pub local: IpAddr,
    /// The peer's.
    pub remote: Option<IpAddr>,
    /// The interface, 0: any.
    pub device: u32,
}

impl Path {
    /// That of a flow.
    pub fn of(flow: &Flow, device: u32) -> Self {
        Self {
            netns: flow.netns,
            protocol: flow.protocol,
            local: flow.local.address,
            remote: flow.remote.map(|remote| remote.address),
            device,
        }
    }

    /// The flow with these ports.
    pub fn flow(&self, local_port: Option<u16>, remote_port: Option<u16>) -> Flow {
        Flow {
            netns: self.netns,
            protocol: self.protocol,
            local: Endpoint { address: self.local, port: local_port.unwrap_or(0) },
            remote: self.remote.map(|address| Endpoint { address, port: remote_port.unwrap_or(0) }),
        }
    }
}
