//! Time in each kernel program, by the kernel's own count (`bpf_stats`). That count holds about
//! 55 ns of its own in each call.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result};
use aya::programs::loaded_programs;
use aya::sys::{Stats, enable_stats};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::Setup;
use crate::tracer::{Output, Tracer};
use crate::traffic::{Amount, Close, Server};

/// Programs that other processes of the machine run too, whatever the traffic does.
const OF_OTHERS: [&str; 6] =
    ["exec", "fork", "exec_raw", "fork_raw", "t_bind_enter", "t_bind_exit"];

/// Each connection is told as acquire and release.
const RECORDS: f64 = 2.0;

/// Calls and nanoseconds of each program.
type Times = BTreeMap<String, (u64, u64)>;

/// The programs that a process has descriptors of, by number.
pub fn ids(pid: Pid) -> Result<BTreeSet<u32>> {
    Ok(numbers(pid, "prog_id:")?.into_keys().collect())
}

/// From the descriptors of a process: the number behind `key`, and what else is said there.
pub fn numbers(pid: Pid, key: &str) -> Result<BTreeMap<u32, String>> {
    let directory = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(&directory).with_context(|| format!("read {directory}"))?;
    let mut found = BTreeMap::new();
    for entry in entries.flatten() {
        // It may be closed meanwhile.
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        let number = text.lines().find_map(|line| line.strip_prefix(key));
        if let Some(number) = number.and_then(|number| number.trim().parse().ok()) {
            found.insert(number, text);
        }
    }
    Ok(found)
}

/// What the programs of the tracer took while there was traffic, and for how many connections.
fn times(setup: &Setup, server: &Server, arguments: &[&str]) -> Result<(Times, usize)> {
    let mut arguments = arguments.to_vec();
    arguments.extend(["--events", "start,stop"]);
    let tracer = Tracer::observer(setup, &arguments, Output::Pipe)?;
    let ids = ids(tracer.pid())?;
    let before = counts(&ids)?;
    let slice = server.traffic(Amount::For(setup.slice * 2), Close::Reset, 1)?;
    let mut times = counts(&ids)?;
    for (name, (calls, ns)) in &mut times {
        let (calls_before, ns_before) = before.get(name).copied().unwrap_or_default();
        *calls -= calls_before;
        *ns -= ns_before;
    }
    times.retain(|name, (calls, _)| *calls > 0 && !OF_OTHERS.contains(&name.as_str()));
    tracer.stop()?;
    Ok((times, slice.connections))
}

fn counts(ids: &BTreeSet<u32>) -> Result<Times> {
    let mut times = Times::new();
    for info in loaded_programs() {
        // One of another process may go meanwhile.
        let Ok(info) = info else { continue };
        if ids.contains(&info.id()) {
            let name = info.name_as_str().unwrap_or("?").to_owned();
            let (calls, ns) = times.entry(name).or_insert((0, 0));
            *calls += info.run_count();
            *ns += u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX);
        }
    }
    Ok(times)
}

fn sums(times: &Times) -> (f64, f64) {
    times.values().fold((0.0, 0.0), |(calls, ns), of| (calls + of.0 as f64, ns + of.1 as f64))
}

fn table(times: &Times, connections: usize) -> Value {
    let row = |(name, &(calls, ns)): (&String, &(u64, u64))| {
        json!({
            "name": name,
            "calls_per_connection": calls as f64 / connections as f64,
            "ns_per_call": ns as f64 / calls as f64,
        })
    };
    times.iter().map(row).collect()
}

/// Nanoseconds in the programs.
fn per_connection((times, connections): &(Times, usize)) -> f64 {
    sums(times).1 / (*connections).max(1) as f64
}

/// Everything delivered, then everything filtered out: by namespace, by protocol. Of some rounds, the
/// one that others disturbed least.
pub fn measure(setup: &Setup, server: &Server) -> Result<Value> {
    // Counting ends with this descriptor, also when this program is killed.
    let _counting = enable_stats(Stats::RunTime).context("have the kernel count time (5.8)")?;
    let home = setup.place.home_inode()?.to_string();
    // The first as most will run it: what little others do meanwhile counts as this traffic's.
    let ways: [&[&str]; 3] = [&[], &["--netns", &home], &["--protocol", "udp"]];
    let mut least = ways.map(|_| (Times::new(), 0));
    for _ in 0..setup.rounds.max(1) {
        for (least, arguments) in least.iter_mut().zip(ways) {
            let now = times(setup, server, arguments)?;
            if least.1 == 0 || per_connection(&now) < per_connection(least) {
                *least = now;
            }
        }
    }
    let [(seen, connections), (by_netns, netns_connections), (by_protocol, protocol_connections)] =
        least;
    let ns = |times: &Times| {
        let (calls, ns) = sums(times);
        ns / calls.max(1.0)
    };
    let (calls, total) = sums(&seen);
    let delivered = connections as f64 * RECORDS;
    let skipped = (calls - delivered).max(0.0) * ns(&by_protocol);
    Ok(json!({
        "records_per_connection": RECORDS,
        "ns_per_connection": total / connections as f64,
        // What remains when the calls that tell nothing are taken to cost as much as those that the
        // earliest filter ends, that of the protocol.
        "ns_per_record": (total - skipped) / delivered,
        "ns_per_call_filtered_by_netns": ns(&by_netns),
        "ns_per_call_filtered_by_protocol": ns(&by_protocol),
        "contained_ns": 55,
        "seen": table(&seen, connections),
        "filtered_by_netns": table(&by_netns, netns_connections),
        "filtered_by_protocol": table(&by_protocol, protocol_connections),
    }))
}
