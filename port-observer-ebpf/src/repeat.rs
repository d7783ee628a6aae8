//! Calls that fail again and again: the first of each second have a record each, the rest are counted.
//!
//! Counts are kept in slots that user space reads through shared memory. A slot is found by key, claimed
//! here from a queue, and given back by user space once it was idle: the key first, the slot a second
//! later, so that no program counts into a slot that has changed hands.

use core::arch::asm;

use aya_ebpf::bindings::BPF_NOEXIST;
use port_observer_ebpf::{CallRecord, Counted, Counting, Kind};

use crate::{
    maps::{COUNTED, COUNTED_BY_KEY, COUNTED_FREE, FAILURES, setting},
    task,
};

/// So many equal failures of one process in a second have a record each.
const EQUAL: u32 = 100;
/// So many failures of one process in a second, whatever their addresses.
const DIFFERING: u32 = 500;
/// From so many in a second on they are counted by slot; below it by a table that others share.
const SUSPECT: u32 = 64;
/// The size of that table.
const PLACE_BITS: u32 = 13;
pub const PLACES: u32 = 1 << PLACE_BITS;
const SECOND_NS: u64 = 1_000_000_000;

/// Whether a failed call is submitted by itself; else it was counted.
///
/// # Safety
/// The current task is the caller.
#[inline(always)]
pub unsafe fn is_submitted(record: &CallRecord) -> bool {
    let of = &record.socket;
    let what = u64::from(of.kind)
        | u64::from(of.family) << 8
        | u64::from(of.protocol) << 16
        | u64::from(of.via) << 24
        | u64::from(of.errno) << 32;
    let differing =
        mixed(mixed(seed(), u64::from(record.task.pid) << 32 | u64::from(of.netns)), what);
    let ports = u64::from(of.local_port)
        | u64::from(of.remote_port) << 16
        | u64::from(of.requested_port) << 32;
    let (local, remote) = (&raw const of.local_address, &raw const of.remote_address);
    let mut equal = mixed(mixed(differing, ports), of.other);
    // SAFETY: 16 bytes each, at multiples of 8 in the record.
    unsafe {
        equal = mixed(equal, local.cast::<u64>().read_volatile());
        equal = mixed(equal, local.cast::<u64>().add(1).read_volatile());
        equal = mixed(equal, remote.cast::<u64>().read_volatile());
        equal = mixed(equal, remote.cast::<u64>().add(1).read_volatile());
    }
    // SAFETY: as above.
    unsafe {
        has_turn(equal, record, Counting::Equal, (SUSPECT, EQUAL))
            && has_turn(differing, record, Counting::Differing, (DIFFERING, DIFFERING))
    }
}

/// Counts a record that the current process was refused room for; whether there was a slot.
///
/// # Safety
/// The current task is the caller.
// As `call::failed`.
#[inline(never)]
pub unsafe fn is_counted_as_lost(kind: Kind, time_ns: u64) -> bool {
    let key =
        mixed(mixed(seed(), task::current() >> 32), kind as u64 | (Counting::Lost as u64) << 8);
    // SAFETY: the record is room in a slot that is nobody else's yet.
    unsafe {
        let slot = find(key).or_else(|| {
            claim(key, Counting::Lost, time_ns, |record| {
                (*record).socket.kind = kind as u8;
                task::describe(&raw mut (*record).task);
            })
        });
        if let Some(slot) = slot {
            take(slot, time_ns, 0);
        }
        slot.is_some()
    }
}

#[inline(always)]
unsafe fn has_turn(
    key: u64,
    record: &CallRecord,
    counting: Counting,
    (suspect, limit): (u32, u32),
) -> bool {
    let time_ns = record.socket.time_ns;
    // SAFETY: map values.
    unsafe {
        let slot = match find(key) {
            None if came(key, time_ns) <= suspect => return true,
            None => claim(key, counting, time_ns, |place| copy(record, place)),
            slot => slot,
        };
        // Without a slot it can't be counted by whom it was.
        slot.is_none_or(|slot| take(slot, time_ns, limit))
    }
}

/// Copies word by word, for the compiler's own copy is a call that loops over bytes.
///
/// # Safety
/// `to` is room for a CallRecord.
#[inline(always)]
pub unsafe fn copy(from: &CallRecord, to: *mut CallRecord) {
    let (from, to) = (core::ptr::from_ref(from).cast::<u64>(), to.cast::<u64>());
    let mut at = 0;
    while at < size_of::<CallRecord>() / 8 {
        // SAFETY: 17 words each.
        unsafe { to.add(at).write_volatile(from.add(at).read_volatile()) };
        at += 1;
    }
}

/// How many failures with about this key came in this second, this one included.
#[inline(always)]
fn came(key: u64, time_ns: u64) -> u32 {
    let Some(place) = FAILURES.get_ptr_mut((key >> (u64::BITS - PLACE_BITS)) as u32) else {
        return 0;
    };
    let second = time_ns / SECOND_NS;
    // SAFETY: a map value; a lost race submits one record more.
    unsafe {
        let word = place.read_volatile();
        let next = if word >> 32 == second { word + 1 } else { second << 32 | 1 };
        place.write_volatile(next);
        next as u32
    }
}

/// Whether one more may be submitted in this second; else counts it.
#[inline(always)]
unsafe fn take(slot: *mut Counted, time_ns: u64, limit: u32) -> bool {
    let second = time_ns / SECOND_NS;
    // SAFETY: a map value.
    unsafe {
        let word = (*slot).submitted;
        let next = if word >> 32 == second { word } else { second << 32 };
        if (next as u32) < limit {
            (*slot).submitted = next + 1;
            return true;
        }
        (*slot).submitted = next;
        // Both written out: the verifier is shown which.
        if second & 1 == 0 {
            increment(&raw mut (*slot).count[0]);
            (*slot).last_ns[0] = time_ns;
        } else {
            increment(&raw mut (*slot).count[1]);
            (*slot).last_ns[1] = time_ns;
        }
    }
    false
}

#[inline(always)]
unsafe fn find(key: u64) -> Option<*mut Counted> {
    // SAFETY: map values.
    unsafe {
        let slot = COUNTED.get_ptr_mut(COUNTED_BY_KEY.get_ptr(key)?.read_volatile())?;
        if (&raw const (*slot).key).read_volatile() == key { Some(slot) } else { None }
    }
}

#[inline(always)]
unsafe fn claim(
    key: u64,
    counting: Counting,
    time_ns: u64,
    fill: impl FnOnce(*mut CallRecord),
) -> Option<*mut Counted> {
    let index = COUNTED_FREE.pop().ok()??;
    let slot = COUNTED.get_ptr_mut(index)?;
    // SAFETY: a map value that nobody else uses.
    unsafe {
        (*slot).submitted = (time_ns / SECOND_NS) << 32;
        (*slot).counting = counting as u64;
        fill(&raw mut (*slot).record);
        (&raw mut (*slot).key).write_volatile(key);
        if COUNTED_BY_KEY.insert(key, index, BPF_NOEXIST.into()).is_ok() {
            return Some(slot);
        }
        // Another processor was first.
        (&raw mut (*slot).key).write_volatile(0);
        let _ = COUNTED_FREE.push(index, 0);
        find(key)
    }
}

/// Adds one to a map value of 8 bytes.
#[inline(always)]
pub unsafe fn increment(count: *mut u64) {
    // Atomic, for other processors and interrupts count too. As assembly: the target's atomics in core
    // need a newer instruction set than Linux 5.10's.
    // SAFETY: a map value, aligned to 8.
    unsafe { asm!("lock *(u64 *)({} + 0) += {}", in(reg) count, in(reg) 1u64) }
}

#[inline(always)]
fn seed() -> u64 {
    u64::from(setting!(seed)) << 32 | u64::from(!setting!(seed))
}

/// One more word of a key.
#[inline(always)]
fn mixed(key: u64, word: u64) -> u64 {
    let product = (key ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ product >> 32
}
