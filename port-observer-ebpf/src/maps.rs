//! The maps and constants that both sides know by name.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, Queue, RingBuf},
};
use port_observer_ebpf::{COUNTED_SLOTS, Counted, Offsets, PerKind, Settings};

use crate::twin;

/// Everything that is told, in one order. Its size is set at load.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 24, 0);

/// Records that found no place, in the ring buffer or in a table below. One value of all kinds: while
/// user space is in a call for a map, the kernel skips kprobes on that processor
/// (`bpf_disable_instrumentation`, include/linux/bpf.h).
#[map]
pub static LOST: PerCpuArray<PerKind> = PerCpuArray::with_max_entries(1, 0);

/// 1 while the consumer sleeps until it is woken; whoever wakes it writes 0.
#[map]
pub static SLEEPING: Array<u32> = Array::with_max_entries(1, 0);

/// The network namespaces that are observed, by inode number, when not all are.
#[map]
pub static NAMESPACES: HashMap<u32, u8> = HashMap::with_max_entries(1024, 0);

/// A call under way, as its entry probe saw it.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Call {
    pub pid_tgid: u64,
    pub socket: u64,
    pub started_ns: u64,
    /// The second argument: the port asked for, or the accepted child.
    pub argument: u64,
}

/// The call under way on this processor. Its caller may be moved to another one meanwhile, so a
/// reader checks that it is the same caller and socket.
#[map]
pub static CALL: PerCpuArray<Call> = PerCpuArray::with_max_entries(1, 0);

/// The sockets that the first program of a pair ran for and its twin not yet, see [`crate::twin`].
#[map]
pub static RAN: Array<u64> = Array::with_max_entries(twin::SLOTS, 0);

/// The same on this processor, of tracepoints.
#[map]
pub static RAN_HERE: PerCpuArray<u64> = PerCpuArray::with_max_entries(twin::SLOTS_HERE, 0);

/// How often a twin found that the first program of its pair was skipped.
#[map]
pub static COVERED: PerCpuArray<PerKind> = PerCpuArray::with_max_entries(1, 0);

/// The call under way by thread, for kretprobes, which see the return value alone.
#[map]
pub static CALLS: HashMap<u64, Call> = HashMap::with_max_entries(16384, 0);

/// bind() and connect() under way by thread, for kretprobes: around the call in [`CALLS`]. `argument` is
/// the address that the call was given.
#[map]
pub static REQUESTS: LruHashMap<u64, Call> = LruHashMap::with_max_entries(16384, 0);

/// The TIME_WAIT entry that the last packet on this processor ends, see [`crate::reset`].
#[map]
pub static RESET: PerCpuArray<crate::reset::Ending> = PerCpuArray::with_max_entries(1, 0);

/// The call of `__inet_inherit_port` under way on this processor, where softirqs are off.
#[map]
pub static INHERIT: PerCpuArray<Call> = PerCpuArray::with_max_entries(1, 0);

/// The socket that a kprobe on this processor last saw letting its port go, see [`crate::unseen`].
#[map]
pub static LET_GO: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// How many places [`INSIDE`] has, a power of two.
pub const PLACES_INSIDE: u32 = 1 << 14;

/// Threads by the lower bits of their number, see [`crate::inside`].
#[map]
pub static INSIDE: Array<u64> = Array::with_max_entries(PLACES_INSIDE, 0);

/// bind() or connect() under way, as the kernel copied its address.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct BindCall {
    /// The `struct sock`.
    pub socket: u64,
    /// As in a `SocketRecord`.
    pub address: [u8; 16],
    pub netns: u32,
    pub port: u16,
    pub family: u8,
    pub protocol: u8,
}

/// bind() under way, by thread. Of a bind() that is no system call of its thread (io_uring, the kernel's
/// own) an entry may stay behind: hence a table that lets go of the oldest.
#[map]
pub static BINDS: LruHashMap<u64, BindCall> = LruHashMap::with_max_entries(16384, 0);

/// connect() of IPv6 under way, by thread, until it has a source address. Of one that is no connect(2),
/// an entry may stay behind, as in [`BINDS`].
#[map]
pub static CONNECTS: LruHashMap<u64, BindCall> = LruHashMap::with_max_entries(16384, 0);

/// Records that are counted together, see [`crate::repeat`]. Their memory is shared with user space, which
/// reads it and gives slots back.
#[map]
pub static COUNTED: Array<Counted> = Array::with_max_entries(COUNTED_SLOTS, BPF_F_MMAPABLE);

/// Which of [`COUNTED`] is used, by key.
#[map]
pub static COUNTED_BY_KEY: HashMap<u64, u32> = HashMap::with_max_entries(COUNTED_SLOTS, 0);

/// Which of [`COUNTED`] are free.
#[map]
pub static COUNTED_FREE: Queue<u32> = Queue::with_max_entries(COUNTED_SLOTS, 0);

/// By a part of a key: a second, and in the lower half how many failed calls came in it.
#[map]
pub static FAILURES: Array<u64> = Array::with_max_entries(crate::repeat::PLACES, 0);

/// What a process took of the buffer within a time span.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Spent {
    pub span: u32,
    pub bytes: u32,
}

/// By process, see [`crate::share`].
#[map]
pub static SPENT: LruHashMap<u32, Spent> = LruHashMap::with_max_entries(8192, 0);

/// The time span, and in the lower half how many processes have taken of the buffer in it.
#[map]
pub static SPENDERS: Array<u64> = Array::with_max_entries(1, 0);

/// Field offsets of the running kernel, constant to the verifier.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = Offsets::ZERO;

/// What to observe, constant to the verifier.
#[unsafe(no_mangle)]
pub static SETTINGS: Settings = Settings::ALL;

/// Per port: 1 once it was, or may have been, chosen by the kernel. Releases of other ports are of
/// interest only from sockets that asked for their port, which marks the socket: so the accepted
/// children of a listener on port 443 cost one load each. Never cleared, hence exact. A map of its
/// own, for user space adds to it, in memory that both share.
#[map]
pub static OBSERVED: Array<[u8; 65536]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Per port: 1 once a listener on it was found by a scan or told of, in any network namespace.
#[unsafe(no_mangle)]
pub static mut LISTENED: [u8; 65536] = [0; 65536];

/// Reads a constant anew each time, since the loader replaces the value that the compiler saw.
#[inline(always)]
pub fn constant(value: &u32) -> u32 {
    // SAFETY: a reference is valid to read.
    unsafe { core::ptr::from_ref(value).read_volatile() }
}

/// An offset by its field's name in [`Offsets`].
macro_rules! offset {
    ($field:ident) => {
        $crate::maps::constant(&$crate::maps::OFFSETS.$field)
    };
}
pub(crate) use offset;

/// A setting by its name in [`Settings`].
macro_rules! setting {
    ($field:ident) => {
        $crate::maps::constant(&$crate::maps::SETTINGS.$field)
    };
}
pub(crate) use setting;
