//! Why the kernel refused a program, and what to do about it.

use std::{error::Error, fmt, io};

use aya::{
    EbpfError,
    maps::MapError,
    programs::{ProgramError, kprobe::KProbeError, trace_point::TracePointError},
};

use super::{
    privileges::{Capability, Privileges},
    table::{Backend, probes},
};
use crate::kernel::descriptors;

/// How far it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Making the maps.
    Map,
    /// `BPF_PROG_LOAD`: the verifier.
    Load,
    /// Attaching.
    Attach,
}

/// A refusal in one line. The verifier's log is only logged, at level debug.
#[derive(Debug)]
pub struct Refused {
    /// How far it came.
    pub step: Step,
    /// What was tried.
    pub what: String,
    /// What the kernel answered.
    pub error: io::Error,
    /// The verifier gave reasons.
    pub verifier: bool,
}

/// The kernel's own number for what is not supported; it should not reach programs, and does.
const ENOTSUPP: i32 = 524;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error.raw_os_error() {
            Some(ENOTSUPP) => write!(f, "{}: not supported (ENOTSUPP)", self.what),
            _ => write!(f, "{}: {}", self.what, self.error),
        }
    }
}

impl Error for Refused {}

/// What aya says about making maps, in one line.
pub(super) fn object(error: EbpfError) -> anyhow::Error {
    match error {
        EbpfError::MapError(MapError::CreateError { name, io_error }) => refused(
            Step::Map,
            format!("the kernel refused the map {}", name.trim_start_matches('.')),
            io_error,
        ),
        other => line(Step::Map, "can't prepare the kernel programs", &other),
    }
}

/// What aya says about loading or attaching, in one line.
pub(super) fn program(error: ProgramError, step: Step) -> anyhow::Error {
    let verb = if step == Step::Load { "load" } else { "attach" };
    let what = format!("the kernel refused to {verb} it");
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            verified(what, io_error, &verifier_log.to_string())
        }
        ProgramError::SyscallError(error) => {
            refused(step, format!("{what} ({})", error.call), error.io_error)
        }
        ProgramError::KProbeError(KProbeError::FileError { filename, io_error })
        | ProgramError::TracePointError(TracePointError::FileError { filename, io_error }) => {
            refused(step, format!("can't read {}", filename.display()), io_error)
        }
        other => line(step, &what, &other),
    }
}

/// The verifier's answer; its log has a line per instruction.
fn verified(what: String, error: io::Error, log: &str) -> anyhow::Error {
    let verifier = !log.trim().is_empty();
    if verifier {
        log::debug!("{what}: {error}; the verifier's log:\n{log}");
    }
    Refused { step: Step::Load, what, error, verifier }.into()
}

fn refused(step: Step, what: String, error: io::Error) -> anyhow::Error {
    Refused { step, what, error, verifier: false }.into()
}

/// An error of another kind: the kernel's answer if it is in there, else the first line.
fn line(step: Step, what: &str, error: &(dyn Error + 'static)) -> anyhow::Error {
    log::debug!("{what}: {error}");
    let mut cause = Some(error);
    while let Some(one) = cause {
        let number = one.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        if let Some(number) = number {
            return refused(step, what.to_owned(), io::Error::from_raw_os_error(number));
        }
        cause = one.source();
    }
    let text = error.to_string();
    anyhow::anyhow!("{what}: {}", text.lines().next().unwrap_or_default())
}

/// What is in the way, and what takes it away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// What is in the way, a sentence without its full stop.
    pub problem: String,
    /// Commands, each enough alone; empty when no command helps.
    pub commands: Vec<String>,
    /// Nothing that can be set changes it, only another kernel or policy.
    pub is_final: bool,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)?;
        for (at, command) in self.commands.iter().enumerate() {
            write!(f, "{}`{command}`", if at == 0 { ": " } else { " or " })?;
        }
        Ok(())
    }
}

/// What stands behind an error of a backend's probe.
pub fn hint(error: &anyhow::Error, backend: Backend, privileges: &Privileges) -> Option<Hint> {
    let refused = error.chain().find_map(|cause| cause.downcast_ref::<Refused>());
    let by_number = refused.and_then(|refused| refused.error.raw_os_error());
    let exhausted = by_number.and_then(descriptors::exhausted_by);
    if let Some(reason) = exhausted.or_else(|| descriptors::exhausted(error)) {
        return Some(too_many_files(&reason, backend));
    }
    let refused = refused?;
    let of = |problem: &str, is_final| {
        let problem = problem.to_owned();
        Hint { problem, commands: Vec::new(), is_final }
    };
    let (no_command, final_one) = (|problem| of(problem, false), |problem| of(problem, true));
    let number = refused.error.raw_os_error()?;
    let denied = matches!(number, libc::EPERM | libc::EACCES);
    let lacking = privileges.lacking(backend);
    let locked = privileges.lockdown.as_deref() == Some("confidentiality");
    let is_5_10_limit = matches!(refused.step, Step::Map | Step::Load) && number == libc::EPERM;
    Some(match (refused.step, privileges.memlock) {
        _ if denied && !lacking.is_empty() => lacks(&lacking, privileges),
        _ if denied && privileges.user_namespace == Some(true) => no_command(
            "the capabilities are those of a user namespace, and the kernel takes programs only \
             with the host's: run it outside of the rootless container",
        ),
        (Step::Attach, _)
            if denied && backend == Backend::Kprobe && privileges.is_perf_closed() =>
        {
            perf_closed()
        }
        // Without the helpers that read memory the verifier answers EINVAL.
        _ if locked && (denied || number == libc::EINVAL) => no_command(
            "the kernel is locked down (confidentiality) and lets no program read its memory: \
             boot without lockdown=confidentiality",
        ),
        (_, Some(bytes)) if is_5_10_limit && !refused.verifier => Hint {
            problem: format!("RLIMIT_MEMLOCK ({} KiB) may be the reason", bytes / 1024),
            commands: vec!["sudo prlimit --memlock=unlimited port-observer live".to_owned()],
            is_final: false,
        },
        _ if refused.verifier => final_one(
            "the kernel's verifier does not take the program; --log-level debug shows why",
        ),
        _ if denied => final_one(
            "no capability is missing: a security policy (LSM, seccomp, container) refuses it",
        ),
        (Step::Attach, _) if number == ENOTSUPP => final_one(
            "this kernel has no BPF trampolines on this processor (arm64 has them from Linux 6.4)",
        ),
        (Step::Attach, _) if number == libc::ENOENT && backend == Backend::Kprobe => {
            final_one("this kernel is built without kprobes (CONFIG_KPROBE_EVENTS)")
        }
        _ => return None,
    })
}

/// The verifier is never asked then, whatever the step was.
fn too_many_files(reason: &str, backend: Backend) -> Hint {
    // Each program and each link, the maps, and what every program has open.
    let needed = 2 * probes(backend).len() + OTHER_FILES;
    let name = backend.name();
    Hint {
        problem: format!(
            "{reason}; the {name} backend takes about {needed}, and 4 more for each network namespace"
        ),
        commands: vec!["sudo prlimit --nofile=65536 port-observer live".to_owned()],
        is_final: false,
    }
}

/// Maps and what every program has open, roughly.
const OTHER_FILES: usize = 50;

/// How kprobes and tracepoints are had where `kernel.perf_event_paranoid` is above 2.
pub fn perf_closed() -> Hint {
    Hint {
        problem:
            "kernel.perf_event_paranoid is above 2: kprobes and tracepoints take CAP_SYS_ADMIN"
                .to_owned(),
        commands: vec![
            "sudo port-observer live".to_owned(),
            "sudo sysctl kernel.perf_event_paranoid=2".to_owned(),
        ],
        is_final: false,
    }
}

/// Which capabilities a process lacks, and how it gets them.
pub fn lacks(lacking: &[Capability], privileges: &Privileges) -> Hint {
    let names: Vec<_> = lacking.iter().map(|capability| capability.name()).collect();
    let names = match &names[..] {
        [most @ .., last] if !most.is_empty() => format!("{} and {last}", most.join(", ")),
        names => names.concat(),
    };
    Hint {
        problem: format!("this process lacks {names}"),
        commands: vec!["sudo port-observer live".to_owned(), setcap(privileges)],
        is_final: false,
    }
}

/// The command that lets the members of a group observe, and nobody else: the capabilities are for
/// whoever may run the program. Changing its group or mode later would clear them or open it. Tried one
/// by one: `cap_bpf,cap_perfmon`
/// are enough for fexit and (see [`perf_closed`]) kprobe, with `cap_net_admin` for the tracepoint
/// backend; the other two show other users' processes.
fn setcap(privileges: &Privileges) -> String {
    let path = &privileges.executable;
    let quoted = if path.chars().all(|c| c.is_alphanumeric() || "/._+-".contains(c)) {
        path.clone()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    };
    format!(
        "sudo chgrp GROUP {quoted} && sudo chmod 0750 {quoted} && sudo setcap cap_bpf,cap_perfmon,\
         cap_net_admin,cap_sys_ptrace,cap_dac_read_search+ep {quoted} # for members of GROUP alone"
    )
}

/// The error with what is in the way and what to do.
pub(super) fn explained(error: anyhow::Error, backend: Backend) -> anyhow::Error {
    match hint(&error, backend, &Privileges::read()) {
        Some(hint) => anyhow::anyhow!("{error:#}; {hint}"),
        None => error,
    }
}

#[cfg(test)]
mod tests;
