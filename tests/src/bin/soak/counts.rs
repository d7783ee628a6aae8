//! What the churn did, and what was seen of it.

use std::collections::BTreeMap;
use std::fmt;
use std::io::BufRead;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// What the churn did in the namespace in which it is counted.
#[derive(Default)]
pub struct Done {
    /// Ports that were taken.
    pub acquired: u64,
    /// Calls that were refused a port that is used.
    pub refused: u64,
    /// Other namespaces, processes and cgroups that came and went.
    pub namespaces: u64,
    /// Programs that were run.
    pub processes: u64,
    /// Cgroups that were made and removed.
    pub cgroups: u64,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acquired, refused, namespaces, processes, cgroups } = self;
        write!(
            f,
            "churn: {acquired} ports taken, {refused} calls refused, {processes} processes, \
             {namespaces} namespaces, {cgroups} cgroups"
        )
    }
}

/// What one stream of lines says of a namespace.
#[derive(Default)]
pub struct Counts {
    by_type: BTreeMap<String, u64>,
    /// Of each kind; of which kind an event was is not always known.
    lost: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Line {
    seq: u64,
    r#type: String,
    netns: Option<u32>,
    count: Option<u64>,
    kind: Option<String>,
    repeated: Option<u64>,
}

impl Counts {
    /// Reads lines to their end.
    pub fn read(lines: impl BufRead, inode: u32) -> Result<Self> {
        let mut counts = Self::default();
        let mut last = None;
        for (number, text) in (1..).zip(lines.lines()) {
            let text = text.context("read a line")?;
            let line: Line = serde_json::from_str(&text).with_context(|| format!("in {text}"))?;
            if line.seq != number {
                bail!("line {number} has the number {}", line.seq);
            }
            if line.r#type == "lost" {
                let kind = line.kind.unwrap_or_default();
                *counts.lost.entry(kind).or_default() += line.count.unwrap_or(0);
            } else if line.netns == Some(inode) {
                let count = 1 + line.repeated.unwrap_or(0);
                *counts.by_type.entry(line.r#type.clone()).or_default() += count;
            }
            last = Some(line.r#type);
        }
        if last.as_deref() != Some("stop") {
            bail!("the last line is of the type {last:?}, not `stop`");
        }
        Ok(counts)
    }

    fn of(&self, name: &str) -> u64 {
        self.by_type.get(name).copied().unwrap_or(0)
    }

    fn lost(&self, name: &str) -> u64 {
        let of = |kind: &str| self.lost.get(kind).copied().unwrap_or(0);
        of(name) + of("unknown") + of("event") + of("record") + of("")
    }
}

/// What the observers saw.
pub struct Seen {
    /// The lines of `live`.
    pub printed: Counts,
    /// The lines that `replay` makes of what `record` wrote.
    pub recorded: Counts,
}

impl Seen {
    /// Prints it; whether it is what was done, but for what is said to be lost.
    pub fn judge(&self, done: &Done) -> bool {
        let mut is_well = true;
        println!("{:8} {:14} {:>10} {:>10} {:>10}", "", "", "done", "seen", "lost");
        for (name, counts) in [("live", &self.printed), ("record", &self.recorded)] {
            for (kind, done) in
                [("acquire", done.acquired), ("conflict", done.refused), ("release", done.acquired)]
            {
                let (seen, lost) = (counts.of(kind), counts.lost(kind));
                println!("{name:8} {kind:14} {done:>10} {seen:>10} {lost:>10}");
                // What TIME_WAIT still holds was not given back.
                let is_due = kind != "release";
                if seen > done || (is_due && seen + lost < done) {
                    println!("{name:8} FAULT: {kind}: lost without being counted, or seen twice");
                    is_well = false;
                }
            }
        }
        is_well
    }
}
