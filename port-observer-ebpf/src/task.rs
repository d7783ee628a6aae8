//! The current task.

use aya_ebpf::helpers::generated::{
    bpf_get_current_pid_tgid, bpf_get_current_task, bpf_get_current_task_btf,
};
use port_observer_ebpf::TaskRecord;

use crate::{
    maps::offset,
    read::{Direct, Probed, Read},
};

/// The current thread: thread group in the upper half, thread in the lower.
#[inline(always)]
pub fn current() -> u64 {
    // SAFETY: takes nothing.
    unsafe { bpf_get_current_pid_tgid() }
}

/// Writes all of `record`. To be used only where the current task is the caller: in
/// `inet_hash_connect`, `inet_csk_get_port`, `udp_lib_get_port`, `tcp_connect` and system calls. In a
/// softirq it is anybody.
///
/// Read off the task itself: programs of sockets may not ask the helpers that tell of it.
///
/// # Safety
/// `record` has room for a `TaskRecord`.
#[inline(always)]
pub unsafe fn describe(record: *mut TaskRecord) {
    // SAFETY: the current task.
    unsafe {
        if offset!(has_typed_task) != 0 {
            let task = bpf_get_current_task_btf().cast::<u8>().cast_const();
            describe_thread::<Direct>(record, task);
        } else {
            describe_thread::<Probed>(record, bpf_get_current_task() as *const u8);
        }
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
    // SAFETY: a field of task_struct.
    unsafe {
        let leader = Probed::read::<*const u8>(task, offset!(task_group_leader));
        describe_thread::<Probed>(record, leader);
    }
}

#[inline(always)]
unsafe fn describe_thread<R: Read>(record: *mut TaskRecord, task: *const u8) {
    // SAFETY: fields of task_struct and of what it points to; the record's memory is its own.
    unsafe {
        let leader = R::read::<*const u8>(task, offset!(task_group_leader));
        let set = R::read::<*const u8>(task, offset!(task_cgroups));
        let cgroup = R::read::<*const u8>(set, offset!(css_set_dfl_cgrp));
        let node = R::read::<*const u8>(cgroup, offset!(cgroup_kn));
        let cred = R::read::<*const u8>(task, offset!(task_cred));
        (*record).start_time_ns = R::read::<u64>(leader, offset!(task_start_boottime));
        (*record).cgroup_id = R::read::<u64>(node, offset!(kernfs_node_id));
        (*record).pid = R::read::<u32>(task, offset!(task_tgid));
        (*record).tid = R::read::<u32>(task, offset!(task_pid));
        (*record).uid = R::read::<u32>(cred, offset!(cred_uid));
        (*record).reserved = 0;
        let name = (&raw mut (*record).name).cast::<u64>();
        name.write(R::read::<u64>(task, offset!(task_comm)));
        name.add(1).write(R::read::<u64>(task, offset!(task_comm) + 8));
    }
}
