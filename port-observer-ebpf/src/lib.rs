//! The records that the kernel programs send and the constants that they are given: what both
//! sides must agree on to the byte. `no_std`, no dependencies, little-endian and big-endian alike
//! (both sides run on one machine).
//!
//! Every record starts with its kind in byte 0. Addresses are in network byte order, ports in
//! host byte order, times in nanoseconds of `CLOCK_BOOTTIME`.
#![no_std]

/// Byte 0 of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A [`CallRecord`]: a call gave a socket its port, or connected one that had a port.
    Acquire = 1,
    /// A [`CallRecord`]: automatic choice found no free port.
    Exhausted = 2,
    /// A [`CallRecord`]: the port that was asked for is not to be had.
    Conflict = 3,
    /// A [`SocketRecord`]: an accepted child joined its listener's port; `other` is the listener.
    Inherit = 4,
    /// A [`SocketRecord`]: a TIME_WAIT entry, `other`, succeeds `socket` and keeps its port.
    TimeWait = 5,
    /// A [`SocketRecord`]: `socket`, or a TIME_WAIT entry, let its port go.
    Release = 6,
    /// A [`SocketRecord`]: a TCP state change.
    State = 7,
    /// An [`ExecRecord`]: a process began another program.
    Exec = 8,
    /// A [`ForkRecord`]: a process was born.
    Fork = 9,
    /// A [`CallRecord`]: accept() handed out `socket`, an accepted child.
    Accept = 10,
    /// A [`SocketRecord`]: `socket` listens from now on.
    Listen = 11,
    /// A [`SocketRecord`]: the peer's FIN came for a TIME_WAIT entry that was in FIN_WAIT2.
    FinReceived = 12,
    /// A [`CallRecord`] of an iterator, not of the ring buffer: `socket`, or a TIME_WAIT entry,
    /// holds its port; `new_state` is its state. The task, if any, has it open.
    Existing = 13,
    /// A [`SocketRecord`]: the local address of a UDP socket has changed, its port has not.
    Rehash = 14,
    /// A [`CallRecord`]: no port was looked for, for there is no local address to have it on.
    Refused = 15,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Acquire,
        Self::Exhausted,
        Self::Conflict,
        Self::Inherit,
        Self::TimeWait,
        Self::Release,
        Self::State,
        Self::Exec,
        Self::Fork,
        Self::Accept,
        Self::Listen,
        Self::FinReceived,
        Self::Existing,
        Self::Rehash,
        Self::Refused,
    ];

    /// More than the largest kind, a power of two: the size of a table by kind.
    pub const SLOTS: usize = 16;
}

/// A figure per kind.
pub type PerKind = [u64; Kind::SLOTS];

/// By which call a port was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Via {
    /// connect() on a socket without a port, or on a bound one.
    Connect = 1,
    /// bind().
    Bind = 2,
    /// The kernel bound the socket by itself: UDP connect() or sendto(), listen() without bind().
    Autobind = 3,
    /// listen() that was refused: the port that its socket has, or, without bind(), any.
    Listen = 4,
}

/// Why a port was let go, as far as the kernel's side can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Released {
    /// The socket was closed, reset or refused.
    Closed = 1,
    /// TIME_WAIT ran its time.
    TimeWaitExpired = 2,
    /// TIME_WAIT was ended early: a connect() or a SYN took its place.
    TimeWaitReused = 3,
    /// TIME_WAIT was ended early: by an RST, or by who destroys sockets.
    TimeWaitReset = 4,
}

/// A socket at one moment. 80 bytes, no padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SocketRecord {
    /// A [`Kind`].
    pub kind: u8,
    /// `AF_INET` (2) or `AF_INET6` (10), as `skc_family`.
    pub family: u8,
    /// `IPPROTO_TCP` (6) or `IPPROTO_UDP` (17).
    pub protocol: u8,
    /// A [`Via`], else 0.
    pub via: u8,
    /// A [`Released`], else 0.
    pub reason: u8,
    /// The TCP state before, for [`Kind::State`].
    pub old_state: u8,
    /// The TCP state after, for [`Kind::State`]; the state, for [`Kind::Existing`].
    pub new_state: u8,
    /// Always 0.
    pub reserved: u8,
    /// When, in nanoseconds of `CLOCK_BOOTTIME`.
    pub time_ns: u64,
    /// The kernel's address of the socket or TIME_WAIT entry: its identity while it lives.
    pub socket: u64,
    /// The other socket that the event is about, else 0; see [`Kind`]. Of a [`Kind::Exhausted`] the
    /// socket's own port range (`IP_LOCAL_PORT_RANGE`): the lower end, and from bit 16 on the upper; an end
    /// that is 0 is not set.
    pub other: u64,
    /// `skc_rcv_saddr` in the first four bytes, or `skc_v6_rcv_saddr`.
    pub local_address: [u8; 16],
    /// `skc_daddr` in the first four bytes, or `skc_v6_daddr`.
    pub remote_address: [u8; 16],
    /// The inode number of the network namespace.
    pub netns: u32,
    /// `skc_num`.
    pub local_port: u16,
    /// `skc_dport`, in host byte order.
    pub remote_port: u16,
    /// The port that the caller asked for; 0: any. Of a [`Kind::Existing`] of TCP, the port if it was asked
    /// for by number: then the socket keeps it when its connection ends.
    pub requested_port: u16,
    /// The error the caller gets, positive; 0: none.
    pub errno: u16,
    /// `FLAG_*`, and from [`DEVICE_SHIFT`] on the interface that the socket is bound to, 0: any.
    pub flags: u32,
}

/// In [`SocketRecord::flags`]: how far up the index of the interface is.
pub const DEVICE_SHIFT: u32 = 8;

/// In [`SocketRecord::flags`]: the port that was asked for is not known.
pub const FLAG_REQUEST_UNKNOWN: u32 = 1;
/// In [`SocketRecord::flags`] of a [`Kind::TimeWait`]: the socket let go of the port already; no
/// [`Kind::Release`] for it follows.
pub const FLAG_SOCKET_DONE: u32 = 2;

/// In [`SocketRecord::flags`] of a [`Kind::Acquire`], [`Kind::TimeWait`] or [`Kind::Release`]: told
/// by somebody who can't be sure to be the first to tell it. It is news only if the socket is not
/// known as a holder (acquire), or is (the others).
pub const FLAG_AGAIN: u32 = 4;
/// In [`SocketRecord::flags`]: connect() chose the port (`SOCK_CONNECT_BIND`, `tw_connect_bind`).
pub const FLAG_CONNECT_BIND: u32 = 8;
/// In [`SocketRecord::flags`]: `IPV6_V6ONLY`.
pub const FLAG_IPV6_ONLY: u32 = 16;
/// In [`SocketRecord::flags`] of a [`Kind::TimeWait`] or [`Kind::Existing`]: the connection had
/// timestamps.
pub const FLAG_TIMESTAMPS: u32 = 32;
/// In [`SocketRecord::flags`] of a [`Kind::TimeWait`] or [`Kind::Existing`]: the peer's FIN has not
/// come yet.
pub const FLAG_FIN_WAIT2: u32 = 64;
/// In [`SocketRecord::flags`] of a [`Kind::Existing`]: connect() can't share the port's bucket.
pub const FLAG_BLOCKED: u32 = 128;

/// A call for a port, with the process that made it. 136 bytes, no padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CallRecord {
    /// The socket after the call.
    pub socket: SocketRecord,
    /// How long the kernel searched, in nanoseconds; 0: not measured.
    pub search_ns: u64,
    /// The calling task.
    pub task: TaskRecord,
}

/// The current task. 48 bytes, no padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TaskRecord {
    /// When the process started (the group leader's `start_boottime`), `CLOCK_BOOTTIME`.
    pub start_time_ns: u64,
    /// The inode number of its cgroup in the unified hierarchy.
    pub cgroup_id: u64,
    /// The process, in the first pid namespace.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// The real user id in the first user namespace.
    pub uid: u32,
    /// Always 0.
    pub reserved: u32,
    /// The thread's name, NUL-padded.
    pub name: [u8; 16],
}

/// How much of an executable's path an [`ExecRecord`] holds, in bytes.
pub const EXECUTABLE_BYTES: usize = 256;
/// How much of a command line an [`ExecRecord`] holds, in bytes.
pub const ARGUMENTS_BYTES: usize = 512;
/// How much of a cgroup's own name an [`ExecRecord`] holds, in bytes.
pub const CGROUP_NAME_BYTES: usize = 128;

/// A process at the start of a program. No padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ExecRecord {
    /// [`Kind::Exec`].
    pub kind: u8,
    /// Always 0.
    pub reserved: [u8; 3],
    /// The length of the whole command line, in bytes; more than fits means that it was cut.
    pub arguments_length: u32,
    /// When.
    pub time_ns: u64,
    /// The process.
    pub task: TaskRecord,
    /// The path given to execve(), NUL-terminated unless cut.
    pub executable: [u8; EXECUTABLE_BYTES],
    /// The last component of the cgroup's path, NUL-terminated unless cut.
    pub cgroup_name: [u8; CGROUP_NAME_BYTES],
    /// argv, each NUL-terminated, as `/proc/PID/cmdline` shows it.
    pub arguments: [u8; ARGUMENTS_BYTES],
}

/// The birth of a process (not of a thread). 40 bytes, no padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ForkRecord {
    /// [`Kind::Fork`].
    pub kind: u8,
    /// Always 0.
    pub reserved: [u8; 7],
    /// When.
    pub time_ns: u64,
    /// When the child started.
    pub child_start_time_ns: u64,
    /// When the parent started.
    pub parent_start_time_ns: u64,
    /// The child.
    pub child_pid: u32,
    /// Its parent.
    pub parent_pid: u32,
}

/// How many [`Counted`] there are.
pub const COUNTED_SLOTS: u32 = 1024;

/// Why records are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Counting {
    /// Failed calls of one process that are equal but for their time.
    Equal = 1,
    /// Failed calls of one process that differ in their addresses and ports, of which the record has
    /// none.
    Differing = 2,
    /// Records that the process was refused room for; the record has their kind and the process.
    Lost = 3,
}

/// Records that were counted instead of submitted. 192 bytes, no padding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counted {
    /// Under which the programs find it; 0: free.
    pub key: u64,
    /// How many, in even and in odd seconds of `CLOCK_BOOTTIME`. They only grow until it is free.
    pub count: [u64; 2],
    /// When the last of them was, in nanoseconds of `CLOCK_BOOTTIME`.
    pub last_ns: [u64; 2],
    /// The second in which it was last used, and in the lower half how many records were submitted
    /// in it.
    pub submitted: u64,
    /// A [`Counting`].
    pub counting: u64,
    /// The first of them.
    pub record: CallRecord,
}

const _: () = {
    assert!(size_of::<Counted>() == 56 + size_of::<CallRecord>());
    assert!(size_of::<SocketRecord>() == 80);
    assert!(size_of::<TaskRecord>() == 48);
    assert!(size_of::<CallRecord>() == 80 + 8 + 48);
    assert!(size_of::<ForkRecord>() == 40);
    assert!(
        size_of::<ExecRecord>()
            == 16
                + size_of::<TaskRecord>()
                + EXECUTABLE_BYTES
                + CGROUP_NAME_BYTES
                + ARGUMENTS_BYTES
    );
};

mod settings;
pub use settings::{Offsets, Settings};
