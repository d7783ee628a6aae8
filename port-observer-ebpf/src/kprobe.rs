//! The `kprobe` backend: the same functions through kprobes and kretprobes.
//!
//! Registers are read at offsets handed in at load, so that one object serves every processor.

use aya_ebpf::{
    EbpfContext,
    macros::{kprobe, kretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use aya_log_ebpf::debug;
use port_observer_ebpf::Kind;

use crate::{
    call, holding, inside,
    maps::{CALLS, Call, INHERIT, REQUESTS, offset},
    read::{Probed, Read},
    refused, reset,
    send::lost,
    socket::{TCP, UDP},
    task, unseen,
};

#[inline(always)]
fn arg1(ctx: &ProbeContext) -> u64 {
    // SAFETY: a register in pt_regs.
    unsafe { Probed::read(ctx.as_ptr().cast(), offset!(regs_arg1)) }
}

#[inline(always)]
fn arg2(ctx: &ProbeContext) -> u64 {
    // SAFETY: a register in pt_regs.
    unsafe { Probed::read(ctx.as_ptr().cast(), offset!(regs_arg2)) }
}

#[inline(always)]
fn arg3(ctx: &ProbeContext) -> u64 {
    // SAFETY: a register in pt_regs.
    unsafe { Probed::read(ctx.as_ptr().cast(), offset!(regs_arg3)) }
}

#[inline(always)]
fn result(ctx: &RetProbeContext) -> i32 {
    // SAFETY: a register in pt_regs.
    unsafe { Probed::read::<u64>(ctx.as_ptr().cast(), offset!(regs_return)) as i32 }
}

/// Keeps a call for its kretprobe, which sees the return value alone.
#[inline(always)]
fn keep(ctx: &ProbeContext, socket: u64, argument: u64) {
    let call = call::entered(socket as *const u8, argument);
    if CALLS.insert(call.pid_tgid, call, 0).is_err() {
        lost(Kind::Acquire);
        debug!(ctx, "too many calls under way: one is not followed");
    }
}

/// Takes back the call kept by this thread, with the time since.
#[inline(always)]
fn kept() -> Option<(Call, u64)> {
    let key = task::current();
    // SAFETY: the entry is this thread's own.
    let call = unsafe { CALLS.get_ptr(key)?.read_volatile() };
    let _ = CALLS.remove(key);
    let now = call::entered(core::ptr::null(), 0).started_ns;
    Some((call, now - call.started_ns))
}

/// `int inet_hash_connect(struct inet_timewait_death_row *death_row, struct sock *sk)`, and IPv6's
#[kprobe]
pub fn k_connect_enter(ctx: ProbeContext) -> u32 {
    keep(&ctx, arg2(&ctx), 0);
    0
}

#[kretprobe]
pub fn k_connect_exit(ctx: RetProbeContext) -> u32 {
    if let Some((call, search_ns)) = kept() {
        // SAFETY: the entry probe's socket, alive until the call returns.
        unsafe {
            let socket = call.socket as *const u8;
            call::connect_returned::<Probed>(socket, result(&ctx), search_ns, 0);
        }
    }
    0
}

/// `int inet_csk_get_port(struct sock *sk, unsigned short snum)`
#[kprobe]
pub fn k_get_port_enter(ctx: ProbeContext) -> u32 {
    keep(&ctx, arg1(&ctx), arg2(&ctx));
    0
}

#[kretprobe]
pub fn k_get_port_exit(ctx: RetProbeContext) -> u32 {
    get_port_exit(&ctx, TCP);
    0
}

/// `int udp_lib_get_port(struct sock *sk, unsigned short snum, unsigned int hash2_nulladdr)`
#[kprobe]
pub fn k_udp_get_port_enter(ctx: ProbeContext) -> u32 {
    keep(&ctx, arg1(&ctx), arg2(&ctx));
    0
}

#[kretprobe]
pub fn k_udp_get_port_exit(ctx: RetProbeContext) -> u32 {
    get_port_exit(&ctx, UDP);
    0
}

#[inline(always)]
fn get_port_exit(ctx: &RetProbeContext, protocol: u16) {
    if let Some((call, search_ns)) = kept() {
        let socket = call.socket as *const u8;
        let requested = call.argument as u16;
        // SAFETY: the entry probe's socket, alive until the call returns.
        unsafe {
            let result = result(ctx);
            call::get_port_returned::<Probed>(socket, protocol, requested, result, search_ns, 0);
        }
    }
}

/// `int __inet_bind(struct sock *sk, struct sockaddr *uaddr, …)`, IPv6's, and `tcp_v6_connect` and
/// `__ip6_datagram_connect`, which begin alike
#[kprobe]
pub fn k_request_enter(ctx: ProbeContext) -> u32 {
    let request = call::entered(arg1(&ctx) as *const u8, arg2(&ctx));
    if REQUESTS.insert(request.pid_tgid, request, 0).is_err() {
        lost(Kind::Refused);
    }
    0
}

#[kretprobe]
pub fn k_bind_exit(ctx: RetProbeContext) -> u32 {
    if let Some(Call { socket, argument, .. }) = request() {
        // SAFETY: the entry probe's socket and address, there until the call returns.
        unsafe {
            refused::bind_returned::<Probed>(socket as _, argument as _, result(&ctx));
        }
    }
    0
}

#[kretprobe]
pub fn k_connect6_returned(ctx: RetProbeContext) -> u32 {
    if let Some(Call { socket, argument, .. }) = request() {
        // SAFETY: as above.
        unsafe {
            refused::connect_returned::<Probed>(socket as _, argument as _, result(&ctx));
        }
    }
    0
}

/// Takes back the request kept by this thread.
#[inline(always)]
fn request() -> Option<Call> {
    let key = task::current();
    // SAFETY: the entry is this thread's own.
    let call = unsafe { REQUESTS.get_ptr(key)?.read_volatile() };
    let _ = REQUESTS.remove(key);
    Some(call)
}

/// `static int inet_autobind(struct sock *sk)`
#[kprobe]
pub fn k_autobind_enter(_: ProbeContext) -> u32 {
    inside::began(Kind::Acquire);
    0
}

#[kretprobe]
pub fn k_autobind_exit(_: RetProbeContext) -> u32 {
    inside::ended();
    0
}

/// `int __inet_inherit_port(const struct sock *sk, struct sock *child)`
#[kprobe]
pub fn k_inherit_enter(ctx: ProbeContext) -> u32 {
    if let Some(call) = INHERIT.get_ptr_mut(0) {
        // SAFETY: a slot of this processor's own.
        unsafe {
            (*call).socket = arg1(&ctx);
            (*call).argument = arg2(&ctx);
        }
    }
    0
}

#[kretprobe]
pub fn k_inherit_exit(ctx: RetProbeContext) -> u32 {
    if result(&ctx) == 0
        && let Some(call) = INHERIT.get_ptr_mut(0)
    {
        // SAFETY: softirqs are off from entry to exit, so the slot is this call's.
        unsafe {
            holding::inherited::<Probed>(
                (*call).socket as *const u8,
                (*call).argument as *const u8,
            );
        }
    }
    0
}

/// `void inet_put_port(struct sock *sk)`
#[kprobe]
pub fn k_put_port(ctx: ProbeContext) -> u32 {
    let socket = arg1(&ctx);
    unseen::lets_go(socket);
    // SAFETY: the prototype above.
    unsafe { holding::put::<Probed>(socket as *const u8, 0) }
    0
}

/// `void inet_twsk_hashdance(struct inet_timewait_sock *tw, struct sock *sk, …)`, and `…_schedule`
#[kprobe]
pub fn k_hashdance(ctx: ProbeContext) -> u32 {
    let socket = arg2(&ctx);
    unseen::lets_go(socket);
    // SAFETY: the prototype above.
    unsafe { holding::time_wait_began::<Probed>(arg1(&ctx) as *const u8, socket as *const u8) }
    0
}

/// `void inet_twsk_bind_unhash(struct inet_timewait_sock *tw, struct inet_hashinfo *hashinfo)`
#[kprobe]
pub fn k_bind_unhash(ctx: ProbeContext) -> u32 {
    // SAFETY: the prototype above.
    unsafe { holding::time_wait_ended::<Probed>(arg1(&ctx) as *const u8) }
    0
}

/// `enum tcp_tw_status tcp_timewait_state_process(struct inet_timewait_sock *tw, struct sk_buff *skb,
/// const struct tcphdr *th, …)`
#[kprobe]
pub fn k_time_wait_packet(ctx: ProbeContext) -> u32 {
    // SAFETY: the prototype above.
    unsafe {
        let [entry, packet, header] = [arg1(&ctx), arg2(&ctx), arg3(&ctx)];
        reset::packet::<Probed>(entry as *const u8, packet as *const u8, header as *const u8);
    }
    0
}

/// `int tcp_abort(struct sock *sk, int err)`
#[kprobe]
pub fn k_abort(ctx: ProbeContext) -> u32 {
    // SAFETY: the prototype above.
    unsafe { reset::aborted::<Probed>(arg1(&ctx) as *const u8) }
    0
}

/// `void udp_lib_unhash(struct sock *sk)`
#[kprobe]
pub fn k_udp_unhash(ctx: ProbeContext) -> u32 {
    // SAFETY: the prototype above.
    unsafe { holding::udp_unhash::<Probed>(arg1(&ctx) as *const u8, 0) }
    0
}

/// `void udp_lib_rehash(struct sock *sk, u16 newhash, …)`
#[kprobe]
pub fn k_udp_rehash(ctx: ProbeContext) -> u32 {
    // SAFETY: the prototype above.
    unsafe { holding::udp_rehashed::<Probed>(arg1(&ctx) as *const u8) }
    0
}

/// `int __udp_disconnect(struct sock *sk, int flags)`, where it does not call `udp_lib_unhash`
#[kprobe]
pub fn k_udp_disconnect(ctx: ProbeContext) -> u32 {
    // SAFETY: the prototype above.
    unsafe { holding::udp_disconnect::<Probed>(arg1(&ctx) as *const u8) }
    0
}

/// `void security_sock_graft(struct sock *sk, struct socket *parent)`
#[kprobe]
pub fn k_accept(ctx: ProbeContext) -> u32 {
    // SAFETY: the prototype above.
    unsafe { call::accepted::<Probed>(arg1(&ctx) as *const u8) }
    0
}

/// `void __inet_twsk_schedule(struct inet_timewait_sock *tw, int timeo, bool rearm)`
#[kprobe]
pub fn k_reschedule(ctx: ProbeContext) -> u32 {
    if arg3(&ctx) & 0xff != 0 {
        // SAFETY: the prototype above.
        unsafe { holding::time_wait_rescheduled::<Probed>(arg1(&ctx) as *const u8) }
    }
    0
}
