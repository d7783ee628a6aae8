//! What the ledger costs by itself: nanoseconds per event, bytes per holding, and how long a summary
//! takes at 10, 1,000 and 100,000 destinations. Prints one JSON object; `cargo xtask bench` runs it.

#![expect(clippy::cast_precision_loss, reason = "counts and times, to be divided")]

mod holdings;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    hint::black_box,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use port_observer::{
    event::{Event, Kind, Reason, Reuse, SocketId},
    ledger::Ledger,
    report::Report,
};

use holdings::{Fifty, HOLDINGS, connect, event, flow, ledger, median};

/// Counts what is allocated.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: hands every call on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Fills a ledger; returns it and the bytes that it takes.
fn filled(destinations: u32) -> (Ledger, usize) {
    let before = ALLOCATED.load(Ordering::Relaxed);
    let mut ledger = ledger();
    let mut out: Vec<Report> = Vec::new();
    holdings::fill(&mut ledger, destinations, &mut |reports| reports.clear(), &mut out);
    assert_eq!(ledger.holdings().len(), HOLDINGS as usize);
    drop(out);
    (ledger, ALLOCATED.load(Ordering::Relaxed) - before)
}

/// Connections that are opened, closed, wait and end, in a ledger that holds many: ns per event.
fn ns_per_event() -> f64 {
    const ROUNDS: u32 = 300_000;
    /// How many connections are open at a time, and how many TIME_WAIT entries are there.
    const OPEN: u32 = 1_000;
    const WAITING: u32 = 20_000;
    let mut ledger = ledger();
    let mut out: Vec<Report> = Vec::new();
    let mut events: Vec<Event> = Vec::new();
    let id = |index: u32| u64::from(index) + 1;
    let entry = |index: u32| u64::from(index) + (1 << 32);
    for index in 0..ROUNDS {
        let time_ns = u64::from(index) * 50_000;
        let mut tell = |socket, index, kind| {
            events.push(event(time_ns, socket, flow(index, 100), kind));
        };
        tell(id(index), index, connect(index));
        if let Some(closed) = index.checked_sub(OPEN) {
            let successor = Some(SocketId(entry(closed)));
            let reuse = Reuse { fin_wait2: false, timestamps: true };
            tell(id(closed), closed, Kind::TimeWait { successor, done: false, reuse });
            tell(id(closed), closed, Kind::Release { reason: Reason::Closed });
        }
        if let Some(ended) = index.checked_sub(OPEN + WAITING) {
            tell(entry(ended), ended, Kind::Release { reason: Reason::TimeWaitExpired });
        }
    }
    let (count, fifty) = (events.len(), Fifty::new());
    let began = Instant::now();
    for event in events {
        let caller = fifty.caller(&event);
        ledger.apply(0, event, caller, &mut out);
        black_box(&out);
        out.clear();
    }
    began.elapsed().as_nanos() as f64 / count as f64
}

fn main() {
    let event_ns = median((0..5).map(|_| ns_per_event()).collect());
    let (_, bytes) = filled(100);
    let summaries: Vec<String> = [10, 1_000, 100_000]
        .into_iter()
        .map(|destinations| {
            let (mut ledger, bytes) = filled(destinations);
            let milliseconds = median(
                (0..11)
                    .map(|_| {
                        let began = Instant::now();
                        let now_ns = u64::from(HOLDINGS) * 1_000;
                        black_box(ledger.summary(now_ns, 10, &|_| true, &|_| true));
                        began.elapsed().as_secs_f64() * 1e3
                    })
                    .collect(),
            );
            format!(
                "{{\"destinations\":{destinations},\"milliseconds\":{milliseconds:.2},\
                 \"bytes\":{bytes}}}"
            )
        })
        .collect();
    println!(
        "{{\"ns_per_event\":{event_ns:.0},\"bytes_per_100000_holdings\":{bytes},\
         \"summaries\":[{}]}}",
        summaries.join(",")
    );
}
