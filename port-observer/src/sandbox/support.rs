//! What of the sandbox this kernel has, for `doctor`.

use std::ptr;

/// What can be applied here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Support {
    /// System calls can be restricted, and this processor has a list.
    pub seccomp: bool,
    /// The version of Landlock's interface; absent where the kernel has none.
    pub landlock: Option<u32>,
    /// `CAP_BPF` is kept while programs are followed, for this kernel keeps all of bpf() for it.
    pub bpf_needs_capability: bool,
}

impl Support {
    /// Looks. Nothing is applied.
    pub fn read() -> Self {
        Self {
            seccomp: has_seccomp(),
            landlock: landlock(),
            bpf_needs_capability: super::capabilities::does_bpf_need_capability(),
        }
    }
}

fn has_seccomp() -> bool {
    let action: u32 = libc::SECCOMP_RET_ERRNO;
    // SAFETY: the kernel reads the action.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, ptr::from_ref(&action))
    };
    result == 0 && seccompiler::TargetArch::try_from(std::env::consts::ARCH).is_ok()
}

fn landlock() -> Option<u32> {
    /// `LANDLOCK_CREATE_RULESET_VERSION` (include/uapi/linux/landlock.h)
    const VERSION: libc::c_long = 1;
    let nothing = ptr::null::<libc::c_void>();
    // SAFETY: with this flag the kernel takes no attributes.
    let result =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0usize, VERSION) };
    u32::try_from(result).ok().filter(|version| *version > 0)
}
