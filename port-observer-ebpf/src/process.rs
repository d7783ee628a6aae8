//! What can be known of a process only while it lives.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{
        bpf_get_current_task, bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str, bpf_probe_read_user,
    },
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use aya_log_ebpf::debug;
use port_observer_ebpf::{
    ARGUMENTS_BYTES, CGROUP_NAME_BYTES, EXECUTABLE_BYTES, ExecRecord, ForkRecord, Kind,
};

use crate::{
    maps::offset,
    read::{Probed, Read},
    send::send,
    share::Payer,
    task,
};

/// `TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)`
#[btf_tracepoint(function = "sched_process_exec")]
pub fn exec(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { try_exec(&ctx, ctx.arg::<*const u8>(2)) }
    0
}

/// The same, for kernels without BTF tracepoints.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn exec_raw(ctx: RawTracePointContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { try_exec(&ctx, ctx.arg::<*const u8>(2)) }
    0
}

/// `TP_PROTO(struct task_struct *parent, struct task_struct *child)`
#[btf_tracepoint(function = "sched_process_fork")]
pub fn fork(ctx: BtfTracePointContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { try_fork(ctx.arg::<*const u8>(0), ctx.arg::<*const u8>(1)) }
    0
}

/// The same, for kernels without BTF tracepoints.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn fork_raw(ctx: RawTracePointContext) -> i32 {
    // SAFETY: the prototype above.
    unsafe { try_fork(ctx.arg::<*const u8>(0), ctx.arg::<*const u8>(1)) }
    0
}

#[inline(always)]
unsafe fn try_exec<C: EbpfContext>(ctx: &C, program: *const u8) {
    send::<ExecRecord>(Kind::Exec, Payer::Caller, |record| {
        // SAFETY: `record` is room for an ExecRecord, of which every byte is written (an empty
        // string is its NUL); the structures are read through a helper that checks.
        unsafe {
            (*record).kind = Kind::Exec as u8;
            (*record).reserved = [0; 3];
            (*record).time_ns = bpf_ktime_get_boot_ns();
            task::describe(&raw mut (*record).task);
            let name = Probed::read::<*const u8>(program, offset!(bprm_filename));
            if bpf_probe_read_kernel_str(
                (&raw mut (*record).executable).cast(),
                EXECUTABLE_BYTES as u32,
                name.cast(),
            ) < 0
            {
                (*record).executable[0] = 0;
                debug!(ctx, "the name of a new program could not be read");
            }
            let task = bpf_get_current_task() as *const u8;
            cgroup_name((&raw mut (*record).cgroup_name).cast(), task);
            let mm = Probed::read::<*const u8>(task, offset!(task_mm));
            let start = Probed::read::<u64>(mm, offset!(mm_arg_start));
            let length = Probed::read::<u64>(mm, offset!(mm_arg_end)) - start;
            (*record).arguments_length = length as u32;
            let arguments = (&raw mut (*record).arguments).cast();
            // Two calls, for the verifier wants a bound that it can see.
            let failed = if length >= ARGUMENTS_BYTES as u64 {
                bpf_probe_read_user(arguments, ARGUMENTS_BYTES as u32, start as *const _)
            } else {
                let length = length as u32 & (ARGUMENTS_BYTES as u32 - 1);
                bpf_probe_read_user(arguments, length, start as *const _)
            };
            if failed != 0 {
                (*record).arguments_length = 0;
                debug!(ctx, "the command line of a new program could not be read");
            }
        }
    });
}

#[inline(always)]
unsafe fn cgroup_name(to: *mut u8, task: *const u8) {
    // SAFETY: read through a helper that checks; `to` has CGROUP_NAME_BYTES.
    unsafe {
        let set = Probed::read::<*const u8>(task, offset!(task_cgroups));
        let cgroup = Probed::read::<*const u8>(set, offset!(css_set_dfl_cgrp));
        let node = Probed::read::<*const u8>(cgroup, offset!(cgroup_kn));
        let name = Probed::read::<*const u8>(node, offset!(kernfs_node_name));
        if bpf_probe_read_kernel_str(to.cast(), CGROUP_NAME_BYTES as u32, name.cast()) < 0 {
            to.write(0);
        }
    }
}

#[inline(always)]
unsafe fn try_fork(parent: *const u8, child: *const u8) {
    // SAFETY: fields of task_struct.
    unsafe {
        let pid = Probed::read::<u32>(child, offset!(task_tgid));
        if Probed::read::<u32>(child, offset!(task_pid)) != pid {
            // A thread.
            return;
        }
        send::<ForkRecord>(Kind::Fork, Payer::Caller, |record| {
            (*record).kind = Kind::Fork as u8;
            (*record).reserved = [0; 7];
            (*record).time_ns = bpf_ktime_get_boot_ns();
            (*record).child_start_time_ns = task::start_time(child);
            (*record).parent_start_time_ns = task::start_time(parent);
            (*record).child_pid = pid;
            (*record).parent_pid = Probed::read::<u32>(parent, offset!(task_tgid));
        });
    }
}
