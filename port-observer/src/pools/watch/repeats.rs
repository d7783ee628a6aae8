//! Lines that would be the same again and again: so many a second are told, the rest is counted.

use foldhash::HashMap;

use crate::report::{Body, PoolReport, Report};

/// Of what a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Exhausted,
    WrongRange,
    Taken,
}

impl Kind {
    /// How many lines of one process a second tells, of one pool.
    fn most(self) -> u32 {
        match self {
            // A program that looks for a free port asks for each.
            Self::Exhausted => 1,
            Self::WrongRange | Self::Taken => 100,
        }
    }
}

/// The pool, what is told of it, and the process.
pub(super) type Key = (usize, Kind, Option<u32>);

/// A second.
const WINDOW_NS: u64 = 1_000_000_000;
/// How many keys are kept; when there are more, what was not told of them is.
const MOST: usize = 1_024;

#[derive(Debug)]
struct Window {
    began_ns: u64,
    lines: u32,
    /// The last that was not told, and how many these are.
    untold: Option<(u64, PoolReport, u64)>,
}

/// What was told in the last second.
#[derive(Debug, Default)]
pub(super) struct Repeats(HashMap<Key, Window>);

impl Repeats {
    /// Tells it, or counts it where so many like it were told in that second. `more`: for how many more it
    /// stands itself.
    pub(super) fn tell(
        &mut self,
        time_ns: u64,
        key: Key,
        more: u64,
        make: impl FnOnce(u64) -> PoolReport,
        out: &mut Vec<Report>,
    ) {
        if let Some(window) = self.0.get_mut(&key) {
            if time_ns < window.began_ns.saturating_add(WINDOW_NS) {
                if window.lines >= key.1.most() {
                    let untold = window.untold.take().map_or(0, |(_, _, untold)| untold);
                    let untold = untold.saturating_add(more).saturating_add(1);
                    window.untold = Some((time_ns, make(0), untold));
                    return;
                }
                window.lines += 1;
                out.push(line(time_ns, make(more)));
                return;
            }
            tell_rest(window, out);
        }
        if self.0.len() >= MOST {
            self.0.values_mut().for_each(|window| tell_rest(window, out));
            self.0.clear();
        }
        self.0.insert(key, Window { began_ns: time_ns, lines: 1, untold: None });
        out.push(line(time_ns, make(more)));
    }

    /// Tells what was counted of seconds that are over.
    pub(super) fn due(&mut self, now_ns: u64, out: &mut Vec<Report>) {
        self.0.retain(|_, window| {
            let is_over = now_ns >= window.began_ns.saturating_add(WINDOW_NS);
            if is_over {
                tell_rest(window, out);
            }
            !is_over
        });
    }
}

/// A line that stands for all that were counted.
fn tell_rest(window: &mut Window, out: &mut Vec<Report>) {
    if let Some((time_ns, report, count)) = window.untold.take() {
        out.push(line(time_ns, report.with_repeated(count.saturating_sub(1))));
    }
}

fn line(time_ns: u64, report: PoolReport) -> Report {
    Report { time_ns, body: Body::Pool(Box::new(report)) }
}
