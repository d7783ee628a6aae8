//! Who reads standard output.

use std::{io, os::fd::AsRawFd as _};

/// Whether standard output is a pipe that nobody reads anymore. Without this look, a quiet host
/// would keep the program running until the next event.
pub(super) fn is_gone() -> bool {
    let mut poll = libc::pollfd { fd: io::stdout().as_raw_fd(), events: 0, revents: 0 };
    // SAFETY: one valid pollfd, no waiting.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 0) };
    ready == 1 && poll.revents & libc::POLLERR != 0
}
