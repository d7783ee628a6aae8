//! Calls for a port: connect(), bind(), listen() without bind(), UDP's automatic bind.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_ktime_get_boot_ns;
use port_observer_ebpf::{CallRecord, Kind, SocketRecord, Via};

use crate::{
    inside,
    maps::{CALL, Call},
    read::Read,
    repeat,
    send::send,
    share::Payer,
    socket::{self, TCP},
    task,
};

const EAGAIN: u16 = 11;
const EADDRINUSE: u16 = 98;
pub const EADDRNOTAVAIL: i32 = 99;
const TCP_LISTEN: u8 = 10;

/// What a call for a port came to.
pub struct Outcome {
    pub kind: Kind,
    pub via: Via,
    pub requested_port: u16,
    pub errno: u16,
    pub search_ns: u64,
    /// `FLAG_*`
    pub flags: u32,
}

/// Tells what became of a call.
///
/// # Safety
/// `socket` is a `struct sock`, and the current task is the caller.
#[inline(always)]
pub unsafe fn tell<R: Read>(socket: *const u8, protocol: u16, netns: u32, outcome: Outcome) {
    let fill = |record: *mut CallRecord| {
        // SAFETY: `record` is room for a CallRecord, all of which is written.
        unsafe {
            let place = &raw mut (*record).socket;
            socket::describe::<R>(place, outcome.kind, socket, protocol, netns);
            (*place).via = outcome.via as u8;
            (*place).requested_port = outcome.requested_port;
            (*place).flags = outcome.flags;
            if outcome.kind as u8 == Kind::Acquire as u8 {
                (*place).flags |= socket::sharing::<R>(socket);
            }
            (*place).errno = outcome.errno;
            if outcome.kind as u8 == Kind::Exhausted as u8 {
                (*place).other = socket::own_range(socket);
            }
            if outcome.errno != 0 {
                // A call that failed left the socket without a port: tell which was wanted.
                (*place).local_port = outcome.requested_port;
            }
            (*record).search_ns = outcome.search_ns;
            task::describe(&raw mut (*record).task);
        }
    };
    if outcome.errno == 0 {
        send::<CallRecord>(outcome.kind, Payer::Caller, fill);
        return;
    }
    let mut record = MaybeUninit::<CallRecord>::uninit();
    fill(record.as_mut_ptr());
    // SAFETY: all of it was written; the current task is the caller.
    unsafe { failed(record.assume_init_ref()) }
}

/// Submits or counts a call that failed.
///
/// # Safety
/// The current task is the caller.
// A function of its own in the object, for every program that can see a call fail has it.
#[inline(never)]
pub unsafe fn failed(record: &CallRecord) {
    // SAFETY: as above.
    if !unsafe { repeat::is_submitted(record) } {
        return;
    }
    // The verifier is shown that it is one of three.
    let kind = match record.socket.kind {
        kind if kind == Kind::Exhausted as u8 => Kind::Exhausted,
        kind if kind == Kind::Refused as u8 => Kind::Refused,
        _ => Kind::Conflict,
    };
    send::<CallRecord>(kind, Payer::Caller, |place| {
        // SAFETY: room for a CallRecord.
        unsafe { repeat::copy(record, place) }
    });
}

/// Remembers when the search began, for the exit probe on the same processor.
#[inline(always)]
pub fn began(socket: *const u8) {
    if let Some(call) = CALL.get_ptr_mut(0) {
        // SAFETY: a slot of this processor's own.
        unsafe {
            (*call).pid_tgid = task::current();
            (*call).socket = socket as u64;
            (*call).started_ns = bpf_ktime_get_boot_ns();
        }
    }
}

/// Whether the call under way on this processor is that of this socket and not told yet.
#[inline(always)]
pub fn is_left_over(socket: *const u8) -> bool {
    let Some(call) = CALL.get_ptr_mut(0) else { return false };
    // SAFETY: a slot of this processor's own.
    unsafe { (*call).socket == socket as u64 && (*call).pid_tgid == task::current() }
}

/// How long the search took; 0 if its caller was moved to another processor meanwhile.
#[inline(always)]
pub fn searched_ns(socket: *const u8) -> u64 {
    let Some(call) = CALL.get_ptr_mut(0) else { return 0 };
    // SAFETY: a slot of this processor's own.
    unsafe {
        if (*call).socket != socket as u64 || (*call).pid_tgid != task::current() {
            return 0;
        }
        (*call).socket = 0;
        bpf_ktime_get_boot_ns() - (*call).started_ns
    }
}

/// `inet_hash_connect` or `inet6_hash_connect` (net/ipv4/inet_hashtables.c) returned.
///
/// # Safety
/// As [`tell`].
#[inline(always)]
pub unsafe fn connect_returned<R: Read>(
    socket: *const u8,
    result: i32,
    search_ns: u64,
    flags: u32,
) {
    // SAFETY: a struct sock.
    unsafe {
        if socket::protocol::<R>(socket) != TCP {
            return;
        }
        let Some(netns) = socket::observed_namespace::<R>(socket, TCP) else { return };
        let port = socket::port::<R>(socket);
        let kind = match result {
            0 => Kind::Acquire,
            // With a port of its own, what is taken is the 4-tuple.
            e if e == -EADDRNOTAVAIL => {
                if port == 0 {
                    Kind::Exhausted
                } else {
                    Kind::Conflict
                }
            }
            _ => return,
        };
        if result == 0 && !socket::is_port_fixed::<R>(socket) {
            socket::observe(port);
        }
        let outcome = Outcome {
            kind,
            via: Via::Connect,
            requested_port: if result == 0 { 0 } else { port },
            errno: -result as u16,
            search_ns,
            flags,
        };
        tell::<R>(socket, TCP, netns, outcome);
    }
}

/// `inet_csk_get_port` (net/ipv4/inet_connection_sock.c) or `udp_lib_get_port` (net/ipv4/udp.c)
/// returned.
///
/// # Safety
/// As [`tell`].
#[inline(always)]
pub unsafe fn get_port_returned<R: Read>(
    socket: *const u8,
    protocol: u16,
    requested: u16,
    result: i32,
    search_ns: u64,
    flags: u32,
) {
    // SAFETY: a struct sock.
    unsafe {
        if socket::protocol::<R>(socket) != protocol {
            return;
        }
        let Some(netns) = socket::observed_namespace::<R>(socket, protocol) else { return };
        let listening = protocol == TCP && socket::state::<R>(socket) == TCP_LISTEN;
        if listening && requested != 0 && result == 0 {
            // listen() asks once more for the port that bind() gave.
            listens::<R>(socket, netns);
            return;
        }
        let autobind = requested == 0
            && (listening || (socket::is_wildcard::<R>(socket) && inside::is_inside()));
        let via = if listening && result != 0 {
            Via::Listen
        } else if autobind {
            Via::Autobind
        } else {
            Via::Bind
        };
        let (kind, errno) = if result == 0 {
            (Kind::Acquire, 0)
        } else if requested != 0 {
            (Kind::Conflict, EADDRINUSE)
        } else if autobind && !listening {
            (Kind::Exhausted, EAGAIN)
        } else {
            (Kind::Exhausted, EADDRINUSE)
        };
        if result == 0 && requested == 0 {
            socket::observe(socket::port::<R>(socket));
        }
        let outcome = Outcome { kind, via, requested_port: requested, errno, search_ns, flags };
        tell::<R>(socket, protocol, netns, outcome);
        if listening && result == 0 {
            listens::<R>(socket, netns);
        }
    }
}

/// Tells that `socket` listens from now on.
///
/// # Safety
/// `socket` is a `struct sock`.
#[inline(always)]
pub unsafe fn listens<R: Read>(socket: *const u8, netns: u32) {
    // SAFETY: as above.
    socket::listened(unsafe { socket::port::<R>(socket) });
    send::<SocketRecord>(Kind::Listen, Payer::Caller, |record| {
        // SAFETY: `record` is room for a SocketRecord.
        unsafe { socket::describe::<R>(record, Kind::Listen, socket, TCP, netns) }
    });
}

/// `security_sock_graft` (security/security.c), which accept() calls with the child that it hands
/// out (`sock_graft`, include/net/sock.h).
///
/// # Safety
/// As [`tell`].
#[inline(always)]
pub unsafe fn accepted<R: Read>(child: *const u8) {
    // SAFETY: a struct sock.
    unsafe {
        if !socket::is_observed(socket::port::<R>(child)) || socket::protocol::<R>(child) != TCP {
            return;
        }
        let Some(netns) = socket::observed_namespace::<R>(child, TCP) else { return };
        let kind = Kind::Accept;
        let via = Via::Bind;
        let outcome = Outcome { kind, via, requested_port: 0, errno: 0, search_ns: 0, flags: 0 };
        tell::<R>(child, TCP, netns, outcome);
    }
}

/// A call as its entry probe saw it, for [`crate::maps::CALLS`].
#[inline(always)]
pub fn entered(socket: *const u8, argument: u64) -> Call {
    Call {
        pid_tgid: task::current(),
        socket: socket as u64,
        // SAFETY: takes nothing.
        started_ns: unsafe { bpf_ktime_get_boot_ns() },
        argument,
    }
}
