//! What processes hold of the machine, once a second.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use tests::system::read;

/// So much resident memory none may ever have.
const MOST_KIB: f64 = 150.0 * 1024.0;
/// By so much the anonymous memory may grow in the second half, by the line that fits it best. TIME_WAITs
/// and the like of a minute's run are still becoming more then: some 3,000 entries.
const GROWTH_KIB: f64 = 4.0 * 1024.0;
/// Descriptors for a moment, as for a namespace that is looked into.
const SPARE_DESCRIPTORS: f64 = 16.0;
/// Threads that a runtime starts when it likes.
const SPARE_THREADS: f64 = 2.0;

/// The figures of some processes.
pub struct Samples {
    of: Vec<Process>,
}

struct Process {
    name: &'static str,
    pid: u32,
    samples: Vec<Sample>,
}

struct Sample {
    seconds: f64,
    resident_kib: f64,
    anonymous_kib: f64,
    descriptors: f64,
    threads: f64,
}

impl Samples {
    /// None yet.
    pub fn new<const N: usize>(pids: [(&'static str, u32); N]) -> Self {
        let of = pids.map(|(name, pid)| Process { name, pid, samples: Vec::new() });
        Self { of: of.into() }
    }

    /// Reads what they are now.
    pub fn take(&mut self, at: Duration) -> Result<()> {
        for process in &mut self.of {
            let sample = look(process.pid, at);
            process.samples.push(sample.with_context(|| format!("look at {}", process.name))?);
        }
        Ok(())
    }

    /// Prints them; whether they are as they must be.
    pub fn judge(&self) -> bool {
        println!("{:8} {:14} {:>10} {:>10} {:>10}", "", "", "first half", "2nd half", "growth");
        let judged = self.of.iter().map(Process::judge).collect::<Vec<bool>>();
        judged.iter().all(|is_well| *is_well)
    }
}

impl Process {
    fn judge(&self) -> bool {
        let (_, second) = self.halves();
        let span = second.last().map_or(0.0, |last| last.seconds - second[0].seconds);
        let of_anonymous = |sample: &Sample| sample.anonymous_kib;
        let growth = slope(second, of_anonymous) * span;
        let (_, most) = self.line("resident KiB", |sample| sample.resident_kib, None);
        self.line("anonymous KiB", of_anonymous, Some(growth));
        let (descriptors, later) = self.line("descriptors", |sample| sample.descriptors, None);
        let (threads, later_threads) = self.line("threads", |sample| sample.threads, None);
        let faults = [
            (most > MOST_KIB, format!("more than {MOST_KIB} KiB of resident memory")),
            (growth > GROWTH_KIB, format!("memory grows by {growth:.0} KiB in {span:.0} s")),
            (later > descriptors + SPARE_DESCRIPTORS, "descriptors become more".to_owned()),
            (later_threads > threads + SPARE_THREADS, "threads become more".to_owned()),
        ];
        for (_, fault) in faults.iter().filter(|(is_so, _)| *is_so) {
            println!("{:8} FAULT: {fault}", self.name);
        }
        faults.iter().all(|(is_so, _)| !is_so)
    }

    fn halves(&self) -> (&[Sample], &[Sample]) {
        self.samples.split_at(self.samples.len() / 2)
    }

    /// Prints the largest of each half, and returns them.
    fn line(&self, name: &str, of: fn(&Sample) -> f64, growth: Option<f64>) -> (f64, f64) {
        let (first, second) = self.halves();
        let most = |samples: &[Sample]| samples.iter().map(of).fold(0.0, f64::max);
        let (first, second) = (most(first), most(second));
        let growth = growth.map_or(String::new(), |growth| format!("{growth:+.0}"));
        println!("{:8} {name:14} {first:>10.0} {second:>10.0} {growth:>10}", self.name);
        (first, second)
    }
}

/// By how much it becomes more each second: least squares.
fn slope(samples: &[Sample], of: fn(&Sample) -> f64) -> f64 {
    let count = samples.len() as f64;
    let mean = |of: &dyn Fn(&Sample) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(&|sample| sample.seconds), mean(&of));
    let covariance = mean(&|sample| (sample.seconds - x) * (of(sample) - y));
    let variance = mean(&|sample| (sample.seconds - x).powi(2));
    if variance > 0.0 { covariance / variance } else { 0.0 }
}

fn look(pid: u32, at: Duration) -> Result<Sample> {
    let status = read(format!("/proc/{pid}/status"))?;
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let word = line.and_then(|line| line.split_whitespace().next());
        word.and_then(|word| word.parse::<f64>().ok()).with_context(|| format!("no {name}"))
    };
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).context("list its descriptors")?;
    Ok(Sample {
        seconds: at.as_secs_f64(),
        resident_kib: number("VmRSS")?,
        anonymous_kib: number("RssAnon")?,
        descriptors: descriptors.count() as f64,
        threads: number("Threads")?,
    })
}
