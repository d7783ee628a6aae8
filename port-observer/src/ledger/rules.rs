//! The kernel's rules of who may have a port together with whom.

use std::net::IpAddr;

use super::Holding;

/// Whether a socket that is bound to `address` by bind(), on any interface, is in the way of this
/// holder (`inet_rcv_saddr_equal` with wildcards, net/ipv4/inet_connection_sock.c). An IPv6 address in
/// particular makes bind() set `sk_ipv6only` (`__inet6_bind`, net/ipv6/af_inet6.c), so such a socket
/// leaves IPv4 alone; one that only connected does not.
pub fn overlaps(address: IpAddr, holder: &Holding) -> bool {
    overlaps_address(address, holder.place.address(), holder.sharing.ipv6_only)
}

/// The same with the address of a holder.
pub fn overlaps_address(address: IpAddr, theirs: IpAddr, ipv6_only: bool) -> bool {
    match (address, theirs) {
        (IpAddr::V4(mine), IpAddr::V4(theirs)) => {
            mine.is_unspecified() || theirs.is_unspecified() || mine == theirs
        }
        (IpAddr::V4(mine), IpAddr::V6(theirs)) => {
            !ipv6_only && (mine.is_unspecified() || theirs.is_unspecified())
        }
        (IpAddr::V6(mine), IpAddr::V4(_)) => mine.is_unspecified(),
        (IpAddr::V6(mine), IpAddr::V6(theirs)) => {
            mine.is_unspecified() || theirs.is_unspecified() || mine == theirs
        }
    }
}

/// Whether connect() from `source` to `destination` may take over a TIME_WAIT entry under this
/// `tcp_tw_reuse` (`tcp_twsk_unique`, net/ipv4/tcp_ipv4.c).
pub fn may_reuse(tw_reuse: u8, source: IpAddr, destination: IpAddr) -> bool {
    match tw_reuse {
        0 => false,
        2 => source.is_loopback() || destination.is_loopback(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_alone_reuses_time_wait_by_default() {
        let at = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(may_reuse(2, at("127.0.0.1"), at("127.0.0.2")));
        assert!(may_reuse(2, at("::1"), at("::1")));
        assert!(!may_reuse(2, at("10.0.0.1"), at("10.0.0.2")));
        assert!(may_reuse(1, at("10.0.0.1"), at("10.0.0.2")));
        assert!(!may_reuse(0, at("127.0.0.1"), at("127.0.0.1")));
    }
}
