//! Dispositions of signals that this process changes for itself and a command must not inherit:
//! execve() keeps what is ignored (execve(2)).

use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigHandler, Signal, signal};

/// Whether whoever started this process had it ignored.
static IGNORED_PIPE: AtomicBool = AtomicBool::new(false);
static IGNORED_FILE_SIZE: AtomicBool = AtomicBool::new(false);

/// Runs before the runtime of Rust, which ignores SIGPIPE.
#[used]
// SAFETY: what is in this section are functions that the C runtime calls before main(), with arguments
// that this one does not take.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    IGNORED_PIPE.store(is_ignored(libc::SIGPIPE), Ordering::Relaxed);
    IGNORED_FILE_SIZE.store(is_ignored(libc::SIGXFSZ), Ordering::Relaxed);
}

fn is_ignored(number: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action the call only fills in `action`, of which nothing is read if it fails.
    unsafe {
        libc::sigaction(number, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Gives back, in the child, what this process was started with.
pub(super) fn restore() {
    let restored = [(Signal::SIGPIPE, &IGNORED_PIPE), (Signal::SIGXFSZ, &IGNORED_FILE_SIZE)];
    for (number, was_ignored) in restored {
        let is_ignored = was_ignored.load(Ordering::Relaxed);
        let disposition = if is_ignored { SigHandler::SigIgn } else { SigHandler::SigDfl };
        // SAFETY: neither runs code of this process.
        let _ = unsafe { signal(number, disposition) };
    }
}

/// Where SIGCHLD is ignored, the kernel reaps children itself and keeps no exit code (wait(2)).
pub(super) fn notice_ends_of_children() {
    // SAFETY: runs no code of this process.
    let _ = unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) };
}
