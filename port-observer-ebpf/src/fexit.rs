//! The `fexit` backend: entry and exit of the kernel's functions through BPF trampolines.
//!
//! The value that a function returned follows its arguments in the context. (`bpf_get_func_ret`
//! would need Linux 5.17.)
//!
//! Functions that are called with preemption or softirqs enabled have programs in pairs, see `twin`.

use aya_ebpf::{
    macros::{fentry, fexit},
    programs::{FEntryContext, FExitContext},
};

use port_observer_ebpf::{FLAG_AGAIN, Kind};

use crate::{
    call, holding, inside,
    read::Direct,
    refused, reset,
    socket::{TCP, UDP},
    twin::{self, Pair},
};

/// `int inet_hash_connect(struct inet_timewait_death_row *death_row, struct sock *sk)`
#[fentry(function = "inet_hash_connect")]
pub fn connect_enter(ctx: FEntryContext) -> i32 {
    call::began(ctx.arg::<*const u8>(1));
    0
}

/// `int inet_hash_connect(struct inet_timewait_death_row *death_row, struct sock *sk)`
#[fexit(function = "inet_hash_connect")]
pub fn connect_exit(ctx: FExitContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { connect_returned(ctx.arg::<*const u8>(1), ctx.arg::<i32>(2), false) }
    0
}

/// `int inet6_hash_connect(struct inet_timewait_death_row *death_row, struct sock *sk)`
#[fentry(function = "inet6_hash_connect")]
pub fn connect6_enter(ctx: FEntryContext) -> i32 {
    call::began(ctx.arg::<*const u8>(1));
    0
}

/// `int inet6_hash_connect(struct inet_timewait_death_row *death_row, struct sock *sk)`
#[fexit(function = "inet6_hash_connect")]
pub fn connect6_exit(ctx: FExitContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { connect_returned(ctx.arg::<*const u8>(1), ctx.arg::<i32>(2), false) }
    0
}

/// `int inet_hash_connect(struct inet_timewait_death_row *death_row, struct sock *sk)`, if [`connect_exit`] was skipped
#[fexit(function = "inet_hash_connect")]
pub fn connect_exit_again(ctx: FExitContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { connect_returned(ctx.arg::<*const u8>(1), ctx.arg::<i32>(2), true) }
    0
}

/// `int inet6_hash_connect(struct inet_timewait_death_row *death_row, struct sock *sk)`, if [`connect6_exit`] was skipped
#[fexit(function = "inet6_hash_connect")]
pub fn connect6_exit_again(ctx: FExitContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { connect_returned(ctx.arg::<*const u8>(1), ctx.arg::<i32>(2), true) }
    0
}

#[inline(always)]
unsafe fn connect_returned(socket: *const u8, result: i32, again: bool) {
    // SAFETY: the caller's prototype says that it is a struct sock.
    unsafe {
        if let Some(flags) = may_tell(Pair::Connect, socket, result, again) {
            call::connect_returned::<Direct>(socket, result, call::searched_ns(socket), flags);
        }
    }
}

/// The flags to tell of this call with, unless the other program of the pair has told it.
///
/// # Safety
/// `socket` is a `struct sock`.
#[inline(always)]
unsafe fn may_tell(pair: Pair, socket: *const u8, result: i32, again: bool) -> Option<u32> {
    // SAFETY: a struct sock.
    unsafe {
        if !again {
            twin::ran(pair, socket);
            return Some(0);
        }
        // That a call failed can't be told twice without harm.
        let is_safe = result == 0 || call::is_left_over(socket);
        if twin::was_skipped(pair, socket) && is_safe { Some(FLAG_AGAIN) } else { None }
    }
}

/// `int inet_csk_get_port(struct sock *sk, unsigned short snum)`
#[fentry(function = "inet_csk_get_port")]
pub fn get_port_enter(ctx: FEntryContext) -> i32 {
    call::began(ctx.arg::<*const u8>(0));
    0
}

/// `int inet_csk_get_port(struct sock *sk, unsigned short snum)`
#[fexit(function = "inet_csk_get_port")]
pub fn get_port_exit(ctx: FExitContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { get_port_returned(ctx.arg(0), TCP, ctx.arg(1), ctx.arg(2), false) }
    0
}

/// `int udp_lib_get_port(struct sock *sk, unsigned short snum, unsigned int hash2_nulladdr)`
#[fentry(function = "udp_lib_get_port")]
pub fn udp_get_port_enter(ctx: FEntryContext) -> i32 {
    call::began(ctx.arg::<*const u8>(0));
    0
}

/// `int udp_lib_get_port(struct sock *sk, unsigned short snum, unsigned int hash2_nulladdr)`
#[fexit(function = "udp_lib_get_port")]
pub fn udp_get_port_exit(ctx: FExitContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { get_port_returned(ctx.arg(0), UDP, ctx.arg(1), ctx.arg(3), false) }
    0
}

/// `int inet_csk_get_port(struct sock *sk, unsigned short snum)`, if [`get_port_exit`] was skipped
#[fexit(function = "inet_csk_get_port")]
pub fn get_port_exit_again(ctx: FExitContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { get_port_returned(ctx.arg(0), TCP, ctx.arg(1), ctx.arg(2), true) }
    0
}

/// `int udp_lib_get_port(struct sock *sk, unsigned short snum, unsigned int hash2_nulladdr)`, if [`udp_get_port_exit`] was skipped
#[fexit(function = "udp_lib_get_port")]
pub fn udp_get_port_exit_again(ctx: FExitContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { get_port_returned(ctx.arg(0), UDP, ctx.arg(1), ctx.arg(3), true) }
    0
}

#[inline(always)]
unsafe fn get_port_returned(
    socket: *const u8,
    protocol: u16,
    requested: u16,
    result: i32,
    again: bool,
) {
    // SAFETY: the caller's prototype says that it is a struct sock.
    unsafe {
        if let Some(flags) = may_tell(Pair::GetPort, socket, result, again) {
            let ns = call::searched_ns(socket);
            call::get_port_returned::<Direct>(socket, protocol, requested, result, ns, flags);
        }
    }
}

/// `int __inet_bind(struct sock *sk, struct sockaddr *uaddr, int addr_len, u32 flags)`
#[fexit(function = "__inet_bind")]
pub fn bind_exit(ctx: FExitContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { refused::bind_returned::<Direct>(ctx.arg(0), ctx.arg(1), ctx.arg(4)) }
    0
}

/// `int __inet6_bind(struct sock *sk, struct sockaddr *uaddr, int addr_len, u32 flags)`
#[fexit(function = "__inet6_bind")]
pub fn bind6_exit(ctx: FExitContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { refused::bind_returned::<Direct>(ctx.arg(0), ctx.arg(1), ctx.arg(4)) }
    0
}

/// `static int tcp_v6_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)`
#[fexit(function = "tcp_v6_connect")]
pub fn tcp6_connect_exit(ctx: FExitContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { refused::connect_returned::<Direct>(ctx.arg(0), ctx.arg(1), ctx.arg(3)) }
    0
}

/// `int __ip6_datagram_connect(struct sock *sk, struct sockaddr *uaddr, int addr_len)`
#[fexit(function = "__ip6_datagram_connect")]
pub fn udp6_connect_exit(ctx: FExitContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { refused::connect_returned::<Direct>(ctx.arg(0), ctx.arg(1), ctx.arg(3)) }
    0
}

/// `static int inet_autobind(struct sock *sk)`
#[fentry(function = "inet_autobind")]
pub fn autobind_enter(_: FEntryContext) -> i32 {
    inside::began(Kind::Acquire);
    0
}

/// `static int inet_autobind(struct sock *sk)`
#[fexit(function = "inet_autobind")]
pub fn autobind_exit(_: FExitContext) -> i32 {
    inside::ended();
    0
}

/// `int __inet_inherit_port(const struct sock *sk, struct sock *child)`
#[fexit(function = "__inet_inherit_port")]
pub fn inherit_exit(ctx: FExitContext) -> i32 {
    let (listener, child, result): (*const u8, *const u8, i32) =
        (ctx.arg(0), ctx.arg(1), ctx.arg(2));
    if result == 0 {
        // SAFETY: the prototype above.
        unsafe { holding::inherited::<Direct>(listener, child) }
    }
    0
}

/// `void inet_put_port(struct sock *sk)`
#[fentry(function = "inet_put_port")]
pub fn put_port(ctx: FEntryContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe {
        twin::ran(Pair::Release, ctx.arg(0));
        holding::put::<Direct>(ctx.arg(0), 0);
    }
    0
}

/// `void inet_put_port(struct sock *sk)`, if [`put_port`] was skipped
#[fentry(function = "inet_put_port")]
pub fn put_port_again(ctx: FEntryContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe {
        if twin::was_skipped(Pair::Release, ctx.arg(0)) {
            holding::put::<Direct>(ctx.arg(0), FLAG_AGAIN);
        }
    }
    0
}

/// `void inet_twsk_hashdance(struct inet_timewait_sock *tw, struct sock *sk, …)`, up to Linux 6.9
#[fentry(function = "inet_twsk_hashdance")]
pub fn hashdance(ctx: FEntryContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { holding::time_wait_began::<Direct>(ctx.arg(0), ctx.arg(1)) }
    0
}

/// `void inet_twsk_hashdance_schedule(struct inet_timewait_sock *tw, struct sock *sk, …)`
#[fentry(function = "inet_twsk_hashdance_schedule")]
pub fn hashdance_schedule(ctx: FEntryContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { holding::time_wait_began::<Direct>(ctx.arg(0), ctx.arg(1)) }
    0
}

/// `void inet_twsk_bind_unhash(struct inet_timewait_sock *tw, struct inet_hashinfo *hashinfo)`
#[fentry(function = "inet_twsk_bind_unhash")]
pub fn bind_unhash(ctx: FEntryContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { holding::time_wait_ended::<Direct>(ctx.arg(0)) }
    0
}

/// `enum tcp_tw_status tcp_timewait_state_process(struct inet_timewait_sock *tw, struct sk_buff *skb,
/// const struct tcphdr *th, …)`
#[fentry(function = "tcp_timewait_state_process")]
pub fn time_wait_packet(ctx: FEntryContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { reset::packet::<Direct>(ctx.arg(0), ctx.arg(1), ctx.arg(2)) }
    0
}

/// `int tcp_abort(struct sock *sk, int err)`
#[fentry(function = "tcp_abort")]
pub fn abort(ctx: FEntryContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { reset::aborted::<Direct>(ctx.arg(0)) }
    0
}

/// `void udp_lib_unhash(struct sock *sk)`
#[fentry(function = "udp_lib_unhash")]
pub fn udp_unhash(ctx: FEntryContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe {
        twin::ran(Pair::Release, ctx.arg(0));
        holding::udp_unhash::<Direct>(ctx.arg(0), 0);
    }
    0
}

/// `void udp_lib_unhash(struct sock *sk)`, if [`udp_unhash`] was skipped
#[fentry(function = "udp_lib_unhash")]
pub fn udp_unhash_again(ctx: FEntryContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe {
        if twin::was_skipped(Pair::Release, ctx.arg(0)) {
            holding::udp_unhash::<Direct>(ctx.arg(0), FLAG_AGAIN);
        }
    }
    0
}

/// `void udp_lib_rehash(struct sock *sk, u16 newhash, …)`
#[fentry(function = "udp_lib_rehash")]
pub fn udp_rehash(ctx: FEntryContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { holding::udp_rehashed::<Direct>(ctx.arg(0)) }
    0
}

/// `int __udp_disconnect(struct sock *sk, int flags)`, where it does not call `udp_lib_unhash`
#[fentry(function = "__udp_disconnect")]
pub fn udp_disconnect(ctx: FEntryContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { holding::udp_disconnect::<Direct>(ctx.arg(0)) }
    0
}

/// `void security_sock_graft(struct sock *sk, struct socket *parent)`
#[fentry(function = "security_sock_graft")]
pub fn accept(ctx: FEntryContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { call::accepted::<Direct>(ctx.arg(0)) }
    0
}

/// `void __inet_twsk_schedule(struct inet_timewait_sock *tw, int timeo, bool rearm)`
#[fentry(function = "__inet_twsk_schedule")]
pub fn reschedule(ctx: FEntryContext) -> i32 {
    if ctx.arg::<u64>(2) & 0xff != 0 {
        // SAFETY: the prototype above.
        unsafe { holding::time_wait_rescheduled::<Direct>(ctx.arg(0)) }
    }
    0
}
