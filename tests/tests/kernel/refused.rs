//! Calls that fail with the words of exhaustion, EADDRNOTAVAIL, and find no address rather than no port.

use std::net::SocketAddr;

use nix::errno::Errno;
use tests::expect::Reason::Closed;
use tests::expect::Via::{Bind, Connect};
use tests::expect::{exhausted, refused};
use tests::net::{SERVER, ephemeral_range, scenario, sysctl};
use tests::socket::{local, tcp, tcp6, udp, udp6};

const NOT_LOCAL: &str = "address_not_local";
const NO_SOURCE: &str = "no_source_address";

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address and port")
}

#[test]
fn bind_to_an_address_that_is_not_there_is_refused() {
    scenario(|net| {
        let (v4, v6) = (at("203.0.113.5:80"), at("[2001:db8::5]:5353"));
        let any = at("203.0.113.5:0");
        assert_eq!(tcp().try_bind(v4), Err(Errno::EADDRNOTAVAIL));
        assert_eq!(tcp().try_bind(any), Err(Errno::EADDRNOTAVAIL));
        assert_eq!(udp().try_bind(v4), Err(Errno::EADDRNOTAVAIL));
        assert_eq!(tcp6().try_bind(v6), Err(Errno::EADDRNOTAVAIL));
        assert_eq!(udp6().try_bind(v6), Err(Errno::EADDRNOTAVAIL));
        assert_eq!(tcp6().try_bind(at("[::ffff:203.0.113.5]:80")), Err(Errno::EADDRNOTAVAIL));
        // It is the address alone that is wanting.
        let mut near = tcp().bind(local(4000));
        near.close();
        net.sees([
            refused((Bind(80), NOT_LOCAL), "tcp", v4, None),
            refused((Bind(0), NOT_LOCAL), "tcp", any, None),
            refused((Bind(80), NOT_LOCAL), "udp", v4, None),
            refused((Bind(5353), NOT_LOCAL), "tcp", v6, None),
            refused((Bind(5353), NOT_LOCAL), "udp", v6, None),
            refused((Bind(80), NOT_LOCAL), "tcp", v4, None),
            near.acquired(Bind(4000)),
            near.released(Closed),
        ]);
    });
}

#[test]
fn connect_without_a_port_is_exhausted_and_without_a_source_address_refused() {
    scenario(|net| {
        let (v6, mapped) = (at("[::1]:80"), at("[::ffff:127.0.0.1]:80"));
        let _server = net.server();
        let _server6 = tcp6().reuse_address().bind(at("[::1]:80")).listen();
        net.forget();
        ephemeral_range(40000, 40000);
        let mut a = tcp().connect(SERVER);
        let mut b = tcp6().connect(v6);
        assert_eq!(tcp().try_connect(SERVER), Err(Errno::EADDRNOTAVAIL));
        assert_eq!(tcp6().try_connect(v6), Err(Errno::EADDRNOTAVAIL));
        assert_eq!(tcp6().try_connect(mapped), Err(Errno::EADDRNOTAVAIL));
        a.reset();
        b.reset();
        net.sees([
            a.acquired(Connect),
            b.acquired(Connect),
            exhausted(Connect, "tcp", Some(SERVER), "EADDRNOTAVAIL"),
            exhausted(Connect, "tcp", Some(v6), "EADDRNOTAVAIL"),
            exhausted(Connect, "tcp", Some(SERVER), "EADDRNOTAVAIL"),
            a.released(Closed),
            b.released(Closed),
        ]);
        // As in many containers, where "localhost" is ::1 all the same.
        sysctl("ipv6/conf/all/disable_ipv6", "1");
        assert_eq!(tcp6().try_connect(v6), Err(Errno::EADDRNOTAVAIL));
        let mut c = udp6().bind(at("[::]:4000"));
        assert_eq!(c.try_connect(v6), Err(Errno::EADDRNOTAVAIL));
        c.close();
        net.sees([
            refused((Connect, NO_SOURCE), "tcp", at("[::]:0"), Some(v6)),
            c.acquired(Bind(4000)),
            refused((Connect, NO_SOURCE), "udp", at("[::]:4000"), Some(v6)),
            c.released(Closed),
        ]);
    });
}
