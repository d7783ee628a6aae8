//! Measures the program on this kernel: what it costs whom, and what it keeps up with. Writes one
//! JSON object; `cargo xtask bench` makes it readable.

#![expect(clippy::disallowed_methods, reason = "nothing here waits for the last close of a socket")]

mod arms;
mod latency;
mod machine;
mod memory;
mod programs;
mod rate;
mod scan;
mod statistics;
mod tracer;
mod traffic;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use tests::net::once_in_namespace;
use tests::system;

use crate::machine::{Load, Place};
use crate::traffic::Server;

const USAGE: &str = "usage: bench [--backend NAME] [--rounds N] [--slice MILLISECONDS] \
                     [--parts PART,…] [--limit SECONDS] [--bpftrace PATH]";

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Traffic with and without a tracer, and the tracer's own CPU time.
    Cost,
    /// The same with connections that end in TIME_WAIT.
    TimeWait,
    /// Time in each kernel program.
    Programs,
    /// What is held for many holdings.
    Memory,
    /// From the call to the line.
    Latency,
    /// How many events a second.
    Rate,
    /// One look at very many sockets.
    Scan,
}

impl Part {
    const ALL: [(&'static str, Self); 7] = [
        ("cost", Self::Cost),
        ("time_wait", Self::TimeWait),
        ("programs", Self::Programs),
        ("memory", Self::Memory),
        ("latency", Self::Latency),
        ("rate", Self::Rate),
        ("scan", Self::Scan),
    ];
}

/// How to measure.
pub struct Setup {
    /// `--backend` of the program.
    pub backend: String,
    /// How often each pair is measured.
    pub rounds: usize,
    /// How much processor time one piece of traffic takes.
    pub slice: Duration,
    /// The long comparison with other tracers begins no further pair after this, so that time is
    /// left for the rest.
    pub half_time: Instant,
    /// Nothing begins after this.
    pub deadline: Instant,
    /// The program.
    pub program: PathBuf,
    /// bpftrace, to compare with.
    pub bpftrace: Option<PathBuf>,
    /// Who runs where.
    pub place: Place,
    /// The traffic's network namespace.
    pub netns: u32,
}

fn main() -> Result<()> {
    let mut backend = "tracepoint".to_owned();
    let (mut rounds, mut slice, mut bpftrace) = (5, Duration::from_millis(600), None);
    let mut limit = 150;
    let mut parts = Part::ALL.map(|(_, part)| part).to_vec();
    // Not about observing: it is measured when it is asked for.
    parts.retain(|part| *part != Part::Scan);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let Some(value) = arguments.next() else { bail!("{USAGE}") };
        match name.as_str() {
            "--backend" => backend = value,
            "--rounds" => rounds = value.parse().context("--rounds")?,
            "--slice" => slice = Duration::from_millis(value.parse().context("--slice")?),
            "--limit" => limit = value.parse().context("--limit")?,
            "--bpftrace" => bpftrace = Some(value.into()),
            "--parts" => {
                let part = |name| Part::ALL.into_iter().find(|part| part.0 == name);
                let known = value.split(',').map(|name| part(name).map(|part| part.1));
                parts = known.collect::<Option<_>>().with_context(|| format!("--parts {value}"))?;
            }
            _ => bail!("{USAGE}"),
        }
    }
    let half_time = Instant::now() + Duration::from_secs(limit / 2);
    let deadline = Instant::now() + Duration::from_secs(limit);
    let mut setup = Setup {
        backend,
        rounds,
        slice,
        half_time,
        deadline,
        program: system::program()?,
        bpftrace,
        place: Place::find()?,
        netns: 0,
    };
    let load = Load::begin()?;
    let mut measured = Map::new();
    for part in parts {
        let name = Part::ALL.iter().find(|one| one.1 == part).map_or("", |one| one.0);
        eprintln!("measures {name}");
        // A namespace each: what one leaves in TIME_WAIT is not there for the next.
        let value = once_in_namespace(|netns| {
            setup.netns = netns;
            measure(&setup, part)
        });
        // One part that fails does not take the others with it.
        let value = value.unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
        measured.insert(name.to_owned(), value);
    }
    measured.insert("backend".to_owned(), setup.backend.into());
    measured.insert("machine".to_owned(), load.end()?);
    println!("{}", Value::from(measured));
    Ok(())
}

fn measure(setup: &Setup, part: Part) -> Result<Value> {
    if Instant::now() > setup.deadline {
        bail!("left out: no time left (--limit)");
    }
    if part == Part::Scan {
        return scan::measure(setup);
    }
    traffic::prepare_namespace();
    setup.place.pin_traffic()?;
    let server = Server::listen()?;
    match part {
        Part::Cost => arms::cost(setup, &server),
        Part::TimeWait => arms::time_wait(setup, &server),
        Part::Programs => programs::measure(setup, &server),
        Part::Memory => memory::measure(setup, &server),
        Part::Latency => latency::measure(setup, &server),
        Part::Rate => rate::measure(setup, &server),
        Part::Scan => bail!("it has no traffic"),
    }
}
