//! Which system calls of a program are followed, and what they return.

use nix::{errno::Errno, unistd::Pid};

/// Calls that make a socket, take a port, or give one back.
const CALLS: [libc::c_long; 5] =
    [libc::SYS_socket, libc::SYS_accept, libc::SYS_accept4, libc::SYS_connect, libc::SYS_close];

/// `AUDIT_ARCH_…` of this program (include/uapi/linux/audit.h).
#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;

/// Loads a word, jumps if it is equal, returns (include/uapi/linux/bpf_common.h).
const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

/// `PTRACE_GET_SYSCALL_INFO`, `PTRACE_SYSCALL_INFO_EXIT` and `PTRACE_SYSCALL_INFO_SECCOMP`
/// (include/uapi/linux/ptrace.h).
const GET_SYSCALL_INFO: libc::c_uint = 0x420e;
const IS_EXIT: u8 = 2;
const IS_SECCOMP: u8 = 3;

/// How many instructions the filter has.
const LENGTH: usize = CALLS.len() + 5;

/// A filter of system calls that lets all go on, and stops at those for the one who traces.
#[derive(Clone, Copy)]
pub struct Filter([libc::sock_filter; LENGTH]);

impl Filter {
    pub fn new() -> Self {
        let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
        let allow = step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
        let mut steps = [allow; LENGTH];
        steps[0] = step(LOAD, ARCHITECTURE_AT, 0, 0);
        // Of another architecture: to the one that allows, which is the last but one.
        steps[1] = step(JUMP_EQUAL, ARCHITECTURE, 0, CALLS.len() as u8 + 1);
        steps[2] = step(LOAD, NUMBER, 0, 0);
        for (at, call) in CALLS.into_iter().enumerate() {
            let to_trace = (CALLS.len() - at) as u8;
            steps[3 + at] = step(JUMP_EQUAL, call as u32, to_trace, 0);
        }
        steps[LENGTH - 1] = step(RETURN, libc::SECCOMP_RET_TRACE, 0, 0);
        Self(steps)
    }

    /// Puts it in force for the calling process and all that descend from it, which have to be traced.
    pub fn load(&self) -> nix::Result<()> {
        let program =
            libc::sock_fprog { len: LENGTH as libc::c_ushort, filter: self.0.as_ptr().cast_mut() };
        // SAFETY: the kernel reads as many instructions as are there, and copies them.
        let result = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
        };
        Errno::result(result).map(drop)
    }
}

/// What a process is stopped at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// It is about to close this descriptor.
    Close(u64),
    /// Another call begins.
    Other { makes_socket: bool },
}

/// The call that a process was stopped at by the filter.
pub fn begins(pid: Pid) -> Option<Call> {
    let [_, _, _, number, argument, ..] = info(pid, IS_SECCOMP)?;
    let number = number.cast_signed();
    Some(match number {
        libc::SYS_close => Call::Close(argument),
        _ => Call::Other { makes_socket: number != libc::SYS_connect },
    })
}

/// What a call is about to return.
pub fn returns(pid: Pid) -> Option<Result<u64, Errno>> {
    let [_, _, _, returned, ..] = info(pid, IS_EXIT)?;
    let error = returned.cast_signed();
    Some(match error {
        -4095..0 => Err(Errno::from_raw(-(error as i32))),
        _ => Ok(returned),
    })
}

/// `struct ptrace_syscall_info`: what is stopped at, the architecture, two addresses; then the number and the
/// arguments, or what is returned.
fn info(pid: Pid, at: u8) -> Option<[u64; 16]> {
    let mut info = [0_u64; 16];
    // SAFETY: the kernel writes no more bytes than it is told.
    let length = unsafe {
        libc::ptrace(GET_SYSCALL_INFO as _, pid.as_raw(), size_of_val(&info), info.as_mut_ptr())
    };
    let [op, ..] = info[0].to_ne_bytes();
    (length >= 32 && op == at).then_some(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter returns for a call.
    fn returned(architecture: u32, number: u32) -> u32 {
        let (Filter(steps), mut at, mut word) = (Filter::new(), 0, 0);
        loop {
            let step = steps[at];
            at += 1;
            match step.code {
                LOAD => word = if step.k == NUMBER { number } else { architecture },
                JUMP_EQUAL => at += usize::from(if word == step.k { step.jt } else { step.jf }),
                _ => return step.k,
            }
        }
    }

    #[test]
    fn calls_that_take_something_are_stopped_at_and_no_others() {
        for call in CALLS {
            assert_eq!(returned(ARCHITECTURE, call as u32), libc::SECCOMP_RET_TRACE, "{call}");
            assert_eq!(returned(ARCHITECTURE + 1, call as u32), libc::SECCOMP_RET_ALLOW);
        }
        assert_eq!(returned(ARCHITECTURE, libc::SYS_read as u32), libc::SECCOMP_RET_ALLOW);
    }
}
