//! The current task.

use aya_ebpf::helpers::generated::{
    bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid,
    bpf_get_current_task, bpf_get_current_uid_gid,
};
use port_observer_ebpf::TaskRecord;

use crate::{
    maps::offset,
    read::{Probed, Read},
};

/// The current thread: thread group in the upper half, thread in the lower.
#[inline(always)]
pub fn current() -> u64 {
    // SAFETY: takes nothing.
    unsafe { bpf_get_current_pid_tgid() }
}

/// Writes all of `record`. To be used only where the current task is the caller: in
/// `inet_hash_connect`, `inet_csk_get_port`, `udp_lib_get_port` and system calls. In a softirq it
/// is anybody.
///
/// # Safety
/// `record` has room for a `TaskRecord`.
#[inline(always)]
pub unsafe fn describe(record: *mut TaskRecord) {
    // SAFETY: plain helpers; the record's memory is its own.
    unsafe {
        let pid_tgid = current();
        let task = bpf_get_current_task() as *const u8;
        (*record).start_time_ns = start_time(task);
        (*record).cgroup_id = bpf_get_current_cgroup_id();
        (*record).pid = (pid_tgid >> 32) as u32;
        (*record).tid = pid_tgid as u32;
        (*record).uid = bpf_get_current_uid_gid() as u32;
        (*record).reserved = 0;
        // Pads with NULs.
        bpf_get_current_comm((&raw mut (*record).name).cast(), 16);
    }
}

/// When the process of `task` started: its group leader's time, also from another thread.
///
/// # Safety
/// `task` is a `task_struct`.
#[inline(always)]
pub unsafe fn start_time(task: *const u8) -> u64 {
    // SAFETY: fields of task_struct.
    unsafe {
        let leader = Probed::read::<*const u8>(task, offset!(task_group_leader));
        Probed::read::<u64>(leader, offset!(task_start_boottime))
    }
}

/// Writes all of `record`: the process of `task`, whoever runs now.
///
/// # Safety
/// `record` has room for a `TaskRecord`, `task` is a `task_struct`.
#[inline(always)]
pub unsafe fn describe_process(record: *mut TaskRecord, task: *const u8) {
    // SAFETY: read through a helper that checks; the record's memory is its own.
    unsafe {
        let leader = Probed::read::<*const u8>(task, offset!(task_group_leader));
        let pid = Probed::read::<u32>(leader, offset!(task_tgid));
        let set = Probed::read::<*const u8>(leader, offset!(task_cgroups));
        let cgroup = Probed::read::<*const u8>(set, offset!(css_set_dfl_cgrp));
        let node = Probed::read::<*const u8>(cgroup, offset!(cgroup_kn));
        let cred = Probed::read::<*const u8>(leader, offset!(task_cred));
        (*record).start_time_ns = Probed::read::<u64>(leader, offset!(task_start_boottime));
        (*record).cgroup_id = Probed::read::<u64>(node, offset!(kernfs_node_id));
        (*record).pid = pid;
        (*record).tid = pid;
        (*record).uid = Probed::read::<u32>(cred, offset!(cred_uid));
        (*record).reserved = 0;
        let name = (&raw mut (*record).name).cast::<u64>();
        name.write(Probed::read::<u64>(leader, offset!(task_comm)));
        name.add(1).write(Probed::read::<u64>(leader, offset!(task_comm) + 8));
    }
}
