//! Puts records into the ring buffer, and counts those that find no place.

use core::arch::asm;

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_ringbuf_reserve, bpf_ringbuf_submit},
    maps::{PerCpuArray, RingBuf},
};
use port_observer_ebpf::{Kind, PerKind};

use crate::maps::{EVENTS, LOST, SLEEPING};

/// Reserves a record, lets `fill` write all of it, and submits it; without room it is counted.
#[inline(always)]
pub fn send<T>(kind: Kind, fill: impl FnOnce(*mut T)) {
    // SAFETY: EVENTS is a ring buffer; the result is null or room for a T, aligned to 8.
    let record = unsafe {
        bpf_ringbuf_reserve((&raw const EVENTS as *mut RingBuf).cast(), size_of::<T>() as u64, 0)
    }
    .cast::<T>();
    if record.is_null() {
        lost(kind);
        return;
    }
    fill(record);
    // SAFETY: reserved above and submitted once.
    unsafe { bpf_ringbuf_submit(record.cast(), wakeup()) }
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
        let count = unsafe { &raw mut (*counts)[slot] };
        // Atomic, for an interrupt may count between the load and the store of a plain add. As
        // assembly: the target's atomics in core need a newer instruction set than Linux 5.10's.
        // SAFETY: adds to a map value of 8 bytes, aligned to 8.
        unsafe { asm!("lock *(u64 *)({} + 0) += {}", in(reg) count, in(reg) 1u64) }
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
