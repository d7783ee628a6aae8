//! Which number lines had at what time: by these, lines that are no longer kept are found again in the
//! recording, without reading all of the run.

/// A line, and when it was. No line before it has the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Its number in the run.
    pub(super) number: u64,
    /// Nanoseconds since boot.
    pub(super) time_ns: u64,
}

/// A mark for every so many lines at first.
const EVERY: u64 = 4096;
/// At most so many; then every other one is forgotten.
const MOST: usize = 1 << 15;

/// Marks of a run, the oldest first.
#[derive(Debug)]
pub(super) struct Marks {
    kept: Vec<Mark>,
    every: u64,
    /// The time of the last line.
    latest_ns: u64,
}

impl Default for Marks {
    fn default() -> Self {
        Self { kept: Vec::new(), every: EVERY, latest_ns: 0 }
    }
}

impl Marks {
    /// Takes the next line.
    pub(super) fn add(&mut self, number: u64, time_ns: u64) {
        let is_due = self.kept.last().is_none_or(|last| number >= last.number + self.every);
        if is_due && time_ns > self.latest_ns {
            self.kept.push(Mark { number, time_ns });
            if self.kept.len() >= MOST {
                self.every *= 2;
                let mut is_odd = false;
                self.kept.retain(|_| {
                    is_odd = !is_odd;
                    is_odd
                });
            }
        }
        self.latest_ns = self.latest_ns.max(time_ns);
    }

    /// The marks by which the lines after number `after` are found.
    pub(super) fn after(&self, after: u64) -> Vec<Mark> {
        let next = self.kept.partition_point(|mark| mark.number <= after + 1);
        self.kept[next.saturating_sub(1)..].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_time_is_marked_now_and_then() {
        let mut marks = Marks::default();
        // Three lines of each time.
        (0..3 * EVERY).for_each(|n| marks.add(n + 1, 7 + n / 3));
        let all = marks.after(0);
        assert_eq!(all[0], Mark { number: 1, time_ns: 7 });
        assert_eq!(all.len(), 3);
        for mark in &all {
            assert_eq!(mark.number % 3, 1);
            assert_eq!(mark.time_ns, 7 + (mark.number - 1) / 3);
        }
        assert_eq!(marks.after(all[1].number - 1), all[1..]);
        assert_eq!(marks.after(all[1].number - 2), all[..]);
        assert_eq!(marks.after(u64::MAX - 1), all[2..]);
        assert!(Marks::default().after(5).is_empty());
    }

    #[test]
    fn an_hour_of_lines_takes_no_more_memory_than_a_minute() {
        let mut marks = Marks::default();
        (0..2 * EVERY * MOST as u64).for_each(|n| marks.add(n + 1, n + 1));
        let all = marks.after(0);
        assert!((MOST / 2..MOST).contains(&all.len()), "{}", all.len());
        assert_eq!(all[0].number, 1);
    }
}
