//! Asking the kernel, as little as is needed: one pass, filtered by port, and nothing kept.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};

use super::{Answer, BindHeldPorts, Consumer, Finding, Question, Status, TOP, Tally, bind_holders};
use crate::event::Protocol;
use crate::kernel::diag::{self, Origin, Request, States};
use crate::kernel::netns::{self, Namespace};
use crate::kernel::sysctl;
use crate::ports::PortRange;
use crate::process::ProcFs;
use crate::report::Sources;
use crate::source::BindHeld;
use crate::source::owners::{self, Way};
use crate::words::missing;

/// Looks once.
pub fn look(question: Question) -> Answer {
    let mut findings = Vec::new();
    let mut failures = Vec::new();
    // What a kernel lists is the same everywhere.
    let lists_bound =
        question.terms.protocol == Protocol::Udp || diag::lists_bound_sockets() != Some(false);
    let iterator = OnceLock::new();
    for namespace in &question.namespaces {
        let name = namespace.names.first().cloned().unwrap_or_else(|| namespace.inode.to_string());
        match look_into(namespace, &question, lists_bound, &iterator) {
            Ok(None) => {}
            Ok(Some(mut finding)) => {
                finding.namespace = name;
                findings.push(finding);
            }
            Err(error) => failures.push(format!("network namespace {name}: {error:#}")),
        }
    }
    let mut answer = Answer::new(question.terms, findings, failures);
    let is_wanted = |finding: &Finding| question.always_processes || finding.status != Status::Ok;
    name_processes(answer.findings.iter_mut().filter(|finding| is_wanted(finding)).collect());
    answer
}

/// How often a namespace is looked for that others come and go with.
const MOST_TRIES: usize = 5;

/// `None`: it has ended, and is not missed.
fn look_into(
    namespace: &Namespace,
    question: &Question,
    lists_bound: bool,
    iterator: &OnceLock<Result<BindHeld, String>>,
) -> Result<Option<Finding>> {
    let mut namespace = namespace.clone();
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match namespace.run(|| look_here(question, lists_bound, iterator)) {
            Ok(finding) => return Ok(Some(finding)),
            Err(error) if question.all => error,
            Err(error) => return Err(error),
        };
        let mut now = netns::list()?.namespaces.into_iter();
        match now.find(|one| one.inode == namespace.inode) {
            None => return Ok(None),
            Some(same) if same == namespace || tries == MOST_TRIES => return Err(error),
            // Its number is that of another by now, or other processes lead to it.
            Some(other) => namespace = other,
        }
    }
}

/// Counts in the namespace of this thread.
fn look_here(
    question: &Question,
    lists_bound: bool,
    iterator: &OnceLock<Result<BindHeld, String>>,
) -> Result<Finding> {
    let settings = sysctl::ports_here()?;
    let (range, counted) = question.terms.ports(&settings);
    let reserved = settings.reserved.count_in(range);
    let mut missing = question.missing.clone();
    let has_tcp = question.terms.protocol == Protocol::Tcp;
    let bind_held = if has_tcp { bind_held(iterator) } else { Ok(BindHeldPorts::default()) };
    let unknown_binds = bind_held.as_ref().err().cloned();
    let tally = Tally::new(question.terms.protocol, counted);
    let tally = bind_held.into_iter().fold(tally, Tally::knowing);
    let Counted { tally, malformed, fallback, interrupted } =
        count(question.terms.protocol, &tally)?;
    missing.extend(missing::sockets(has_tcp, fallback.as_deref(), lists_bound));
    if interrupted {
        missing.push("sockets that came or went while they were listed".to_owned());
    }
    let doubt = (malformed > 0).then(|| {
        format!("{malformed} records about sockets made no sense: the numbers can't be trusted")
    });
    Ok(Finding {
        namespace: String::new(),
        status: Status::Unknown,
        range,
        reserved,
        tally,
        processes: Vec::new(),
        sources: Sources::of_lists(fallback.is_some(), None),
        lists_bound: lists_bound && fallback.is_none(),
        unknown_binds,
        bind_holders: Vec::new(),
        missing,
        doubt,
    })
}

/// The ports of this thread's namespace that connect() passes over; else why that is not known.
fn bind_held(iterator: &OnceLock<Result<BindHeld, String>>) -> Result<BindHeldPorts, String> {
    if diag::estimate_tcp() == 0 {
        return Ok(BindHeldPorts::default());
    }
    let loaded = iterator.get_or_init(|| BindHeld::load().map_err(|error| format!("{error:#}")));
    let mut ports = Vec::new();
    let iterator = loaded.as_ref().map_err(Clone::clone)?;
    match iterator.for_each_here(|one| ports.push(one.port)) {
        Ok(()) => Ok(ports.into_iter().collect()),
        Err(error) => Err(format!("{error:#}")),
    }
}

struct Counted {
    tally: Tally,
    /// Records that made no sense.
    malformed: u64,
    /// Why `/proc/net` was read instead.
    fallback: Option<String>,
    /// The list changed while it was read.
    interrupted: bool,
}

/// From so many sockets on, several threads share the work, nearly all of which is the kernel's. With
/// 28,000 sockets it takes half as long on two processors, with 1,000 as long.
const MANY: usize = 10_000;
/// So many threads at most: each goes over all connections, to find those of its ports.
const MOST_THREADS: usize = 4;
/// A range with fewer ports is not divided.
const PORTS_EACH: u32 = 5_000;
/// With two threads, one goes over all that is bound, which takes about as long as to list this part
/// of the connections.
const PART_BESIDE_BOUND: u32 = 5;

/// By socket diagnostics, or by `/proc/net` where those can't be had.
fn count(protocol: Protocol, empty: &Tally) -> Result<Counted> {
    let range = empty.ports().ephemeral;
    let of =
        |states, min, max| Request { protocols: vec![protocol], states, ports: Some(min..=max) };
    let request = of(States::ALL, range.min, range.max);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    let parts = if protocol == Protocol::Tcp && threads > 1 && diag::estimate_tcp() >= MANY {
        let connected = |part: &PortRange| of(States::CONNECTED, part.min, part.max);
        let mut bound = vec![of(States::NOT_CONNECTED, range.min, range.max)];
        let mut parts = match threads {
            2 => split(range, &[1, PART_BESIDE_BOUND - 1]),
            more => split(range, &vec![1; more - 1]),
        };
        if threads == 2 && parts.len() == 2 {
            bound.push(connected(&parts.remove(0)));
        }
        let parts = parts.iter().map(|part| vec![connected(part)]);
        [bound].into_iter().chain(parts).collect()
    } else {
        vec![vec![request.clone()]]
    };
    if let Ok((tally, diag::Summary { interrupted, malformed })) = count_parts(empty, &parts) {
        return Ok(Counted { tally, malformed, fallback: None, interrupted });
    }
    let dump = diag::dump(&request).context("the sockets can't be listed")?;
    let mut tally = empty.clone();
    dump.sockets.iter().for_each(|socket| tally.list(socket));
    let fallback = match dump.origin {
        Origin::ProcNet { reason } => Some(reason),
        Origin::Netlink => None,
    };
    Ok(Counted { tally, malformed: dump.malformed, fallback, interrupted: dump.interrupted })
}

/// Each part on a thread of its own, the first on this one.
fn count_parts(empty: &Tally, parts: &[Vec<Request>]) -> Result<(Tally, diag::Summary)> {
    let one = |requests: &Vec<Request>| -> Result<(Tally, diag::Summary)> {
        let mut tally = empty.clone();
        let mut summary = diag::Summary::default();
        for request in requests {
            summary.add(diag::for_each(request, |socket| tally.list(&socket))?);
        }
        Ok((tally, summary))
    };
    let [first, others @ ..] = parts else { bail!("nothing is asked for") };
    thread::scope(|scope| {
        // A thread begins in the network namespace of the one that starts it.
        let others: Vec<_> = others.iter().map(|part| scope.spawn(|| one(part))).collect();
        let (mut tally, mut summary) = one(first)?;
        for other in others {
            let (more, told) = other.join().map_err(|_| anyhow!("a thread died"))??;
            tally.merge(more);
            summary.add(told);
        }
        Ok((tally, summary))
    })
}

/// A range in parts of these proportions, if it is large enough.
fn split(range: PortRange, proportions: &[u32]) -> Vec<PortRange> {
    let (min, ports) = (u32::from(range.min), u32::from(range.max) + 1 - u32::from(range.min));
    let whole: u32 = proportions.iter().sum();
    if ports < PORTS_EACH * whole.max(1) {
        return vec![range];
    }
    let port = |number: u32| u16::try_from(number).unwrap_or(range.max);
    let mut before = 0;
    let parts = proportions.iter().map(|part| {
        let start = min + ports * before / whole;
        before += part;
        PortRange { min: port(start), max: port(min + ports * before / whole - 1) }
    });
    parts.collect()
}

/// One walk over /proc for all of them.
fn name_processes(findings: Vec<&mut Finding>) {
    let wanted: HashSet<u32> = findings.iter().flat_map(|one| one.tally.wanted()).collect();
    let processes = ProcFs::default();
    let (owners, way) = match owners::socket_owners(&processes, &wanted) {
        Ok((owners, way)) => (owners, Some(way)),
        Err(error) => {
            log::info!("processes are not named: {error}");
            Default::default()
        }
    };
    let mut names: HashMap<u32, String> = HashMap::new();
    for finding in findings {
        let counts = finding.tally.by_process(&owners.pids);
        let known: u32 = counts.values().sum();
        let mut consumers: Vec<Consumer> = counts
            .into_iter()
            .map(|(pid, count)| Consumer { pid: Some(pid), name: String::new(), count })
            .collect();
        let time_waits = finding.tally.time_waits();
        let unknown = finding.tally.sockets().saturating_sub(known + time_waits);
        let others = [("TIME_WAIT", time_waits), ("not known", unknown)];
        consumers.extend(
            others.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| Consumer {
                pid: None,
                name: name.to_owned(),
                count,
            }),
        );
        consumers.sort_by_key(|consumer| std::cmp::Reverse(consumer.count));
        consumers.truncate(TOP);
        let mut name = |pid| {
            let found = || processes.task(pid).map_or_else(String::new, |task| task.name);
            names.entry(pid).or_insert_with(found).clone()
        };
        for consumer in &mut consumers {
            if let Some(pid) = consumer.pid {
                consumer.name = name(pid);
            }
        }
        let bind_held = finding.tally.bind_held_by_process(&owners.pids).into_iter();
        finding.bind_holders = bind_holders(bind_held.map(|(pid, count)| (name(pid), count)));
        finding.sources.processes = way.map(Way::name);
        finding.processes = consumers;
        if unknown > 0 && owners.hidden_processes > 0 {
            finding.missing.push(missing::processes(owners.hidden_processes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Terms, Threshold};
    use crate::kernel::testing::in_fresh_namespace;

    fn question(namespaces: Vec<Namespace>, all: bool) -> Question {
        Question {
            namespaces,
            all,
            missing: Vec::new(),
            terms: Terms {
                protocol: Protocol::Tcp,
                range: None,
                warning: Threshold::Percent(70.0),
                critical: Threshold::Percent(85.0),
                per_destination: false,
            },
            always_processes: false,
        }
    }

    #[test]
    fn a_namespace_that_ends_before_it_is_looked_into_is_unknown_unless_all_were_asked_for() {
        let own = Namespace::own().unwrap();
        let gone = in_fresh_namespace(|| Namespace::own().unwrap());
        if gone.inode == own.inode {
            println!("skipped: no privilege to make a network namespace");
            return;
        }
        let named = look(question(vec![own.clone(), gone.clone()], false));
        assert_eq!((named.status(), named.findings.len()), (Status::Unknown, 1));
        assert!(named.failures[0].contains(&format!("{} is gone", gone.inode)), "{named:?}");
        let all = look(question(vec![own, gone.clone()], true));
        assert_eq!((all.failures.len(), all.findings.len()), (0, 1));
        assert_eq!(look(question(vec![gone], true)).status(), Status::Unknown, "nothing was seen");
    }

    #[test]
    fn the_parts_of_a_range_are_the_range() {
        for (min, max) in [(32_768, 60_999), (1, 65_535), (0, 65_535), (40_000, 40_000)] {
            for proportions in [&[1][..], &[1, 4], &[1, 1], &[1, 1, 1]] {
                let parts = split(PortRange { min, max }, proportions);
                assert_eq!((parts[0].min, parts[parts.len() - 1].max), (min, max));
                assert!(parts.iter().all(|part| part.min <= part.max));
                assert!(parts.windows(2).all(|two| two[0].max + 1 == two[1].min));
            }
        }
        assert_eq!(split(PortRange { min: 32_768, max: 60_999 }, &[1, 4]).len(), 2);
        assert_eq!(split(PortRange { min: 21_000, max: 31_000 }, &[1, 1, 1]).len(), 1);
    }
}
