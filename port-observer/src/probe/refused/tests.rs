use super::*;

fn error(step: Step, number: i32, verifier: bool) -> anyhow::Error {
    let error = io::Error::from_raw_os_error(number);
    let refused = Refused { step, what: "the kernel refused it".to_owned(), error, verifier };
    anyhow::Error::from(refused).context("fexit:inet_hash_connect can't be used")
}

fn all() -> Privileges {
    Privileges {
        effective: Capability::ALL.to_vec(),
        user_namespace: Some(false),
        lockdown: Some("none".to_owned()),
        memlock: None,
        perf_event_paranoid: Some(2),
        executable: "/usr/bin/port-observer".to_owned(),
    }
}

fn problem(error: &anyhow::Error, privileges: &Privileges) -> String {
    hint(error, Backend::Fexit, privileges).unwrap().problem
}

#[test]
fn a_refusal_without_capabilities_names_them_and_how_to_get_them() {
    let privileges = Privileges { effective: vec![Capability::NetAdmin], ..all() };
    for step in [Step::Map, Step::Load, Step::Attach] {
        for number in [libc::EPERM, libc::EACCES] {
            let hint = hint(&error(step, number, false), Backend::Fexit, &privileges).unwrap();
            assert_eq!(
                hint.to_string(),
                "this process lacks CAP_BPF and CAP_PERFMON: `sudo port-observer live` or \
                 `sudo chgrp GROUP /usr/bin/port-observer && sudo chmod 0750 \
                 /usr/bin/port-observer && sudo setcap cap_bpf,cap_perfmon,cap_net_admin,\
                 cap_sys_ptrace,cap_dac_read_search+ep /usr/bin/port-observer # for members of \
                 GROUP alone`"
            );
        }
    }
}

#[test]
fn only_what_the_backend_needs_is_called_missing() {
    let privileges = Privileges { effective: vec![Capability::Bpf, Capability::Perfmon], ..all() };
    let denied = error(Step::Load, libc::EPERM, false);
    let tracepoint = hint(&denied, Backend::Tracepoint, &privileges).unwrap();
    assert_eq!(tracepoint.problem, "this process lacks CAP_NET_ADMIN");
    assert!(problem(&denied, &privileges).contains("security policy"));
}

#[test]
fn a_refusal_in_spite_of_all_capabilities_is_a_policy_or_lockdown() {
    let denied = error(Step::Load, libc::EPERM, false);
    assert!(problem(&denied, &all()).contains("security policy"));
    let locked = Privileges { lockdown: Some("confidentiality".to_owned()), ..all() };
    assert!(problem(&denied, &locked).contains("locked down"));
    assert!(problem(&error(Step::Load, libc::EINVAL, true), &locked).contains("locked down"));
    let integrity = Privileges { lockdown: Some("integrity".to_owned()), ..all() };
    assert!(problem(&denied, &integrity).contains("security policy"));
    let nested = Privileges { user_namespace: Some(true), ..all() };
    assert!(problem(&denied, &nested).contains("user namespace"));
}

#[test]
fn the_limit_on_locked_memory_is_named_where_it_counts() {
    let limited = Privileges { memlock: Some(65536), ..all() };
    for step in [Step::Map, Step::Load] {
        let problem = problem(&error(step, libc::EPERM, false), &limited);
        assert_eq!(problem, "RLIMIT_MEMLOCK (64 KiB) may be the reason");
    }
    let attaching = problem(&error(Step::Attach, libc::EPERM, false), &limited);
    assert!(attaching.contains("security policy"), "{attaching}");
}

#[test]
fn a_kernel_that_can_not_is_told_apart_from_one_that_will_not() {
    assert!(problem(&error(Step::Attach, ENOTSUPP, false), &all()).contains("trampolines"));
    assert!(problem(&error(Step::Load, libc::EACCES, true), &all()).contains("verifier"));
    let no_pmu = hint(&error(Step::Attach, libc::ENOENT, false), Backend::Kprobe, &all());
    assert!(no_pmu.unwrap().problem.contains("CONFIG_KPROBE_EVENTS"));
    assert_eq!(hint(&error(Step::Attach, libc::EBUSY, false), Backend::Fexit, &all()), None);
    assert_eq!(hint(&anyhow::anyhow!("another"), Backend::Fexit, &all()), None);
}

#[test]
fn the_verifiers_log_stays_out_of_the_message() {
    let refusal = io::Error::from_raw_os_error(libc::EINVAL);
    let error = verified("the kernel refused to load it".to_owned(), refusal, "0: call\n1: exit");
    let text = format!("{error:#}");
    assert_eq!(text, "the kernel refused to load it: Invalid argument (os error 22)");
}

#[test]
fn a_path_with_blanks_can_be_pasted_into_a_shell() {
    let privileges = Privileges { executable: "/tmp/it's here/x".to_owned(), ..all() };
    assert!(setcap(&privileges).contains(r"+ep '/tmp/it'\''s here/x' # "));
}

#[test]
fn a_kernel_that_keeps_perf_for_sys_admin_is_told_for_kprobes() {
    let effective = vec![Capability::Bpf, Capability::Perfmon];
    let closed = Privileges { effective, perf_event_paranoid: Some(3), ..all() };
    let denied = error(Step::Attach, libc::EACCES, false);
    assert_eq!(hint(&denied, Backend::Kprobe, &closed), Some(perf_closed()));
    assert!(problem(&denied, &closed).contains("security policy"));
    let root = Privileges { perf_event_paranoid: Some(3), ..all() };
    assert_ne!(hint(&denied, Backend::Kprobe, &root), Some(perf_closed()));
}

#[test]
fn too_many_open_files_are_not_blamed_on_the_verifier() {
    for (step, verifier) in [(Step::Map, false), (Step::Load, true), (Step::Attach, false)] {
        let hint = hint(&error(step, libc::EMFILE, verifier), Backend::Fexit, &all()).unwrap();
        assert!(hint.problem.contains("no file descriptors left"), "{hint}");
        assert!(hint.problem.contains("the fexit backend takes about "), "{hint}");
        assert!(!hint.problem.contains("verifier"), "{hint}");
    }
    let opened = anyhow::Error::from(io::Error::from_raw_os_error(libc::EMFILE));
    let hint = hint(&opened.context("can't read the types"), Backend::Kprobe, &all()).unwrap();
    assert!(hint.problem.contains("no file descriptors left"), "{hint}");
}
