//! Iterators over the sockets that are there: what holds a port, and who has it open. A program is
//! run once for each, when user space reads from the iterator, and what it writes is what is read.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_seq_write;
use port_observer_ebpf::{CallRecord, FLAG_BLOCKED, Kind};

use crate::{
    maps::offset,
    read::{Probed, Read},
    socket::{self, TCP, UDP},
    task,
};

const TIME_WAIT: u8 = 6;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;
/// A connection request: it holds no port of its own.
const NEW_SYN_RECV: u8 = 12;
const BOUND_INACTIVE: u8 = 13;

/// What every iterator is given first (`struct bpf_iter_meta`, include/linux/bpf.h).
#[repr(C)]
struct Meta {
    seq: *mut c_void,
}

/// `struct bpf_iter__tcp` (net/ipv4/tcp_ipv4.c) and `struct bpf_iter__udp` (net/ipv4/udp.c).
#[repr(C)]
pub struct SocketContext {
    meta: *const Meta,
    socket: *const u8,
}

/// `struct bpf_iter__task_file` (kernel/bpf/task_iter.c)
#[repr(C)]
pub struct FileContext {
    meta: *const Meta,
    task: *const u8,
    fd: u64,
    file: *const u8,
}

/// TCP: listeners, then connections and TIME_WAIT entries, of one network namespace.
///
/// # Safety
/// The kernel calls it.
#[unsafe(link_section = "iter/tcp")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scan_tcp(ctx: *const SocketContext) -> i32 {
    // SAFETY: the context is what the type says.
    unsafe {
        let (meta, sk) = ((*ctx).meta, (*ctx).socket);
        if !sk.is_null() {
            tell(meta, sk, TCP, None);
        }
    }
    0
}

/// UDP, of one network namespace.
///
/// # Safety
/// The kernel calls it.
#[unsafe(link_section = "iter/udp")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scan_udp(ctx: *const SocketContext) -> i32 {
    // SAFETY: the context is what the type says.
    unsafe {
        let (meta, sk) = ((*ctx).meta, (*ctx).socket);
        if !sk.is_null() {
            tell(meta, sk, UDP, None);
        }
    }
    0
}

/// The open files of all processes: who has which socket.
///
/// # Safety
/// The kernel calls it.
#[unsafe(link_section = "iter/task_file")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn scan_files(ctx: *const FileContext) -> i32 {
    // SAFETY: the context is what the type says; what it leads to is read through a helper.
    unsafe {
        let (meta, task, file) = ((*ctx).meta, (*ctx).task, (*ctx).file);
        if task.is_null() || file.is_null() {
            return 0;
        }
        let socket = Probed::read::<*const u8>(file, offset!(file_private_data));
        if socket.is_null() || Probed::read::<*const u8>(socket, offset!(socket_file)) != file {
            return 0;
        }
        let sk = Probed::read::<*const u8>(socket, offset!(socket_sk));
        // Two pointers that lead back: it is a socket.
        if sk.is_null() || Probed::read::<*const u8>(sk, offset!(sk_socket)) != socket {
            return 0;
        }
        let protocol = socket::protocol::<Probed>(sk);
        if protocol == TCP || protocol == UDP {
            tell(meta, sk, protocol, Some(task));
        }
    }
    0
}

/// Writes the record of a socket that holds a port.
#[inline(always)]
unsafe fn tell(meta: *const Meta, sk: *const u8, protocol: u16, task: Option<*const u8>) {
    // SAFETY: `sk` begins with a sock_common, and is a struct sock unless in TIME_WAIT.
    unsafe {
        let port = socket::port::<Probed>(sk);
        let state = socket::state::<Probed>(sk);
        if port == 0 || state == NEW_SYN_RECV {
            return;
        }
        let Some(netns) = socket::observed_namespace::<Probed>(sk, protocol) else { return };
        let is_time_wait = state == TIME_WAIT && protocol == TCP;
        let mut flags = if is_time_wait {
            socket::time_wait_sharing::<Probed>(sk) | socket::reuse::<Probed>(sk)
        } else {
            socket::sharing::<Probed>(sk)
        };
        if protocol == TCP {
            let at = if is_time_wait { offset!(tw_tb) } else { offset!(icsk_bind_hash) };
            let bucket = Probed::read::<*const u8>(sk, at);
            if bucket.is_null() {
                return;
            }
            if task.is_some() {
                // Only bound, so not accepted. Of others, this tells who has them alone.
                if state == CLOSE && !socket::is_port_fixed::<Probed>(sk) {
                    socket::observe(port);
                }
            } else if !is_of_interest(sk, port, state) {
                return;
            }
            if Probed::read::<i8>(bucket, offset!(tb_fastreuse)) >= 0
                || Probed::read::<i8>(bucket, offset!(tb_fastreuseport)) >= 0
            {
                flags |= FLAG_BLOCKED;
            }
        }
        let mut words = [0u64; size_of::<CallRecord>() / 8];
        let record = (&raw mut words).cast::<CallRecord>();
        let place = &raw mut (*record).socket;
        socket::describe::<Probed>(place, Kind::Existing, sk, protocol, netns);
        (*place).flags = flags;
        (*place).new_state = if protocol == TCP && state == CLOSE { BOUND_INACTIVE } else { state };
        if protocol == TCP && !is_time_wait && socket::is_port_fixed::<Probed>(sk) {
            (*place).requested_port = port;
        }
        if let Some(task) = task {
            task::describe_process(&raw mut (*record).task, task);
        }
        bpf_seq_write((*meta).seq.cast(), record.cast(), size_of::<CallRecord>() as u32);
    }
}

/// As [`crate::holding::is_of_interest`], and of what was not told of when it began. Of a connection on any
/// other port it can't be seen whether it was accepted, unless by its listener, which comes first.
#[inline(always)]
unsafe fn is_of_interest(sk: *const u8, port: u16, state: u8) -> bool {
    // SAFETY: one byte per port; `sk` as above.
    unsafe {
        if socket::is_observed(port) {
            return true;
        }
        if state != TIME_WAIT && socket::is_port_fixed::<Probed>(sk) {
            if state == LISTEN {
                socket::listened(port);
            }
            return true;
        }
        if socket::is_listened(port) {
            return false;
        }
        socket::observe(port);
        true
    }
}
