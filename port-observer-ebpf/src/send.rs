//! Puts records into the ring buffer, and counts those that find no place.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_ktime_get_boot_ns, bpf_ringbuf_reserve, bpf_ringbuf_submit},
    maps::{PerCpuArray, RingBuf},
};
use port_observer_ebpf::{Kind, PerKind};

use crate::{
    maps::{EVENTS, LOST, SLEEPING},
    repeat,
    share::{Payer, is_granted},
};

/// The header of a record (`BPF_RINGBUF_HDR_SZ`, include/uapi/linux/bpf.h), in bytes.
const HEADER: u32 = 8;

/// Reserves a record, lets `fill` write all of it, and submits it; without room it is counted.
#[inline(always)]
pub fn send<T>(kind: Kind, payer: Payer, fill: impl FnOnce(*mut T)) {
    if !is_granted(payer, size_of::<T>() as u32 + HEADER) {
        refused(kind, payer);
        return;
    }
    // SAFETY: EVENTS is a ring buffer; the result is null or room for a T, aligned to 8.
    let record = unsafe {
        bpf_ringbuf_reserve((&raw const EVENTS as *mut RingBuf).cast(), size_of::<T>() as u64, 0)
    }
    .cast::<T>();
    if record.is_null() {
        refused(kind, payer);
        return;
    }
    fill(record);
    // SAFETY: reserved above and submitted once.
    unsafe { bpf_ringbuf_submit(record.cast(), wakeup()) }
}

/// Counts a record that found no room, by whom it was where that is known.
#[inline(always)]
fn refused(kind: Kind, payer: Payer) {
    let has_payer = payer as u32 != Payer::Nobody as u32;
    // SAFETY: who pays is the current task; the time takes nothing.
    if !has_payer || !unsafe { repeat::is_counted_as_lost(kind, bpf_ktime_get_boot_ns()) } {
        lost(kind);
    }
}

/// Counts a record of this kind as lost.
#[inline(always)]
pub fn lost(kind: Kind) {
    count(&LOST, kind);
}

/// Adds one to a counter of this processor's.
#[inline(always)]
pub fn count(counters: &PerCpuArray<PerKind>, kind: Kind) {
    if let Some(counts) = counters.get_ptr_mut(0) {
        // The verifier is shown that it is within.
        let slot = kind as usize & (Kind::SLOTS - 1);
        // SAFETY: a map value.
        unsafe { repeat::increment(&raw mut (*counts)[slot]) };
    }
}

/// Wakes the consumer only if it sleeps: waking costs the traced program microseconds, so that
/// under load the consumer comes by itself.
#[inline(always)]
fn wakeup() -> u64 {
    let Some(sleeping) = SLEEPING.get_ptr_mut(0) else { return 0 };
    // SAFETY: a map value; a lost race costs one more wakeup.
    unsafe {
        if sleeping.read_volatile() == 0 {
            return u64::from(BPF_RB_NO_WAKEUP);
        }
        sleeping.write_volatile(0);
    }
    u64::from(BPF_RB_FORCE_WAKEUP)
}
