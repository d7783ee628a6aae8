//! The end of a TCP connection, as its last state change shows it.

use core::hint::black_box;

use port_observer_ebpf::{
    FLAG_AGAIN, FLAG_FIN_WAIT2, FLAG_SOCKET_DONE, FLAG_TIMESTAMPS, Kind, Released, SocketRecord,
};

use crate::{
    holding,
    maps::offset,
    read::Read,
    send::send,
    share::Payer,
    socket::{self, TCP},
};

pub const SYN_RECV: i32 = 3;
const FIN_WAIT2: i32 = 5;
pub const CLOSE: i32 = 7;
const CLOSING: i32 = 11;
/// The bit of `SOCK_DONE` in `skc_flags` (include/net/sock.h): the peer's FIN has come.
const SOCK_DONE: u64 = 1 << 1;

/// The port that `socket` has or had. `skc_num` is 0 once the port is let go, while `inet_sport` keeps
/// its number.
///
/// # Safety
/// `socket` is a `struct tcp_sock`.
#[inline(always)]
pub unsafe fn last_port<R: Read>(socket: *const u8) -> u16 {
    // SAFETY: fields of sock_common and inet_sock.
    unsafe {
        match socket::port::<R>(socket) {
            // Through memory: older verifiers forget the bounds of a byte swap.
            0 => black_box(u16::from_be(R::read::<u16>(socket, offset!(inet_sport)))),
            port => port,
        }
    }
}

/// `tcp_set_state` (net/ipv4/tcp.c) takes `socket` from `old` to CLOSE: tells what that means for
/// `port`, see [`last_port`]. `flags`: `FLAG_AGAIN`, or 0.
///
/// # Safety
/// `socket` is a `struct tcp_sock`.
#[inline(always)]
pub unsafe fn tell<R: Read>(socket: *const u8, port: u16, old: i32, flags: u32) {
    // SAFETY: a struct tcp_sock.
    unsafe {
        if port == 0 || !holding::is_of_interest::<R>(socket, port) {
            return;
        }
        let is_held = socket::port::<R>(socket) != 0;
        // A reset or a timeout sets sk_err; without one these end in TIME_WAIT.
        let waits =
            matches!(old, FIN_WAIT2 | CLOSING) && R::read::<i32>(socket, offset!(sk_err)) == 0;
        if is_held && !waits {
            // A port that was asked for by number stays until the socket is destroyed.
            return;
        }
        let Some(netns) = socket::observed_namespace::<R>(socket, TCP) else { return };
        if waits {
            // The entry will not know that its port was asked for by number.
            socket::observe(port);
        }
        let kind = if waits { Kind::TimeWait } else { Kind::Release };
        send::<SocketRecord>(kind, Payer::Nobody, |record| {
            socket::describe::<R>(record, kind, socket, TCP, netns);
            (*record).local_port = port;
            (*record).flags = flags;
            if waits {
                (*record).flags |=
                    reuse::<R>(socket, old) | if is_held { 0 } else { FLAG_SOCKET_DONE };
            } else {
                (*record).reason = Released::Closed as u8;
                if old == SYN_RECV {
                    // Most likely a child that was never accepted, of which nothing was told.
                    (*record).flags = FLAG_AGAIN;
                }
            }
        });
    }
}

/// `FLAG_*`: when connect() may take over the TIME_WAIT entry that succeeds `socket`.
///
/// # Safety
/// `socket` is a `struct tcp_sock`.
#[inline(always)]
unsafe fn reuse<R: Read>(socket: *const u8, old: i32) -> u32 {
    // SAFETY: a field of struct sock, and one of tcp_sock.
    unsafe {
        let has_timestamps = R::read::<u32>(socket, offset!(tcp_ts_recent_stamp)) != 0;
        // tcp_fin (net/ipv4/tcp_input.c) sets it; an orphan is put aside in FIN_WAIT2 without.
        let is_done = R::read::<u64>(socket, offset!(skc_flags)) & SOCK_DONE != 0;
        (if has_timestamps { FLAG_TIMESTAMPS } else { 0 })
            | (if old == CLOSING || is_done { 0 } else { FLAG_FIN_WAIT2 })
    }
}
