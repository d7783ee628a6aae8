//! What tests of this package share.

use std::os::fd::AsRawFd;

use nix::sched::{CloneFlags, unshare};

/// Runs in a network namespace of its own, on a thread of its own, with loopback up; without the
/// privilege, in the test's namespace. The namespace ends with the thread and its sockets.
pub(crate) fn in_fresh_namespace<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if unshare(CloneFlags::CLONE_NEWNET).is_ok() {
                loopback_up();
            }
            test()
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Brings loopback up in the calling thread's network namespace.
fn loopback_up() {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    // SAFETY: an all-zero ifreq is valid; its name is set and stays NUL-terminated.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = libc::c_char::try_from(*byte).unwrap();
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).unwrap();
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}
