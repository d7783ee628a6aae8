//! The sockets that a network namespace has, as the kernel counts and lists them.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::net::tcp_list;
use crate::system;

/// How many sockets the calling thread's namespace has, of every kind and in every state.
pub fn sockets() -> u32 {
    let text =
        system::read("/proc/thread-self/net/sockstat").expect("the kernel's count of sockets");
    let used = text.lines().find_map(|line| line.strip_prefix("sockets: used "));
    used.and_then(|number| number.trim().parse().ok()).expect("a number of sockets")
}

/// The local ends of the ESTABLISHED connections to this address; of v4-mapped ones, the IPv4 addresses.
pub fn connected_to(remote: SocketAddr) -> HashSet<SocketAddr> {
    let connected = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        (fields[3] == "01" && address(fields[2]) == remote).then(|| address(fields[1]))
    };
    let lists = ["tcp", "tcp6"].map(tcp_list);
    lists.iter().flat_map(|list| list.lines().skip(1)).filter_map(connected).collect()
}

/// `0100007F:0050`: words of four bytes as this machine has them in memory, and a number.
fn address(text: &str) -> SocketAddr {
    let (words, port) = text.split_once(':').expect("an address and a port");
    let bytes = (0..words.len()).step_by(8).flat_map(|at| {
        let word = u32::from_str_radix(&words[at..at + 8], 16);
        word.expect("a hexadecimal number").to_ne_bytes()
    });
    let bytes: Vec<u8> = bytes.collect();
    let address = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(bytes) => IpAddr::V4(Ipv4Addr::from(bytes)),
        Err(_) => <[u8; 16]>::try_from(&bytes[..]).map(Ipv6Addr::from).expect("16 bytes").into(),
    };
    let port = u16::from_str_radix(port, 16).expect("a hexadecimal number");
    SocketAddr::new(address.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_are_read_as_the_kernel_shows_them() {
        for (shown, meant) in [
            ("0100007F:0050", "127.0.0.1:80"),
            ("0000000000000000FFFF00000100007F:9C40", "127.0.0.1:40000"),
            ("00000000000000000000000001000000:0051", "[::1]:81"),
        ] {
            assert_eq!(address(shown).to_string(), meant);
        }
    }
}
