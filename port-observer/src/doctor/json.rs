//! The diagnosis as JSON.

use std::path::Path;

use serde::Serialize;

use super::{BackendReport, Diagnosis, ProbeReport, fixes, kept, limits};
use crate::probe::{
    Capability, Hint, Privileges,
    preflight::{Cgroup2, Diagnostics, Tracefs},
};
use crate::sandbox::capabilities::Kept;

/// The version of the format.
const SCHEMA: u32 = 1;

/// One line of JSON, without its end.
///
/// # Errors
/// Never in practice: all values have a form in JSON.
pub fn render(diagnosis: &Diagnosis) -> serde_json::Result<String> {
    serde_json::to_string(&Document::from(diagnosis))
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    version: &'static str,
    kernel: &'a str,
    architecture: &'a str,
    btf: Check<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lockdown: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_namespace: Option<&'static str>,
    capabilities: Vec<Held>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup2: Option<&'a Path>,
    tracefs: State<'a>,
    kprobes: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    jit: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unprivileged_bpf_disabled: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    perf_event_paranoid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memlock_bytes: Option<u64>,
    diagnostics: Sockets<'a>,
    sandbox: Sandbox,
    backends: Vec<Backend<'a>>,
    /// The one that `auto` takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    backend: Option<&'static str>,
    fixes: Vec<Fix>,
    /// Why no exact backend is to be had, where nothing that can be set changes that.
    limits: Vec<String>,
}

#[derive(Serialize)]
struct Sandbox {
    seccomp: bool,
    /// The version of its interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    landlock: Option<u32>,
    /// By `live`, `top` and `record`, with `backend`.
    keeps: Vec<Keeps>,
}

#[derive(Serialize)]
struct Keeps {
    name: String,
    reason: &'static str,
}

#[derive(Serialize)]
struct Check<'a> {
    usable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Held {
    name: &'static str,
    effective: bool,
    purpose: &'static str,
}

#[derive(Serialize)]
struct State<'a> {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Sockets<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lists_bound_sockets: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hidden_processes: Option<usize>,
}

#[derive(Serialize)]
struct Backend<'a> {
    name: &'static str,
    usable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    exact: bool,
    missing: &'a [String],
    probes: Vec<Probe<'a>>,
}

#[derive(Serialize)]
struct Probe<'a> {
    hook: &'a str,
    program: &'static str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Fix {
    problem: String,
    /// Each is enough alone.
    commands: Vec<String>,
}

impl<'a> From<&'a Diagnosis> for Document<'a> {
    fn from(diagnosis: &'a Diagnosis) -> Self {
        let facts = &diagnosis.facts;
        let privileges = &facts.privileges;
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            kernel: &facts.kernel,
            architecture: &facts.architecture,
            btf: Check {
                usable: facts.btf.is_ok(),
                reason: facts.btf.as_ref().err().map(|r| &**r),
            },
            lockdown: privileges.lockdown.as_deref(),
            user_namespace: privileges
                .user_namespace
                .map(|is_nested| if is_nested { "nested" } else { "initial" }),
            capabilities: Capability::ALL.map(|one| Held::new(one, privileges)).into(),
            cgroup2: match &facts.cgroup2 {
                Cgroup2::Mounted(path) => Some(path),
                Cgroup2::Mountable | Cgroup2::Unavailable => None,
            },
            tracefs: match &facts.tracefs {
                Tracefs::Mounted => State { state: "mounted", reason: None },
                Tracefs::Mountable => State { state: "mountable", reason: None },
                Tracefs::Unavailable(reason) => {
                    State { state: "unavailable", reason: Some(reason) }
                }
            },
            kprobes: facts.kprobes,
            jit: facts.jit,
            unprivileged_bpf_disabled: facts.unprivileged_bpf_disabled,
            perf_event_paranoid: privileges.perf_event_paranoid,
            memlock_bytes: privileges.memlock,
            diagnostics: Sockets::from(&facts.diagnostics),
            sandbox: Sandbox {
                seccomp: diagnosis.sandbox.seccomp,
                landlock: diagnosis.sandbox.landlock,
                keeps: kept(diagnosis).into_iter().map(Keeps::from).collect(),
            },
            backends: diagnosis.backends.iter().map(Backend::from).collect(),
            backend: diagnosis.chosen().map(|report| report.backend.name()),
            fixes: fixes(diagnosis).into_iter().map(Fix::from).collect(),
            limits: limits(diagnosis),
        }
    }
}

impl Held {
    fn new(capability: Capability, privileges: &Privileges) -> Self {
        Self {
            name: capability.name(),
            effective: privileges.has(capability),
            purpose: capability.purpose(),
        }
    }
}

impl<'a> From<&'a Result<Diagnostics, String>> for Sockets<'a> {
    fn from(found: &'a Result<Diagnostics, String>) -> Self {
        match found {
            Ok(found) => Self {
                origin: Some(if found.fallback.is_none() { "netlink" } else { "proc_net" }),
                reason: found.fallback.as_deref(),
                lists_bound_sockets: found.lists_bound,
                hidden_processes: found.hidden_processes,
            },
            Err(reason) => Self {
                origin: None,
                reason: Some(reason),
                lists_bound_sockets: None,
                hidden_processes: None,
            },
        }
    }
}

impl<'a> From<&'a BackendReport> for Backend<'a> {
    fn from(report: &'a BackendReport) -> Self {
        Self {
            name: report.backend.name(),
            usable: report.is_usable(),
            reason: report.reason.as_deref(),
            exact: report.backend.is_exact(),
            missing: &report.missing,
            probes: report.probes.iter().map(Probe::from).collect(),
        }
    }
}

impl<'a> From<&'a ProbeReport> for Probe<'a> {
    fn from(probe: &'a ProbeReport) -> Self {
        Self {
            hook: &probe.hook,
            program: probe.program,
            status: probe.status.name(),
            reason: probe.reason.as_deref(),
        }
    }
}

impl From<Kept> for Keeps {
    fn from(kept: Kept) -> Self {
        Self { name: kept.capability.to_string(), reason: kept.reason }
    }
}

impl From<Hint> for Fix {
    fn from(hint: Hint) -> Self {
        Self { problem: hint.problem, commands: hint.commands }
    }
}
