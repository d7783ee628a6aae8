use port_observer::doctor::{Status, fixes, limits};
use port_observer::probe::{
    Backend, Capability, Hook,
    preflight::{Cgroup2, Tracefs},
};

use super::samples::{facts, hardened, hopeless, open, trials, unprivileged};

#[test]
fn on_an_open_kernel_fexit_is_used_and_nothing_is_to_be_fixed() {
    assert_eq!(open().chosen().unwrap().backend, Backend::Fexit);
    assert_eq!(fixes(&open()), []);
    assert!(limits(&open()).is_empty());
}

#[test]
fn when_fexit_and_kprobe_are_refused_the_tracepoints_are_used_and_the_policy_is_named() {
    assert_eq!(hardened().chosen().unwrap().backend, Backend::Tracepoint);
    let problems = limits(&hardened());
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("fexit: ") && problems[0].contains("security policy"));
    assert!(problems[1].starts_with("kprobe: "));
    // Nobody can do anything about them.
    assert_eq!(fixes(&hardened()), []);
}

#[test]
fn without_privileges_polling_is_left_and_the_capabilities_come_first() {
    let diagnosis = unprivileged();
    assert_eq!(diagnosis.chosen().unwrap().backend, Backend::Poll);
    let fixes = fixes(&diagnosis);
    assert_eq!(fixes[0].problem, "this process lacks CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN");
    assert_eq!(fixes[0].commands[0], "sudo port-observer live");
    assert!(fixes[0].commands[1].contains("+ep /usr/bin/port-observer #"));
    // They would get it mounted.
    assert!(!fixes.iter().any(|fix| fix.problem.contains("cgroup2")), "{fixes:?}");
}

#[test]
fn mounting_cgroup2_is_advised_where_it_is_what_the_tracepoints_lack() {
    let is_advised = |diagnosis| {
        fixes(&diagnosis).iter().any(|fix| fix.problem.contains("cgroup2, which the tracepoint"))
    };
    let mut diagnosis = hardened();
    diagnosis.facts.cgroup2 = Cgroup2::Mountable;
    assert!(!is_advised(diagnosis.clone()));
    // Without CAP_SYS_ADMIN, but with what the programs take.
    diagnosis.facts.privileges.effective.retain(|&one| one != Capability::SysAdmin);
    diagnosis.facts.cgroup2 = Cgroup2::Unavailable;
    let report = diagnosis.backends.iter_mut().find(|one| one.backend == Backend::Tracepoint);
    report.unwrap().reason = Some("sock_ops can't be used: no cgroup2 hierarchy".to_owned());
    assert!(is_advised(diagnosis.clone()));
    // A better backend needs none.
    diagnosis.backends[0].reason = None;
    assert!(!is_advised(diagnosis));
}

#[test]
fn what_another_backend_would_need_is_not_advised() {
    // fexit is at work, so neither perf nor tracefs nor kprobes are missed.
    let mut diagnosis = open();
    diagnosis.facts.privileges.effective.retain(|&one| one != Capability::SysAdmin);
    diagnosis.facts.privileges.perf_event_paranoid = Some(4);
    diagnosis.facts.tracefs = Tracefs::Unavailable("it may not be read".to_owned());
    diagnosis.facts.kprobes = false;
    assert_eq!(fixes(&diagnosis), []);
    // With polling alone, what the tracepoint backend would miss is no matter.
    let mut diagnosis = hardened();
    diagnosis.facts.tracefs = Tracefs::Unavailable("it may not be read".to_owned());
    let report = diagnosis.backends.iter_mut().find(|one| one.backend == Backend::Tracepoint);
    report.unwrap().reason = Some("refused".to_owned());
    assert_eq!(fixes(&diagnosis), []);
    // Where it is at work, it is.
    let mut diagnosis = hardened();
    diagnosis.facts.tracefs = Tracefs::Unavailable("it may not be read".to_owned());
    assert_eq!(fixes(&diagnosis).len(), 1);
}

#[test]
fn a_host_on_which_nothing_works_has_no_backend() {
    assert!(hopeless().chosen().is_none());
    let text = format!("{:?}", fixes(&hopeless()));
    for word in ["CONFIG_DEBUG_INFO_BTF", "modprobe"] {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn a_program_with_too_few_capabilities_for_other_users_is_told_so() {
    let mut diagnosis = open();
    diagnosis.facts.privileges.effective = vec![Capability::Bpf, Capability::Perfmon];
    let fixes = fixes(&diagnosis);
    assert_eq!(fixes.len(), 1);
    assert!(fixes[0].problem.contains("CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"), "{fixes:?}");
}

/// What this backend can't see on any kernel, and this.
fn beside(missing: [&'static str; 1]) -> Vec<&'static str> {
    [Backend::Fexit.missing(), &missing].concat()
}

#[test]
fn state_changes_that_fail_do_not_make_a_backend_unusable() {
    let privileges = facts().privileges;
    let report = trials(Backend::Fexit, &privileges, |hook| {
        (hook == Hook::BtfTracepoint("inet_sock_set_state")).then_some(libc::EINVAL)
    });
    assert!(report.is_usable());
    assert_eq!(report.missing, beside(["TCP state changes (--states)"]));
    let failed = report.probes.iter().filter(|probe| probe.status == Status::Failed);
    assert_eq!(failed.map(|probe| probe.program).collect::<Vec<_>>(), ["state"]);
}

#[test]
fn an_optional_probe_that_fails_is_missing_and_a_required_one_is_a_reason() {
    let privileges = facts().privileges;
    let refuse = |name| move |hook| (hook == Hook::Fentry(name)).then_some(libc::EBUSY);
    let report = trials(Backend::Fexit, &privileges, refuse("inet_hash_connect"));
    assert!(report.is_usable());
    assert_eq!(report.missing, beside(["the time that the kernel searched for a port"]));
    let report = trials(Backend::Fexit, &privileges, refuse("inet_put_port"));
    let reason = report.reason.unwrap();
    assert!(reason.starts_with("fentry:inet_put_port can't be used: "), "{reason}");
    let report = trials(Backend::Fexit, &privileges, refuse("inet_twsk_hashdance_schedule"));
    assert!(report.reason.unwrap().starts_with("no probe sees TIME_WAIT: "));
}
