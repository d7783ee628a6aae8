//! Calls that fail with EADDRNOTAVAIL before a port is looked for: the address is not there.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use port_observer_ebpf::{CallRecord, DEVICE_SHIFT, Kind, Via};

use crate::{
    call::{self, EADDRNOTAVAIL},
    maps::{BindCall, offset},
    read::{Probed, Read},
    socket::{self, TCP, UDP},
    task,
};

const AF_INET6: u8 = 10;

/// `__inet_bind` (net/ipv4/af_inet.c) or `__inet6_bind` (net/ipv6/af_inet6.c) returned. They look at the
/// address first, and no port is refused with this error: that of bind() is EADDRINUSE.
///
/// # Safety
/// `socket` is a `struct sock`, `address` the `struct sockaddr` of the call, and the current task is the
/// caller.
#[inline(always)]
pub unsafe fn bind_returned<R: Read>(socket: *const u8, address: *const u8, result: i32) {
    if result != -EADDRNOTAVAIL {
        return;
    }
    // SAFETY: as above.
    unsafe {
        if let Some(call) = read::<R>(socket, address) {
            bind_refused(&call);
        }
    }
}

/// `tcp_v6_connect` (net/ipv6/tcp_ipv6.c) or `__ip6_datagram_connect` (net/ipv6/datagram.c) returned.
/// `ip6_dst_lookup_flow` gives this error when there is no source address (`ipv6_dev_get_saddr`). That of
/// TCP is also given when no port is left: then the socket has its route already, but for one towards
/// an IPv4 address, whose source is not looked for here.
///
/// # Safety
/// As [`bind_returned`].
#[inline(always)]
pub unsafe fn connect_returned<R: Read>(socket: *const u8, address: *const u8, result: i32) {
    if result != -EADDRNOTAVAIL {
        return;
    }
    // SAFETY: as above; a field of struct sock.
    unsafe {
        let Some(call) = read::<R>(socket, address) else { return };
        let has_route = R::read::<u64>(socket, offset!(sk_dst_cache)) != 0;
        if call.protocol as u16 == TCP && (has_route || is_mapped(&call.address)) {
            return;
        }
        connect_refused(&call);
    }
}

/// Whether this is an IPv4 address as IPv6 writes it.
#[inline(always)]
pub fn is_mapped(address: &[u8; 16]) -> bool {
    let words = address.as_ptr().cast::<u64>();
    // SAFETY: two words of 8 bytes.
    let (high, low) = unsafe { (words.read_unaligned(), words.add(1).read_unaligned()) };
    high == 0 && u64::from_be(low) >> 32 == 0xffff
}

/// What a call was given.
#[inline(always)]
unsafe fn read<R: Read>(socket: *const u8, address: *const u8) -> Option<BindCall> {
    // SAFETY: fields of struct sock; sockaddr_in and sockaddr_in6 (include/uapi/linux/in.h, in6.h), in the
    // kernel's copy of the caller's.
    unsafe {
        let protocol = socket::protocol::<R>(socket);
        if protocol != TCP && protocol != UDP {
            return None;
        }
        let netns = socket::observed_namespace::<R>(socket, protocol)?;
        let family = R::read::<u16>(socket, offset!(skc_family)) as u8;
        let mut call = BindCall {
            socket: socket as u64,
            address: [0; 16],
            netns,
            port: u16::from_be(Probed::read::<u16>(address, 2)),
            family,
            protocol: protocol as u8,
        };
        let place = (&raw mut call.address).cast::<u64>();
        if family == AF_INET6 {
            place.write_volatile(Probed::read::<u64>(address, 8));
            place.add(1).write_volatile(Probed::read::<u64>(address, 16));
        } else {
            place.write_volatile(u64::from(Probed::read::<u32>(address, 4)));
        }
        Some(call)
    }
}

/// Tells of a bind() to an address that is not there.
///
/// # Safety
/// The current task is the caller.
#[inline(always)]
pub unsafe fn bind_refused(call: &BindCall) {
    // SAFETY: as above.
    unsafe {
        tell(call, |record| {
            record.socket.via = Via::Bind as u8;
            copy(&call.address, &mut record.socket.local_address);
            record.socket.local_port = call.port;
            record.socket.requested_port = call.port;
        });
    }
}

/// Tells of a connect() towards an address that there is no address to come from.
///
/// # Safety
/// The current task is the caller.
#[inline(always)]
pub unsafe fn connect_refused(call: &BindCall) {
    // SAFETY: as above; a field of sock_common.
    unsafe {
        tell(call, |record| {
            record.socket.via = Via::Connect as u8;
            copy(&call.address, &mut record.socket.remote_address);
            record.socket.remote_port = call.port;
            record.socket.local_port = socket::port::<Probed>(call.socket as *const u8);
        });
    }
}

#[inline(always)]
unsafe fn tell(call: &BindCall, fill: impl FnOnce(&mut CallRecord)) {
    let mut record = MaybeUninit::<CallRecord>::uninit();
    // SAFETY: integers, all of which are written before they are read; the socket lives as long as its
    // call, and what another thread has closed meanwhile can be read through a helper.
    unsafe {
        let words = record.as_mut_ptr().cast::<u64>();
        let mut at = 0;
        while at < size_of::<CallRecord>() / 8 {
            words.add(at).write_volatile(0);
            at += 1;
        }
        let record = record.assume_init_mut();
        let place = &mut record.socket;
        place.kind = Kind::Refused as u8;
        place.family = call.family;
        place.protocol = call.protocol;
        place.time_ns = bpf_ktime_get_boot_ns();
        place.socket = call.socket;
        place.netns = call.netns;
        place.errno = EADDRNOTAVAIL as u16;
        let socket = call.socket as *const u8;
        place.flags = Probed::read::<u32>(socket, offset!(skc_bound_dev_if)) << DEVICE_SHIFT;
        fill(record);
        task::describe(&raw mut record.task);
        call::failed(record);
    }
}

/// Copies word by word: the compiler's own copy may be a call.
#[inline(always)]
fn copy(from: &[u8; 16], to: &mut [u8; 16]) {
    let (from, to) = (from.as_ptr().cast::<u64>(), to.as_mut_ptr().cast::<u64>());
    // SAFETY: two words of 8 bytes each, at multiples of 8 in their structures.
    unsafe {
        to.write_volatile(from.read_volatile());
        to.add(1).write_volatile(from.add(1).read_volatile());
    }
}
