//! The ends of TCP sockets that the `kprobe` backend did not see.
//!
//! While a kprobe is at work, the kernel skips those of what interrupts it on the same processor
//! (`kprobe_running`, kernel/kprobes.c): a softirq that ends connections may go unseen as a whole.
//! Tracepoints are not skipped, and this one comes when the kprobes must have run.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use port_observer_ebpf::FLAG_AGAIN;

use crate::{
    closed::{self, CLOSE},
    maps::LET_GO,
    read::Probed,
    socket::{self, TCP},
};

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
            // No kprobe on this processor saw it let its port go, if it had one: either they were
            // skipped, or another socket's came in between. So it is perhaps told already.
            let socket = socket as *const u8;
            if socket::protocol::<Probed>(socket) == TCP {
                let port = closed::last_port::<Probed>(socket);
                closed::tell::<Probed>(socket, port, old, FLAG_AGAIN);
            }
        }
        // Another socket may have this address next.
        last.write_volatile(0);
    }
    0
}
