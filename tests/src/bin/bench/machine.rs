//! Who runs on which processor, and what others do on the machine meanwhile.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;
use serde_json::{Value, json};
use tests::system;

/// The share of the machine that others may take before a run is called noisy.
const NOISY: f64 = 0.1;

/// The processors, and the network namespace that this program was started in.
pub struct Place {
    /// Where the traffic runs.
    pub traffic: usize,
    /// Where the tracer runs.
    pub tracer: usize,
    /// The namespace that the tracer runs in.
    pub home: File,
}

impl Place {
    /// The first and the last processor that are allowed.
    pub fn find() -> Result<Self> {
        let allowed =
            sched_getaffinity(Pid::from_raw(0)).context("which processors are allowed")?;
        let allowed: Vec<usize> =
            (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu) == Ok(true)).collect();
        let [traffic, .., tracer] = allowed[..] else {
            bail!("the tracer needs a processor of its own, and there is only one");
        };
        let home = File::open("/proc/self/ns/net").context("open the network namespace")?;
        Ok(Self { traffic, tracer, home })
    }

    /// The number of the tracer's namespace, where there is no traffic.
    pub fn home_inode(&self) -> Result<u64> {
        Ok(self.home.metadata().context("the namespace's number")?.ino())
    }

    /// Pins the calling thread to where the traffic runs.
    pub fn pin_traffic(&self) -> Result<()> {
        pin(self.traffic)
    }
}

/// Pins the calling thread.
pub fn pin(processor: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(processor).context("a processor's number")?;
    sched_setaffinity(Pid::from_raw(0), &set).context("pin to a processor")
}

/// What the machine did since some moment.
pub struct Load {
    began: Instant,
    busy: u64,
    own_ms: i64,
    average: String,
}

impl Load {
    /// From now on.
    pub fn begin() -> Result<Self> {
        Ok(Self { began: Instant::now(), busy: busy()?, own_ms: own_ms()?, average: average()? })
    }

    /// Until now.
    pub fn end(self) -> Result<Value> {
        let wall = self.began.elapsed().as_secs_f64();
        // /proc/stat counts in hundredths of a second (proc_stat(5), USER_HZ).
        let busy = (busy()? - self.busy) as f64 / 100.0;
        let own = (own_ms()? - self.own_ms) as f64 / 1000.0;
        // Not those that this thread is allowed, which is pinned.
        let stat = system::read("/proc/stat")?;
        let each = stat.lines().filter(|line| line.starts_with("cpu")).count();
        let processors = each.saturating_sub(1).max(1) as f64;
        let others = ((busy - own) / (wall * processors)).clamp(0.0, 1.0);
        Ok(json!({
            "kernel": system::read("/proc/sys/kernel/osrelease")?.trim(),
            "load_average_before": self.average,
            "load_average_after": average()?,
            "seconds": wall,
            "share_of_others": others,
            "noisy": others > NOISY,
        }))
    }
}

/// Ticks that any processor was busy, for anybody.
fn busy() -> Result<u64> {
    let stat = system::read("/proc/stat")?;
    let line = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    match ticks[..] {
        [user, nice, system, _, _, irq, softirq, steal, ..] => {
            Ok(user + nice + system + irq + softirq + steal)
        }
        _ => bail!("/proc/stat begins with {line:?}"),
    }
}

/// Milliseconds of processor time of this process and of its children that ended.
fn own_ms() -> Result<i64> {
    let mut sum = 0;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who).context("getrusage")?;
        sum += usage.user_time().num_milliseconds() + usage.system_time().num_milliseconds();
    }
    Ok(sum)
}

fn average() -> Result<String> {
    let text = fs::read_to_string("/proc/loadavg").context("read /proc/loadavg")?;
    Ok(text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}
