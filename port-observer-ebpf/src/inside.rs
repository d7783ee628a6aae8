//! Threads inside the call that the backend follows from its begin to its end: listen(2) with tracepoints,
//! `inet_autobind` (net/ipv4/af_inet.c) with the others.
//!
//! Each thread has the place in an array that its number has. Writing there can't fail, as it can in a hash
//! table whose lock another processor has.

use port_observer_ebpf::Kind;

use crate::{
    maps::{INSIDE, PLACES_INSIDE},
    send::lost,
    task,
};

/// The call begins. What it would tell is of this kind.
#[inline(always)]
pub fn began(kind: Kind) {
    let thread = task::current();
    if let Some(place) = place(thread) {
        // SAFETY: a value of the map. One of 8 bytes is read and written whole.
        let other = unsafe { core::ptr::replace(place, thread) };
        if other != 0 && other != thread {
            // What that one does is not told.
            lost(kind);
        }
    }
}

/// The call returns.
#[inline(always)]
pub fn ended() {
    let thread = task::current();
    if let Some(place) = place(thread) {
        // SAFETY: as above.
        unsafe {
            if *place == thread {
                *place = 0;
            }
        }
    }
}

/// Whether the current thread is inside the call.
#[inline(always)]
pub fn is_inside() -> bool {
    let thread = task::current();
    // SAFETY: as above.
    place(thread).is_some_and(|place| unsafe { *place } == thread)
}

#[inline(always)]
fn place(thread: u64) -> Option<*mut u64> {
    INSIDE.get_ptr_mut(thread as u32 & (PLACES_INSIDE - 1))
}
