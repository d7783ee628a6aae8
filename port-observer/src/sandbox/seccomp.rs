//! The system calls that a task may make (seccomp(2)).
//!
//! [`TABLE`] says which task has which calls. What is not in it is answered `ENOSYS`, as by a kernel
//! that does not have it, so that a C library or crate that tries something new falls back; what is in
//! it, with other arguments than the table allows, is answered `EPERM`. Nothing is killed: an observer
//! that ends in an incident for a call nobody thought of would be worse than one that goes on without.
//! What matters can't be done either way: execve, fork, ptrace, mount, loading modules or programs,
//! sockets of the internet, io_uring (whose operations no list sees), and for a task that writes no
//! files, opening one for writing.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::Task;

mod calls;

use calls::{ASK, BASE, COMMAND, FILES, OBSERVE, OPEN, OPEN_TO_READ, PROBE, SERVE};

/// What of a task decides about its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Needs {
    /// Looks at other processes and network namespaces.
    observes: bool,
    /// Loads an iterator.
    loads: bool,
    /// Loads and attaches all kernel programs.
    attaches: bool,
    /// Writes files.
    writes: bool,
    /// Takes connections.
    serves: bool,
    /// Connects.
    asks: bool,
    /// Waits for this process, and signals it.
    command: Option<u32>,
}

impl Needs {
    fn of(task: &Task<'_>) -> Self {
        let none = Self {
            observes: false,
            loads: false,
            attaches: false,
            writes: false,
            serves: false,
            asks: false,
            command: None,
        };
        match *task {
            Task::Follow { recording, command, .. } => {
                Self { observes: true, writes: recording.is_some(), command, ..none }
            }
            Task::Serve { recording, textfile, removes, leases, .. } => {
                let writes = recording.is_some() || textfile.is_some() || removes || leases;
                Self { observes: true, writes, serves: true, ..none }
            }
            Task::List { keeps, .. } => Self { observes: true, loads: true, writes: keeps, ..none },
            Task::Trial => none,
            Task::Ask { .. } => Self { asks: true, ..none },
            // SQLite opens the files beside a recording for writing, whoever only reads.
            Task::Replay { .. } => Self { writes: true, ..none },
            Task::Diagnose => {
                Self { observes: true, loads: true, attaches: true, writes: true, ..none }
            }
        }
    }
}

/// Calls, and whether a task has them.
type Group = (fn(&Needs) -> bool, &'static [Call]);

/// Which calls, for whom.
const TABLE: [Group; 9] = [
    (|_| true, BASE),
    (|needs| !needs.writes, OPEN_TO_READ),
    (|needs| needs.writes, OPEN),
    (|needs| needs.writes, FILES),
    (|needs| needs.observes, OBSERVE),
    (|needs| needs.attaches, PROBE),
    (|needs| needs.serves, SERVE),
    (|needs| needs.asks, ASK),
    (|needs| needs.command.is_some(), COMMAND),
];

/// A system call, and with which arguments it is allowed: one of the rules has to hold; without any,
/// all are.
struct Call {
    number: c_long,
    rules: &'static [&'static [Argument]],
}

/// What has to be true of an argument, of its lower 32 bits.
#[derive(Clone, Copy)]
enum Argument {
    /// It is this.
    Is(u8, u64),
    /// It is not this.
    IsNot(u8, u64),
    /// Under this mask it is that.
    Has(u8, u64, u64),
    /// It is the own process id.
    IsSelf(u8),
    /// It is the process id of the command that is run.
    IsCommand(u8),
    /// It is a command of bpf() that the task needs.
    IsBpfCommand(u8),
}

/// Commands of bpf() (`enum bpf_cmd`, include/uapi/linux/bpf.h): look-ups and changes of maps one by
/// one and in batches, `LINK_CREATE` and `ITER_CREATE` for iterators.
const MAPS_AND_ITERATORS: &[u64] = &[1, 2, 3, 4, 21, 24, 25, 26, 27, 28, 33];
/// `PROG_LOAD`
const LOAD: &[u64] = &[5];

/// Confines all threads.
///
/// # Errors
/// On a processor that the list does not know, or when the kernel refuses it.
pub(super) fn apply(task: &Task<'_>) -> Result<()> {
    let needs = Needs::of(task);
    // Of two answers that are both errors the kernel takes that of the last list.
    for (arguments, errno) in [(true, libc::EPERM), (false, libc::ENOSYS)] {
        let program = compile(&needs, arguments, errno)?;
        seccompiler::apply_filter_all_threads(&program).context("the kernel refuses the list")?;
    }
    Ok(())
}

/// The list with what it says about arguments, or without.
fn compile(needs: &Needs, arguments: bool, errno: i32) -> Result<BpfProgram> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)
        .with_context(|| format!("there is no list for {}", std::env::consts::ARCH))?;
    let mut list: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let calls = || TABLE.iter().filter(|(is_for, _)| is_for(needs)).flat_map(|(_, calls)| *calls);
    for call in calls() {
        let rules = if arguments { rules(call, needs)? } else { Vec::new() };
        list.entry(call.number).or_default().extend(rules);
    }
    // What any group allows without rules, no rule of another narrows.
    for call in calls().filter(|call| call.rules.is_empty()) {
        list.insert(call.number, Vec::new());
    }
    if arguments {
        // For the second list.
        list.insert(libc::SYS_seccomp, Vec::new());
    }
    let action = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(list, action, SeccompAction::Allow, arch)?;
    Ok(filter.try_into()?)
}

fn rules(call: &Call, needs: &Needs) -> Result<Vec<SeccompRule>> {
    let mut rules = Vec::new();
    for rule in call.rules {
        // Each a rule of its own.
        let mut alternatives = vec![Vec::new()];
        for argument in *rule {
            let is = |at: u8, operator, value| {
                SeccompCondition::new(at, SeccompCmpArgLen::Dword, operator, value)
            };
            let either = match *argument {
                Argument::Is(at, value) => vec![is(at, SeccompCmpOp::Eq, value)?],
                Argument::IsNot(at, value) => vec![is(at, SeccompCmpOp::Ne, value)?],
                Argument::Has(at, mask, value) => {
                    vec![is(at, SeccompCmpOp::MaskedEq(mask), value)?]
                }
                Argument::IsSelf(at) => {
                    vec![is(at, SeccompCmpOp::Eq, std::process::id().into())?]
                }
                Argument::IsCommand(at) => {
                    let command = needs.command.into_iter();
                    command
                        .map(|pid| is(at, SeccompCmpOp::Eq, pid.into()))
                        .collect::<Result<_, _>>()?
                }
                Argument::IsBpfCommand(at) => {
                    let loads = if needs.loads { LOAD } else { &[] };
                    let commands = MAPS_AND_ITERATORS.iter().chain(loads);
                    let commands = commands.map(|command| is(at, SeccompCmpOp::Eq, *command));
                    commands.collect::<Result<_, _>>()?
                }
            };
            alternatives = alternatives
                .iter()
                .flat_map(|so_far| {
                    either.iter().map(|one| [&so_far[..], std::slice::from_ref(one)].concat())
                })
                .collect();
        }
        for conditions in alternatives {
            rules.push(SeccompRule::new(conditions)?);
        }
    }
    Ok(rules)
}
