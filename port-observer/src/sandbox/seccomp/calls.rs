//! The table's groups of system calls. Where a processor has an older call too, C libraries use it.

use super::{
    Argument::{Has, Is, IsBpfCommand, IsCommand, IsNot, IsSelf},
    Call,
};

/// A list of calls by name; after a name, the rules for its arguments, one of which has to hold.
macro_rules! calls {
    ($($(#[$attribute:meta])* $name:ident $({ $($rule:expr),+ $(,)? })?),* $(,)?) => {
        &[$($(#[$attribute])* Call { number: libc::$name, rules: &[$($($rule),+)?] }),*]
    };
}

const fn bits(value: i32) -> u64 {
    value.cast_unsigned() as u64
}

/// Threads are made so, processes are not, nor are namespaces. clone3, whose arguments no list can
/// see, is left out: C libraries then take clone.
const CLONE_FLAGS: u64 = bits(
    libc::CLONE_THREAD
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET,
);
/// Families of ioctl(): terminals and files, perf events, namespaces (ioctl(2): bits 8 to 15).
const IOCTL_FAMILY: u64 = 0xff00;
const TERMINALS: u64 = 0x5400;
const PERF: u64 = 0x2400;
const NSFS: u64 = 0xb700;
/// They type into the terminal, or paste into it.
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;
/// `PR_SET_VMA`: glibc and allocators name their memory.
const PR_SET_VMA: u64 = 0x5356_4d41;

/// What every program needs: memory, threads, time, signals, descriptors that are open, and looking
/// at files without opening them.
pub(super) const BASE: &[Call] = calls![
    // Memory
    SYS_brk, SYS_madvise, SYS_membarrier, SYS_mmap, SYS_mprotect, SYS_mremap, SYS_msync, SYS_munmap,
    // Threads
    SYS_clone { &[Has(0, CLONE_FLAGS, bits(libc::CLONE_THREAD))] },
    SYS_exit, SYS_exit_group, SYS_futex, SYS_futex_waitv, SYS_get_robust_list, SYS_gettid, SYS_rseq,
    SYS_sched_getaffinity, SYS_sched_getparam, SYS_sched_getscheduler, SYS_sched_yield,
    SYS_set_robust_list, SYS_set_tid_address,
    SYS_prctl {
        &[Is(0, bits(libc::PR_SET_NAME))],
        &[Is(0, bits(libc::PR_GET_NAME))],
        &[Is(0, bits(libc::PR_SET_NO_NEW_PRIVS))],
        &[Is(0, bits(libc::PR_CAPBSET_READ))],
        &[Is(0, PR_SET_VMA)],
    },
    // Time
    SYS_clock_getres, SYS_clock_gettime, SYS_clock_nanosleep, SYS_gettimeofday, SYS_nanosleep,
    SYS_timerfd_create, SYS_timerfd_gettime, SYS_timerfd_settime, SYS_times,
    // Signals, to itself alone
    SYS_restart_syscall, SYS_rt_sigaction, SYS_rt_sigpending, SYS_rt_sigprocmask, SYS_rt_sigreturn,
    SYS_rt_sigsuspend, SYS_rt_sigtimedwait, SYS_sigaltstack,
    SYS_kill { &[IsSelf(0)] },
    SYS_tgkill { &[IsSelf(0)] },
    // How musl's raise() and abort() do it; a thread's id can't be told from another process's.
    SYS_tkill { &[Is(1, bits(libc::SIGABRT))], &[Is(1, bits(libc::SIGSTOP))] },
    // Who it is, and what it may
    SYS_capget, SYS_capset, SYS_getcpu, SYS_getegid, SYS_geteuid, SYS_getgid, SYS_getgroups,
    SYS_getpgid, SYS_getpid, SYS_getppid, SYS_getpriority, SYS_getrandom, SYS_getresgid,
    SYS_getresuid, SYS_getrusage, SYS_getsid, SYS_getuid, SYS_prlimit64, SYS_sysinfo, SYS_uname,
    // What is open
    SYS_close, SYS_close_range, SYS_dup, SYS_dup3, SYS_fadvise64, SYS_fcntl, SYS_fstat, SYS_fstatfs,
    SYS_getdents64, SYS_lseek, SYS_pread64, SYS_preadv, SYS_pwrite64, SYS_pwritev, SYS_read,
    SYS_readv, SYS_write, SYS_writev,
    SYS_ioctl {
        &[Has(1, IOCTL_FAMILY, TERMINALS), IsNot(1, TIOCSTI), IsNot(1, TIOCLINUX)],
        &[Has(1, IOCTL_FAMILY, PERF)],
        &[Has(1, IOCTL_FAMILY, NSFS)],
    },
    // Waiting
    SYS_epoll_create1, SYS_epoll_ctl, SYS_epoll_pwait, SYS_epoll_pwait2, SYS_eventfd2, SYS_pipe2,
    SYS_ppoll, SYS_pselect6,
    // Signals and keys wake an event loop through a pair of sockets.
    SYS_socketpair { &[Is(0, bits(libc::AF_UNIX))] },
    SYS_getpeername, SYS_getsockname, SYS_getsockopt, SYS_recvfrom, SYS_recvmsg, SYS_sendmsg,
    SYS_sendto, SYS_setsockopt, SYS_shutdown,
    // Files, not opened
    SYS_faccessat, SYS_faccessat2, SYS_getcwd, SYS_newfstatat, SYS_readlinkat, SYS_statfs, SYS_statx,
    #[cfg(target_arch = "x86_64")] SYS_access,
    #[cfg(target_arch = "x86_64")] SYS_dup2,
    #[cfg(target_arch = "x86_64")] SYS_epoll_create,
    #[cfg(target_arch = "x86_64")] SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")] SYS_eventfd,
    #[cfg(target_arch = "x86_64")] SYS_getdents,
    #[cfg(target_arch = "x86_64")] SYS_getpgrp,
    #[cfg(target_arch = "x86_64")] SYS_getrlimit,
    #[cfg(target_arch = "x86_64")] SYS_lstat,
    #[cfg(target_arch = "x86_64")] SYS_pipe,
    #[cfg(target_arch = "x86_64")] SYS_poll,
    #[cfg(target_arch = "x86_64")] SYS_readlink,
    #[cfg(target_arch = "x86_64")] SYS_select,
    #[cfg(target_arch = "x86_64")] SYS_stat,
    #[cfg(target_arch = "x86_64")] SYS_time,
];

/// Flags of open() that change something.
const CHANGES: u64 = bits(libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC);

/// Opening files to read them. openat2, whose flags no list can see, is left out.
pub(super) const OPEN_TO_READ: &[Call] = calls![
    SYS_openat { &[Has(2, CHANGES, bits(libc::O_RDONLY))] },
    #[cfg(target_arch = "x86_64")] SYS_open { &[Has(1, CHANGES, bits(libc::O_RDONLY))] },
];

/// Opening files in any way.
pub(super) const OPEN: &[Call] = calls![
    SYS_openat,
    #[cfg(target_arch = "x86_64")]
    SYS_open,
];

/// Writing files: SQLite, pages of reports, answers of `check` that are kept.
pub(super) const FILES: &[Call] = calls![
    SYS_fallocate,
    SYS_fchmod,
    SYS_fchmodat,
    SYS_fchown,
    SYS_fchownat,
    SYS_fdatasync,
    SYS_flock,
    SYS_fsync,
    SYS_ftruncate,
    SYS_linkat,
    SYS_mkdirat,
    SYS_renameat,
    SYS_renameat2,
    SYS_sync_file_range,
    SYS_umask,
    SYS_unlinkat,
    SYS_utimensat,
    #[cfg(target_arch = "x86_64")]
    SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    SYS_chown,
    #[cfg(target_arch = "x86_64")]
    SYS_link,
    #[cfg(target_arch = "x86_64")]
    SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    SYS_rename,
    #[cfg(target_arch = "x86_64")]
    SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    SYS_unlink,
];

/// Looking at processes and network namespaces, and at what kernel programs that are loaded have to
/// tell.
pub(super) const OBSERVE: &[Call] = calls![
    SYS_bpf { &[IsBpfCommand(0)] },
    SYS_name_to_handle_at, SYS_open_by_handle_at,
    SYS_setns { &[Is(1, bits(libc::CLONE_NEWNET))] },
    SYS_socket { &[Is(0, bits(libc::AF_NETLINK))], &[Is(0, bits(libc::AF_UNIX))] },
];

/// Loading and attaching kernel programs, and mounting tracefs for a thread alone.
pub(super) const PROBE: &[Call] = calls![
    SYS_bpf, SYS_mount, SYS_perf_event_open,
    // What `doctor` says of the sandbox itself.
    SYS_landlock_create_ruleset, SYS_seccomp,
    SYS_unshare { &[Is(0, bits(libc::CLONE_NEWNS))] },
];

/// Taking connections on sockets that are listened on already, and telling the service manager: of new
/// sockets, only those of Unix connect.
pub(super) const SERVE: &[Call] = calls![SYS_accept4, SYS_connect];

/// Connecting to a server, and finding out its address.
pub(super) const ASK: &[Call] = calls![
    SYS_connect,
    SYS_socket {
        &[Is(0, bits(libc::AF_INET))], &[Is(0, bits(libc::AF_INET6))], &[Is(0, bits(libc::AF_UNIX))],
        &[Is(0, bits(libc::AF_NETLINK))]
    },
];

/// Waiting for the command that is run, and passing signals on to it.
pub(super) const COMMAND: &[Call] = calls![
    SYS_kill { &[IsCommand(0)] },
    SYS_wait4,
    SYS_waitid,
];
