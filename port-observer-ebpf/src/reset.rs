//! What ends a TIME_WAIT entry early, if it is no new owner of its port.

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;

use crate::{
    maps::{RESET, offset},
    read::{Probed, Read},
    socket,
};

const TIME_WAIT: u8 = 6;
/// Byte 13 of a TCP header (include/uapi/linux/tcp.h).
const FLAGS: u32 = 13;
const FIN: u8 = 1;
const RST: u8 = 4;
/// What a packet ends is ended before the next one comes to this processor. Longer ago, it was not ended
/// by it: an RST from outside the window is dropped.
const AT_ONCE_NS: u64 = 100_000_000;

/// An entry that is about to be ended.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Ending {
    entry: u64,
    time_ns: u64,
}

/// `tcp_timewait_state_process` (net/ipv4/tcp_minisocks.c) is given a packet for `entry`: an RST ends it,
/// and in FIN_WAIT2 what is no FIN and brings data or a SYN, which is answered with one. What only
/// acknowledges ends nothing.
///
/// # Safety
/// `entry` is an `inet_timewait_sock`, `packet` a `sk_buff` with a `tcp_skb_cb`, `header` its `tcphdr`.
#[inline(always)]
pub unsafe fn packet<R: Read>(entry: *const u8, packet: *const u8, header: *const u8) {
    // SAFETY: as above.
    let ends = unsafe {
        let flags = Probed::read::<u8>(header, FLAGS);
        // `seq` and `end_seq` are the first two of struct tcp_skb_cb (include/net/tcp.h).
        let cb = offset!(skb_cb);
        let brings = || Probed::read::<u32>(packet, cb) != Probed::read::<u32>(packet, cb + 4);
        flags & RST != 0 || flags & FIN == 0 && socket::awaits_fin::<R>(entry) && brings()
    };
    note(if ends { entry as u64 } else { 0 });
}

/// `tcp_abort` (net/ipv4/tcp.c) destroys `socket`, which may be a TIME_WAIT entry.
///
/// # Safety
/// `socket` begins with a `sock_common`.
#[inline(always)]
pub unsafe fn aborted<R: Read>(socket: *const u8) {
    // SAFETY: as above.
    if unsafe { socket::state::<R>(socket) } == TIME_WAIT {
        note(socket as u64);
    }
}

#[inline(always)]
fn note(entry: u64) {
    let Some(place) = RESET.get_ptr_mut(0) else { return };
    // SAFETY: a slot of this processor's own.
    unsafe {
        (*place).entry = entry;
        (*place).time_ns = bpf_ktime_get_boot_ns();
    }
}

/// Whether the end of `entry`, which is now, is none that a new owner brought about; asked once. The kernel
/// gives the memory of an entry that has ended to the next one (`tw_sock_TCP`, a cache whose last object to
/// be freed is the first to be given out), so what was noted of its address does not outlive it.
#[inline(always)]
pub fn take(entry: u64) -> bool {
    let Some(place) = RESET.get_ptr_mut(0) else { return false };
    // SAFETY: a slot of this processor's own.
    unsafe {
        if (*place).entry != entry {
            return false;
        }
        (*place).entry = 0;
        bpf_ktime_get_boot_ns() - (*place).time_ns < AT_ONCE_NS
    }
}
