//! Who may submit records when the buffer fills up.
//!
//! Below half of the buffer, everybody. Above it, each process has the same share of a part of it, by time
//! span, and the last part is kept for those that take little: one that calls in a loop costs others
//! nothing, and a caller of a few calls is seen, also while the observer stands still for seconds.

use aya_ebpf::{
    bindings::BPF_RB_AVAIL_DATA,
    helpers::generated::{bpf_ktime_get_boot_ns, bpf_ringbuf_query},
    maps::RingBuf,
};

use crate::{
    maps::{EVENTS, SPENDERS, SPENT, Spent, setting},
    task,
};

/// Who pays for a record.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Payer {
    /// Nobody: in a softirq the current task is anybody.
    Nobody = 0,
    /// The current process.
    Caller = 1,
    /// The current process, for letting go of what it has: it may spend twice as much, for a release
    /// that is lost leaves an account wrong.
    CallerFrees = 2,
}

/// A time span is two to the power of this many nanoseconds: about a second.
const SPAN_BITS: u64 = 30;
/// Every process may submit as much in a time span, in bytes: some 64 calls and what they let go.
const LEAST: u32 = 2 * 64 * 144;

/// Whether a record of so many bytes may be submitted.
#[inline(always)]
pub fn is_granted(payer: Payer, bytes: u32) -> bool {
    let size = setting!(buffer_size);
    if payer as u32 == Payer::Nobody as u32 {
        return true;
    }
    // SAFETY: EVENTS is a ring buffer.
    let waiting = unsafe {
        bpf_ringbuf_query((&raw const EVENTS as *mut RingBuf).cast(), BPF_RB_AVAIL_DATA.into())
    };
    if waiting < u64::from(size / 2) {
        return true;
    }
    let is_nearly_full = waiting >= u64::from(size / 8 * 5);
    has_share(payer, if is_nearly_full { 0 } else { size / 4 }, bytes)
}

#[inline(always)]
fn has_share(payer: Payer, shared: u32, bytes: u32) -> bool {
    // SAFETY: takes nothing.
    let span = (unsafe { bpf_ktime_get_boot_ns() } >> SPAN_BITS) as u32;
    let process = (task::current() >> 32) as u32;
    let Some(spenders) = SPENDERS.get_ptr_mut(0) else { return true };
    // SAFETY: map values; a lost race changes a share by as much as one record.
    unsafe {
        if let Some(spent) = SPENT.get_ptr_mut(process)
            && (*spent).span == span
        {
            let count = (spenders.read_volatile() as u32).max(1);
            let share = (shared / count).max(LEAST) * payer as u32;
            if (*spent).bytes.saturating_add(bytes) > share {
                return false;
            }
            (*spent).bytes += bytes;
            return true;
        }
        let word = spenders.read_volatile();
        let is_new = (word >> 32) as u32 != span;
        spenders.write_volatile(if is_new { u64::from(span) << 32 | 1 } else { word + 1 });
        // Without an entry it has all of its share, as the next one will.
        let _ = SPENT.insert(process, Spent { span, bytes }, 0);
    }
    true
}
