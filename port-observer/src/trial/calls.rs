//! Setting calls up: each takes its ports out of the pool, as an application would.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
};

use anyhow::{Context as _, Result};

use super::socket::{bind, both};
use crate::pools::{Holder, Parity, Pool, PortSet};

/// Ports that could not be taken of which is told which; of more, how many.
pub const MOST_ERRORS: usize = 1_000;

/// What calls take.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// How many calls at once.
    pub calls: u32,
    /// How many legs each has.
    pub legs: u32,
    /// Whether RTP and RTCP of a leg share an even port; else RTCP has the next.
    pub is_shared: bool,
    /// The local address; unspecified: any.
    pub address: IpAddr,
    /// The ports that may be taken, the lowest first.
    pub ports: PortSet,
}

/// A port that could not be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortError {
    /// Which.
    pub port: u16,
    /// What the kernel answered.
    pub errno: i32,
    /// Who has it, if that is known.
    pub holder: Option<Holder>,
}

/// The sockets of a leg.
#[derive(Debug)]
pub struct LegSockets {
    /// That of RTP.
    pub(super) rtp: UdpSocket,
    /// That of RTCP; `None`: it shares the other's.
    pub(super) rtcp: Option<UdpSocket>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct SetUp {
    /// The legs of all calls that were set up.
    pub legs: Vec<LegSockets>,
    /// How many calls those are.
    pub calls: u32,
    /// The ports that could not be taken, up to [`MOST_ERRORS`].
    pub errors: Vec<PortError>,
    /// How many they were.
    pub failed: u64,
}

/// How many legs a call of a pool has, where nobody says: as many as its `ports_per_unit` make, two where it
/// says nothing (RTP and RTCP on both legs of a relayed call).
pub fn legs_of(pool: &Pool) -> u32 {
    let ports = match pool.parity {
        Parity::Any if pool.ports_per_unit <= 1 => return 2,
        Parity::Any | Parity::Pair => pool.ports_of_a_unit() / 2,
        Parity::Even => pool.ports_of_a_unit(),
    };
    u32::try_from(ports.clamp(1, 64)).unwrap_or(1)
}

/// Sets calls up, until so many are or a port can't be had for a reason that is not the port's own. Of a call
/// that got too few ports nothing is kept.
///
/// # Errors
/// When there is no way to the peer.
pub fn set_up(wanted: &Wanted, peer: SocketAddr) -> Result<SetUp> {
    let mut found = SetUp::default();
    let most = u64::from(wanted.calls) * u64::from(wanted.legs);
    for port in first_ports(&wanted.ports, wanted.is_shared) {
        if found.legs.len() as u64 >= most {
            break;
        }
        match leg(wanted, port) {
            Ok(leg) => {
                connect(&leg, peer)?;
                found.legs.push(leg);
            }
            Err((port, error)) => {
                let errno = error.raw_os_error().unwrap_or(0);
                found.failed += 1;
                if found.errors.len() < MOST_ERRORS {
                    found.errors.push(PortError { port, errno, holder: None });
                }
                if !matches!(errno, libc::EADDRINUSE | libc::EACCES) {
                    break;
                }
            }
        }
    }
    let calls = found.legs.len() / wanted.legs.max(1) as usize;
    found.legs.truncate(calls * wanted.legs as usize);
    found.calls = u32::try_from(calls).unwrap_or(u32::MAX);
    Ok(found)
}

/// The even ports, of those where the next is there too unless both protocols share one.
fn first_ports(ports: &PortSet, is_shared: bool) -> impl Iterator<Item = u16> {
    let ranges: Vec<_> = ports.ranges().collect();
    ranges.into_iter().flat_map(move |range| {
        let even = (range.min..=range.max).filter(|port| port.is_multiple_of(2));
        even.filter(move |port| is_shared || *port < range.max)
    })
}

fn leg(wanted: &Wanted, port: u16) -> Result<LegSockets, (u16, io::Error)> {
    let bind = |port: u16| bind(wanted.address, port).map_err(|error| (port, error));
    let rtp = bind(port)?;
    let rtcp = if wanted.is_shared { None } else { Some(bind(port + 1)?) };
    Ok(LegSockets { rtp, rtcp })
}

fn connect(leg: &LegSockets, peer: SocketAddr) -> Result<()> {
    let [rtp, rtcp] = both(peer).context("the peer's RTCP port would be 65536")?;
    let reach = || format!("there is no way to the peer {peer}");
    leg.rtp.connect(rtp).with_context(reach)?;
    leg.rtcp.iter().try_for_each(|socket| socket.connect(rtcp)).with_context(reach)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{pools::Place, ports::PortRange};

    fn ports(ranges: &[(u16, u16)]) -> PortSet {
        ranges.iter().map(|&(min, max)| PortRange { min, max }).collect()
    }

    #[test]
    fn legs_begin_on_even_ports_whose_next_is_there() {
        let some = ports(&[(7, 9), (11, 11), (20, 22), (65_534, 65_535)]);
        assert_eq!(first_ports(&some, false).collect::<Vec<_>>(), [8, 20, 65_534]);
        assert_eq!(first_ports(&some, true).collect::<Vec<_>>(), [8, 20, 22, 65_534]);
    }

    #[test]
    fn a_call_has_the_legs_that_its_ports_make() {
        let place = Place { file: "pools.toml".into(), line: None };
        for (parity, ports_per_unit, legs) in [
            (Parity::Any, 1, 2),
            (Parity::Any, 2, 1),
            (Parity::Any, 4, 2),
            (Parity::Any, 3, 1),
            (Parity::Pair, 1, 1),
            (Parity::Pair, 4, 2),
            (Parity::Even, 1, 1),
            (Parity::Even, 2, 2),
            (Parity::Pair, u64::MAX, 64),
        ] {
            let new = Pool::new("a", Vec::new(), place.clone());
            let pool = Pool { parity, ports_per_unit, ..new };
            assert_eq!(legs_of(&pool), legs, "{parity:?} {ports_per_unit}");
        }
    }

    #[test]
    fn ports_that_are_held_are_passed_over_and_told() {
        let address: IpAddr = "127.0.0.77".parse().unwrap();
        let _held = bind(address, 29_503).unwrap();
        let wanted = Wanted {
            calls: 2,
            legs: 2,
            is_shared: false,
            address,
            ports: ports(&[(29_500, 29_509)]),
        };
        let peer = "127.0.0.1:9".parse().unwrap();
        let found = set_up(&wanted, peer).unwrap();
        let error = PortError { port: 29_503, errno: libc::EADDRINUSE, holder: None };
        assert_eq!((found.calls, found.failed, found.errors), (2, 1, vec![error]));
        let of = |leg: &LegSockets| leg.rtp.local_addr().unwrap().port();
        assert_eq!(found.legs.iter().map(of).collect::<Vec<_>>(), [29_500, 29_504, 29_506, 29_508]);
        drop(found.legs);
        // One leg is too few for a call.
        let found = set_up(&Wanted { ports: ports(&[(29_500, 29_507)]), ..wanted }, peer).unwrap();
        assert_eq!((found.calls, found.legs.len()), (1, 2));
    }

    #[test]
    fn an_address_of_another_host_is_asked_for_once() {
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let all = ports(&[(29_520, 29_529)]);
        let wanted = Wanted { calls: 1, legs: 2, is_shared: true, address, ports: all };
        let found = set_up(&wanted, "127.0.0.1:9".parse().unwrap()).unwrap();
        assert_eq!((found.calls, found.errors[0].errno), (0, libc::EADDRNOTAVAIL));
        assert_eq!(found.errors.len(), 1);
    }
}
