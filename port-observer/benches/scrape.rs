//! What a scrape of `serve` costs with 100,000 holdings and 10,000 destinations: asking the ledger, and
//! writing the text. Prints one JSON object; `cargo xtask bench --parts scrape` runs it.

mod holdings;

use std::{hint::black_box, time::Duration, time::Instant};

use port_observer::{
    metrics::{
        self, Counters, Gauges, Own,
        text::{self, Format},
    },
    report::{Sink as _, Start},
};

use holdings::{HOLDINGS, ledger, median};

const DESTINATIONS: u32 = 10_000;
const SERIES: usize = 500;
/// How often it is measured.
const SCRAPES: u64 = 31;

fn main() {
    let mut ledger = ledger();
    let mut counters = Counters::default();
    let mut take = |reports: &mut Vec<_>| {
        for report in reports.drain(..) {
            // It only counts.
            let _ = counters.report(&report);
        }
    };
    holdings::fill(&mut ledger, DESTINATIONS, &mut take, &mut Vec::new());
    let start = Start {
        host: String::new(),
        kernel: String::new(),
        version: "0".into(),
        backend: "none",
        exact: true,
        missing: Vec::new(),
        ephemeral_range: Vec::new(),
        netns: None,
    };
    let own = Own::new(&start, Duration::ZERO);
    let pools = metrics::Pools::default();
    let mut bytes = 0;
    let times = (0..SCRAPES).map(|number| {
        let began = Instant::now();
        let now_ns = u64::from(HOLDINGS) * 1_000 + number * 1_000_000_000;
        let gauges = Gauges::read(&mut ledger, &counters, now_ns);
        let families = metrics::families(&counters, &gauges, &pools, &own, SERIES);
        bytes = black_box(text::write(&families, Format::OpenMetrics)).len();
        began.elapsed().as_secs_f64() * 1e3
    });
    let milliseconds = median(times.collect());
    println!(
        "{{\"holdings\":{HOLDINGS},\"destinations\":{DESTINATIONS},\"bytes\":{bytes},\
         \"milliseconds_per_scrape\":{milliseconds:.2}}}"
    );
}
