//! The JSON as a reader sees it: with types of its own, which know every name.

use port_observer::doctor::{Diagnosis, json::render};
use serde::Deserialize;
use serde_json::Value;

use super::samples::{hardened, hopeless, open, unprivileged};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: u32,
    version: String,
    kernel: String,
    architecture: String,
    btf: Check,
    lockdown: Option<String>,
    user_namespace: Option<String>,
    capabilities: Vec<Capability>,
    cgroup2: Option<String>,
    tracefs: Tracefs,
    kprobes: bool,
    jit: Option<bool>,
    unprivileged_bpf_disabled: Option<u8>,
    perf_event_paranoid: Option<i32>,
    memlock_bytes: Option<u64>,
    diagnostics: Diagnostics,
    sandbox: Sandbox,
    backends: Vec<Backend>,
    backend: Option<String>,
    fixes: Vec<Fix>,
    limits: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Check {
    usable: bool,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Capability {
    name: String,
    effective: bool,
    purpose: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tracefs {
    state: String,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Diagnostics {
    origin: Option<String>,
    reason: Option<String>,
    lists_bound_sockets: Option<bool>,
    hidden_processes: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sandbox {
    seccomp: bool,
    landlock: Option<u32>,
    keeps: Vec<Keeps>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keeps {
    name: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Backend {
    name: String,
    usable: bool,
    reason: Option<String>,
    exact: bool,
    missing: Vec<String>,
    probes: Vec<Probe>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Probe {
    hook: String,
    program: String,
    status: String,
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fix {
    problem: String,
    commands: Vec<String>,
}

fn read(diagnosis: &Diagnosis) -> Document {
    let text = render(diagnosis).expect("the diagnosis has a form in JSON");
    serde_json::from_str(&text).expect("JSON with the names that a reader knows")
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        _ => false,
    }
}

#[test]
fn the_json_of_a_hardened_kernel() {
    let mut value: Value = serde_json::from_str(&render(&hardened()).unwrap()).unwrap();
    value["version"] = "VERSION".into();
    insta::assert_snapshot!("hardened_json", serde_json::to_string_pretty(&value).unwrap());
}

#[test]
fn it_is_one_line_without_null_for_every_host() {
    for diagnosis in [open(), hardened(), unprivileged(), hopeless()] {
        let text = render(&diagnosis).unwrap();
        assert!(!text.contains('\n'));
        assert!(!has_null(&serde_json::from_str(&text).unwrap()));
        assert_eq!(read(&diagnosis).schema, 1);
    }
}

#[test]
fn what_is_known_is_told() {
    let document = read(&hardened());
    assert_eq!(document.version, env!("CARGO_PKG_VERSION"));
    assert_eq!((&*document.kernel, &*document.architecture), ("6.12.0-amd64", "x86_64"));
    assert!(document.btf.usable && document.btf.reason.is_none());
    assert_eq!(document.lockdown.as_deref(), Some("none"));
    assert_eq!(document.user_namespace.as_deref(), Some("initial"));
    assert_eq!(document.cgroup2.as_deref(), Some("/sys/fs/cgroup"));
    assert_eq!((&*document.tracefs.state, &document.tracefs.reason), ("mountable", &None));
    assert!(!document.kprobes);
    assert_eq!((document.jit, document.unprivileged_bpf_disabled), (Some(true), Some(2)));
    assert_eq!((document.perf_event_paranoid, document.memlock_bytes), (Some(2), None));
    let bpf = &document.capabilities[0];
    assert!(bpf.name == "CAP_BPF" && bpf.effective && !bpf.purpose.is_empty());
    let diagnostics = &document.diagnostics;
    assert_eq!(diagnostics.origin.as_deref(), Some("netlink"));
    assert_eq!(diagnostics.lists_bound_sockets, Some(true));
    assert_eq!((diagnostics.hidden_processes, &diagnostics.reason), (Some(0), &None));
    assert_eq!(document.backend.as_deref(), Some("tracepoint"));
    let names: Vec<_> = document.backends.iter().map(|b| (&*b.name, b.usable, b.exact)).collect();
    assert_eq!(
        names,
        [
            ("fexit", false, true),
            ("kprobe", false, true),
            ("tracepoint", true, false),
            ("poll", true, false)
        ]
    );
    let fexit = &document.backends[0];
    assert!(fexit.reason.as_ref().unwrap().contains("Operation not permitted"));
    assert!(!document.backends[2].missing.is_empty() && document.backends[2].reason.is_none());
    let by_status = |status: &str| {
        fexit.probes.iter().filter(|p| p.status == status).map(|p| &*p.program).collect::<Vec<_>>()
    };
    let loaded = ["exec", "fork", "state", "scan_files", "scan_tcp", "scan_udp"];
    assert_eq!(by_status("loaded"), loaded);
    let first = &fexit.probes[0];
    assert_eq!((&*first.hook, &*first.status), ("fentry:inet_hash_connect", "failed"));
    assert!(first.reason.is_some());
    assert!(document.fixes.iter().all(|fix| !fix.problem.is_empty()));
    assert!(document.limits.iter().all(|limit| limit.contains(": ")));
}

#[test]
fn what_is_not_known_is_absent() {
    let document = read(&unprivileged());
    assert_eq!((document.lockdown, document.cgroup2, document.jit), (None, None, None));
    assert_eq!(document.unprivileged_bpf_disabled, None);
    assert_eq!(document.tracefs.reason.as_deref(), Some("tracefs may not be read"));
    assert!(document.fixes[0].commands.iter().any(|command| command.starts_with("sudo chgrp ")));
    let document = read(&hopeless());
    assert_eq!((document.backend, document.diagnostics.origin), (None, None));
    assert!(document.diagnostics.reason.is_some() && document.btf.reason.is_some());
}

#[test]
fn it_says_which_capabilities_are_kept_and_why() {
    let names = |diagnosis: &Diagnosis| -> Vec<String> {
        let keeps = read(diagnosis).sandbox.keeps;
        assert!(keeps.iter().all(|one| !one.reason.is_empty()));
        keeps.into_iter().map(|one| one.name).collect()
    };
    let mut host = open();
    assert_eq!(names(&host), ["CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH", "CAP_SYS_ADMIN"]);
    host.sandbox.bpf_needs_capability = true;
    assert_eq!(names(&host)[0], "CAP_BPF");
    host.facts.privileges.effective.clear();
    assert_eq!(names(&host), [""; 0]);
    let Sandbox { seccomp, landlock, .. } = read(&host).sandbox;
    assert_eq!((seccomp, landlock), (true, Some(6)));
}
