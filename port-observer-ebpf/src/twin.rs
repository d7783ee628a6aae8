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
    maps::{COVERED, RAN, RAN_HERE},
    read::Direct,
    send::count,
    socket, task,
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

/// Per pair of functions: two to the power of this many places for sockets.
const PLACE_BITS: u32 = 12;
/// The places of all pairs of functions.
pub const SLOTS: u32 = (Pair::Release as u32 + 1) << PLACE_BITS;
/// The same of tracepoints, on each processor.
const HERE_BITS: u32 = 4;
pub const SLOTS_HERE: u32 = (Pair::Destroy as u32 + 1 - Pair::State as u32) << HERE_BITS;

/// Where word of a socket is left. (By its address would be simpler, but the verifier has no
/// arithmetic with pointers.)
///
/// # Safety
/// `socket` is a `struct sock`.
#[inline(always)]
unsafe fn place(pair: Pair, socket: *const u8) -> Option<*mut u64> {
    // SAFETY: a struct sock.
    let port = u32::from(unsafe { socket::port::<Direct>(socket) });
    match pair {
        Pair::Connect | Pair::GetPort | Pair::Release => {
            // Tasks that are preempted between the two programs, and perhaps go on on another
            // processor, each have a place of their own. Fibonacci hashing, for threads of one
            // process have numbers in a row, as their ports may.
            let hash = (task::current() as u32 ^ port << 16).wrapping_mul(0x9e37_79b9);
            RAN.get_ptr_mut(((pair as u32) << PLACE_BITS) | hash >> (u32::BITS - PLACE_BITS))
        }
        Pair::State | Pair::Destroy => {
            // Both run on one processor, and little comes between them.
            let pair = pair as u32 - Pair::State as u32;
            RAN_HERE.get_ptr_mut(pair << HERE_BITS | port & ((1 << HERE_BITS) - 1))
        }
    }
}

/// The first program leaves word.
///
/// # Safety
/// `socket` is a `struct sock`.
#[inline(always)]
pub unsafe fn ran(pair: Pair, socket: *const u8) {
    // SAFETY: a struct sock, and a map value; whoever else has this place is told of as perhaps
    // skipped.
    unsafe {
        if let Some(last) = place(pair, socket) {
            last.write_volatile(socket as u64);
        }
    }
}

/// Whether the first program was skipped, as far as can be seen: another socket's word may have
/// taken the place of this one's. So what a twin sends is marked as perhaps told already.
#[inline(always)]
pub fn was_skipped(pair: Pair, socket: *const u8) -> bool {
    // SAFETY: a struct sock, and a map value.
    unsafe {
        let Some(last) = place(pair, socket) else { return false };
        if last.read_volatile() == socket as u64 {
            last.write_volatile(0);
            return false;
        }
    }
    let kind = match pair {
        Pair::Connect | Pair::GetPort => Kind::Acquire,
        Pair::Release | Pair::State | Pair::Destroy => Kind::Release,
    };
    count(&COVERED, kind);
    true
}
