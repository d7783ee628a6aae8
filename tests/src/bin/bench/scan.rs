//! `check` next to what is used instead, over the same sockets: established connections of processes
//! with 500 sockets each, in a network namespace of their own.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::{Map, Value, json};
use tests::child::Traffic;
use tests::net::{ephemeral_range, once_in_namespace, sysctl};

use crate::Setup;
use crate::statistics::{median, spread};

/// How many sockets, at least one process's.
const SIZES: [usize; 4] = [1_000, 28_000, 60_000, 200_000];
/// Where processes are compared too; beyond, `ss -p` takes minutes.
const WITH_PROCESSES: usize = 60_000;
/// Connections of a process with itself.
const PAIRS: usize = 250;
/// The user that nobody is.
const NOBODY: u32 = 65_534;

/// What a distribution's kernel begins with.
const RANGE: (u16, u16) = (32_768, 60_999);
/// Two thirds of it, which the connections share, each towards its own process: all is well.
const FILLED: (u16, u16) = (32_768, 51_767);

const SS: &str = "ss -tanH | wc -l";
/// What scripts do: how many different ports.
const AWK: &str = r#"awk 'FNR > 1 { split($2, end, ":"); seen[end[2]] } END { for (one in seen) count++; print count }' \
    /proc/net/tcp /proc/net/tcp6"#;

/// Something that looks at all sockets.
struct Arm {
    name: &'static str,
    command: fn(&Setup) -> Command,
}

const BASE: Arm = Arm { name: "ss", command: |_| shell(SS) };
const ARMS: [Arm; 3] = [
    Arm { name: "awk", command: |_| shell(AWK) },
    Arm { name: "check", command: |setup| check(setup, &[]) },
    Arm {
        name: "unprivileged",
        command: |setup| {
            let mut command = check(setup, &[]);
            command.uid(NOBODY).gid(NOBODY);
            command
        },
    },
];
const BASE_PROCESSES: Arm = Arm { name: "ss", command: |_| shell("ss -tanpH | wc -l") };
const ARMS_PROCESSES: [Arm; 1] =
    [Arm { name: "check", command: |setup| check(setup, &["--json"]) }];

fn shell(line: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", line]);
    command
}

fn check(setup: &Setup, arguments: &[&str]) -> Command {
    let mut command = Command::new(&setup.program);
    command.arg("check").args(arguments);
    command
}

/// Every size in a namespace of its own.
pub fn measure(setup: &Setup) -> Result<Value> {
    let mut sizes = Vec::new();
    let mut processes = Value::Null;
    for size in SIZES {
        if !sizes.is_empty() && Instant::now() > setup.deadline {
            break;
        }
        let (at_size, with_processes) = once_in_namespace(|_| at(setup, size))?;
        sizes.push(at_size);
        if !with_processes.is_null() {
            processes = with_processes;
        }
    }
    Ok(json!({ "sizes": sizes, "processes": processes }))
}

fn at(setup: &Setup, size: usize) -> Result<(Value, Value)> {
    eprintln!("  {size} sockets");
    let _held = hold(size)?;
    let mut at_size = compare(setup, &BASE, &ARMS)?;
    at_size["sockets"] = counted()?.into();
    let processes = match size {
        WITH_PROCESSES => compare(setup, &BASE_PROCESSES, &ARMS_PROCESSES)?,
        _ => Value::Null,
    };
    Ok((at_size, processes))
}

/// Processes that hold so many sockets together.
fn hold(sockets: usize) -> Result<Vec<Traffic>> {
    ephemeral_range(FILLED.0, FILLED.1);
    sysctl("core/somaxconn", "4096");
    let held = (0..sockets / (2 * PAIRS))
        .map(|process| {
            let address = format!("127.1.{}.{}:80", process / 200, process % 200 + 1);
            let mut traffic = Traffic::start(&["pairs", &PAIRS.to_string(), &address]);
            traffic.taken().with_context(|| format!("no connections to {address}"))?;
            Ok(traffic)
        })
        .collect();
    ephemeral_range(RANGE.0, RANGE.1);
    held
}

fn counted() -> Result<usize> {
    let output = shell(SS).output().context("can't start ss")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().with_context(|| format!("ss | wc wrote {text:?}"))
}

/// Milliseconds of one run.
struct Took {
    wall: f64,
    cpu: f64,
}

/// Each arm in turn, next to the base, as often as there are rounds.
fn compare(setup: &Setup, base: &Arm, arms: &[Arm]) -> Result<Value> {
    let mut bases = Vec::new();
    let mut others: Vec<Vec<Took>> = arms.iter().map(|_| Vec::new()).collect();
    // All is read once before: programs, libraries, the kernel's tables.
    for arm in std::iter::once(base).chain(arms) {
        timed((arm.command)(setup)).with_context(|| arm.name)?;
    }
    for _ in 0..setup.rounds.max(1) {
        bases.push(timed((base.command)(setup))?);
        for (arm, took) in arms.iter().zip(&mut others) {
            took.push(timed((arm.command)(setup))?);
        }
    }
    let of = |took: &[Took]| {
        let ratio = |number: fn(&Took) -> f64| {
            let pairs = took.iter().zip(&bases);
            spread(pairs.map(|(one, base)| number(one) / number(base)).collect())
        };
        json!({
            "wall_ms": median(took.iter().map(|one| one.wall).collect()),
            "cpu_ms": median(took.iter().map(|one| one.cpu).collect()),
            "wall": ratio(|one| one.wall),
            "cpu": ratio(|one| one.cpu),
        })
    };
    let mut all = Map::new();
    all.insert("base".to_owned(), of(&bases));
    for (arm, took) in arms.iter().zip(&others) {
        all.insert(arm.name.to_owned(), of(took));
    }
    Ok(all.into())
}

/// A command from its start to its end, with all that it waits for.
fn timed(mut command: Command) -> Result<Took> {
    let cpu = || -> Result<i64> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("getrusage")?;
        Ok((usage.user_time() + usage.system_time()).num_microseconds())
    };
    let before = cpu()?;
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = output.output().with_context(|| format!("can't start {command:?}"))?;
    let wall = began.elapsed().as_secs_f64() * 1000.0;
    if !output.status.success() {
        bail!("{command:?}: {output:?}");
    }
    Ok(Took { wall, cpu: (cpu()? - before) as f64 / 1000.0 })
}
