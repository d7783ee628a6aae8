//! bpf(2), as far as it is asked what it allows.

use std::io;

/// `BPF_MAP_LOOKUP_ELEM`
const MAP_LOOKUP: libc::c_long = 1;

/// `union bpf_attr`, as far as a look-up is told something.
#[repr(C)]
struct LookUp {
    map: i32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Whether the calling thread may not even look up what it has open: a look-up without a map is
/// answered `EPERM`, not `EBADF` (`__sys_bpf`, kernel/bpf/syscall.c).
pub fn is_denied() -> bool {
    let attributes = LookUp { map: -1, padding: 0, key: 0, value: 0, flags: 0 };
    // SAFETY: the kernel reads no more than the size that it is told, and finds no map.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            MAP_LOOKUP,
            std::ptr::from_ref(&attributes),
            size_of::<LookUp>(),
        )
    };
    result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}
