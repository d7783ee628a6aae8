//! The ends of TCP sockets that the `kprobe` backend did not see.
//!
//! While a kprobe is at work, the kernel skips those of what interrupts it on the same processor
//! (`kprobe_running`, kernel/kprobes.c): a softirq that ends connections may go unseen as a whole.
//! Tracepoints are not skipped, and this one comes when the kprobes must have run.

use core::hint::black_box;

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use port_observer_ebpf::{
    FLAG_AGAIN, FLAG_FIN_WAIT2, FLAG_SOCKET_DONE, FLAG_TIMESTAMPS, Kind, Released, SocketRecord,
};

use crate::{
    holding,
    maps::{LET_GO, offset},
    read::{Probed, Read},
    send::send,
    socket::{self, TCP},
};

const FIN_WAIT2: i32 = 5;
const CLOSE: i32 = 7;
const CLOSING: i32 = 11;
/// The bit of `SOCK_DONE` in `skc_flags` (include/net/sock.h): the peer's FIN has come.
const SOCK_DONE: u64 = 1 << 1;

/// A kprobe sees that `socket` lets its port go, or that TIME_WAIT succeeds it.
#[inline(always)]
pub fn lets_go(socket: u64) {
    if let Some(last) = LET_GO.get_ptr_mut(0) {
        // SAFETY: a slot of this processor's own.
        unsafe { last.write_volatile(socket) }
    }
}

/// `TP_PROTO(const struct sock *sk, const int oldstate, const int newstate)`, called once
/// `tcp_set_state` (net/ipv4/tcp.c) has let the port go
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn k_closed(ctx: RawTracePointContext) -> i32 {
    let (socket, old, new) = (ctx.arg::<u64>(0), ctx.arg::<i32>(1), ctx.arg::<i32>(2));
    if new != CLOSE {
        return 0;
    }
    let Some(last) = LET_GO.get_ptr_mut(0) else { return 0 };
    // SAFETY: a slot of this processor's own, and a struct sock.
    unsafe {
        if last.read_volatile() != socket {
            ended(socket as *const u8, old);
        }
        // Another socket may have this address next.
        last.write_volatile(0);
    }
    0
}

/// No kprobe on this processor saw `socket` let its port go, if it had one: either they were skipped,
/// or another socket's came in between. So what became of the port is told as perhaps told already.
///
/// # Safety
/// `socket` is a `struct sock`.
#[inline(always)]
unsafe fn ended(socket: *const u8, old: i32) {
    // SAFETY: a struct sock; inet_sport lies beyond it, in inet_sock.
    unsafe {
        // Through memory: older verifiers forget the bounds of a byte swap.
        let port = black_box(u16::from_be(Probed::read::<u16>(socket, offset!(inet_sport))));
        if port == 0
            || !holding::is_of_interest::<Probed>(socket, port)
            || socket::protocol::<Probed>(socket) != TCP
        {
            return;
        }
        let is_held = socket::port::<Probed>(socket) != 0;
        // A reset or a timeout sets sk_err; without one these end in TIME_WAIT.
        let waits =
            matches!(old, FIN_WAIT2 | CLOSING) && Probed::read::<i32>(socket, offset!(sk_err)) == 0;
        if is_held && !waits {
            // A port that was asked for by number stays until the socket is destroyed.
            return;
        }
        let Some(netns) = socket::observed_namespace::<Probed>(socket, TCP) else { return };
        let kind = if waits { Kind::TimeWait } else { Kind::Release };
        send::<SocketRecord>(kind, |record| {
            socket::describe::<Probed>(record, kind, socket, TCP, netns);
            (*record).local_port = port;
            (*record).flags = FLAG_AGAIN;
            if waits {
                (*record).flags |= reuse(socket, old) | if is_held { 0 } else { FLAG_SOCKET_DONE };
            } else {
                (*record).reason = Released::Closed as u8;
            }
        });
    }
}

/// `FLAG_*`: when connect() may take over the TIME_WAIT entry that succeeds `socket`.
///
/// # Safety
/// `socket` is a `struct tcp_sock`.
#[inline(always)]
unsafe fn reuse(socket: *const u8, old: i32) -> u32 {
    // SAFETY: a field of struct sock, and one of tcp_sock.
    unsafe {
        let has_timestamps = Probed::read::<u32>(socket, offset!(tcp_ts_recent_stamp)) != 0;
        // An orphan is put aside in FIN_WAIT2, before the peer's FIN.
        let is_done = Probed::read::<u64>(socket, offset!(skc_flags)) & SOCK_DONE != 0;
        (if has_timestamps { FLAG_TIMESTAMPS } else { 0 })
            | (if old == CLOSING || is_done { 0 } else { FLAG_FIN_WAIT2 })
    }
}
