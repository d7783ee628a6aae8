//! From what is missing to what would fix it.

use super::{BackendReport, Diagnosis};
use crate::probe::{
    self, Backend, Capability, Hint,
    preflight::{Cgroup2, Tracefs},
};

/// What would give a better backend than the one that is used, or complete that one; the most
/// useful first. Empty when there is nothing to wish for.
pub fn fixes(diagnosis: &Diagnosis) -> Vec<Hint> {
    let facts = &diagnosis.facts;
    let privileges = &facts.privileges;
    let chosen = diagnosis.chosen().map(|report| report.backend);
    let is_used = |backend| chosen == Some(backend);
    let is_exact = chosen.is_some_and(Backend::is_exact);
    let wished: Vec<_> =
        diagnosis.backends.iter().take_while(|report| !report.is_usable()).collect();
    let mut fixes = Vec::new();

    let lacking: Vec<_> = Capability::ALL
        .into_iter()
        .filter(|one| wished.iter().any(|report| privileges.lacking(report.backend).contains(one)))
        .collect();
    if !lacking.is_empty() {
        fixes.push(probe::lacks(&lacking, privileges));
    }
    if let Err(error) = &facts.btf {
        let problem = format!("{error}: boot a kernel with CONFIG_DEBUG_INFO_BTF");
        fixes.push(Hint { problem, commands: Vec::new(), is_final: false });
    }
    let wishes = |backend| wished.iter().any(|report| report.backend == backend);
    if facts.jit == Some(false) && wishes(Backend::Fexit) {
        fixes.push(one("the JIT compiler, which fexit needs, is off", JIT));
    }
    for report in wished.iter().filter(|report| privileges.lacking(report.backend).is_empty()) {
        if let Some(hint) = report.hint.as_ref().filter(|hint| !hint.is_final) {
            let problem = format!("{}: {}", report.backend.name(), hint.problem);
            fixes.push(Hint { problem, ..hint.clone() });
        }
    }
    let perf = probe::perf_closed();
    if privileges.is_perf_closed()
        && (is_used(Backend::Tracepoint) || (facts.kprobes && wishes(Backend::Kprobe)))
        && lacking.is_empty()
        && !fixes.iter().any(|fix| fix.commands == perf.commands)
    {
        fixes.push(perf);
    }
    // With the capabilities that are lacking it would be mounted.
    if facts.cgroup2 == Cgroup2::Unavailable && lacking.is_empty() && wishes(Backend::Tracepoint) {
        fixes.push(one("cgroup2, which the tracepoint backend needs, is not mounted", CGROUP2));
    }
    if let Tracefs::Unavailable(reason) = &facts.tracefs
        && is_used(Backend::Tracepoint)
        && lacking.is_empty()
    {
        fixes.push(one(&format!("bind() calls that fail are not seen: {reason}"), SUDO));
    }
    if facts.diagnostics.as_ref().map_or(true, |found| found.fallback.is_some()) {
        fixes.push(one("socket diagnostics give no answer", DIAGNOSTICS));
    }
    if lacking.is_empty() {
        let others = [Capability::SysPtrace, Capability::DacReadSearch];
        let others: Vec<_> = others.into_iter().filter(|&one| !privileges.has(one)).collect();
        if !others.is_empty() {
            let hint = probe::lacks(&others, privileges);
            let problem =
                format!("processes of other users are known by name only: {}", hint.problem);
            fixes.push(Hint { problem, ..hint });
        }
        if !privileges.has(Capability::SysAdmin) && !is_exact {
            fixes.push(one("other network namespaces can't be looked into", SUDO));
        }
    }
    fixes
}

/// Why no exact backend is to be had here, a sentence each, where nothing that can be set changes that.
pub fn limits(diagnosis: &Diagnosis) -> Vec<String> {
    if diagnosis.chosen().is_some_and(|report| report.backend.is_exact()) {
        return Vec::new();
    }
    let limit = |report: &BackendReport| {
        let hint = report.hint.as_ref().filter(|hint| hint.is_final)?;
        Some(format!("{}: {}", report.backend.name(), hint.problem))
    };
    let wished = diagnosis.backends.iter().take_while(|report| !report.is_usable());
    wished.filter_map(limit).collect()
}

const SUDO: &str = "sudo port-observer live";
const JIT: &str = "sudo sysctl net.core.bpf_jit_enable=1";
const DIAGNOSTICS: &str = "sudo modprobe -a tcp_diag udp_diag";
const CGROUP2: &str = "sudo mkdir -p /run/cgroup2 && sudo mount -t cgroup2 none /run/cgroup2";

fn one(problem: &str, command: &str) -> Hint {
    Hint { problem: problem.to_owned(), commands: vec![command.to_owned()], is_final: false }
}
