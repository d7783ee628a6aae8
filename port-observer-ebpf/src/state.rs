//! TCP state changes, for every backend that is asked for them.

use aya_ebpf::{
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use port_observer_ebpf::{Kind, SocketRecord};

use crate::{
    read::{Direct, Probed, Read},
    send::send,
    share::Payer,
    socket::{self, TCP},
};

/// `TP_PROTO(const struct sock *sk, const int oldstate, const int newstate)`
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn state(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { try_state::<Direct>(ctx.arg::<*const u8>(0), ctx.arg::<i32>(1), ctx.arg::<i32>(2)) }
    0
}

/// The same, for kernels without BTF tracepoints.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
pub fn state_raw(ctx: RawTracePointContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { try_state::<Probed>(ctx.arg::<*const u8>(0), ctx.arg::<i32>(1), ctx.arg::<i32>(2)) }
    0
}

#[inline(always)]
unsafe fn try_state<R: Read>(socket: *const u8, old: i32, new: i32) {
    // SAFETY: a struct sock.
    unsafe {
        if socket::protocol::<R>(socket) != TCP {
            return;
        }
        let Some(netns) = socket::observed_namespace::<R>(socket, TCP) else { return };
        send::<SocketRecord>(Kind::State, Payer::Nobody, |record| {
            socket::describe::<R>(record, Kind::State, socket, TCP, netns);
            (*record).old_state = old as u8;
            (*record).new_state = new as u8;
        });
    }
}
