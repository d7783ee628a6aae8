//! The kernel's clocks: events carry time since boot, people read wall time.

use std::time::{Duration, Instant};

use anyhow::Context;
use nix::time::{ClockId, clock_gettime};

/// Now, in nanoseconds of `CLOCK_BOOTTIME`: since boot, suspended time included.
///
/// # Errors
/// When the kernel refuses the clock.
pub fn now_boot_ns() -> anyhow::Result<u64> {
    let now = read(ClockId::CLOCK_BOOTTIME, "CLOCK_BOOTTIME")?;
    u64::try_from(now).context("CLOCK_BOOTTIME is negative")
}

/// `CLOCK_REALTIME` − `CLOCK_BOOTTIME` in nanoseconds: what to add to an event's time to get wall time
/// since 1970. It moves when the wall clock is set, so read it again from time to time.
///
/// # Errors
/// When the kernel refuses a clock.
pub fn offset_ns() -> anyhow::Result<i64> {
    // The wall clock is read between two readings of the other, whose mean is the same moment.
    let before = read(ClockId::CLOCK_BOOTTIME, "CLOCK_BOOTTIME")?;
    let wall = read(ClockId::CLOCK_REALTIME, "CLOCK_REALTIME")?;
    let after = read(ClockId::CLOCK_BOOTTIME, "CLOCK_BOOTTIME")?;
    Ok(wall - (before + (after - before) / 2))
}

/// Which boot this is: `/proc/sys/kernel/random/boot_id` (random(4)).
///
/// # Errors
/// When /proc does not tell.
pub fn boot_id() -> anyhow::Result<String> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(PATH).with_context(|| format!("can't read {PATH}"))?;
    Ok(text.trim().to_owned())
}

/// How much processor time this process has had so far; zero if the kernel does not say.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

/// Adds up what work costs in processor time, so that it can be given a share of a processor: on a busy
/// machine the time that goes by would put off its next turn by minutes.
#[derive(Clone, Copy, Debug)]
pub struct Cost(Duration);

impl Cost {
    /// Begins now.
    pub fn begin() -> Self {
        Self(processor_time())
    }

    /// What it has come to.
    pub fn so_far(self) -> Duration {
        processor_time().saturating_sub(self.0)
    }
}

/// What something that is done now and then may cost: one part in so many of the time, some of it ahead.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    part: u32,
    ahead: Duration,
    /// When what was spent so far is made up for.
    paid: Instant,
}

impl Budget {
    /// One part in `part` of the time; of the time to come, that of `ahead` may be spent already.
    pub fn new(part: u32, ahead: Duration) -> Self {
        Self { part, ahead, paid: Instant::now() }
    }

    /// Whether something may be done now.
    pub fn has_some(&self) -> bool {
        self.paid <= Instant::now() + self.ahead
    }

    /// It has cost that much.
    pub fn spend(&mut self, cost: Duration) {
        self.paid = self.paid.max(Instant::now()) + cost * self.part;
    }
}

fn read(clock: ClockId, name: &str) -> anyhow::Result<i64> {
    let time = clock_gettime(clock).with_context(|| format!("cannot read the clock {name}"))?;
    time.tv_sec()
        .checked_mul(1_000_000_000)
        .and_then(|seconds| seconds.checked_add(time.tv_nsec()))
        .with_context(|| format!("the clock {name} is out of range"))
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_budget_that_is_used_up_is_made_up_for_with_time() {
        let mut budget = Budget::new(4, Duration::from_millis(40));
        budget.spend(Duration::from_millis(9));
        assert!(budget.has_some());
        budget.spend(Duration::from_secs(1));
        assert!(!budget.has_some());
        budget.paid = Instant::now() + Duration::from_millis(30);
        assert!(budget.has_some());
    }

    #[test]
    fn boot_time_and_the_offset_give_wall_time() {
        let wall = i64::try_from(now_boot_ns().unwrap()).unwrap() + offset_ns().unwrap();
        let expected = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
        let difference = i128::try_from(expected).unwrap() - i128::from(wall);
        assert!(difference.abs() < 1_000_000_000, "{difference} ns apart");
    }

    #[test]
    fn boot_time_moves_forward() {
        let before = now_boot_ns().unwrap();
        assert!(now_boot_ns().unwrap() >= before);
    }
}
