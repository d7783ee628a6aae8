//! The `tracepoint` backend: bind(2), listen(2) and connect(2) that fail, from their address as the kernel copied it to
//! what they return.

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_boot_ns,
    macros::{cgroup_sock_addr, tracepoint},
    programs::{SockAddrContext, TracePointContext},
};
use port_observer_ebpf::{CallRecord, Kind, Via};

use crate::{
    call::{self, EADDRNOTAVAIL},
    inside,
    maps::{BINDS, BindCall, CONNECTS},
    read::{Probed, Read},
    refused,
    send::lost,
    socket::{self, TCP, UDP},
    task,
};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const EADDRINUSE: u16 = 98;

/// bind() of an IPv4 socket begins (inet_bind_sk, net/ipv4/af_inet.c): its address as the kernel copied
/// it, which no other thread can change any more.
#[cgroup_sock_addr(bind4)]
pub fn t_bind4(ctx: SockAddrContext) -> i32 {
    // SAFETY: the context is a bpf_sock_addr.
    unsafe {
        let address = u64::from((*ctx.sock_addr).user_ip4);
        try_bind(&ctx, [address, 0], AF_INET);
    }
    1
}

/// The same for IPv6 (inet6_bind_sk, net/ipv6/af_inet6.c).
#[cgroup_sock_addr(bind6)]
pub fn t_bind6(ctx: SockAddrContext) -> i32 {
    // SAFETY: the context is a bpf_sock_addr.
    unsafe {
        try_bind(&ctx, ip6(&ctx), AF_INET6);
    }
    1
}

/// `address`: in network byte order. `family`: of the socket, whatever that of the address is
/// (bind() takes AF_UNSPEC for AF_INET).
#[inline(always)]
unsafe fn try_bind(ctx: &SockAddrContext, address: [u64; 2], family: u8) {
    // SAFETY: as below.
    unsafe {
        let Some(call) = under_way(ctx, address, family) else { return };
        if BINDS.insert(task::current(), call, 0).is_err() {
            lost(Kind::Conflict);
        }
    }
}

/// connect() of an IPv6 socket begins (`tcp_v6_pre_connect`, `udpv6_pre_connect`): it has no source address
/// yet.
#[cgroup_sock_addr(connect6)]
pub fn t_connect6(ctx: SockAddrContext) -> i32 {
    // SAFETY: the context is a bpf_sock_addr.
    unsafe {
        let mut address = ip6(&ctx);
        if address == [0; 2] {
            // connect() to no address in particular is to loopback (tcp_v6_connect, net/ipv6/tcp_ipv6.c).
            address[1] = 1u64.to_be();
        }
        let Some(call) = under_way(&ctx, address, AF_INET6) else { return 1 };
        // Towards IPv4, the source is another question.
        if !refused::is_mapped(&call.address) && CONNECTS.insert(task::current(), call, 0).is_err()
        {
            lost(Kind::Refused);
        }
    }
    1
}

/// What connect(2) returned, at byte 16.
#[tracepoint(category = "syscalls", name = "sys_exit_connect")]
pub fn t_connect_exit(ctx: TracePointContext) -> u32 {
    let key = task::current();
    // SAFETY: the entry is this thread's own.
    unsafe {
        let Some(call) = CONNECTS.get_ptr(key) else { return 0 };
        let call = call.read_volatile();
        let _ = CONNECTS.remove(key);
        if ctx.read_at::<i64>(16) == Ok(-i64::from(EADDRNOTAVAIL)) {
            refused::connect_refused(&call);
        }
    }
    0
}

/// The address of a call of IPv6, in network byte order.
///
/// # Safety
/// The context is a bpf_sock_addr.
#[inline(always)]
unsafe fn ip6(ctx: &SockAddrContext) -> [u64; 2] {
    // SAFETY: as above, four words of 4 bytes.
    unsafe {
        let words = &raw const (*ctx.sock_addr).user_ip6;
        let word = |at: usize| u64::from(words.cast::<u32>().add(at).read_volatile());
        let pair = |at: usize| word(at) | word(at + 1) << 32;
        [pair(0), pair(2)]
    }
}

/// The call that begins, if it is observed.
#[inline(always)]
unsafe fn under_way(ctx: &SockAddrContext, address: [u64; 2], family: u8) -> Option<BindCall> {
    // SAFETY: the context is a bpf_sock_addr, its `sk` the kernel's socket; read through a helper.
    unsafe {
        let protocol = (*ctx.sock_addr).protocol as u16;
        if protocol != TCP && protocol != UDP {
            return None;
        }
        let typed = (*ctx.sock_addr).__bindgen_anon_1.sk;
        // Read back through a helper, the pointer is a number to the verifier.
        let sk = Probed::read::<*const u8>((&raw const typed).cast(), 0);
        let netns = socket::observed_namespace::<Probed>(sk, protocol)?;
        let mut call = BindCall {
            socket: sk as u64,
            address: [0; 16],
            netns,
            port: u16::from_be((*ctx.sock_addr).user_port as u16),
            family,
            protocol: protocol as u8,
        };
        let place = (&raw mut call.address).cast::<u64>();
        place.write_volatile(address[0]);
        place.add(1).write_volatile(address[1]);
        Some(call)
    }
}

/// bind(2) begins: what an earlier bind() of this thread left that was no system call is not its own.
#[tracepoint(category = "syscalls", name = "sys_enter_bind")]
pub fn t_bind_enter(_: TracePointContext) -> u32 {
    // Mostly not there.
    let _ = BINDS.remove(task::current());
    0
}

/// listen(2) begins. A socket that goes from LISTEN to CLOSE before it returns was refused its port, where
/// else it is closed.
#[tracepoint(category = "syscalls", name = "sys_enter_listen")]
pub fn t_listen_enter(_: TracePointContext) -> u32 {
    inside::began(Kind::Conflict);
    0
}

/// listen(2) returns.
#[tracepoint(category = "syscalls", name = "sys_exit_listen")]
pub fn t_listen_exit(_: TracePointContext) -> u32 {
    inside::ended();
    0
}

/// What bind(2) returned, at byte 16. Successes are told by `post_bind`.
#[tracepoint(category = "syscalls", name = "sys_exit_bind")]
pub fn t_bind_exit(ctx: TracePointContext) -> u32 {
    let key = task::current();
    // SAFETY: the entry is this thread's own.
    unsafe {
        let Some(call) = BINDS.get_ptr(key) else { return 0 };
        let call = call.read_volatile();
        let _ = BINDS.remove(key);
        let result = ctx.read_at::<i64>(16);
        if result == Ok(-i64::from(EADDRINUSE)) {
            bind_failed(&call);
        }
        if result == Ok(-i64::from(EADDRNOTAVAIL)) {
            refused::bind_refused(&call);
        }
    }
    0
}

#[inline(always)]
unsafe fn bind_failed(call: &BindCall) {
    let kind = if call.port == 0 { Kind::Exhausted } else { Kind::Conflict };
    let mut record = CallRecord::default();
    let place = &mut record.socket;
    place.kind = kind as u8;
    place.family = call.family;
    place.protocol = call.protocol;
    place.via = Via::Bind as u8;
    place.socket = call.socket;
    place.local_address = call.address;
    place.netns = call.netns;
    place.local_port = call.port;
    place.requested_port = call.port;
    place.errno = EADDRINUSE;
    // SAFETY: the current task is the caller. What another thread has closed meanwhile can be read through
    // a helper.
    unsafe {
        if call.port == 0 {
            place.other = socket::own_range(call.socket as *const u8);
        }
        place.time_ns = bpf_ktime_get_boot_ns();
        task::describe(&raw mut record.task);
        call::failed(&record);
    }
}
