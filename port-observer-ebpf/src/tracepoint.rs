//! The `tracepoint` backend, for kernels that refuse function probes: BTF tracepoints and cgroup
//! programs, each telling what it alone can see. What system calls return is in `system_call`.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_skc_to_tcp_sock,
    macros::{btf_tracepoint, cgroup_sock, sock_ops},
    programs::{BtfTracePointContext, SockContext, SockOpsContext},
};
use port_observer_ebpf::{FLAG_REQUEST_UNKNOWN, Kind, Via};

use crate::{
    call::{self, Outcome},
    closed::{self, CLOSE, SYN_RECV},
    holding, inside,
    maps::{BINDS, CONNECTS},
    read::{Direct, Probed},
    socket::{self, TCP, UDP},
    task,
    twin::{self, Pair},
};

const EADDRNOTAVAIL: u16 = 99;
const EADDRINUSE: u16 = 98;
const ESTABLISHED: i32 = 1;
const SYN_SENT: i32 = 2;
const LISTEN: i32 = 10;
/// `BPF_SOCK_OPS_TCP_CONNECT_CB`: the SYN is about to be sent (tcp_connect, net/ipv4/tcp_output.c).
const CONNECT_CB: u32 = 3;
/// `BPF_SOCK_OPS_TCP_LISTEN_CB`: listen() succeeded (__inet_listen_sk, net/ipv4/af_inet.c).
const LISTEN_CB: u32 = 11;

/// `TP_PROTO(const struct sock *sk, const int oldstate, const int newstate)`
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn t_state(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { try_state(ctx.arg::<*const u8>(0), ctx.arg::<i32>(1), ctx.arg::<i32>(2), false) }
    0
}

/// `TP_PROTO(const struct sock *sk, const int oldstate, const int newstate)`, if [`t_state`] was skipped
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn t_state_again(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { try_state(ctx.arg::<*const u8>(0), ctx.arg::<i32>(1), ctx.arg::<i32>(2), true) }
    0
}

#[inline(always)]
unsafe fn try_state(sk: *const u8, old: i32, new: i32, again: bool) {
    // SAFETY: a struct sock.
    unsafe {
        // Of every change, so that the runs that were skipped and done by the twin can be told from
        // those that both missed.
        if !is_first(Pair::State, sk, again) {
            return;
        }
        match (old, new) {
            (CLOSE, SYN_SENT) => {
                // It has a source address: whatever it fails for from here on, it is not for want of one.
                // Mostly not there.
                let _ = CONNECTS.remove(task::current());
            }
            (SYN_RECV, ESTABLISHED) => holding::inherited::<Direct>(core::ptr::null(), sk),
            (_, CLOSE) => {
                let sk = tcp_sock(sk);
                if !sk.is_null() {
                    if old == LISTEN && inside::is_inside() {
                        listen_failed(sk);
                    } else {
                        closed(sk, old);
                    }
                }
            }
            _ => {}
        }
    }
}

/// The same pointer, with a type of which all may be read; null if it is not one of TCP.
///
/// # Safety
/// `sk` is a `struct sock`.
#[inline(always)]
unsafe fn tcp_sock(sk: *const u8) -> *const u8 {
    // SAFETY: a struct sock.
    unsafe { bpf_skc_to_tcp_sock(sk.cast_mut().cast()).cast::<u8>().cast_const() }
}

/// Whether no other program of the pair does the work.
#[inline(always)]
unsafe fn is_first(pair: Pair, sk: *const u8, again: bool) -> bool {
    // SAFETY: a struct sock.
    unsafe {
        if again {
            return twin::was_skipped(pair, sk);
        }
        twin::ran(pair, sk);
    }
    true
}

/// The end of a connection, or of a connect() that got no port.
#[inline(always)]
unsafe fn closed(sk: *const u8, old: i32) {
    // SAFETY: a struct tcp_sock.
    unsafe {
        let port = closed::last_port::<Direct>(sk);
        if old != SYN_SENT || port != 0 {
            closed::tell::<Direct>(sk, port, old, 0);
            return;
        }
        let Some(netns) = socket::observed_namespace::<Direct>(sk, TCP) else { return };
        let outcome = Outcome {
            kind: Kind::Exhausted,
            via: Via::Connect,
            requested_port: 0,
            errno: EADDRNOTAVAIL,
            search_ns: 0,
            flags: 0,
        };
        call::tell::<Direct>(sk, TCP, netns, outcome);
    }
}

/// listen() was refused its port, and goes back on what it had begun (`inet_csk_listen_start`,
/// net/ipv4/inet_connection_sock.c): a bound socket stays bound.
#[inline(always)]
unsafe fn listen_failed(sk: *const u8) {
    // SAFETY: a struct tcp_sock.
    unsafe {
        let Some(netns) = socket::observed_namespace::<Direct>(sk, TCP) else { return };
        let port = socket::port::<Direct>(sk);
        let outcome = Outcome {
            kind: if port == 0 { Kind::Exhausted } else { Kind::Conflict },
            via: Via::Listen,
            requested_port: port,
            errno: EADDRINUSE,
            search_ns: 0,
            flags: 0,
        };
        call::tell::<Direct>(sk, TCP, netns, outcome);
    }
}

/// `TP_PROTO(struct sock *sk)`
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn t_destroy(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { try_destroy(ctx.arg(0), false) }
    0
}

/// `TP_PROTO(struct sock *sk)`, if [`t_destroy`] was skipped
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn t_destroy_again(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { try_destroy(ctx.arg(0), true) }
    0
}

#[inline(always)]
unsafe fn try_destroy(sk: *const u8, again: bool) {
    // SAFETY: a struct sock.
    unsafe {
        if socket::port::<Direct>(sk) != 0 && is_first(Pair::Destroy, sk, again) {
            holding::put::<Direct>(sk, 0);
        }
    }
}

/// connect() or listen() has its port.
#[sock_ops]
pub fn t_sock_ops(ctx: SockOpsContext) -> u32 {
    let via = match ctx.op() {
        CONNECT_CB => Via::Connect,
        LISTEN_CB => Via::Autobind,
        _ => return 1,
    };
    // SAFETY: the context is a bpf_sock_ops; its `sk` is the kernel's socket.
    unsafe {
        let sk = (*ctx.ops).__bindgen_anon_2.sk;
        if !sk.is_null() {
            let sk = tcp_sock(sk.cast());
            if !sk.is_null() {
                ready(sk, via);
            }
        }
    }
    1
}

#[inline(always)]
unsafe fn ready(sk: *const u8, via: Via) {
    // SAFETY: a struct sock.
    unsafe {
        let Some(netns) = socket::observed_namespace::<Direct>(sk, TCP) else { return };
        let listening = via as u8 == Via::Autobind as u8;
        if listening && socket::is_port_fixed::<Direct>(sk) {
            call::listens::<Direct>(sk, netns);
            return;
        }
        if !socket::is_port_fixed::<Direct>(sk) {
            socket::observe(socket::port::<Direct>(sk));
        }
        let kind = Kind::Acquire;
        let outcome = Outcome { kind, via, requested_port: 0, errno: 0, search_ns: 0, flags: 0 };
        call::tell::<Direct>(sk, TCP, netns, outcome);
        if listening {
            call::listens::<Direct>(sk, netns);
        }
    }
}

/// bind() gave an IPv4 socket its port (__inet_bind, net/ipv4/af_inet.c).
#[cgroup_sock(post_bind4)]
pub fn t_post_bind4(ctx: SockContext) -> i32 {
    // SAFETY: the context of a cgroup_sock program is the socket.
    unsafe { try_post_bind(ctx.as_ptr() as u64) }
    1
}

/// The same for IPv6 (__inet6_bind, net/ipv6/af_inet6.c).
#[cgroup_sock(post_bind6)]
pub fn t_post_bind6(ctx: SockContext) -> i32 {
    // SAFETY: the context of a cgroup_sock program is the socket.
    unsafe { try_post_bind(ctx.as_ptr() as u64) }
    1
}

#[inline(always)]
unsafe fn try_post_bind(sk: u64) {
    let mut address = sk;
    // SAFETY: a local; through memory the pointer becomes a number.
    let sk = unsafe { (&raw mut address).read_volatile() } as *const u8;
    // SAFETY: a struct sock.
    unsafe {
        let protocol = socket::protocol::<Probed>(sk);
        if protocol != TCP && protocol != UDP {
            return;
        }
        let Some(netns) = socket::observed_namespace::<Probed>(sk, protocol) else { return };
        let thread = task::current();
        let requested = BINDS.get_ptr(thread).filter(|call| (**call).socket == sk as u64);
        let requested = requested.map(|call| (*call).port);
        let _ = BINDS.remove(thread);
        if requested.is_none_or(|port| port == 0) {
            socket::observe(socket::port::<Probed>(sk));
        }
        let outcome = Outcome {
            kind: Kind::Acquire,
            via: Via::Bind,
            requested_port: requested.unwrap_or(0),
            errno: 0,
            search_ns: 0,
            flags: if requested.is_none() { FLAG_REQUEST_UNKNOWN } else { 0 },
        };
        call::tell::<Probed>(sk, protocol, netns, outcome);
    }
}

/// A socket is closed for good (inet_release, net/ipv4/af_inet.c): the end of a UDP port.
#[cgroup_sock(sock_release)]
pub fn t_sock_release(ctx: SockContext) -> i32 {
    // The context's own field costs one load, where each read through a helper costs a call.
    // SAFETY: the context is a bpf_sock.
    if unsafe { (*ctx.sock).protocol } != u32::from(UDP) {
        return 1;
    }
    let mut address = ctx.as_ptr() as u64;
    // SAFETY: a local; through memory the pointer becomes a number.
    let sk = unsafe { (&raw mut address).read_volatile() } as *const u8;
    // SAFETY: the context of a cgroup_sock program is the socket.
    unsafe { holding::udp_unhash::<Probed>(sk, 0) }
    1
}
