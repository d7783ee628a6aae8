//! What is read off a socket, and whether it is observed.

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use port_observer_ebpf::{
    DEVICE_SHIFT, FLAG_CONNECT_BIND, FLAG_FIN_WAIT2, FLAG_IPV6_ONLY, FLAG_TIMESTAMPS, Kind,
    SocketRecord,
};

use crate::{
    maps::{LISTENED, NAMESPACES, OBSERVED, offset, setting},
    read::{Probed, Read},
};

pub const TCP: u16 = 6;
pub const UDP: u16 = 17;
const AF_INET6: u16 = 10;
/// `SOCK_BINDPORT_LOCK`: the port was asked for by number (include/net/sock.h).
const BINDPORT_LOCK: u8 = 8;
/// `SOCK_CONNECT_BIND`: connect() chose the port (include/net/sock.h, from Linux 6.18).
const CONNECT_BIND: u8 = 16;
const FIN_WAIT2: u8 = 5;

/// The namespace's inode number, if sockets of this protocol are observed there.
///
/// # Safety
/// `socket` is a `struct sock` or begins with a `sock_common`.
#[inline(always)]
pub unsafe fn observed_namespace<R: Read>(socket: *const u8, protocol: u16) -> Option<u32> {
    let only = setting!(only_protocol);
    if only != 0 && only != u32::from(protocol) {
        return None;
    }
    // SAFETY: fields of sock_common and net.
    let netns = unsafe {
        let net = R::read::<*const u8>(socket, offset!(skc_net));
        R::read::<u32>(net, offset!(net_inum))
    };
    // SAFETY: the value is not used, only whether it is there.
    if setting!(only_namespaces) != 0 && unsafe { NAMESPACES.get(netns) }.is_none() {
        return None;
    }
    Some(netns)
}

/// # Safety
/// `socket` is a `struct sock`.
#[inline(always)]
pub unsafe fn protocol<R: Read>(socket: *const u8) -> u16 {
    // SAFETY: 16 bits since Linux 5.6.
    unsafe { R::read::<u16>(socket, offset!(sk_protocol)) }
}

/// # Safety
/// `socket` begins with a `sock_common`.
#[inline(always)]
pub unsafe fn port<R: Read>(socket: *const u8) -> u16 {
    // SAFETY: a field of sock_common.
    unsafe { R::read::<u16>(socket, offset!(skc_num)) }
}

/// # Safety
/// `socket` begins with a `sock_common`.
#[inline(always)]
pub unsafe fn state<R: Read>(socket: *const u8) -> u8 {
    // SAFETY: a field of sock_common.
    unsafe { R::read::<u8>(socket, offset!(skc_state)) }
}

/// Whether the port was asked for by number.
///
/// # Safety
/// `socket` is a `struct sock`.
#[inline(always)]
pub unsafe fn is_port_fixed<R: Read>(socket: *const u8) -> bool {
    // SAFETY: the byte that holds the bit field.
    let byte = unsafe { R::read::<u8>(socket, offset!(sk_userlocks)) };
    (byte >> (offset!(sk_userlocks_shift) & 7)) & BINDPORT_LOCK != 0
}

/// A socket's own port range, as [`SocketRecord::other`] has it; 0: none, or the kernel knows of none.
///
/// # Safety
/// `socket` is a `struct inet_sock`.
#[inline(always)]
pub unsafe fn own_range(socket: *const u8) -> u64 {
    if offset!(has_port_range) == 0 {
        return 0;
    }
    // SAFETY: fields of inet_sock, which is more than the typed pointer says: hence the helper.
    unsafe {
        let low = Probed::read::<u16>(socket, offset!(port_range_low));
        let high = Probed::read::<u16>(socket, offset!(port_range_high));
        u64::from(low) | u64::from(high) << 16
    }
}

/// `FLAG_*` and device: who else may have the port of `socket`.
///
/// # Safety
/// `socket` is a `struct sock`.
#[inline(always)]
pub unsafe fn sharing<R: Read>(socket: *const u8) -> u32 {
    // SAFETY: fields of struct sock.
    unsafe {
        let mut flags = common_sharing::<R>(socket);
        if offset!(has_connect_bind) != 0
            && R::read::<u8>(socket, offset!(sk_userlocks)) & CONNECT_BIND != 0
        {
            flags |= FLAG_CONNECT_BIND;
        }
        flags
    }
}

/// The same of a TIME_WAIT entry.
///
/// # Safety
/// `entry` is an `inet_timewait_sock`.
#[inline(always)]
pub unsafe fn time_wait_sharing<R: Read>(entry: *const u8) -> u32 {
    // SAFETY: fields of inet_timewait_sock.
    unsafe {
        let mut flags = common_sharing::<R>(entry);
        if offset!(has_connect_bind) != 0 {
            let byte = R::read::<u8>(entry, offset!(tw_connect_bind));
            if (byte >> (offset!(tw_connect_bind_shift) & 7)) & 1 != 0 {
                flags |= FLAG_CONNECT_BIND;
            }
        }
        flags
    }
}

#[inline(always)]
unsafe fn common_sharing<R: Read>(socket: *const u8) -> u32 {
    // SAFETY: fields of sock_common.
    unsafe {
        let mut flags = R::read::<u32>(socket, offset!(skc_bound_dev_if)) << DEVICE_SHIFT;
        if R::read::<u16>(socket, offset!(skc_family)) == AF_INET6 {
            let byte = R::read::<u8>(socket, offset!(skc_ipv6only));
            if (byte >> (offset!(skc_ipv6only_shift) & 7)) & 1 != 0 {
                flags |= FLAG_IPV6_ONLY;
            }
        }
        flags
    }
}

/// Whether the peer's FIN has not come yet.
///
/// # Safety
/// `entry` is an `inet_timewait_sock`.
#[inline(always)]
pub unsafe fn awaits_fin<R: Read>(entry: *const u8) -> bool {
    // SAFETY: a field of inet_timewait_sock.
    unsafe { R::read::<u8>(entry, offset!(tw_substate)) == FIN_WAIT2 }
}

/// `FLAG_*`: when connect() may take over a TIME_WAIT entry.
///
/// # Safety
/// `entry` is an `inet_timewait_sock`.
#[inline(always)]
pub unsafe fn reuse<R: Read>(entry: *const u8) -> u32 {
    // SAFETY: fields of inet_timewait_sock and, beyond it, tcp_timewait_sock: hence the helper.
    unsafe {
        let mut flags = 0;
        if awaits_fin::<R>(entry) {
            flags |= FLAG_FIN_WAIT2;
        }
        if Probed::read::<u32>(entry, offset!(tw_ts_recent_stamp)) != 0 {
            flags |= FLAG_TIMESTAMPS;
        }
        flags
    }
}

/// Whether releases of this port matter whoever holds it.
#[inline(always)]
pub fn is_observed(port: u16) -> bool {
    let Some(ports) = OBSERVED.get_ptr(0) else { return false };
    // SAFETY: one byte per port.
    unsafe { (&raw const (*ports)[port as usize]).read_volatile() != 0 }
}

/// From now on releases of this port matter.
#[inline(always)]
pub fn observe(port: u16) {
    let Some(ports) = OBSERVED.get_ptr_mut(0) else { return };
    // SAFETY: one byte per port; all writers write 1.
    unsafe {
        let byte = &raw mut (*ports)[port as usize];
        if byte.read_volatile() == 0 {
            byte.write_volatile(1);
        }
    }
}

/// Whether somebody listens on this port, or did.
#[inline(always)]
pub fn is_listened(port: u16) -> bool {
    // SAFETY: one byte per port.
    unsafe { (&raw const LISTENED[port as usize]).read_volatile() != 0 }
}

/// From now on a connection on this port counts as accepted, unless it is observed.
#[inline(always)]
pub fn listened(port: u16) {
    // SAFETY: one byte per port; all writers write 1.
    unsafe { (&raw mut LISTENED[port as usize]).write_volatile(1) }
}

/// Whether bound to no address in particular.
///
/// # Safety
/// `socket` begins with a `sock_common`.
#[inline(always)]
pub unsafe fn is_wildcard<R: Read>(socket: *const u8) -> bool {
    // SAFETY: fields of sock_common.
    unsafe {
        if R::read::<u16>(socket, offset!(skc_family)) == AF_INET6 {
            let at = offset!(skc_v6_rcv_saddr);
            R::read::<u64>(socket, at) == 0 && R::read::<u64>(socket, at + 8) == 0
        } else {
            R::read::<u32>(socket, offset!(skc_rcv_saddr)) == 0
        }
    }
}

/// Writes all of `record`: the socket as it is now; what only the event knows stays 0.
///
/// # Safety
/// `record` has room for a `SocketRecord`, `socket` begins with a `sock_common`.
#[inline(always)]
pub unsafe fn describe<R: Read>(
    record: *mut SocketRecord,
    kind: Kind,
    socket: *const u8,
    protocol: u16,
    netns: u32,
) {
    // SAFETY: fields of sock_common; the record's arrays start at multiples of 8.
    unsafe {
        let family = R::read::<u16>(socket, offset!(skc_family));
        record.cast::<u64>().write(0);
        (*record).kind = kind as u8;
        (*record).family = family as u8;
        (*record).protocol = protocol as u8;
        (*record).time_ns = bpf_ktime_get_boot_ns();
        (*record).socket = socket as u64;
        (*record).other = 0;
        (*record).netns = netns;
        (*record).local_port = port::<R>(socket);
        (*record).remote_port = u16::from_be(R::read::<u16>(socket, offset!(skc_dport)));
        (*record).requested_port = 0;
        (*record).errno = 0;
        (*record).flags = 0;
        let local = (&raw mut (*record).local_address).cast::<u64>();
        let remote = (&raw mut (*record).remote_address).cast::<u64>();
        if family == AF_INET6 {
            let (from, to) = (offset!(skc_v6_rcv_saddr), offset!(skc_v6_daddr));
            local.write(R::read::<u64>(socket, from));
            local.add(1).write(R::read::<u64>(socket, from + 8));
            remote.write(R::read::<u64>(socket, to));
            remote.add(1).write(R::read::<u64>(socket, to + 8));
        } else {
            // Volatile, or the compiler makes these stores a call that loops over bytes.
            local.write_volatile(widened(R::read::<[u8; 4]>(socket, offset!(skc_rcv_saddr))));
            local.add(1).write_volatile(0);
            remote.write_volatile(widened(R::read::<[u8; 4]>(socket, offset!(skc_daddr))));
            remote.add(1).write_volatile(0);
        }
    }
}

/// An IPv4 address as the first four of eight bytes.
#[inline(always)]
fn widened(address: [u8; 4]) -> u64 {
    u64::from(u32::from_le_bytes(address)).to_le()
}
