//! Programs in pairs, for functions and tracepoints that are called with preemption or softirqs
//! enabled.
//!
//! From Linux 5.12 the trampoline skips a program that is already running on the same processor
//! (`__bpf_prog_enter`, kernel/bpf/trampoline.c): its task was preempted inside of it, or a softirq
//! came, and the function is called anew meanwhile. A twin, `…_again`, runs after the first program
//! and does its work if that was skipped. What both missed is in the kernel's count of recursion
//! misses.
//!
//! The same holds for tracepoints (`__bpf_trace_run`, kernel/trace/bpf_trace.c), whose programs run
//! in the order in which they were attached and with preemption disabled: there, an interrupt's
//! softirqs come between, with up to 64 packets each (`net_rx_action`, net/core/dev.c).

use port_observer_ebpf::Kind;

use crate::{
    maps::{COVERED, RAN},
    send::count,
};

/// Functions that have a twin.
#[derive(Clone, Copy)]
pub enum Pair {
    Connect = 0,
    GetPort = 1,
    Release = 2,
    State = 3,
    Destroy = 4,
}

/// The first program leaves word.
#[inline(always)]
pub fn ran(pair: Pair, socket: *const u8) {
    if let Some(last) = RAN.get_ptr_mut(pair as u32) {
        // SAFETY: a slot of this processor's own.
        unsafe { last.write_volatile(socket as u64) }
    }
}

/// Whether the first program was, as far as can be seen, skipped. It was not if its task was moved
/// to another processor right after it: so what a twin sends is marked as perhaps told already.
#[inline(always)]
pub fn was_skipped(pair: Pair, socket: *const u8) -> bool {
    let Some(last) = RAN.get_ptr_mut(pair as u32) else { return false };
    // SAFETY: a slot of this processor's own.
    unsafe {
        if last.read_volatile() == socket as u64 {
            last.write_volatile(0);
            return false;
        }
    }
    let kind = match pair {
        Pair::Connect | Pair::GetPort | Pair::State => Kind::Acquire,
        Pair::Release | Pair::Destroy => Kind::Release,
    };
    count(&COVERED, kind);
    true
}
