//! What becomes of a port after it was taken: children, TIME_WAIT, release.

use aya_ebpf::helpers::generated::bpf_jiffies64;
use port_observer_ebpf::{Kind, Released, SocketRecord};

use crate::{
    maps::offset,
    read::Read,
    reset,
    send::send,
    share::Payer,
    socket::{self, TCP, UDP},
};

/// `__inet_inherit_port` (net/ipv4/inet_hashtables.c) gave `child` the port of `listener`.
///
/// # Safety
/// Both are `struct sock`.
#[inline(always)]
pub unsafe fn inherited<R: Read>(listener: *const u8, child: *const u8) {
    // SAFETY: a struct sock.
    unsafe {
        if !socket::is_observed(socket::port::<R>(child)) || socket::protocol::<R>(child) != TCP {
            return;
        }
        let Some(netns) = socket::observed_namespace::<R>(child, TCP) else { return };
        send::<SocketRecord>(Kind::Inherit, Payer::Nobody, |record| {
            socket::describe::<R>(record, Kind::Inherit, child, TCP, netns);
            (*record).other = listener as u64;
            (*record).flags = socket::sharing::<R>(child);
        });
    }
}

/// `entry` is about to succeed `socket` and keep its port (inet_twsk_hashdance,
/// net/ipv4/inet_timewait_sock.c).
///
/// # Safety
/// `entry` is an `inet_timewait_sock`, `socket` a `struct sock`.
#[inline(always)]
pub unsafe fn time_wait_began<R: Read>(entry: *const u8, socket: *const u8) {
    // SAFETY: a struct sock.
    unsafe {
        let port = socket::port::<R>(socket);
        if !is_of_interest::<R>(socket, port) || socket::protocol::<R>(socket) != TCP {
            return;
        }
        // The entry will not know that its port was asked for by number.
        socket::observe(port);
        let Some(netns) = socket::observed_namespace::<R>(socket, TCP) else { return };
        send::<SocketRecord>(Kind::TimeWait, Payer::Nobody, |record| {
            socket::describe::<R>(record, Kind::TimeWait, socket, TCP, netns);
            (*record).other = entry as u64;
            (*record).flags = socket::reuse::<R>(entry);
        });
    }
}

/// `inet_twsk_bind_unhash` (net/ipv4/inet_timewait_sock.c) lets go of the port of `entry`. It is
/// called again for an entry that has let go already.
///
/// # Safety
/// `entry` is an `inet_timewait_sock`.
#[inline(always)]
pub unsafe fn time_wait_ended<R: Read>(entry: *const u8) {
    // Whether it is of interest or not: its address is another entry's next.
    let is_reset = reset::take(entry as u64);
    // SAFETY: fields of inet_timewait_sock.
    unsafe {
        if !socket::is_observed(socket::port::<R>(entry))
            || R::read::<u64>(entry, offset!(tw_tb)) == 0
        {
            return;
        }
        let Some(netns) = socket::observed_namespace::<R>(entry, TCP) else { return };
        // The timer never fires early: an end before it is somebody's doing.
        let expires = R::read::<u64>(entry, offset!(tw_timer_expires));
        let early = (expires.wrapping_sub(bpf_jiffies64()) as i64) > 0;
        let reason = match early {
            false => Released::TimeWaitExpired,
            true if is_reset => Released::TimeWaitReset,
            true => Released::TimeWaitReused,
        };
        release::<R>(entry, TCP, netns, reason, (0, Payer::Nobody));
    }
}

/// `__inet_twsk_schedule` (net/ipv4/inet_timewait_sock.c) starts the timer of `entry` anew:
/// tcp_timewait_state_process (net/ipv4/tcp_minisocks.c) does so when the peer's FIN comes, and for
/// a FIN that comes again.
///
/// # Safety
/// `entry` is an `inet_timewait_sock`.
#[inline(always)]
pub unsafe fn time_wait_rescheduled<R: Read>(entry: *const u8) {
    // SAFETY: fields of inet_timewait_sock.
    unsafe {
        if !socket::is_observed(socket::port::<R>(entry)) || socket::awaits_fin::<R>(entry) {
            return;
        }
        let Some(netns) = socket::observed_namespace::<R>(entry, TCP) else { return };
        send::<SocketRecord>(Kind::FinReceived, Payer::Nobody, |record| {
            socket::describe::<R>(record, Kind::FinReceived, entry, TCP, netns);
        });
    }
}

/// `inet_put_port` (net/ipv4/inet_hashtables.c) is about to let go of the port of `socket`.
///
/// # Safety
/// `socket` is a `struct sock`.
#[inline(always)]
pub unsafe fn put<R: Read>(socket: *const u8, flags: u32) {
    // SAFETY: a struct sock.
    unsafe {
        if !is_of_interest::<R>(socket, socket::port::<R>(socket))
            || socket::protocol::<R>(socket) != TCP
        {
            return;
        }
        let Some(netns) = socket::observed_namespace::<R>(socket, TCP) else { return };
        release::<R>(socket, TCP, netns, Released::Closed, (flags, Payer::Nobody));
    }
}

/// `udp_lib_unhash` (net/ipv4/udp.c) is about to let go of the port of `socket`, if it has one.
///
/// # Safety
/// `socket` is a `struct sock`.
#[inline(always)]
pub unsafe fn udp_unhash<R: Read>(socket: *const u8, flags: u32) {
    // SAFETY: a struct sock.
    unsafe {
        if socket::port::<R>(socket) == 0 || socket::protocol::<R>(socket) != UDP {
            return;
        }
        let Some(netns) = socket::observed_namespace::<R>(socket, UDP) else { return };
        // Only its process closes a UDP socket.
        release::<R>(socket, UDP, netns, Released::Closed, (flags, Payer::CallerFrees));
    }
}

/// `__udp_disconnect` (net/ipv4/udp.c) is about to disconnect `socket`: it loses its port, unless
/// it asked for it by number.
///
/// # Safety
/// `socket` is a `struct sock`.
#[inline(always)]
pub unsafe fn udp_disconnect<R: Read>(socket: *const u8) {
    // SAFETY: a struct sock.
    unsafe {
        if !socket::is_port_fixed::<R>(socket) {
            udp_unhash::<R>(socket, 0);
        }
    }
}

/// `udp_lib_rehash` (net/ipv4/udp.c): connect() has given `socket` a local address, or the end of the
/// connection has taken it away.
///
/// # Safety
/// `socket` is a `struct sock`.
#[inline(always)]
pub unsafe fn udp_rehashed<R: Read>(socket: *const u8) {
    // SAFETY: a struct sock.
    unsafe {
        if socket::port::<R>(socket) == 0 || socket::protocol::<R>(socket) != UDP {
            return;
        }
        let Some(netns) = socket::observed_namespace::<R>(socket, UDP) else { return };
        send::<SocketRecord>(Kind::Rehash, Payer::CallerFrees, |record| {
            socket::describe::<R>(record, Kind::Rehash, socket, UDP, netns);
        });
    }
}

/// Tells that the port is let go.
///
/// # Safety
/// `socket` begins with a `sock_common`.
#[inline(always)]
unsafe fn release<R: Read>(
    socket: *const u8,
    protocol: u16,
    netns: u32,
    reason: Released,
    (flags, payer): (u32, Payer),
) {
    send::<SocketRecord>(Kind::Release, payer, |record| {
        // SAFETY: `record` is room for a SocketRecord.
        unsafe {
            socket::describe::<R>(record, Kind::Release, socket, protocol, netns);
            (*record).reason = reason as u8;
            (*record).flags = flags;
        }
    });
}

/// Leaves out the accepted children of listeners whose port the kernel never chose.
///
/// # Safety
/// `socket` is a `struct sock`.
#[inline(always)]
pub unsafe fn is_of_interest<R: Read>(socket: *const u8, port: u16) -> bool {
    // SAFETY: a struct sock.
    socket::is_observed(port) || unsafe { socket::is_port_fixed::<R>(socket) }
}
