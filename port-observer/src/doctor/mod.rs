//! What this kernel and these privileges allow, found by trying.

mod fixes;
pub mod json;
pub mod text;

use anyhow::Result;

pub use fixes::{fixes, limits};

use crate::probe::{
    self, Backend, Capability, Hint, Hook, Need, Privileges, Probe, Trial, Verdict,
    preflight::Facts, probes,
};
use crate::sandbox::{
    Support,
    capabilities::{self, Kept},
};

/// What was found.
#[derive(Clone, Debug)]
pub struct Diagnosis {
    /// About the host and this process.
    pub facts: Facts,
    /// What commands confine themselves with.
    pub sandbox: Support,
    /// What became of each backend, the best first.
    pub backends: Vec<BackendReport>,
}

/// One backend.
#[derive(Clone, Debug)]
pub struct BackendReport {
    /// Which.
    pub backend: Backend,
    /// Why it can't be used, when it can't.
    pub reason: Option<String>,
    /// What stands behind the reason, when that is known.
    pub hint: Option<Hint>,
    /// What it misses, or would miss, a sentence each.
    pub missing: Vec<String>,
    /// Its probes, in the order in which they are attached.
    pub probes: Vec<ProbeReport>,
}

impl BackendReport {
    /// Whether it works here.
    pub fn is_usable(&self) -> bool {
        self.reason.is_none()
    }
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// Where it is attached.
    pub hook: String,
    /// The name of the kernel program.
    pub program: &'static str,
    /// What became of it.
    pub status: Status,
    /// Why, when it failed.
    pub reason: Option<String>,
}

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Loaded and attached, then detached.
    Loaded,
    /// The kernel refused it.
    Failed,
    /// Another probe gives the same on this kernel, or the kernel needs none.
    NotNeeded,
    /// What all probes need failed before.
    NotTried,
}

impl Status {
    /// All, as they are listed.
    pub const ALL: [Self; 4] = [Self::Loaded, Self::Failed, Self::NotNeeded, Self::NotTried];

    /// In the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Failed => "failed",
            Self::NotNeeded => "not_needed",
            Self::NotTried => "not_tried",
        }
    }
}

impl Diagnosis {
    /// Tries everything: loads and attaches each backend's probes, one backend after the other,
    /// and detaches them.
    ///
    /// # Errors
    /// When the kernel does not even tell its release.
    pub fn make() -> Result<Self> {
        let facts = Facts::read()?;
        let backends = Backend::ALL.map(|backend| examine(backend, &facts)).into();
        Ok(Self { facts, sandbox: Support::read(), backends })
    }

    /// The backend that `live --backend auto` takes.
    pub fn chosen(&self) -> Option<&BackendReport> {
        self.backends.iter().find(|report| report.is_usable())
    }
}

/// The capabilities that `live` keeps with the backend that it takes, of those that this process has.
pub fn kept(diagnosis: &Diagnosis) -> Vec<Kept> {
    let Some(chosen) = diagnosis.chosen() else { return Vec::new() };
    let facts = &diagnosis.facts;
    let kept = capabilities::following(chosen.backend, diagnosis.sandbox.bpf_needs_capability);
    let effective: Vec<&str> = facts.privileges.effective.iter().map(|one| one.name()).collect();
    kept.into_iter().filter(|one| effective.contains(&&*one.capability.to_string())).collect()
}

fn examine(backend: Backend, facts: &Facts) -> BackendReport {
    if backend == Backend::Poll {
        return poll(facts);
    }
    // As `live` does it, with all that can be asked for.
    let options =
        probe::Options { buffer_size: BUFFER_SIZE, states: true, ..probe::Options::default() };
    match probe::try_each(backend, &options) {
        Ok(trials) => judge(backend, trials, &facts.privileges),
        Err(error) => BackendReport {
            backend,
            reason: Some(format!("{error:#}")),
            hint: probe::hint(&error, backend, &facts.privileges),
            missing: backend.missing().iter().map(|&missing| missing.to_owned()).collect(),
            probes: probes(backend)
                .iter()
                .map(|probe| ProbeReport {
                    hook: hook_name(probe),
                    program: probe.program,
                    status: Status::NotTried,
                    reason: None,
                })
                .collect(),
        },
    }
}

/// The hook, told apart from others at the same cgroup.
fn hook_name(probe: &Probe) -> String {
    match probe.hook {
        Hook::CgroupSock | Hook::CgroupSockAddr => {
            format!("{}:{}", probe.hook, probe.program.trim_start_matches("t_"))
        }
        hook => hook.to_string(),
    }
}

/// The default of `--buffer-size`.
const BUFFER_SIZE: u32 = 8 << 20;

/// From the trials of a backend's probes to what it is good for.
pub fn judge(backend: Backend, trials: Vec<Trial>, privileges: &Privileges) -> BackendReport {
    let mut verdict = Verdict::new(backend);
    let mut failure = None;
    let mut probes = Vec::new();
    let mut without_states = false;
    let enough: Vec<Need> = trials
        .iter()
        .filter(|trial| matches!(trial.result, Ok(true)))
        .map(|trial| trial.probe.need)
        .filter(|need| matches!(need, Need::OneOf(_)))
        .collect();
    for Trial { probe, result } in trials {
        let (status, reason) = match &result {
            Ok(true) => (Status::Loaded, None),
            Ok(false) => (Status::NotNeeded, None),
            Err(_) if enough.contains(&probe.need) => (Status::NotNeeded, None),
            Err(error) => (Status::Failed, Some(format!("{error:#}"))),
        };
        let (hook, program) = (hook_name(&probe), probe.program);
        probes.push(ProbeReport { hook, program, status, reason });
        // Only asked for with --states: the backend can be used without.
        if probe.need == Need::States {
            without_states |= result.is_err();
        } else if let Err(error) = verdict.add(&probe, result) {
            failure.get_or_insert(error);
        }
    }
    let (missing, failure) = match (failure, verdict.finish()) {
        (None, Ok(mut missing)) => {
            if without_states {
                missing.push("TCP state changes (--states)".to_owned());
            }
            (missing, None)
        }
        // What else failed has the same cause mostly, and would not be missing without it.
        (Some(error), _) | (None, Err(error)) => {
            (backend.missing().iter().map(|&missing| missing.to_owned()).collect(), Some(error))
        }
    };
    BackendReport {
        backend,
        hint: failure.as_ref().and_then(|error| probe::hint(error, backend, privileges)),
        reason: failure.map(|error| format!("{error:#}")),
        missing,
        probes,
    }
}

fn poll(facts: &Facts) -> BackendReport {
    let mut missing: Vec<String> =
        Backend::Poll.missing().iter().map(|&missing| missing.to_owned()).collect();
    if !facts.privileges.has(Capability::SysAdmin) {
        missing.push("other network namespaces: looking into them takes CAP_SYS_ADMIN".to_owned());
    }
    if let Ok(diagnostics) = &facts.diagnostics {
        if let Some(reason) = &diagnostics.fallback {
            missing.push(format!(
                "sockets that are only bound: /proc/net stands in for socket diagnostics ({reason})"
            ));
        } else if diagnostics.lists_bound == Some(false) {
            missing.push("TCP sockets that are only bound: this kernel lists none".to_owned());
        }
    }
    BackendReport {
        backend: Backend::Poll,
        reason: facts.diagnostics.as_ref().err().cloned(),
        hint: None,
        missing,
        probes: Vec::new(),
    }
}
