//! A target that is loaded where it is, from the network namespace that this program was started in: only as
//! much as it can bear to be asked for.

use std::{net::SocketAddr, time::Duration};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};

/// So many connections are made to it, unless said otherwise.
pub const CONNECTIONS: u64 = 1_000;
/// No more than this, whatever is said.
pub const MOST_CONNECTIONS: u64 = 20_000;
/// So many attempts a second, unless said otherwise.
pub const RATE: u32 = 500;
/// No more than this.
pub const MOST_RATE: u32 = 10_000;
/// For so long, and no longer.
pub const LONGEST: Duration = Duration::from_secs(300);

/// Whether an address is one of the calling thread's network namespace: a socket can be bound to it, and would
/// not be to another.
pub fn is_here(target: SocketAddr) -> bool {
    let family = if target.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let Ok(fd) = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None) else {
        return false;
    };
    // Where any address may be bound, what is not known is not here.
    let is_free = setsockopt(&fd, sockopt::IpFreebind, &false).is_ok() || target.is_ipv6();
    let at = SockaddrStorage::from(SocketAddr::new(target.ip(), 0));
    is_free
        && !target.ip().is_multicast()
        && bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &at).is_ok()
}

/// Why it is not loaded, if it is not to be.
///
/// # Errors
/// A sentence that says what to do.
pub fn check(target: SocketAddr, is_own: bool) -> Result<(), String> {
    if target.port() == 0 || target.ip().is_unspecified() || target.ip().is_multicast() {
        return Err(format!("{target} is nothing to connect to: --to takes ADDRESS:PORT"));
    }
    if is_own || is_here(target) {
        return Ok(());
    }
    Err(format!(
        "{target} is outside of this network namespace: with --i-own-this-target you say that it is yours to load"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_here_is_loaded_only_where_it_is_said_to_be_own() {
        let target = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(check(target("127.0.0.1:80"), false), Ok(()));
        let other = target("192.0.2.1:80");
        assert!(check(other, false).unwrap_err().contains("--i-own-this-target"));
        assert_eq!(check(other, true), Ok(()));
        for nothing in ["0.0.0.0:80", "127.0.0.1:0", "224.0.0.1:80", "[::]:80"] {
            assert!(check(target(nothing), true).unwrap_err().contains("nothing"), "{nothing}");
        }
    }
}
