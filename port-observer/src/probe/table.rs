//! Which probes there are: hook, backend, what is lost without it.

use port_observer_ebpf::Kind;

/// How events reach the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Entry and exit of kernel functions through BPF trampolines.
    Fexit,
    /// The same functions through kprobes and kretprobes.
    Kprobe,
    /// BTF tracepoints and cgroup programs, completed from socket diagnostics.
    Tracepoint,
    /// Socket diagnostics compared; needs no privilege.
    Poll,
}

impl Backend {
    /// Best first.
    pub const ALL: [Self; 4] = [Self::Fexit, Self::Kprobe, Self::Tracepoint, Self::Poll];

    /// The name on the command line and in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fexit => "fexit",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
            Self::Poll => "poll",
        }
    }

    /// Whether every acquire and release is seen, when it happens.
    pub fn is_exact(self) -> bool {
        matches!(self, Self::Fexit | Self::Kprobe)
    }

    /// What this backend can't see on any kernel, a sentence each.
    pub fn missing(self) -> &'static [&'static str] {
        match self {
            Self::Fexit => &[SENDTO],
            // trace_call_bpf, kernel/trace/bpf_trace.c
            Self::Kprobe => &[
                SENDTO,
                "what interrupts another probe on the same processor, but for the ends of connections: \
                 rare, and counted as lost at the latest when it shows",
            ],
            Self::Tracepoint => &[
                "the end of TIME_WAIT is found by socket diagnostics, up to a second late",
                "ports that UDP connect() or sendto() took by themselves are found by socket \
                 diagnostics, up to a second late, and not at all when they were held for less",
                "UDP connect() and sendto() calls that found no port (EAGAIN)",
                "the time that the kernel searched for a port",
                "who accepted a connection: an accepted child is shown as its listener's process",
                "bind() and connect() calls of io_uring that failed",
                SENDTO,
                "a connection reset in FIN_WAIT2, and one that tcp_max_tw_buckets denied its \
                 TIME_WAIT, may be told as time_wait first and corrected within a second",
            ],
            Self::Poll => &[
                "sockets that come and go between two rounds",
                "calls that failed: exhausted, conflict and refused",
                "the port that was asked for, the exact time, the time that the kernel searched",
                "the process, when it is gone or of another user",
                "by which call a port was taken: it is concluded from the socket's state",
            ],
        }
    }
}

/// No backend looks at every datagram.
const SENDTO: &str =
    "sendto() calls of UDP over IPv6 that have no address to send from (EADDRNOTAVAIL)";

/// Where a kernel program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Entry of a kernel function.
    Fentry(&'static str),
    /// Exit of a kernel function.
    Fexit(&'static str),
    /// Entry of a kernel function.
    Kprobe(&'static str),
    /// Exit of a kernel function.
    Kretprobe(&'static str),
    /// A tracepoint with typed arguments.
    BtfTracepoint(&'static str),
    /// A tracepoint with raw arguments.
    RawTracepoint(&'static str),
    /// A tracepoint by category and name, through perf and tracefs.
    Tracepoint(&'static str, &'static str),
    /// A socket event of the root cgroup.
    CgroupSock,
    /// A call with an address, of the root cgroup.
    CgroupSockAddr,
    /// TCP events of the root cgroup.
    SockOps,
    /// An iterator over what the kernel has of a kind, run when it is read.
    Iter(&'static str),
}

impl std::fmt::Display for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fentry(function) => write!(f, "fentry:{function}"),
            Self::Fexit(function) => write!(f, "fexit:{function}"),
            Self::Kprobe(function) => write!(f, "kprobe:{function}"),
            Self::Kretprobe(function) => write!(f, "kretprobe:{function}"),
            Self::BtfTracepoint(name) => write!(f, "tp_btf:{name}"),
            Self::RawTracepoint(name) => write!(f, "raw_tp:{name}"),
            Self::Tracepoint(category, name) => write!(f, "tracepoint:{category}:{name}"),
            Self::CgroupSock => write!(f, "cgroup_sock"),
            Self::CgroupSockAddr => write!(f, "cgroup_sock_addr"),
            Self::SockOps => write!(f, "sock_ops"),
            Self::Iter(what) => write!(f, "iter:{what}"),
        }
    }
}

/// Whether a backend can do without a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Without it the backend is not used.
    Required,
    /// One of the probes that give the same is enough, and needed.
    OneOf(&'static str),
    /// Without it, this is missing.
    Optional(&'static str),
    /// Attached only on kernels that have this symbol, and required there.
    WithSymbol(&'static str),
    /// Attached only when every TCP state change is asked for, and required then.
    States,
}

/// What a skipped run of a program loses, see [`super::Misses`].
pub fn loses(program: &str) -> Option<Kind> {
    Some(match program.strip_prefix("k_").unwrap_or(program) {
        "connect_exit" | "connect6_exit" | "get_port_exit" | "udp_get_port_exit" => Kind::Acquire,
        // A kretprobe without its kprobe says nothing.
        "connect_enter" | "get_port_enter" | "udp_get_port_enter" if program.starts_with("k_") => {
            Kind::Acquire
        }
        "inherit_exit" => Kind::Inherit,
        "hashdance" | "hashdance_schedule" => Kind::TimeWait,
        "put_port" | "bind_unhash" | "udp_unhash" | "udp_disconnect" | "t_state" | "t_destroy" => {
            Kind::Release
        }
        "bind_exit" | "bind6_exit" | "tcp6_connect_exit" | "udp6_connect_exit"
        | "connect6_returned" | "request_enter" => Kind::Refused,
        "accept" => Kind::Accept,
        "reschedule" => Kind::FinReceived,
        "udp_rehash" => Kind::Rehash,
        "state" | "state_raw" => Kind::State,
        "exec" | "exec_raw" => Kind::Exec,
        "fork" | "fork_raw" => Kind::Fork,
        _ => return None,
    })
}

/// One probe of a backend.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// The name of the kernel program.
    pub program: &'static str,
    /// Where it is attached.
    pub hook: Hook,
    /// Whether the backend can do without.
    pub need: Need,
}

const fn probe(program: &'static str, hook: Hook, need: Need) -> Probe {
    Probe { program, hook, need }
}

const SEARCH: Need = Need::Optional("the time that the kernel searched for a port");
const AUTOBIND: Need = Need::Optional("an automatic bind is told as a bind");
/// A second program for when the first is skipped.
const TWIN: Need = Need::Optional("events of calls that preempt or interrupt one another");
const EXEC: Need = Need::Optional(
    "executable and command line of processes that ended before they were looked up",
);
const FORK: Need = Need::Optional(
    "executable and command line of processes without a program of their own that ended early",
);

/// accept() calls it through `sock_graft` (include/net/sock.h), where the kernel has security hooks.
const ACCEPT: Need =
    Optional("who accepted a connection: an accepted child is shown as its listener's process");
const FIN: Need = Optional("that a peer's late FIN lets connect() take a port over from TIME_WAIT");
const REFUSED: Need = Optional(
    "calls that fail for their address (refused): bind() to one that is not there, connect() over IPv6 \
     without one to come from",
);
const RESET: Need = Optional("that an RST ended a TIME_WAIT: it is told as taken over");
const REHASH: Need = Optional("the address that connect() gives a UDP socket that had none");
const SCAN: Need = Optional(
    "of ports that were held before: their sockets' identity, and whether connect() can share them; \
     socket diagnostics list them instead",
);

use Hook::{
    BtfTracepoint, CgroupSock, CgroupSockAddr, Fentry, Fexit, Iter, Kprobe, Kretprobe,
    RawTracepoint, SockOps, Tracepoint,
};
use Need::{OneOf, Optional, Required, States, WithSymbol};

/// 7.2 inlines the function that the other probe is on into this caller.
const DISCONNECT: Need = WithSymbol("udp_lib_unhash.part.0");

/// The iterator over the open files of all processes.
pub const SCAN_FILES: &str = "scan_files";
/// The iterator over the TCP sockets of a network namespace.
pub const SCAN_TCP: &str = "scan_tcp";
/// The iterator over the UDP sockets of a network namespace.
pub const SCAN_UDP: &str = "scan_udp";

const FEXIT: &[Probe] = &[
    probe("connect_enter", Fentry("inet_hash_connect"), SEARCH),
    probe("connect_exit_again", Fexit("inet_hash_connect"), TWIN),
    probe("connect_exit", Fexit("inet_hash_connect"), Required),
    probe("connect6_enter", Fentry("inet6_hash_connect"), SEARCH),
    probe("connect6_exit_again", Fexit("inet6_hash_connect"), TWIN),
    probe("connect6_exit", Fexit("inet6_hash_connect"), Required),
    probe("get_port_enter", Fentry("inet_csk_get_port"), SEARCH),
    probe("get_port_exit_again", Fexit("inet_csk_get_port"), TWIN),
    probe("get_port_exit", Fexit("inet_csk_get_port"), Required),
    probe("udp_get_port_enter", Fentry("udp_lib_get_port"), SEARCH),
    probe("udp_get_port_exit_again", Fexit("udp_lib_get_port"), TWIN),
    probe("udp_get_port_exit", Fexit("udp_lib_get_port"), Required),
    probe("bind_exit", Fexit("__inet_bind"), REFUSED),
    probe("bind6_exit", Fexit("__inet6_bind"), REFUSED),
    probe("tcp6_connect_exit", Fexit("tcp_v6_connect"), REFUSED),
    probe("udp6_connect_exit", Fexit("__ip6_datagram_connect"), REFUSED),
    probe("autobind_enter", Fentry("inet_autobind"), AUTOBIND),
    probe("autobind_exit", Fexit("inet_autobind"), AUTOBIND),
    probe("inherit_exit", Fexit("__inet_inherit_port"), Required),
    probe("put_port_again", Fentry("inet_put_port"), TWIN),
    probe("put_port", Fentry("inet_put_port"), Required),
    probe("hashdance", Fentry("inet_twsk_hashdance"), OneOf("TIME_WAIT")),
    probe("hashdance_schedule", Fentry("inet_twsk_hashdance_schedule"), OneOf("TIME_WAIT")),
    probe("bind_unhash", Fentry("inet_twsk_bind_unhash"), Required),
    probe("time_wait_packet", Fentry("tcp_timewait_state_process"), RESET),
    probe("abort", Fentry("tcp_abort"), RESET),
    probe("udp_unhash_again", Fentry("udp_lib_unhash"), TWIN),
    probe("udp_unhash", Fentry("udp_lib_unhash"), Required),
    probe("udp_rehash", Fentry("udp_lib_rehash"), REHASH),
    probe("udp_disconnect", Fentry("__udp_disconnect"), DISCONNECT),
    probe("accept", Fentry("security_sock_graft"), ACCEPT),
    probe("reschedule", Fentry("__inet_twsk_schedule"), FIN),
    probe("exec", BtfTracepoint("sched_process_exec"), EXEC),
    probe("fork", BtfTracepoint("sched_process_fork"), FORK),
    probe("state", BtfTracepoint("inet_sock_set_state"), States),
    probe(SCAN_FILES, Iter("task_file"), SCAN),
    probe(SCAN_TCP, Iter("tcp"), SCAN),
    probe(SCAN_UDP, Iter("udp"), SCAN),
];

const KPROBE: &[Probe] = &[
    probe("k_connect_enter", Kprobe("inet_hash_connect"), Required),
    probe("k_connect_exit", Kretprobe("inet_hash_connect"), Required),
    probe("k_connect_enter", Kprobe("inet6_hash_connect"), Required),
    probe("k_connect_exit", Kretprobe("inet6_hash_connect"), Required),
    probe("k_get_port_enter", Kprobe("inet_csk_get_port"), Required),
    probe("k_get_port_exit", Kretprobe("inet_csk_get_port"), Required),
    probe("k_udp_get_port_enter", Kprobe("udp_lib_get_port"), Required),
    probe("k_udp_get_port_exit", Kretprobe("udp_lib_get_port"), Required),
    probe("k_request_enter", Kprobe("__inet_bind"), REFUSED),
    probe("k_bind_exit", Kretprobe("__inet_bind"), REFUSED),
    probe("k_request_enter", Kprobe("__inet6_bind"), REFUSED),
    probe("k_bind_exit", Kretprobe("__inet6_bind"), REFUSED),
    probe("k_request_enter", Kprobe("tcp_v6_connect"), REFUSED),
    probe("k_connect6_returned", Kretprobe("tcp_v6_connect"), REFUSED),
    probe("k_request_enter", Kprobe("__ip6_datagram_connect"), REFUSED),
    probe("k_connect6_returned", Kretprobe("__ip6_datagram_connect"), REFUSED),
    probe("k_autobind_enter", Kprobe("inet_autobind"), AUTOBIND),
    probe("k_autobind_exit", Kretprobe("inet_autobind"), AUTOBIND),
    probe("k_inherit_enter", Kprobe("__inet_inherit_port"), Required),
    probe("k_inherit_exit", Kretprobe("__inet_inherit_port"), Required),
    probe("k_put_port", Kprobe("inet_put_port"), Required),
    probe("k_hashdance", Kprobe("inet_twsk_hashdance"), OneOf("TIME_WAIT")),
    probe("k_hashdance", Kprobe("inet_twsk_hashdance_schedule"), OneOf("TIME_WAIT")),
    probe("k_closed", RawTracepoint("inet_sock_set_state"), Required),
    probe("k_bind_unhash", Kprobe("inet_twsk_bind_unhash"), Required),
    probe("k_time_wait_packet", Kprobe("tcp_timewait_state_process"), RESET),
    probe("k_abort", Kprobe("tcp_abort"), RESET),
    probe("k_udp_unhash", Kprobe("udp_lib_unhash"), Required),
    probe("k_udp_rehash", Kprobe("udp_lib_rehash"), REHASH),
    probe("k_udp_disconnect", Kprobe("__udp_disconnect"), DISCONNECT),
    probe("k_accept", Kprobe("security_sock_graft"), ACCEPT),
    probe("k_reschedule", Kprobe("__inet_twsk_schedule"), FIN),
    probe("exec_raw", RawTracepoint("sched_process_exec"), EXEC),
    probe("fork_raw", RawTracepoint("sched_process_fork"), FORK),
    probe("state_raw", RawTracepoint("inet_sock_set_state"), States),
    probe(SCAN_FILES, Iter("task_file"), SCAN),
    probe(SCAN_TCP, Iter("tcp"), SCAN),
    probe(SCAN_UDP, Iter("udp"), SCAN),
];

const FAILED_BIND: Need = Optional(
    "bind() calls that failed (exhausted, conflict, refused), and the port that a bind() asked for",
);
const FAILED_LISTEN: Need = Optional("listen() calls that failed (exhausted, conflict)");
const FAILED_CONNECT: Need =
    Optional("connect() calls over IPv6 that failed for want of an address to come from (refused)");

const TRACEPOINT: &[Probe] = &[
    probe("t_state", BtfTracepoint("inet_sock_set_state"), Required),
    probe("t_state_again", BtfTracepoint("inet_sock_set_state"), TWIN),
    probe("t_destroy", BtfTracepoint("tcp_destroy_sock"), Required),
    probe("t_destroy_again", BtfTracepoint("tcp_destroy_sock"), TWIN),
    probe("t_sock_ops", SockOps, Required),
    probe("t_bind4", CgroupSockAddr, FAILED_BIND),
    probe("t_bind6", CgroupSockAddr, FAILED_BIND),
    probe("t_bind_enter", Tracepoint("syscalls", "sys_enter_bind"), FAILED_BIND),
    probe("t_bind_exit", Tracepoint("syscalls", "sys_exit_bind"), FAILED_BIND),
    probe("t_listen_enter", Tracepoint("syscalls", "sys_enter_listen"), FAILED_LISTEN),
    probe("t_listen_exit", Tracepoint("syscalls", "sys_exit_listen"), FAILED_LISTEN),
    probe("t_connect6", CgroupSockAddr, FAILED_CONNECT),
    probe("t_connect_exit", Tracepoint("syscalls", "sys_exit_connect"), FAILED_CONNECT),
    probe("t_post_bind4", CgroupSock, Required),
    probe("t_post_bind6", CgroupSock, Required),
    probe("t_sock_release", CgroupSock, Optional("the end of UDP ports, but for a round a second")),
    probe("exec", BtfTracepoint("sched_process_exec"), EXEC),
    probe("fork", BtfTracepoint("sched_process_fork"), FORK),
    probe("state", BtfTracepoint("inet_sock_set_state"), States),
    probe(SCAN_FILES, Iter("task_file"), SCAN),
    probe(SCAN_TCP, Iter("tcp"), SCAN),
    probe(SCAN_UDP, Iter("udp"), SCAN),
];

/// The probes of a backend, in the order in which they are attached. A trampoline runs the program
/// that was attached last first (`bpf_trampoline_link_prog`, kernel/bpf/trampoline.c), so a twin
/// comes before the program that it stands in for; a tracepoint runs it last
/// (`func_add`, kernel/tracepoint.c).
pub fn probes(backend: Backend) -> &'static [Probe] {
    match backend {
        Backend::Fexit => FEXIT,
        Backend::Kprobe => KPROBE,
        Backend::Tracepoint => TRACEPOINT,
        Backend::Poll => &[],
    }
}
