//! Traffic beside each tracer, always next to a piece without one.

use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

use crate::Setup;
use crate::statistics::{median, spread};
use crate::tracer::{Output, Tracer};
use crate::traffic::{Amount, Close, Server, Slice};

/// Connections of a piece that leaves TIME_WAIT behind: no more than half of one parity of the
/// range, so that the search for a port stays what it is.
const TIME_WAITS: usize = 12_000;

/// A tracer to compare with none.
struct Arm {
    name: &'static str,
    /// The events that it tells of each connection.
    events: f64,
    start: fn(&Setup) -> Result<Tracer>,
    output: Output,
}

/// The program as it is used: each acquire and each release as a line.
const LINES: Arm = Arm {
    name: "lines",
    events: 2.0,
    start: |setup| observer(setup, &[], Output::Null),
    output: Output::Null,
};

/// Everything is taken in and accounted, nothing is printed.
const LEDGER: Arm = Arm {
    name: "ledger",
    events: 2.0,
    start: |setup| observer(setup, &["--events", "start,stop"], Output::Pipe),
    output: Output::Pipe,
};

/// The job that bpftrace does: state changes, six of a connection.
const STATES: Arm = Arm {
    name: "states",
    events: 6.0,
    start: |setup| observer(setup, &["--states", "--events", "state"], Output::Null),
    output: Output::Null,
};

/// The same while all that it sees is filtered out in the kernel: what being attached costs others.
const FILTERED: Arm = Arm {
    name: "filtered out",
    events: 2.0,
    start: |setup| {
        let home = setup.place.home_inode()?.to_string();
        let arguments = ["--netns", &home, "--events", "start,stop"];
        Tracer::observer(setup, &arguments, Output::Pipe)
    },
    output: Output::Pipe,
};

const BPFTRACE: Arm = Arm {
    name: "bpftrace",
    events: 6.0,
    start: |setup| {
        Tracer::bpftrace(setup, setup.bpftrace.as_deref().unwrap_or("bpftrace".as_ref()))
    },
    output: Output::Null,
};

fn observer(setup: &Setup, more: &[&str], output: Output) -> Result<Tracer> {
    let netns = setup.netns.to_string();
    let mut arguments = vec!["--netns", &netns];
    arguments.extend(more);
    Tracer::observer(setup, &arguments, output)
}

/// Pieces of traffic without and with a tracer.
#[derive(Default)]
struct Pairs {
    none: Vec<Numbers>,
    with: Vec<Numbers>,
    /// Seconds of the tracer's processor time for a million events.
    tracer: Vec<f64>,
    lost: u64,
}

/// Of one piece.
struct Numbers {
    rate: f64,
    cpu: f64,
    p50: f64,
    p99: f64,
}

impl Numbers {
    fn of(mut slice: Slice) -> Self {
        let (p50, p99) = (slice.connect_us(0.5), slice.connect_us(0.99));
        Self { rate: slice.rate(), cpu: slice.cpu_us(), p50, p99 }
    }
}

impl Pairs {
    /// One more pair.
    fn measure(
        &mut self,
        setup: &Setup,
        arm: &Arm,
        mut piece: impl FnMut() -> Result<Slice>,
    ) -> Result<()> {
        let none = piece()?;
        let mut tracer = (arm.start)(setup)?;
        let before = tracer.cpu_seconds()?;
        let with = piece()?;
        tracer.wait_quiet()?;
        let events = with.connections as f64 * arm.events;
        self.tracer.push((tracer.cpu_seconds()? - before) / events * 1e6);
        if let Some(stop) = tracer.stop()? {
            self.lost += stop["lost"].as_u64().unwrap_or(0);
        }
        self.none.push(Numbers::of(none));
        self.with.push(Numbers::of(with));
        Ok(())
    }

    fn summary(&self, arm: &Arm) -> Value {
        let ratio = |number: fn(&Numbers) -> f64| {
            let pairs = self.none.iter().zip(&self.with);
            spread(pairs.map(|(none, with)| number(with) / number(none)).collect())
        };
        let mut summary = json!({
            "name": arm.name,
            "events_per_connection": arm.events,
            "connections_per_second": ratio(|numbers| numbers.rate),
            "cpu_per_connection": ratio(|numbers| numbers.cpu),
            "connect_p50": ratio(|numbers| numbers.p50),
            "connect_p99": ratio(|numbers| numbers.p99),
            "cpu_seconds_per_million_events": spread(self.tracer.clone()),
        });
        if arm.output == Output::Pipe {
            summary["lost"] = self.lost.into();
        }
        summary
    }
}

/// What no tracer leaves: the absolute numbers behind the ratios.
fn baseline<'a>(pieces: impl Iterator<Item = &'a Numbers> + Clone) -> Value {
    let of = |number: fn(&Numbers) -> f64| median(pieces.clone().map(number).collect());
    json!({
        "connections_per_second": of(|numbers| numbers.rate),
        "cpu_us_per_connection": of(|numbers| numbers.cpu),
        "connect_p50_us": of(|numbers| numbers.p50),
        "connect_p99_us": of(|numbers| numbers.p99),
    })
}

/// Every tracer in turn, as often as there are rounds.
pub fn cost(setup: &Setup, server: &Server) -> Result<Value> {
    let mut arms = vec![LINES, LEDGER, STATES, FILTERED];
    if setup.bpftrace.is_some() {
        arms.push(BPFTRACE);
    }
    compare(setup, &arms, setup.rounds, setup.half_time, || {
        server.traffic(Amount::For(setup.slice), Close::Reset, 1)
    })
}

/// The program beside connections that end in TIME_WAIT.
pub fn time_wait(setup: &Setup, server: &Server) -> Result<Value> {
    let mut destination = 1;
    compare(setup, &[LINES], setup.rounds.min(3), setup.deadline, || {
        destination += 1;
        server.traffic(Amount::Connections(TIME_WAITS), Close::TimeWait, destination)
    })
}

fn compare(
    setup: &Setup,
    arms: &[Arm],
    rounds: usize,
    deadline: Instant,
    mut piece: impl FnMut() -> Result<Slice>,
) -> Result<Value> {
    let mut pairs: Vec<Pairs> = arms.iter().map(|_| Pairs::default()).collect();
    // Caches and clocks come up to speed first.
    piece()?;
    for round in 0..rounds {
        // On a busy machine fewer pairs are better than none.
        if round > 0 && Instant::now() > deadline {
            break;
        }
        for (arm, pairs) in arms.iter().zip(&mut pairs) {
            pairs.measure(setup, arm, &mut piece)?;
        }
    }
    let summaries: Vec<Value> =
        arms.iter().zip(&pairs).map(|(arm, pairs)| pairs.summary(arm)).collect();
    let none = pairs.iter().flat_map(|pairs| &pairs.none);
    Ok(json!({ "without": baseline(none), "tracers": summaries }))
}
