//! Hosts that there might be.

use std::io;

use anyhow::anyhow;
use port_observer::doctor::{BackendReport, Diagnosis, judge};
use port_observer::probe::preflight::{Cgroup2, Diagnostics, Facts, Tracefs};
use port_observer::probe::{
    Backend, Capability, Hook, Need, Privileges, Refused, Step, Trial, probes,
};
use port_observer::sandbox::Support;

/// A host where everything is there.
pub fn facts() -> Facts {
    Facts {
        kernel: "6.12.0-amd64".to_owned(),
        architecture: "x86_64".to_owned(),
        btf: Ok(()),
        privileges: Privileges {
            effective: Capability::ALL.to_vec(),
            user_namespace: Some(false),
            lockdown: Some("none".to_owned()),
            memlock: None,
            perf_event_paranoid: Some(2),
            executable: "/usr/bin/port-observer".to_owned(),
        },
        cgroup2: Cgroup2::Mounted("/sys/fs/cgroup".into()),
        tracefs: Tracefs::Mounted,
        kprobes: true,
        jit: Some(true),
        unprivileged_bpf_disabled: Some(2),
        diagnostics: Ok(Diagnostics {
            fallback: None,
            lists_bound: Some(true),
            hidden_processes: Some(0),
        }),
    }
}

/// What the trials of a backend give, when `refuse` says which hooks the kernel refuses.
pub fn trials(
    backend: Backend,
    privileges: &Privileges,
    refuse: impl Fn(Hook) -> Option<i32>,
) -> BackendReport {
    let trial = |probe: &port_observer::probe::Probe| {
        let result = match (refuse(probe.hook), probe.need, probe.hook) {
            (Some(number), _, _) => Err(refused(Step::Load, number)),
            (None, Need::WithSymbol(_), _) => Ok(false),
            (
                None,
                _,
                Hook::Fentry("inet_twsk_hashdance") | Hook::Kprobe("inet_twsk_hashdance"),
            ) => Ok(false),
            _ => Ok(true),
        };
        Trial { probe: *probe, result }
    };
    judge(backend, probes(backend).iter().map(trial).collect(), privileges)
}

fn refused(step: Step, number: i32) -> anyhow::Error {
    let error = io::Error::from_raw_os_error(number);
    let what = "the kernel refused to load it".to_owned();
    anyhow!(Refused { step, what, error, verifier: false })
}

fn poll() -> BackendReport {
    BackendReport {
        backend: Backend::Poll,
        reason: None,
        hint: None,
        missing: Backend::Poll.missing().iter().map(|&missing| missing.to_owned()).collect(),
        probes: Vec::new(),
    }
}

fn diagnosis(facts: Facts, refuse: impl Fn(Hook) -> Option<i32>) -> Diagnosis {
    let mut backends: Vec<_> = [Backend::Fexit, Backend::Kprobe, Backend::Tracepoint]
        .map(|backend| trials(backend, &facts.privileges, &refuse))
        .into();
    backends.push(poll());
    let sandbox = Support { seccomp: true, landlock: Some(6), bpf_needs_capability: false };
    Diagnosis { facts, sandbox, backends }
}

/// Root on an open kernel.
pub fn open() -> Diagnosis {
    diagnosis(facts(), |_| None)
}

/// Root, but a policy refuses fentry and fexit, and there are no kprobes.
pub fn hardened() -> Diagnosis {
    let facts = Facts { kprobes: false, tracefs: Tracefs::Mountable, ..facts() };
    diagnosis(facts, |hook| match hook {
        Hook::Fentry(_) | Hook::Fexit(_) | Hook::Kprobe(_) | Hook::Kretprobe(_) => {
            Some(libc::EPERM)
        }
        _ => None,
    })
}

/// A user without privileges on a kernel that shows less.
pub fn unprivileged() -> Diagnosis {
    let mut facts = facts();
    facts.privileges.effective.clear();
    facts.privileges.lockdown = None;
    facts.privileges.perf_event_paranoid = None;
    facts.tracefs = Tracefs::Unavailable("tracefs may not be read".to_owned());
    facts.jit = None;
    facts.cgroup2 = Cgroup2::Unavailable;
    facts.unprivileged_bpf_disabled = None;
    diagnosis(facts, |_| Some(libc::EPERM))
}

/// Nothing works.
pub fn hopeless() -> Diagnosis {
    let mut diagnosis = unprivileged();
    diagnosis.facts.btf = Err("this kernel has no type information".to_owned());
    diagnosis.facts.diagnostics = Err("cannot read /proc/net/tcp".to_owned());
    for report in &mut diagnosis.backends {
        report.reason = Some("cannot read /proc/net/tcp".to_owned());
    }
    diagnosis
}
