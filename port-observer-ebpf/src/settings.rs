//! What the program hands to the kernel's side when it loads it.

/// Where the running kernel keeps what the programs read: byte offsets, taken from its BTF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Offsets {
    /// `sock_common.skc_daddr`
    pub skc_daddr: u32,
    /// `sock_common.skc_rcv_saddr`
    pub skc_rcv_saddr: u32,
    /// `sock_common.skc_dport`
    pub skc_dport: u32,
    /// `sock_common.skc_num`
    pub skc_num: u32,
    /// `sock_common.skc_family`
    pub skc_family: u32,
    /// `sock_common.skc_state`
    pub skc_state: u32,
    /// The byte that holds `sock_common.skc_ipv6only`, a bit field of 1 bit
    pub skc_ipv6only: u32,
    /// That bit in that byte
    pub skc_ipv6only_shift: u32,
    /// `sock_common.skc_bound_dev_if`
    pub skc_bound_dev_if: u32,
    /// `sock_common.skc_flags`
    pub skc_flags: u32,
    /// `sock_common.skc_net.net`
    pub skc_net: u32,
    /// `sock_common.skc_v6_daddr`
    pub skc_v6_daddr: u32,
    /// `sock_common.skc_v6_rcv_saddr`
    pub skc_v6_rcv_saddr: u32,
    /// `sock.sk_protocol`
    pub sk_protocol: u32,
    /// `sk_buff.cb`
    pub skb_cb: u32,
    /// `sock.sk_dst_cache`
    pub sk_dst_cache: u32,
    /// `sock.sk_err`
    pub sk_err: u32,
    /// The byte that holds `sock.sk_userlocks`, a bit field of 4 bits
    pub sk_userlocks: u32,
    /// The lowest bit of `sk_userlocks` in that byte
    pub sk_userlocks_shift: u32,
    /// 1 where `sk_userlocks` has the bit `SOCK_CONNECT_BIND` (from Linux 6.18), else 0
    pub has_connect_bind: u32,
    /// `sock.sk_socket`
    pub sk_socket: u32,
    /// `inet_connection_sock.icsk_bind_hash`
    pub icsk_bind_hash: u32,
    /// `inet_bind_bucket.fastreuse`
    pub tb_fastreuse: u32,
    /// `inet_bind_bucket.fastreuseport`
    pub tb_fastreuseport: u32,
    /// `tcp_sock.rx_opt.ts_recent_stamp`
    pub tcp_ts_recent_stamp: u32,
    /// `inet_sock.inet_sport`
    pub inet_sport: u32,
    /// 1 where a socket has a port range of its own (`IP_LOCAL_PORT_RANGE`, from Linux 6.3), else 0
    pub has_port_range: u32,
    /// The lower end in `inet_sock.local_port_range`
    pub port_range_low: u32,
    /// The upper end
    pub port_range_high: u32,
    /// `net.ns.inum`
    pub net_inum: u32,
    /// `inet_timewait_sock.tw_timer.expires`
    pub tw_timer_expires: u32,
    /// `inet_timewait_sock.tw_tb`
    pub tw_tb: u32,
    /// `inet_timewait_sock.tw_substate`
    pub tw_substate: u32,
    /// The byte that holds `inet_timewait_sock.tw_connect_bind`, if there is one
    pub tw_connect_bind: u32,
    /// That bit in that byte
    pub tw_connect_bind_shift: u32,
    /// `tcp_timewait_sock.tw_ts_recent_stamp`
    pub tw_ts_recent_stamp: u32,
    /// 1: every program may ask for the current task with its type (`bpf_base_func_proto`,
    /// kernel/bpf/helpers.c, from Linux 6.0)
    pub has_typed_task: u32,
    /// `task_struct.group_leader`
    pub task_group_leader: u32,
    /// `task_struct.start_boottime` (`real_start_time` before Linux 5.5)
    pub task_start_boottime: u32,
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.pid`
    pub task_pid: u32,
    /// `task_struct.comm`
    pub task_comm: u32,
    /// `task_struct.cred`
    pub task_cred: u32,
    /// `cred.uid`
    pub cred_uid: u32,
    /// `task_struct.mm`
    pub task_mm: u32,
    /// `task_struct.cgroups`
    pub task_cgroups: u32,
    /// `task_struct.files`
    pub task_files: u32,
    /// `mm_struct.arg_start`
    pub mm_arg_start: u32,
    /// `mm_struct.arg_end`
    pub mm_arg_end: u32,
    /// `linux_binprm.filename`
    pub bprm_filename: u32,
    /// `css_set.dfl_cgrp`
    pub css_set_dfl_cgrp: u32,
    /// `cgroup.kn`
    pub cgroup_kn: u32,
    /// `kernfs_node.name`
    pub kernfs_node_name: u32,
    /// `kernfs_node.id`
    pub kernfs_node_id: u32,
    /// `files_struct.fdt`
    pub files_fdt: u32,
    /// `fdtable.max_fds`
    pub fdt_max_fds: u32,
    /// `fdtable.fd`
    pub fdt_fd: u32,
    /// `file.private_data`
    pub file_private_data: u32,
    /// `socket.sk`
    pub socket_sk: u32,
    /// `socket.file`
    pub socket_file: u32,
    /// `pt_regs`: the first argument of a function
    pub regs_arg1: u32,
    /// `pt_regs`: the second argument
    pub regs_arg2: u32,
    /// `pt_regs`: the third argument
    pub regs_arg3: u32,
    /// `pt_regs`: the return value
    pub regs_return: u32,
}

impl Offsets {
    /// All zero, to be overwritten at load.
    pub const ZERO: Self = {
        // SAFETY: every field is an integer, for which zero bytes are a value.
        unsafe { core::mem::zeroed() }
    };
}

/// What to observe. Zero means: everything, and for a size that it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// Only the network namespaces in the map `NAMESPACES`, if not 0.
    pub only_namespaces: u32,
    /// Only this `IPPROTO_*`, if not 0.
    pub only_protocol: u32,
    /// The size of the ring buffer, in bytes.
    pub buffer_size: u32,
    /// A number that nobody else knows, so that no process can choose its place in a table.
    pub seed: u32,
}

impl Settings {
    /// Observe everything.
    pub const ALL: Self = Self { only_namespaces: 0, only_protocol: 0, buffer_size: 0, seed: 0 };
}
